//! How a source opens its files: within the policy of its job, and until the job is cancelled.

use std::path::Path;

use crate::access::{AccessPolicy, denied};
use crate::connector::context::ConnectorContext;
use crate::error::Result;
use crate::model::Interrupt;

/// What opening an input file needs to know of the job.
#[derive(Clone, Default)]
pub(in crate::connector) struct InputAccess {
    /// The files that may be read.
    pub(in crate::connector) policy: AccessPolicy,
    /// Ends the search for a position in a compressed file.
    pub(in crate::connector) interrupt: Interrupt,
}

impl InputAccess {
    /// Opens files until `context` is interrupted.
    pub(super) fn of(context: &ConnectorContext) -> InputAccess {
        InputAccess { policy: context.policy.clone(), interrupt: context.interrupt.clone() }
    }

    /// Opens files without an end.
    pub(super) fn uninterrupted(policy: &AccessPolicy) -> InputAccess {
        InputAccess { policy: policy.clone(), interrupt: Interrupt::default() }
    }

    /// Checks that a file or folder may be read. Error: `path-denied`; other errors are found when it is opened.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        self.policy.check_path(path).or_else(|error| denied(&error).map_or(Ok(()), Err))
    }
}
