//! Limits how many windows fire in one turn, so that a turn over large windows fits into memory.

use std::cell::Cell;

use crate::operator::window::definition::WindowDefinition;

/// Windows that fire in the first turn.
const INITIAL_WINDOWS: usize = 64;

/// Approximate size of the elements that one turn loads, in bytes.
const LOADED_BYTES_TARGET: usize = 8 << 20;

/// Approximate number of panes that one turn loads.
const PANES_PER_TURN: usize = 1 << 18;

/// How many windows fire in one turn if windows store elements. Large windows lower the limit, small ones raise it.
pub struct FiringLimit {
    windows: usize,
    /// Size of the elements that the largest turn has loaded since the limit was adapted, in bytes.
    loaded_bytes: Cell<usize>,
}

impl Default for FiringLimit {
    fn default() -> FiringLimit {
        FiringLimit { windows: INITIAL_WINDOWS, loaded_bytes: Cell::new(0) }
    }
}

impl FiringLimit {
    /// The number of windows for the next turn, which handles at most `batch_records` timers.
    pub fn windows_per_turn(&self, windows: &WindowDefinition, batch_records: usize) -> usize {
        match &windows.panes {
            _ if windows.stores_elements => batch_records.min(self.windows),
            // Each window may load all of its panes.
            Some(layout) => batch_records.min((PANES_PER_TURN / layout.panes_per_window()).max(1)),
            None => batch_records,
        }
    }

    /// Notes the size of the elements that a turn has loaded.
    pub fn note_loaded(&self, bytes: usize) {
        self.loaded_bytes.set(self.loaded_bytes.get().max(bytes));
    }

    /// Adapts the limit to the sizes noted while `limit` windows fired per turn.
    pub fn adapt(&mut self, limit: usize) {
        self.windows = match self.loaded_bytes.take() {
            many if many > LOADED_BYTES_TARGET => (limit / 2).max(1),
            few if few < LOADED_BYTES_TARGET / 4 => limit.saturating_mul(2),
            _ => limit,
        };
    }
}
