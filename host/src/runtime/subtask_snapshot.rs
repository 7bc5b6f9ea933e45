//! The snapshots of a subtask for a checkpoint, one for each node of its chain.
//!
//! Taking a snapshot is cheap; the job uploads the state handles on another thread.

use crate::connector::Prepared;
use crate::model::{Counters, TurnPositions};
use crate::runtime::input::in_flight_data::InFlightData;
use crate::state::StateSnapshot;

/// The snapshot of one node in one subtask.
pub struct SubtaskSnapshot {
    /// Id of the node.
    pub node: String,
    /// Index of the subtask, from 0.
    pub subtask: u32,
    /// Position of a source after the last record before the barrier.
    pub source_position: Option<Vec<u8>>,
    /// Snapshot of the keyed state of an operator.
    pub state: Option<Box<dyn StateSnapshot>>,
    /// Snapshot of the broadcast state of an operator.
    pub broadcast: Option<Box<dyn StateSnapshot>>,
    /// The output of a sink, which its committer publishes when the checkpoint is complete.
    pub prepared: Prepared,
    /// The elements that the barrier overtook. Set for the first node of a chain only.
    pub in_flight: Option<InFlightData>,
    /// What the node has counted in this subtask, including before a restart.
    pub counters: Counters,
    /// Items that the function of an operator has handled, including before a restart.
    pub positions: TurnPositions,
    /// The watermark in milliseconds that a source, or an operator that waits for event time, had reached.
    pub watermark: Option<i64>,
    /// How long the barrier took to pass the subtask.
    pub times: BarrierTimes,
}

/// How long a barrier took to pass one subtask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BarrierTimes {
    /// From the trigger until the first channel of the subtask delivered the barrier, in nanoseconds.
    pub start_delay_ns: u64,
    /// From then until all channels had delivered it, in nanoseconds.
    pub alignment_ns: u64,
    /// How long the node was blocked while its snapshot was taken, in nanoseconds.
    pub sync_ns: u64,
    /// Whether the barrier overtook records.
    pub unaligned: bool,
}

impl SubtaskSnapshot {
    /// Creates a snapshot that holds nothing yet.
    pub(crate) fn new(node: &str, subtask: u32) -> SubtaskSnapshot {
        SubtaskSnapshot {
            node: node.to_owned(),
            subtask,
            source_position: None,
            state: None,
            broadcast: None,
            prepared: Prepared::default(),
            in_flight: None,
            counters: Counters::default(),
            positions: TurnPositions::default(),
            watermark: None,
            times: BarrierTimes::default(),
        }
    }
}
