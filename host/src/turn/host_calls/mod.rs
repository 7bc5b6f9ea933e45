//! The host functions that a guest calls within a turn: `impl` blocks of [`super::Turn`], one file per WIT interface or kind
//! of state.
//!
//! States and keys are given by their indexes. Each call checks its arguments, charges its bytes to the turn's limits,
//! and stages its effect. Reads return the committed state, overlaid with the staged writes.
//!
//! Errors of all calls: [`super::HostCallError::InvalidCall`] for wrong arguments, `LimitExceeded` if it exceeds a
//! limit, and `Error` if the backend fails.

mod broadcast;
mod list;
mod map;
mod telemetry;
mod timers;
mod value;
