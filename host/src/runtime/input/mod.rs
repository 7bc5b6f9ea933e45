//! The receiving side of a subtask.
//!
//! - `input_gate` merges the channels of a subtask and returns one event at a time.
//! - `barrier_alignment` tracks which channels have delivered which barrier, and which channels are blocked.
//! - `watermark_valve` combines the watermarks and the idleness of the channels.
//! - `in_flight_recording` records the elements that an unaligned barrier overtakes.
//! - `in_flight_data` holds the recorded elements, and redistributes them after a change of parallelism.
//! - `in_flight_format` encodes and decodes their file, whose payload is in `stored_in_flight`; `in_flight_format_2` decodes files of older versions.
//!
//! Must not depend on operators or on the subtask loop.

pub(super) mod barrier_alignment;
pub(super) mod in_flight_data;
#[cfg(test)]
mod in_flight_data_tests;
pub(super) mod in_flight_format;
mod in_flight_format_2;
pub(super) mod in_flight_recording;
pub(super) mod input_gate;
#[cfg(test)]
mod input_gate_tests;
mod stored_in_flight;
pub(super) mod watermark_valve;
#[cfg(test)]
mod watermark_valve_tests;
