//! A histogram of durations with fixed buckets, for monitoring. The buckets suit a turn of a function and a checkpoint of an hour.

/// Inclusive upper bounds of the buckets, in seconds. The last bucket has none.
const BOUNDS: [f64; 16] =
    [0.000_01, 0.000_05, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

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

    /// Adds the durations of another histogram.
    pub fn add(&mut self, other: &DurationHistogram) {
        self.sum += other.sum;
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
    }

    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the upper bound and the durations of each bucket, without those of the buckets before. The last bound is `f64::INFINITY`.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        BOUNDS.into_iter().chain([f64::INFINITY]).zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_not_below_it() {
        let mut histogram = DurationHistogram::default();
        for seconds in [0.0, 0.000_01, 0.000_02, 600.0, 601.0] {
            histogram.observe(seconds);
        }
        let filled: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.000_01, 2), (0.000_05, 1), (600.0, 1), (f64::INFINITY, 1)]);
        let mut twice = histogram.clone();
        twice.add(&histogram);
        assert_eq!((histogram.count(), twice.count(), twice.sum), (5, 10, 2.0 * histogram.sum));
    }
}
