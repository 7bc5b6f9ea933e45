//! The messages that end an attempt.

use super::attempt_end::AttemptEnd;
use crate::job::message::{JobMessage, RunningJobCommand};

/// Returns how a message ends the attempt, if it does.
pub fn requested_end(message: &JobMessage) -> Option<AttemptEnd> {
    match message {
        JobMessage::Command(RunningJobCommand::Cancel) => Some(AttemptEnd::Cancelled),
        JobMessage::Command(RunningJobCommand::Shutdown) => Some(AttemptEnd::Shutdown),
        _ => None,
    }
}
