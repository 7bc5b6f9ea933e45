//! A request for a checkpoint or savepoint, as an attempt receives it.

use crate::clock;
use crate::job::view::SavepointFormat;
use crate::runtime::BarrierKind;

/// A requested checkpoint or savepoint. A client polls for its answer.
pub struct CheckpointRequest {
    /// Identifies the request.
    pub request_id: String,
    /// Whether to take a checkpoint, a savepoint, or the savepoint of a stop.
    pub kind: BarrierKind,
    /// The format of a savepoint. Checkpoints are always native.
    pub format: SavepointFormat,
}

impl CheckpointRequest {
    /// Returns an id for a new request.
    pub fn new_id() -> String {
        format!("{:016x}", clock::random_u64())
    }
}
