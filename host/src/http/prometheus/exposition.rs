//! Collects the series of one scrape, within a limit, and writes them as text.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::catalog::MetricDescription;

/// Largest number of series of a scrape.
const SERIES_MAX: usize = 50_000;

/// The labels of a series.
pub type Labels = Vec<(&'static str, String)>;

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    Count(u64),
    Number(f64),
    Distribution {
        sum: f64,
        count: u64,
        /// Inclusive upper bounds and the observations up to each, without those of the bounds before. The last bound is `f64::INFINITY`.
        buckets: Vec<(f64, u64)>,
    },
}

/// The series of one scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    /// In the order in which they were added first.
    families: Vec<Family>,
    indexes: BTreeMap<String, usize>,
    /// The names that samples of all families have, with the family that has them.
    sample_names: BTreeMap<String, usize>,
    series: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Family {
    name: String,
    help: String,
    kind: MetricType,
    samples: BTreeMap<Labels, SampleValue>,
}

impl SampleValue {
    fn series(&self) -> usize {
        match self {
            SampleValue::Count(_) | SampleValue::Number(_) => 1,
            SampleValue::Distribution { buckets, .. } => buckets.len() + 2,
        }
    }
}

impl Exposition {
    /// Adds a series of a metric of the server.
    pub fn add(&mut self, metric: &MetricDescription, labels: Labels, value: SampleValue) {
        debug_assert!(labels.iter().map(|(name, _)| name).eq(metric.labels), "{}: {labels:?}", metric.name);
        let name = metric.name.strip_suffix("_total").filter(|_| is_counter(metric.kind)).unwrap_or(metric.name);
        self.add_named(name, metric.help, metric.kind, labels, value);
    }

    /// Adds a series. It is dropped and counted if the limit is reached, if there is one with these labels, or if another metric has
    /// the name.
    pub fn add_named(&mut self, name: &str, help: &str, kind: MetricType, labels: Labels, value: SampleValue) {
        let Some(family) = self.family(name, help, kind).filter(|_| self.series + value.series() <= SERIES_MAX) else {
            self.dropped += value.series() as u64;
            return;
        };
        let samples = &mut self.families[family].samples;
        if samples.contains_key(&labels) {
            self.dropped += value.series() as u64;
            return;
        }
        self.series += value.series();
        samples.insert(labels, value);
    }

    /// Adds the number of series that were dropped, as the last metric.
    pub fn add_dropped(&mut self, metric: &MetricDescription) {
        let dropped = SampleValue::Count(self.dropped);
        if let Some(family) = self.family(metric.name, metric.help, metric.kind) {
            self.families[family].samples.insert(Vec::new(), dropped);
        }
    }

    /// Finds or begins a family. `None` if another metric has its name, or the name of one of its samples.
    fn family(&mut self, name: &str, help: &str, kind: MetricType) -> Option<usize> {
        if let Some(&index) = self.indexes.get(name) {
            return (self.families[index].kind.as_str() == kind.as_str()).then_some(index);
        }
        let suffixes: &[&str] = match kind {
            MetricType::Counter => &["", "_total"],
            MetricType::Histogram => &["", "_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let names: Vec<String> = suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect();
        if names.iter().any(|name| self.sample_names.contains_key(name)) {
            return None;
        }
        let index = self.families.len();
        self.sample_names.extend(names.into_iter().map(|name| (name, index)));
        self.indexes.insert(name.to_owned(), index);
        let (name, help) = (name.to_owned(), help.to_owned());
        self.families.push(Family { name, help, kind, samples: BTreeMap::new() });
        Some(index)
    }

    /// Returns the text of the scrape, in the format of OpenMetrics or of Prometheus.
    pub fn into_text(self, is_open_metrics: bool) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match is_open_metrics {
            true => text::encode(&mut text, &registry)?,
            false => prometheus_text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}

fn is_counter(kind: MetricType) -> bool {
    matches!(kind, MetricType::Counter)
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.families {
            if family.samples.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(&family.name, &family.help, None, family.kind)?;
            for (labels, value) in &family.samples {
                let mut sample = metric.encode_family(labels)?;
                match (value, family.kind) {
                    (SampleValue::Count(count), MetricType::Counter) => {
                        sample.encode_counter::<NoLabelSet, _, f64>(count, None)?;
                    }
                    (SampleValue::Number(number), MetricType::Counter) => {
                        sample.encode_counter::<NoLabelSet, _, f64>(number, None)?;
                    }
                    (SampleValue::Count(count), _) => sample.encode_gauge(&(*count as f64))?,
                    (SampleValue::Number(number), _) => sample.encode_gauge(number)?,
                    (SampleValue::Distribution { sum, count, buckets }, _) => {
                        sample.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::prometheus::catalog;

    fn operator(name: &str) -> Labels {
        let value = |label: &'static str, text: &str| (label, text.to_owned());
        vec![value("namespace", "default"), value("job_name", "a\"b\\c\nd"), value("operator", name)]
    }

    #[test]
    fn series_are_grouped_by_metric_and_labels_are_escaped() {
        let mut scrape = Exposition::default();
        scrape.add(&catalog::RECORDS_IN, operator("one"), SampleValue::Count(u64::MAX));
        scrape.add(&catalog::QUEUED_BYTES, operator("one"), SampleValue::Count(7));
        scrape.add(&catalog::RECORDS_IN, operator("two"), SampleValue::Count(2));
        let text = scrape.into_text(false).unwrap();
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels =
            |operator| format!("{{namespace=\"default\",job_name=\"a\\\"b\\\\c\\nd\",operator=\"{operator}\"}}");
        assert_eq!(
            series,
            [
                format!("cofferdam_operator_records_in_total{} 18446744073709551615", labels("one")),
                format!("cofferdam_operator_records_in_total{} 2", labels("two")),
                format!("cofferdam_operator_queued_bytes{} 7.0", labels("one")),
            ],
            "{text}"
        );
        assert_eq!(text.matches("# TYPE").count(), 2, "{text}");
    }

    #[test]
    fn a_name_has_one_kind_and_no_other_metric_has_the_names_of_its_samples() {
        let mut scrape = Exposition::default();
        let distribution = || SampleValue::Distribution { sum: 1.0, count: 1, buckets: vec![(f64::INFINITY, 1)] };
        scrape.add_named("x", "", MetricType::Histogram, Vec::new(), distribution());
        for (name, kind, is_refused) in [
            ("x", MetricType::Gauge, true),
            ("x_count", MetricType::Gauge, true),
            ("x_sum", MetricType::Counter, true),
            ("y", MetricType::Counter, false),
            ("y_total", MetricType::Gauge, true),
            ("y", MetricType::Counter, true),
        ] {
            let before = scrape.dropped;
            scrape.add_named(name, "", kind, Vec::new(), SampleValue::Count(1));
            assert_eq!(scrape.dropped > before, is_refused, "{name}");
        }
    }

    #[test]
    fn the_last_bucket_of_a_histogram_has_no_bound_in_both_formats() {
        for is_open_metrics in [false, true] {
            let mut scrape = Exposition::default();
            let buckets = vec![(0.5, 2), (f64::INFINITY, 1)];
            let value = SampleValue::Distribution { sum: 9.0, count: 3, buckets };
            scrape.add_named("x", "", MetricType::Histogram, Vec::new(), value);
            let text = scrape.into_text(is_open_metrics).unwrap();
            let buckets: Vec<&str> = text.lines().filter(|line| line.starts_with("x_bucket")).collect();
            assert_eq!(buckets, ["x_bucket{le=\"0.5\"} 2", "x_bucket{le=\"+Inf\"} 3"], "{text}");
        }
    }

    #[test]
    fn series_beyond_the_limit_are_dropped_and_counted() {
        let mut scrape = Exposition::default();
        for index in 0..SERIES_MAX + 10 {
            scrape.add(&catalog::QUEUED_BYTES, operator(&index.to_string()), SampleValue::Count(1));
        }
        assert_eq!(scrape.dropped, 10);
        let text = scrape.into_text(true).unwrap();
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), SERIES_MAX);
        assert!(text.ends_with("# EOF\n"));
    }
}
