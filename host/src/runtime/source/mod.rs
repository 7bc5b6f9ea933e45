//! Reading a source.
//!
//! - `source_reader` polls the source and prepares its batches.
//! - `rate_limiter` limits the records per second.
//! - `source_decoder` decodes the records as rows and sets their event timestamps; `timestamp_warnings` warns about odd ones.
//! - `raw_attributes` keeps the original bytes of records for dead letters.
//! - `watermark_generator` computes the out-of-orderness watermark, and decides when a source is idle; `split_times` has the event time of
//!   each split.
//! - `watermark_alignment` makes sources wait for the slowest one of their group.
//! - `checkpoint_triggers` decides when a checkpoint is due by records or by event time.
//!
//! Must not depend on operators or channels.

pub(super) mod checkpoint_triggers;
pub(super) mod rate_limiter;
mod raw_attributes;
pub(super) mod source_decoder;
pub(super) mod source_reader;
mod split_times;
mod timestamp_warnings;
pub(super) mod watermark_alignment;
pub(super) mod watermark_generator;

#[cfg(test)]
mod source_reader_tests;
