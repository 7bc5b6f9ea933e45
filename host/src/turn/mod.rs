//! A turn: one call of a function and all its effects, as a transaction.
//!
//! ```text
//! Turn::begin(keys, watermark, time)    start with empty effects
//! Guest::process(turn, batch)           the guest reads and writes state, timers, metrics and logs through `turn`
//! Turn::commit()                        all effects take place, or
//! Turn::abort()                         none of them does
//! ```
//!
//! Reads return the committed state, overlaid with what the turn has staged. Invariants: no effect reaches the state backend
//! before [`Turn::commit`], and an aborted turn leaves no trace except log lines. The sandbox reaches keyed state only through
//! a turn; it never sees the backend.
//!
//! | file | owns |
//! |---|---|
//! | `transaction.rs` | [`Turn`]: begin, commit, abort |
//! | `limits.rs` | the limits of a turn, and what it has used of them |
//! | `key_sizes.rs`, `known_sizes.rs` | the limit on the size of one state of one key |
//! | `shared_limits.rs` | the limits that all subtasks of an operator share |
//! | `guest.rs`, `error.rs` | the interface of a function, and why a turn or a host call fails |
//! | `staged/` | the staged effects: writes, broadcast writes, timers, metrics and log lines |
//! | `host_calls/` | the host functions that guests call: value, list, map, broadcast, timers, telemetry |
//! | `native_operator.rs` | what the host's own operators may do in addition |
//! | `watermark.rs`, `group_watermarks.rs` | the watermark as part of the state |

mod error;
mod group_watermarks;
mod guest;
mod host_calls;
mod key_sizes;
mod known_sizes;
mod limits;
mod native_operator;
mod shared_limits;
mod staged;
mod transaction;
mod watermark;

#[cfg(test)]
mod broadcast_tests;
#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod native_operator_tests;
#[cfg(test)]
mod timers_tests;
#[cfg(test)]
mod transaction_tests;
#[cfg(test)]
mod watermark_tests;

pub use error::{HostCallError, TurnFailure};
pub use group_watermarks::{GroupWatermarks, SelectedGroups};
pub use guest::{CallShare, FIRST_INPUT, Guest, OutputBatch, OutputId, SECOND_INPUT};
pub use limits::TurnLimits;
pub use shared_limits::{LimitCounts, METRIC_NAMES_MAX, SharedLimits};
pub use staged::telemetry::{
    BACKTRACE_FRAMES_MAX, FRAME_CHARS_MAX, GuestPanic, LOG_LINE_BYTES_MAX, LOG_LINES_MAX, LogLine,
};
pub(crate) use staged::telemetry::{sanitize_backtrace, sanitize_text};
pub use staged::timers::{TimerTotals, timer_states};
pub use transaction::{Turn, TurnContext};
