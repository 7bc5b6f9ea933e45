//! What a subtask publishes of each of its nodes: counters, user metrics, the size of the state and event time.
//!
//! Every subtask publishes its statistics in a slot from time to time; the job reads the slots.

use std::sync::Arc;

use parking_lot::Mutex;

use super::node_meters::NodeMeters;
use crate::model::{Counters, NO_TIMESTAMP, UserMetrics};
use crate::state::StateSize;

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
pub struct SubtaskStats {
    /// Counts as of the current state: a restore sets them back.
    pub counters: Counters,
    /// The counts with which the attempt began.
    pub restored: Counters,
    /// Batches that the node has taken since the attempt began.
    pub batches_in: u64,
    /// The function's own metrics since the attempt began.
    pub metrics: UserMetrics,
    /// Size of the state, keyed and broadcast.
    pub state: StateSize,
    /// Event time.
    pub event_time: SubtaskEventTime,
    /// Turns, timers and the database.
    pub meters: NodeMeters,
}

/// Where a subtask publishes the statistics of one node.
pub(crate) type SubtaskStatsSlot = Arc<Mutex<SubtaskStats>>;
