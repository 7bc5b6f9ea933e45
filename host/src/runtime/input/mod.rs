//! The receiving side of a subtask: merges its input channels, aligns barriers and combines watermarks.

pub(super) mod in_flight_data;
pub(super) mod input_gate;
