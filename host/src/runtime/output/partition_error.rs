//! Why records cannot be written to an edge.

use crate::error::Error;
use crate::runtime::attempt_signals::SubtaskCancelled;

/// Why a batch cannot be written to an edge.
#[derive(Debug)]
pub(crate) enum PartitionError {
    /// The attempt is over.
    Cancelled(SubtaskCancelled),
    /// The records do not suit the edge.
    Failed(Box<Error>),
}

impl From<SubtaskCancelled> for PartitionError {
    fn from(cancelled: SubtaskCancelled) -> PartitionError {
        PartitionError::Cancelled(cancelled)
    }
}

impl From<Error> for PartitionError {
    fn from(error: Error) -> PartitionError {
        PartitionError::Failed(Box::new(error))
    }
}
