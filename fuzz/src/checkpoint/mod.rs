//! The part of the host's module `checkpoint` that needs no storage.

mod metadata;

pub use metadata::{CheckpointKind, CheckpointMetadata, OperatorMetadata, OperatorVersion, SubtaskMetadata};
