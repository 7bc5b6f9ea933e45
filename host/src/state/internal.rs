//! The host's own states: their names, and what the keys of their entries are.
//!
//! Operators and timers keep what belongs to windows, joins and clocks in states that no function declares. Such an entry
//! need not lie under the key of a record: this module says under what it lies, so that whoever reads an image finds the
//! record's key, and with it the key group. Knows nothing of operators.

use super::{StateDescription, StateLayout, read_ordered, write_ordered};
use crate::model::{time_bytes, time_of_bytes};

/// Accumulators of native aggregates, by window.
pub const WINDOW_CONTENTS: &str = "@window";
/// The elements of windows.
pub const WINDOW_ELEMENTS: &str = "@elements";
/// What a trigger keeps of a window. Every window operator has this state, and no other operator has it.
pub const WINDOW_TRIGGER: &str = "@trigger";
/// The windows in flight of a key whose windows merge.
pub const WINDOW_SESSIONS: &str = "@sessions";
/// The panes of a key whose sliding windows share them.
pub const WINDOW_PANES: &str = "@panes";
/// Records of an interval join: first input, second input.
pub const JOIN_SIDES: [&str; 2] = ["@left", "@right"];
/// What an interval join knows of a key that has records.
pub const JOIN_KEPT: &str = "@kept";
/// Timers in event time.
pub const EVENT_TIMERS: &str = "@event-timers";
/// Timers in processing time.
pub const PROCESSING_TIMERS: &str = "@processing-timers";
/// The watermark of each key group.
pub const WATERMARK: &str = "@watermark";

/// What the key of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// The key of the records.
    Record,
    /// The key of the records with a window behind it: see [`write_window_key`].
    Window,
    /// Empty: the entry belongs to its key group.
    Group,
    /// Empty: the sub-key is the time in 8 bytes, then the key, which has a window behind it where `of_window`.
    Timer { of_window: bool },
}

impl KeyForm {
    /// The form of the keys of one of an operator's states. `layout` has all of them.
    pub fn of(layout: &StateLayout, state: &StateDescription) -> KeyForm {
        let of_window = layout.iter().any(|state| state.name == WINDOW_TRIGGER);
        match &state.name[..] {
            EVENT_TIMERS | PROCESSING_TIMERS => KeyForm::Timer { of_window },
            WATERMARK => KeyForm::Group,
            WINDOW_SESSIONS | WINDOW_PANES => KeyForm::Record,
            // What a function declares belongs to a window, too.
            _ if of_window => KeyForm::Window,
            _ => KeyForm::Record,
        }
    }
}

/// Appends the key of a window's state: the key of the records, then the window. The windows of a key stand one behind the
/// other, by their starts. Part of the durable format.
pub fn write_window_key(buffer: &mut Vec<u8>, key: &[u8], start: i64, end: i64) {
    write_ordered(buffer, key);
    buffer.extend_from_slice(&time_bytes(start));
    buffer.extend_from_slice(&time_bytes(end));
}

/// The key of the records, the start and the end of the window. None where the bytes are nothing that [`write_window_key`]
/// writes.
pub fn read_window_key(bytes: &[u8]) -> Option<(Vec<u8>, i64, i64)> {
    let (key, behind) = read_ordered(bytes)?;
    let (start, end) = behind.split_first_chunk::<8>()?;
    let end = <[u8; 8]>::try_from(end).ok()?;
    Some((key, time_of_bytes(*start), time_of_bytes(end)))
}
