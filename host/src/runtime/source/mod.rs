//! Reading a source: event timestamps, watermarks, the rate limit, watermark alignment and checkpoint triggers.
//!
//! Depends on connectors only through `Source`; must not depend on operators or channels.

pub(super) mod checkpoint_triggers;
pub(super) mod source_reader;
pub(super) mod timestamp_assigner;
pub(super) mod watermark_alignment;
