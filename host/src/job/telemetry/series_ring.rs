//! The newest values of several series, one for each step of time.
//!
//! A ring has the same steps for all its series. A series that begins later, or that is not measured for a while, has gaps. The values
//! of one step are averaged.

use std::collections::{BTreeMap, VecDeque};

/// Number of series of an operator.
pub const SERIES: usize = 8;

/// The newest values of the series of some operators.
pub struct SeriesRing {
    step_ms: u64,
    /// Number of steps that are kept.
    steps_max: usize,
    /// Number of the newest step since the Unix epoch.
    newest: i64,
    steps: usize,
    operators: BTreeMap<String, [SeriesValues; SERIES]>,
}

/// The values of one series, oldest first. A gap is NaN.
#[derive(Clone, Default)]
struct SeriesValues {
    values: VecDeque<f32>,
    /// Number of samples in the newest step.
    samples: u32,
}

impl SeriesRing {
    pub fn new(step_ms: u64, steps_max: usize) -> SeriesRing {
        SeriesRing { step_ms, steps_max, newest: 0, steps: 0, operators: BTreeMap::new() }
    }

    /// Returns the milliseconds of a step.
    pub fn step_ms(&self) -> u64 {
        self.step_ms
    }

    /// Returns whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.steps == 0
    }

    /// Adds a sample of each operator. NaN stands for a value that was not measured.
    pub fn add<'a>(&mut self, at_ms: i64, samples: impl Iterator<Item = (&'a str, [f32; SERIES])>) {
        self.advance(at_ms.div_euclid(self.step_ms as i64));
        for (operator, sample) in samples {
            if !self.operators.contains_key(operator) {
                let gaps = SeriesValues { values: vec![f32::NAN; self.steps].into(), samples: 0 };
                self.operators.insert(operator.to_owned(), std::array::from_fn(|_| gaps.clone()));
            }
            let series = self.operators.get_mut(operator).into_iter().flatten();
            series.zip(sample).for_each(|(series, value)| series.add(value));
        }
    }

    /// Begins the steps up to this one.
    fn advance(&mut self, step: i64) {
        let passed = usize::try_from(step.saturating_sub(self.newest)).unwrap_or(usize::MAX);
        if self.is_empty() || passed > self.steps_max {
            // The first sample, or the first one after a long pause or a clock that was set back.
            *self = SeriesRing { newest: step, steps: 1, ..SeriesRing::new(self.step_ms, self.steps_max) };
            return;
        }
        self.newest = step;
        self.steps = (self.steps + passed).min(self.steps_max);
        for series in self.operators.values_mut().flatten() {
            for _ in 0..passed {
                series.values.push_back(f32::NAN);
                series.samples = 0;
            }
            series.values.drain(..series.values.len().saturating_sub(self.steps));
        }
    }

    /// Returns when the step at this index begins, in milliseconds since the Unix epoch.
    pub fn step_begin_ms(&self, index: usize) -> i64 {
        let behind = self.steps.saturating_sub(index + 1);
        (self.newest - i64::try_from(behind).unwrap_or(0)) * self.step_ms as i64
    }

    /// Returns the index of the first of the newest `max` steps that begins at this time or later.
    pub fn first_step(&self, since_ms: i64, max: usize) -> usize {
        let first = self.steps.saturating_sub(max);
        (first..self.steps).find(|index| self.step_begin_ms(*index) >= since_ms).unwrap_or(self.steps)
    }

    /// Returns the ids of the operators.
    pub fn operators(&self) -> impl Iterator<Item = &str> {
        self.operators.keys().map(String::as_str)
    }

    /// Returns the values of an operator from the step with this index on.
    pub fn values(&self, operator: &str, first: usize) -> Option<[Vec<Option<f32>>; SERIES]> {
        let series = self.operators.get(operator)?;
        Some(series.each_ref().map(|series| {
            let values = series.values.range(first.min(series.values.len())..);
            values.map(|value| Some(*value).filter(|value| value.is_finite())).collect()
        }))
    }
}

impl SeriesValues {
    /// Adds a value to the mean of the newest step.
    fn add(&mut self, value: f32) {
        if let Some(mean) = self.values.back_mut().filter(|_| value.is_finite()) {
            self.samples += 1;
            *mean = if self.samples == 1 { value } else { *mean + (value - *mean) / self.samples as f32 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(ring: &mut SeriesRing, at_ms: i64, operators: &[(&str, f32)]) {
        ring.add(at_ms, operators.iter().map(|(operator, value)| (*operator, [*value; SERIES])));
    }

    fn values(ring: &SeriesRing, operator: &str) -> Vec<Option<f32>> {
        ring.values(operator, 0).unwrap()[0].clone()
    }

    #[test]
    fn values_of_a_step_are_averaged_and_missing_ones_are_gaps() {
        let mut ring = SeriesRing::new(10, 4);
        add(&mut ring, 103, &[("a", 1.0)]);
        add(&mut ring, 109, &[("a", 3.0)]);
        add(&mut ring, 111, &[("a", f32::NAN)]);
        add(&mut ring, 135, &[("a", 5.0), ("b", 7.0)]);
        assert_eq!(values(&ring, "a"), [Some(2.0), None, None, Some(5.0)]);
        assert_eq!(values(&ring, "b"), [None, None, None, Some(7.0)]);
        assert_eq!((ring.step_begin_ms(0), ring.step_begin_ms(3)), (100, 130));
        // The oldest steps make room.
        add(&mut ring, 150, &[("a", 6.0)]);
        assert_eq!(values(&ring, "a"), [None, Some(5.0), None, Some(6.0)]);
        assert_eq!(values(&ring, "b"), [None, Some(7.0), None, None]);
        assert_eq!(ring.step_begin_ms(0), 120);
        assert_eq!((ring.first_step(130, 4), ring.first_step(131, 4), ring.first_step(0, 1)), (1, 2, 3));
        assert_eq!(ring.first_step(151, 4), 4);
        assert_eq!(ring.values("a", 4).unwrap()[0], []);
    }

    #[test]
    fn a_ring_begins_anew_after_a_long_pause_and_when_the_clock_is_set_back() {
        for at_ms in [150, 90] {
            let mut ring = SeriesRing::new(10, 4);
            add(&mut ring, 103, &[("a", 1.0), ("gone", 1.0)]);
            add(&mut ring, at_ms, &[("a", 2.0)]);
            assert_eq!((values(&ring, "a"), ring.step_begin_ms(0)), (vec![Some(2.0)], at_ms / 10 * 10));
            assert_eq!(ring.operators().collect::<Vec<_>>(), ["a"]);
        }
    }
}
