//! The series of the functions' own metrics: `cofferdam_user_NAME`.

use prometheus_client::metrics::MetricType;

use super::exposition::{Exposition, Labels, SampleValue};
use super::job_samples::operator_labels;
use crate::job::view::{HistogramView, JobMetrics, OperatorMetrics};

/// Number of subtasks up to which each has a series of its own for a gauge.
const SUBTASKS_MAX: usize = 32;

const HELP: &str = "A metric of a function.";

/// Adds the metrics of the functions of a job.
pub fn add_user_metrics(scrape: &mut Exposition, namespace: &str, job: &JobMetrics) {
    for operator in &job.operators {
        let labels = operator_labels(namespace, &job.name, &operator.id);
        for (name, count) in &operator.counters {
            let value = SampleValue::Count(*count);
            scrape.add_named(&exposed_name(name), HELP, MetricType::Counter, labels.clone(), value);
        }
        for (name, histogram) in &operator.histograms {
            let value = distribution(histogram);
            scrape.add_named(&exposed_name(name), HELP, MetricType::Histogram, labels.clone(), value);
        }
        add_gauges(scrape, operator, &labels);
    }
}

fn add_gauges(scrape: &mut Exposition, operator: &OperatorMetrics, labels: &Labels) {
    for (name, range) in &operator.gauges {
        let mut add = |label: &'static str, text: String, value: f64| {
            let mut labels = labels.clone();
            labels.push((label, text));
            scrape.add_named(&exposed_name(name), HELP, MetricType::Gauge, labels, SampleValue::Number(value));
        };
        if operator.parallelism as usize <= SUBTASKS_MAX {
            for subtask in &operator.subtasks {
                if let Some(value) = subtask.gauges.get(name) {
                    add("subtask", subtask.subtask.to_string(), *value);
                }
            }
        } else {
            for (part, value) in [("min", range.min), ("max", range.max), ("mean", range.mean)] {
                add("agg", part.to_owned(), value);
            }
        }
    }
}

/// Returns the name under which a metric of a function is exposed. The encoder appends `_total` to that of a counter.
fn exposed_name(name: &str) -> String {
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let name: String = name.chars().map(|character| if is_allowed(character) { character } else { '_' }).collect();
    format!("cofferdam_user_{}", name.strip_suffix("_total").unwrap_or(&name))
}

/// Returns a histogram with one bucket for each power of two between its smallest and its largest observation.
fn distribution(histogram: &HistogramView) -> SampleValue {
    let exponent = |bound: f64| bound.log2().ceil();
    let bounds = histogram.buckets.iter().filter_map(|bucket| bucket.up_to);
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    for bound in bounds.map(exponent) {
        (first, last) = (first.min(bound), last.max(bound));
    }
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    let mut power = first;
    while power <= last {
        buckets.push((power.exp2(), 0));
        power += 1.0;
    }
    buckets.push((f64::INFINITY, 0));
    for bucket in &histogram.buckets {
        let up_to = bucket.up_to.map_or(f64::INFINITY, |bound| exponent(bound).exp2());
        if let Some((_, count)) = buckets.iter_mut().find(|(bound, _)| *bound >= up_to) {
            *count += bucket.count;
        }
    }
    SampleValue::Distribution { sum: histogram.sum, count: histogram.count, buckets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::view::HistogramBucket;

    #[test]
    fn names_have_only_the_characters_that_prometheus_allows() {
        for (name, exposed) in [
            ("queue-length", "cofferdam_user_queue_length"),
            ("1st \u{e9}", "cofferdam_user_1st__"),
            ("seen_total", "cofferdam_user_seen"),
            ("", "cofferdam_user_"),
        ] {
            assert_eq!(exposed_name(name), exposed);
        }
    }

    #[test]
    fn a_histogram_has_a_bucket_for_each_power_of_two() {
        let bucket = |up_to, count| HistogramBucket { up_to, count };
        let buckets = vec![bucket(Some(1.0), 1), bucket(Some(1.19), 2), bucket(Some(2.0), 3), bucket(Some(7.0), 4)];
        let histogram = HistogramView { count: 15, sum: 9.0, buckets: [buckets, vec![bucket(None, 5)]].concat() };
        let expected = vec![(1.0, 1), (2.0, 5), (4.0, 0), (8.0, 4), (f64::INFINITY, 5)];
        assert_eq!(distribution(&histogram), SampleValue::Distribution { sum: 9.0, count: 15, buckets: expected });
        let empty = SampleValue::Distribution { sum: 0.0, count: 0, buckets: vec![(f64::INFINITY, 0)] };
        assert_eq!(distribution(&HistogramView::default()), empty);
    }
}
