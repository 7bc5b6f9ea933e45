//! Keeps earlier readings of a job's totals. A reader gets shares and rates since one of them.
//!
//! Nothing is sampled while nobody reads, so an idle job that nobody looks at costs nothing.

use std::collections::VecDeque;

use crate::runtime::{NodeMetrics, NodeTimes};

/// The age that the reading should have against which rates are taken, in nanoseconds.
const WINDOW_NS: u64 = 5_000_000_000;
/// Shortest time between two readings that are kept, in nanoseconds.
const SPACING_NS: u64 = 1_000_000_000;
/// Age at which a reading is dropped, in nanoseconds.
const AGE_MAX_NS: u64 = 120_000_000_000;
/// Number of readings that are kept: a window of them, and the one before it.
const READINGS_MAX: usize = 7;

/// Earlier readings of the totals of a job, oldest first.
#[derive(Default)]
pub struct RateWindow(VecDeque<TotalsReading>);

/// A reading of the totals.
#[derive(Clone, Debug, Default)]
pub struct TotalsReading {
    /// When, in monotonic nanoseconds.
    pub at_ns: u64,
    /// For each node, the totals of its subtasks.
    pub nodes: Vec<Vec<SubtaskReading>>,
}

/// What is kept of a subtask.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubtaskReading {
    /// Where the time went.
    pub times: NodeTimes,
    /// Records received.
    pub records_in: u64,
    /// Records emitted.
    pub records_out: u64,
}

impl TotalsReading {
    /// Takes what is kept of a reading.
    pub fn of(nodes: &[NodeMetrics], at_ns: u64) -> TotalsReading {
        let node = |node: &NodeMetrics| {
            let subtasks = node.subtasks.iter().map(|subtask| SubtaskReading {
                times: subtask.totals.times,
                records_in: subtask.totals.counters.records_in,
                records_out: subtask.totals.counters.records_out,
            });
            subtasks.collect()
        };
        TotalsReading { at_ns, nodes: nodes.iter().map(node).collect() }
    }

    /// Returns the reading of a subtask. A subtask that did not exist has zeros.
    pub fn subtask(&self, node: usize, subtask: usize) -> SubtaskReading {
        self.nodes.get(node).and_then(|subtasks| subtasks.get(subtask)).copied().unwrap_or_default()
    }
}

impl RateWindow {
    /// Returns the earlier reading against which rates are taken, and keeps `now` for later readers. `None` for the first one.
    pub fn advance(&mut self, now: TotalsReading) -> Option<TotalsReading> {
        let now_ns = now.at_ns;
        let age = |reading: &TotalsReading| now_ns.saturating_sub(reading.at_ns);
        while self.0.front().is_some_and(|oldest| age(oldest) > AGE_MAX_NS) {
            self.0.pop_front();
        }
        let old = self.0.iter().rev().find(|reading| age(reading) >= WINDOW_NS).or(self.0.front()).cloned();
        if self.0.back().is_none_or(|newest| age(newest) >= SPACING_NS) {
            if self.0.len() >= READINGS_MAX {
                self.0.pop_front();
            }
            self.0.push_back(now);
        }
        old.filter(|old| old.at_ns < now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age_of_base(window: &mut RateWindow, at_ms: u64) -> Option<u64> {
        let now = TotalsReading { at_ns: at_ms * 1_000_000, nodes: Vec::new() };
        window.advance(now).map(|old| at_ms - old.at_ns / 1_000_000)
    }

    #[test]
    fn rates_are_taken_over_five_seconds_or_since_the_reading_before() {
        let mut window = RateWindow::default();
        assert_eq!(age_of_base(&mut window, 0), None);
        assert_eq!(age_of_base(&mut window, 500), Some(500));
        for second in 1..=5 {
            assert_eq!(age_of_base(&mut window, second * 1000), Some(second * 1000));
        }
        for second in 6..100 {
            assert_eq!(age_of_base(&mut window, second * 1000), Some(5000), "one reader each second");
        }
        assert_eq!(age_of_base(&mut window, 114_000), Some(15_000), "one reader each 15 seconds");
        assert_eq!(age_of_base(&mut window, 129_000), Some(15_000));
        assert_eq!(age_of_base(&mut window, 900_000), None, "readings that are too old say nothing");
        assert!(window.0.len() <= READINGS_MAX);
    }
}
