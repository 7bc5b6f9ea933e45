//! The history of a job: changes of its status, attempts, failures, checkpoints and warnings.
//!
//! - `event_log` stores it, so that it outlives the process.
//! - `record_changes` finds what happened by comparing the job's record before and after a change.

mod event_log;
mod record_changes;

pub use event_log::EventLog;
pub use record_changes::{RecordMarks, checkpoint_event, created_event};
