//! The host functions that a guest calls within a turn: `impl` blocks of [`super::Turn`], one file per WIT interface or kind
//! of state.
//!
//! Each call checks its arguments, charges its bytes to the turn's write limit, and stages its effect. Reads return the
//! committed state, overlaid with the staged writes.

mod broadcast;
mod list;
mod map;
mod telemetry;
mod timers;
mod value;
