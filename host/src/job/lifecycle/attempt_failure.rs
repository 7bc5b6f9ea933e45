//! How an attempt fails.

use crate::error::Error;
use crate::job::view::JobFailure;

/// Why an attempt failed.
#[derive(Debug)]
pub enum AttemptFailure {
    /// The restart strategy has yet to decide what follows.
    Undecided(JobFailure),
    /// No restart follows.
    Final(JobFailure),
}

impl From<JobFailure> for AttemptFailure {
    fn from(failure: JobFailure) -> AttemptFailure {
        AttemptFailure::Undecided(failure)
    }
}

impl From<Error> for AttemptFailure {
    fn from(error: Error) -> AttemptFailure {
        AttemptFailure::Undecided(error.into())
    }
}
