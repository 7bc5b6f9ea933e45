//! The header of a stream that all subtasks of a sink share. It is written once, although a sink has several subtasks and attempts.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::context::ConnectorContext;
use crate::error::Result;
use crate::permits::{self, WaitReason};

/// Upper bound on how long a cancel goes unnoticed while another subtask writes the header.
const WAIT: Duration = Duration::from_millis(50);

/// The sinks whose header is written, by job and node.
static WRITTEN: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// The exclusive right to write the first lines of a sink.
pub(super) struct HeaderTurn {
    written: MutexGuard<'static, BTreeSet<(String, String)>>,
    sink: (String, String),
}

impl HeaderTurn {
    /// Waits while another subtask writes its first lines. `check` ends the wait with an error.
    pub(super) fn wait(context: &ConnectorContext, check: impl Fn() -> Result<()>) -> Result<HeaderTurn> {
        loop {
            check()?;
            if let Some(written) = permits::while_waiting(WaitReason::Peer, || WRITTEN.try_lock_for(WAIT)) {
                return Ok(HeaderTurn { written, sink: (context.job_id.clone(), context.node.clone()) });
            }
        }
    }

    /// Returns whether the header has been written.
    pub(super) fn is_written(&self) -> bool {
        self.written.contains(&self.sink)
    }

    /// Ends the turn: the header is written.
    pub(super) fn finish(mut self) {
        self.written.insert(self.sink);
    }
}
