//! Metrics that a function defines: counters, gauges and histograms, each by name.
//!
//! Plain data. A name belongs to one kind. `turn/staged/telemetry.rs` limits the number of names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Kind of a user metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricKind {
    /// Grows only. Set by `metrics.add`.
    Counter,
    /// The latest value. Set by `metrics.set`.
    Gauge,
    /// The distribution of observations. Set by `metrics.observe`.
    Histogram,
}

impl MetricKind {
    /// Returns the name that messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// The user metrics of an operator, in one subtask or summed over several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserMetrics {
    /// Counters by name.
    pub counters: BTreeMap<String, u64>,
    /// Gauges by name.
    pub gauges: BTreeMap<String, f64>,
    /// Histograms by name.
    pub histograms: BTreeMap<String, Histogram>,
}

impl UserMetrics {
    /// Returns the kind of the metric `name`, if it exists.
    pub fn kind_of(&self, name: &str) -> Option<MetricKind> {
        if self.counters.contains_key(name) {
            Some(MetricKind::Counter)
        } else if self.gauges.contains_key(name) {
            Some(MetricKind::Gauge)
        } else {
            self.histograms.contains_key(name).then_some(MetricKind::Histogram)
        }
    }

    /// Returns the value of a counter or a gauge.
    pub fn value(&self, name: &str) -> Option<f64> {
        let counter = self.counters.get(name).map(|count| *count as f64);
        counter.or_else(|| self.gauges.get(name).copied())
    }

    /// Returns the number of names.
    pub fn len(&self) -> usize {
        self.counters.len() + self.gauges.len() + self.histograms.len()
    }

    /// Returns whether there are no metrics.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the counters and histograms of another subtask, or of another attempt. Gauges cannot be added.
    pub fn add_counts(&mut self, other: &UserMetrics) {
        for (name, count) in &other.counters {
            let sum = self.counters.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        for (name, histogram) in &other.histograms {
            self.histograms.entry(name.clone()).or_default().add(histogram);
        }
    }
}

/// The values of a gauge in the subtasks of an operator. Values that are not finite are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaugeSummary {
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The mean of the values.
    pub mean: f64,
}

/// The gauges of several subtasks.
#[derive(Default)]
pub struct GaugeValues(BTreeMap<String, Vec<f64>>);

impl GaugeSummary {
    /// Returns a collection of the gauges of subtasks.
    pub fn of_subtasks() -> GaugeValues {
        GaugeValues::default()
    }
}

impl GaugeValues {
    /// Adds the gauges of a subtask.
    pub fn add(&mut self, metrics: &UserMetrics) {
        for (name, value) in metrics.gauges.iter().filter(|(_, value)| value.is_finite()) {
            self.0.entry(name.clone()).or_default().push(*value);
        }
    }

    /// Returns the summary of each gauge, in the order of their names.
    pub fn summaries(self) -> Vec<(String, GaugeSummary)> {
        let summary = |(name, values): (String, Vec<f64>)| {
            let count = values.len() as f64;
            let summary = GaugeSummary {
                min: values.iter().copied().fold(f64::INFINITY, f64::min),
                max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                mean: values.iter().map(|value| value / count).sum(),
            };
            (name, summary)
        };
        self.0.into_iter().map(summary).collect()
    }
}

/// Buckets per power of two. A quantile that is read from the buckets is at most 19 % off.
const BUCKETS_PER_OCTAVE: i32 = 4;
/// Upper bounds of the buckets within an octave, as multiples of its start: 2^(1/4), 2^(1/2), 2^(3/4).
const STEPS: [f64; 3] = [1.189_207_115_002_721, std::f64::consts::SQRT_2, 1.681_792_830_507_429];
/// Exponents of the smallest and the largest upper bound: about 1e-6 and 1.8e13.
const EXPONENT_MIN: i32 = -20;
const EXPONENT_MAX: i32 = 44;

/// The distribution of observed values, in buckets whose bounds grow exponentially.
///
/// The first bucket also holds all smaller values, zero and negative values. The last one holds all larger values. So a
/// histogram has at most 258 buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Number of observations.
    pub count: u64,
    /// Sum of the observations. It stays finite.
    pub sum: f64,
    /// Observations by the index of their bucket. Empty buckets have no entry.
    buckets: BTreeMap<i32, u64>,
}

impl Histogram {
    /// Adds an observation, which must be finite.
    pub fn observe(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.sum = (self.sum + value).clamp(f64::MIN, f64::MAX);
        let bucket = self.buckets.entry(bucket_of(value)).or_default();
        *bucket = bucket.saturating_add(1);
    }

    /// Adds the observations of another histogram.
    pub fn add(&mut self, other: &Histogram) {
        self.count = self.count.saturating_add(other.count);
        self.sum = (self.sum + other.sum).clamp(f64::MIN, f64::MAX);
        for (bucket, count) in &other.buckets {
            let sum = self.buckets.entry(*bucket).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Returns the buckets that are not empty, ascending: their inclusive upper bound and their observations. The last bucket
    /// has no upper bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64)> + '_ {
        self.buckets.iter().map(|(&bucket, &count)| (upper_bound(bucket), count))
    }
}

const BUCKET_MIN: i32 = EXPONENT_MIN * BUCKETS_PER_OCTAVE;
const BUCKET_MAX: i32 = EXPONENT_MAX * BUCKETS_PER_OCTAVE;

/// Returns the bucket of a value: the first one whose upper bound is not smaller.
fn bucket_of(value: f64) -> i32 {
    if value <= pow2(EXPONENT_MIN) {
        return BUCKET_MIN;
    }
    if value > pow2(EXPONENT_MAX) {
        return BUCKET_MAX + 1;
    }
    // The value is a normal number here: its exponent and its mantissa, which is at least 1 and less than 2.
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1.0f64.to_bits());
    let steps = STEPS.iter().filter(|step| mantissa > **step).count() as i32;
    exponent * BUCKETS_PER_OCTAVE + steps + i32::from(mantissa > 1.0)
}

fn upper_bound(bucket: i32) -> Option<f64> {
    if bucket > BUCKET_MAX {
        return None;
    }
    let step = match bucket.rem_euclid(BUCKETS_PER_OCTAVE) {
        0 => 1.0,
        step => STEPS[step as usize - 1],
    };
    Some(pow2(bucket.div_euclid(BUCKETS_PER_OCTAVE)) * step)
}

/// Returns a power of two with an exponent of a normal number.
fn pow2(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_lies_between_the_bounds_of_its_bucket() {
        for value in [1e-6, 0.001, 0.999, 1.0, 1.1, STEPS[0], 1.19, 1.5, 1.7, 2.0, 2.5, 1e12, pow2(EXPONENT_MAX)] {
            let bucket = bucket_of(value);
            assert!(value <= upper_bound(bucket).unwrap(), "{value}");
            assert!(bucket == BUCKET_MIN || value > upper_bound(bucket - 1).unwrap(), "{value}");
        }
    }

    #[test]
    fn values_outside_of_the_bounds_are_counted_in_the_outermost_buckets() {
        let mut histogram = Histogram::default();
        for value in [0.0, -0.0, -5.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::MAX, 1e14] {
            histogram.observe(value);
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(Some(pow2(EXPONENT_MIN)), 5), (None, 3)]);
        assert_eq!((histogram.count, histogram.sum), (8, f64::MAX));
    }

    #[test]
    fn metrics_of_subtasks_are_summed_by_kind() {
        let mut one = UserMetrics::default();
        one.counters.insert("c".into(), 2);
        one.gauges.insert("g".into(), 1.5);
        one.histograms.entry("h".into()).or_default().observe(3.0);
        let mut sum = one.clone();
        sum.add_counts(&one);
        assert_eq!((sum.value("c"), sum.value("g"), sum.value("h")), (Some(4.0), Some(1.5), None));
        assert_eq!((sum.histograms["h"].count, sum.histograms["h"].sum), (2, 6.0));
        assert_eq!(sum.kind_of("h"), Some(MetricKind::Histogram));
        assert_eq!(sum.histograms["h"].buckets().map(|(_, count)| count).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_gauge_has_a_value_for_each_subtask_and_no_sum() {
        let mut gauges = GaugeSummary::of_subtasks();
        for value in [3.0, 1.0, f64::NAN, 2.0] {
            let metrics = UserMetrics { gauges: [("g".to_owned(), value)].into(), ..UserMetrics::default() };
            gauges.add(&metrics);
        }
        gauges.add(&UserMetrics::default());
        let summary = GaugeSummary { min: 1.0, max: 3.0, mean: 2.0 };
        assert_eq!(gauges.summaries(), [("g".to_owned(), summary)]);
    }
}
