//! The staged effects of a turn: plain data structures without knowledge of guests.
//!
//! | file | owns |
//! |---|---|
//! | `writes.rs` | writes to keyed state |
//! | `broadcast.rs` | broadcast state and the writes to it |
//! | `timers.rs` | the timers of one clock: staged changes, and the queue of committed timers |
//! | `timer_counts.rs` | the limit on the timers of one key |
//! | `telemetry.rs` | metrics and log lines |

pub(super) mod broadcast;
pub(super) mod telemetry;
mod timer_counts;
pub(super) mod timers;
pub(super) mod writes;
