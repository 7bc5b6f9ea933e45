//! The receiving side of a subtask.
//!
//! | file | owns |
//! |---|---|
//! | `input_gate` | merges the channels of a subtask and returns one event at a time |
//! | `barrier_alignment` | which channels have delivered which barrier, and which are blocked |
//! | `watermark_valve` | combines the watermarks and the idleness of the channels |
//! | `in_flight_recording` | records the elements that an unaligned barrier overtakes |
//! | `in_flight_data` | the recorded elements, and their redistribution at a restore |
//! | `in_flight_format` | their file format |

pub(super) mod barrier_alignment;
pub(super) mod in_flight_data;
#[cfg(test)]
mod in_flight_data_tests;
pub(super) mod in_flight_format;
pub(super) mod in_flight_recording;
pub(super) mod input_gate;
#[cfg(test)]
mod input_gate_tests;
pub(super) mod watermark_valve;
#[cfg(test)]
mod watermark_valve_tests;
