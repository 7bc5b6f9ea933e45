//! How the work of an operator fails, and how other failures become an [`OperatorFailure`].
//!
//! | from | becomes |
//! |---|---|
//! | [`TurnFailure`] of a turn | [`TurnOutcome::RolledBack`] for a fault, else an [`OperatorFailure`] (`TurnOutcome::of_failure`) |
//! | [`TurnOutcome::RolledBack`] | the decision of the fault policy (`faults/fault_policy.rs`) |
//! | [`TurnOutcome::RolledBack`] of a turn without a guest | `internal`: the host is at fault (`TurnOutcome::committed`) |
//! | [`Error`], [`HostCallError`] outside of a turn | [`OperatorFailure::Error`] (`From`) |
//!
//! Invariant: a fault becomes an error of the host only if no guest took part in the turn.

use super::faults::failed_record::FailedRecord;
use crate::error::{self, Error};
use crate::model::Fault;
use crate::turn::{HostCallError, TurnFailure};

/// Why an operator cannot continue.
#[derive(Debug)]
pub enum OperatorFailure {
    /// The function failed on a record, a timer or a window, and the fault policy is `fail`.
    Fault { fault: Fault, record: Box<FailedRecord> },
    /// The host failed.
    Error(Error),
    /// The job is being cancelled. The rest of the batch is not processed.
    Cancelled,
}

impl From<Error> for OperatorFailure {
    fn from(error: Error) -> OperatorFailure {
        OperatorFailure::Error(error)
    }
}

/// For calls that the host itself makes outside of a turn: if one is refused, the host is at fault.
impl From<HostCallError> for OperatorFailure {
    fn from(refused: HostCallError) -> OperatorFailure {
        match refused {
            HostCallError::Error(error) => OperatorFailure::Error(error),
            refused => OperatorFailure::Error(error::internal(refused.to_string())),
        }
    }
}

/// How a turn ended.
#[derive(Debug)]
#[must_use]
pub(super) enum TurnOutcome<T = ()> {
    /// The turn took effect.
    Committed(T),
    /// The guest failed. Nothing of the turn remains.
    RolledBack(Fault),
}

impl<T> TurnOutcome<T> {
    /// The value of a turn in which no guest took part. Error: `internal` if it was rolled back.
    pub(super) fn committed(self) -> Result<T, OperatorFailure> {
        match self {
            TurnOutcome::Committed(value) => Ok(value),
            TurnOutcome::RolledBack(fault) => Err(error::internal(fault.to_string()).into()),
        }
    }

    /// The outcome of a turn that failed before its commit.
    pub(super) fn of_failure(failure: TurnFailure) -> Result<TurnOutcome<T>, OperatorFailure> {
        match failure {
            TurnFailure::Fault(fault) => Ok(TurnOutcome::RolledBack(fault)),
            TurnFailure::Error(error) => Err(OperatorFailure::Error(error)),
            TurnFailure::Cancelled => Err(OperatorFailure::Cancelled),
        }
    }

    /// Replaces the value of a committed turn.
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> TurnOutcome<U> {
        match self {
            TurnOutcome::Committed(value) => TurnOutcome::Committed(map(value)),
            TurnOutcome::RolledBack(fault) => TurnOutcome::RolledBack(fault),
        }
    }
}
