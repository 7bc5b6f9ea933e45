//! Why a turn or a host call fails.
//!
//! ```text
//! HostCallError  a host function refuses a call of the guest
//!     -> Fault   if the guest is to blame: `invalid-call`, or the fault of the limit that it exceeds
//!     -> Error   if the state backend failed
//! TurnFailure    the turn did not succeed: a fault, an error or a cancellation
//! ```

use std::fmt;

use crate::error::Error;
use crate::model::Fault;

/// Why a turn did not succeed.
#[derive(Debug)]
pub enum TurnFailure {
    /// The guest failed.
    Fault(Fault),
    /// The host failed.
    Error(Error),
    /// The job is being cancelled.
    Cancelled,
}

impl From<Error> for TurnFailure {
    fn from(error: Error) -> TurnFailure {
        TurnFailure::Error(error)
    }
}

impl From<Fault> for TurnFailure {
    fn from(fault: Fault) -> TurnFailure {
        TurnFailure::Fault(fault)
    }
}

/// Why a host function refused a call.
#[derive(Debug)]
pub enum HostCallError {
    /// The arguments are invalid. Becomes the fault `invalid-call`.
    InvalidCall(String),
    /// The call exceeds a limit.
    LimitExceeded(Fault),
    /// The state backend failed.
    Error(Error),
}

impl fmt::Display for HostCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostCallError::InvalidCall(message) => f.write_str(message),
            HostCallError::LimitExceeded(fault) => f.write_str(&fault.message),
            HostCallError::Error(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HostCallError {}

/// For native operators, which make the same calls. Their invalid calls are bugs of the host.
impl From<HostCallError> for TurnFailure {
    fn from(error: HostCallError) -> TurnFailure {
        match error {
            HostCallError::Error(error) => TurnFailure::Error(error),
            HostCallError::LimitExceeded(fault) => fault.into(),
            HostCallError::InvalidCall(message) => crate::error::internal(message).into(),
        }
    }
}

impl From<Error> for HostCallError {
    fn from(error: Error) -> HostCallError {
        HostCallError::Error(error)
    }
}

/// Returns [`HostCallError::InvalidCall`].
pub(super) fn invalid(message: impl Into<String>) -> HostCallError {
    HostCallError::InvalidCall(message.into())
}
