//! The metadata of a checkpoint or savepoint: what it consists of, and the bytes of its file.
//!
//! Invariant: stored bytes stay readable. A field is never changed or moved within a format; a change makes a new format,
//! and the previous formats are still read. Must not depend on where the metadata is stored.

mod checkpoint_metadata;
mod codec;
mod format_1;
mod format_2;
mod format_3;
mod format_4;
mod operator_version;

#[cfg(test)]
mod codec_tests;

pub use checkpoint_metadata::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
pub(super) use codec::MetadataLimits;
pub use operator_version::OperatorVersion;
