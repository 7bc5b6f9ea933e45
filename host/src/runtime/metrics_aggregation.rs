//! Sums the counters, user metrics and state sizes of a node over its subtasks.
//!
//! Every subtask publishes its statistics in a slot from time to time; the job reads the slots.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{Counters, NO_TIMESTAMP, UserMetrics};
use crate::state::StateSize;
use crate::turn::LimitCounts;

/// How far one subtask has come in event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubtaskEventTime {
    /// In milliseconds: [`NO_TIMESTAMP`] before the first watermark, `i64::MAX` at the end of the input.
    pub watermark: i64,
    /// Whether the subtask is idle, so that its watermark does not count downstream.
    pub idle: bool,
}

impl Default for SubtaskEventTime {
    fn default() -> SubtaskEventTime {
        SubtaskEventTime { watermark: NO_TIMESTAMP, idle: false }
    }
}

/// Statistics of one node in one subtask.
#[derive(Clone, Debug, Default)]
pub(crate) struct SubtaskStats {
    pub(crate) counters: Counters,
    pub(crate) metrics: UserMetrics,
    pub(crate) state: StateSize,
    pub(crate) event_time: SubtaskEventTime,
}

/// Where a subtask publishes the statistics of one node.
pub(crate) type SubtaskStatsSlot = Arc<Mutex<SubtaskStats>>;

/// Statistics of a node, summed over its subtasks.
#[derive(Clone, Debug, Default)]
pub struct NodeStats {
    /// Id of the node.
    pub node: String,
    /// Sum of the counters.
    pub counters: Counters,
    /// Sum of each user metric.
    pub metrics: UserMetrics,
    /// Total size of the state, keyed and broadcast.
    pub state: StateSize,
    /// Event time of each subtask, in the order of the subtasks.
    pub event_times: Vec<SubtaskEventTime>,
    /// What the operator has exceeded.
    pub limits: LimitCounts,
    /// Bytes of the records that wait in the channels to the node.
    pub queued_bytes: u64,
    /// Time that the threads which begin with the node have waited for permits, in nanoseconds.
    pub permit_wait_ns: u64,
}

impl NodeStats {
    /// Sums what the subtasks of a node have published.
    pub(crate) fn sum_over_subtasks(node: &str, subtasks: &[SubtaskStatsSlot]) -> NodeStats {
        let mut sum = NodeStats { node: node.to_owned(), ..NodeStats::default() };
        for subtask in subtasks {
            let stats = subtask.lock();
            sum.counters.add(&stats.counters);
            sum.event_times.push(stats.event_time);
            sum.state.entries += stats.state.entries;
            sum.state.bytes += stats.state.bytes;
            sum.metrics.add(&stats.metrics);
        }
        sum
    }
}
