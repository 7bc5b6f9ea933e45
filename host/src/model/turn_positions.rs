//! How many items a subtask has handled. A turn sees the number before it, and checkpoints keep it.

use serde::{Deserialize, Serialize};

/// Items that the function of one subtask has handled since the job was first submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnPositions {
    /// Records of the first and of the second input.
    pub records: [u64; 2],
    /// Timers, fired windows or joined pairs.
    pub events: u64,
}

impl TurnPositions {
    /// Adds the items of another subtask, as a restore with fewer subtasks does.
    pub fn add(&mut self, other: &TurnPositions) {
        for (sum, more) in self.records.iter_mut().zip(other.records) {
            *sum = sum.wrapping_add(more);
        }
        self.events = self.events.wrapping_add(other.events);
    }

    /// Returns the number of records of an input.
    pub fn records_of(&self, input: u32) -> u64 {
        self.records.get(input as usize).copied().unwrap_or_default()
    }

    /// Notes that `records` more records of an input were handled.
    pub fn advance(&mut self, input: u32, records: usize) {
        if let Some(position) = self.records.get_mut(input as usize) {
            *position = position.wrapping_add(records as u64);
        }
    }
}
