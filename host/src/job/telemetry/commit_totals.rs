//! Totals of the publications of a job's sinks since the process began.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::DurationHistogram;

/// Totals of the publications of one sink.
#[derive(Clone, Debug, Default)]
pub struct CommitTotals {
    /// Number of publications that failed. The next attempt repeats them.
    pub failed: u64,
    /// How long the completed ones took, with the time in which they waited for their peer.
    pub completed: DurationHistogram,
}

/// The totals of all sinks of a job, by the id of the sink. Clones share them.
#[derive(Clone, Default)]
pub struct SinkCommits(Arc<Mutex<BTreeMap<String, CommitTotals>>>);

impl SinkCommits {
    /// Counts a publication that has ended.
    pub fn count(&self, sink: &str, is_completed: bool, seconds: f64) {
        let mut sinks = self.0.lock();
        let totals = sinks.entry(sink.to_owned()).or_default();
        match is_completed {
            true => totals.completed.observe(seconds),
            false => totals.failed += 1,
        }
    }

    /// Returns the totals of each sink that has published or tried to.
    pub fn totals(&self) -> BTreeMap<String, CommitTotals> {
        self.0.lock().clone()
    }
}
