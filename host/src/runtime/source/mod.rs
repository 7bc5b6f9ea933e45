//! Reading a source.
//!
//! | file | owns |
//! |---|---|
//! | `source_reader` | polls the source and prepares its batches |
//! | `rate_limiter` | the limit of records per second |
//! | `timestamp_assigner` | the event timestamps of the records |
//! | `watermark_generator` | the out-of-orderness watermark and idleness |
//! | `watermark_alignment` | sources that wait for the slowest of their group |
//! | `checkpoint_triggers` | checkpoints that are due by records or by event time |
//!
//! Must not depend on operators or channels.

pub(super) mod checkpoint_triggers;
pub(super) mod rate_limiter;
pub(super) mod source_reader;
pub(super) mod timestamp_assigner;
pub(super) mod watermark_alignment;
pub(super) mod watermark_generator;
