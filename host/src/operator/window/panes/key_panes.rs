//! The panes of one key: which of them have contents, and when something is due for them.
//!
//! The encoding is part of the durable format. It knows nothing of layouts; `due_panes.rs` combines the two.

use crate::error::{self, Result};
use crate::operator::window::time_window::TimeWindow;

/// The stored form of absent derived accumulators.
const NOT_DERIVED: DerivedAccumulators = DerivedAccumulators { suffixes_end: i64::MIN, total_end: i64::MIN };

/// The time that the derived accumulators of a key cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DerivedAccumulators {
    /// End of the suffixes and start of the running total.
    pub suffixes_end: i64,
    /// End of the running total.
    pub total_end: i64,
}

/// The panes of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPanes {
    /// The time of the key's timer.
    pub timer: Option<i64>,
    pub derived: Option<DerivedAccumulators>,
    /// Number of elements added so far, if the function sees elements. It orders the elements over all panes.
    pub elements: u64,
    /// The starts of the panes with contents, ascending.
    pub starts: Vec<i64>,
}

impl KeyPanes {
    /// Adds a pane. Returns false if it was there already.
    pub fn insert(&mut self, start: i64) -> bool {
        match self.starts.binary_search(&start) {
            Ok(_) => false,
            Err(index) => {
                self.starts.insert(index, start);
                true
            }
        }
    }

    /// The starts of a window's panes, ascending.
    pub fn within(&self, window: TimeWindow) -> &[i64] {
        let first = self.starts.partition_point(|&start| start < window.start);
        let end = self.starts.partition_point(|&start| start <= window.max_timestamp());
        &self.starts[first..end.max(first)]
    }

    /// The stored form. Empty if there are no panes.
    pub fn encode(&self) -> Vec<u8> {
        if self.starts.is_empty() {
            return Vec::new();
        }
        let timer = self.timer.unwrap_or(i64::MIN);
        let DerivedAccumulators { suffixes_end, total_end } = self.derived.unwrap_or(NOT_DERIVED);
        let mut bytes = [timer, suffixes_end, total_end].map(i64::to_le_bytes).concat();
        bytes.extend(self.elements.to_le_bytes());
        bytes.extend(self.starts.iter().flat_map(|start| start.to_le_bytes()));
        bytes
    }

    /// Error: `state-failed` if [`KeyPanes::encode`] cannot have written the bytes.
    pub fn decode(bytes: &[u8]) -> Result<KeyPanes> {
        if bytes.is_empty() {
            return Ok(KeyPanes::default());
        }
        match bytes.as_chunks::<8>() {
            ([timer, suffixes_end, total_end, elements, starts @ ..], []) => {
                let [suffixes_end, total_end] = [suffixes_end, total_end].map(|end| i64::from_le_bytes(*end));
                let derived = DerivedAccumulators { suffixes_end, total_end };
                Ok(KeyPanes {
                    timer: Some(i64::from_le_bytes(*timer)).filter(|timer| *timer != i64::MIN),
                    derived: Some(derived).filter(|derived| *derived != NOT_DERIVED),
                    elements: u64::from_le_bytes(*elements),
                    starts: starts.iter().copied().map(i64::from_le_bytes).collect(),
                })
            }
            _ => Err(error::state_failed(format!("the panes of a key have {} bytes", bytes.len()))),
        }
    }
}
