//! Internal states: the names of the host's own states, and how the keys of their entries are encoded.
//!
//! Operators store windows, joins and timers in states that no function declares. The key of such an entry is not always
//! the key of a record. State inspection uses [`KeyForm`] to find the record's key, and with it the key group. Knows
//! nothing of operators.

use super::description::{StateDescription, StateLayout};
use super::ordered_key::{read_ordered, write_ordered};
use crate::model::{time_bytes, time_of_bytes};

/// Accumulators of native aggregates, by window.
pub const WINDOW_CONTENTS: &str = "@window";
/// Elements of windows.
pub const WINDOW_ELEMENTS: &str = "@elements";
/// State of the trigger of each window. Window operators, and only they, have this state.
pub const WINDOW_TRIGGER: &str = "@trigger";
/// Open session windows of each key.
pub const WINDOW_SESSIONS: &str = "@sessions";
/// Panes of each key that overlapping sliding windows share.
pub const WINDOW_PANES: &str = "@panes";
/// Buffered records of an interval join: those of the first input, then those of the second.
pub const JOIN_SIDES: [&str; 2] = ["@left", "@right"];
/// Bookkeeping of an interval join for each key that has buffered records.
pub const JOIN_KEPT: &str = "@kept";
/// Event-time timers.
pub const EVENT_TIMERS: &str = "@event-timers";
/// Processing-time timers.
pub const PROCESSING_TIMERS: &str = "@processing-timers";
/// The watermark of each key group.
pub const WATERMARK: &str = "@watermark";

/// Encoding of the key of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// The key of the records.
    Record,
    /// The key of the records, followed by a window: see [`write_window_key`].
    Window,
    /// Empty. The entry belongs to the whole key group.
    Group,
    /// Empty. The sub-key is the time in 8 bytes, then the key.
    Timer {
        /// Whether a window follows the key.
        of_window: bool,
    },
}

impl KeyForm {
    /// Returns the encoding of the keys of `state`. `layout` contains all states of its operator.
    pub fn of(layout: &StateLayout, state: &StateDescription) -> KeyForm {
        let of_window = layout.iter().any(|state| state.name == WINDOW_TRIGGER);
        match &state.name[..] {
            EVENT_TIMERS | PROCESSING_TIMERS => KeyForm::Timer { of_window },
            WATERMARK => KeyForm::Group,
            WINDOW_SESSIONS | WINDOW_PANES => KeyForm::Record,
            // In a window operator, the states that the function declares are also stored per window.
            _ if of_window => KeyForm::Window,
            _ => KeyForm::Record,
        }
    }
}

/// Appends the key of an entry that belongs to a window: the key of the records, then the start and the end of the window.
/// Windows of one key sort by their start. Part of the durable format.
pub fn write_window_key(buffer: &mut Vec<u8>, key: &[u8], start: i64, end: i64) {
    write_ordered(buffer, key);
    buffer.extend_from_slice(&time_bytes(start));
    buffer.extend_from_slice(&time_bytes(end));
}

/// Returns the key of the records, and the start and end of the window. Returns `None` if [`write_window_key`] did not
/// write the bytes.
pub fn read_window_key(bytes: &[u8]) -> Option<(Vec<u8>, i64, i64)> {
    let (key, window) = read_ordered(bytes)?;
    let (start, end) = window.split_first_chunk::<8>()?;
    let end = <[u8; 8]>::try_from(end).ok()?;
    Some((key, time_of_bytes(*start), time_of_bytes(end)))
}
