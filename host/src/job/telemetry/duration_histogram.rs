//! A histogram of durations with fixed buckets, for monitoring.

/// Inclusive upper bounds of the buckets, in seconds. The last bucket has none.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DurationHistogram {
    /// Sum of the durations, in seconds.
    pub sum: f64,
    counts: [u64; BOUNDS.len() + 1],
}

impl DurationHistogram {
    /// Adds a duration in seconds.
    pub fn observe(&mut self, seconds: f64) {
        self.sum += seconds;
        self.counts[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
    }

    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the upper bound and the durations of each bucket, without those of the buckets before. The last bound is `f64::MAX`.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        BOUNDS.into_iter().chain([f64::MAX]).zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_not_below_it() {
        let mut histogram = DurationHistogram::default();
        for seconds in [0.0, 0.005, 0.006, 600.0, 601.0] {
            histogram.observe(seconds);
        }
        let filled: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.005, 2), (0.01, 1), (600.0, 1), (f64::MAX, 1)]);
        assert_eq!(histogram.count(), 5);
    }
}
