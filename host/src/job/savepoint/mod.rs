//! Requests for savepoints, checkpoints and stops: accepted, carried out by an attempt, and answered.
//!
//! Invariant: every accepted request is answered. A stop is stored in the job's record and outlives the process.

mod answers;
mod request;
mod stop;
mod stop_request;
mod trigger;

#[cfg(test)]
mod stop_tests;

pub use answers::SavepointAnswers;
pub use request::CheckpointRequest;
pub use stop::{finish_restored_stop, give_up_failing_stop, record_stop_savepoint, record_stop_trigger, request_stop};
pub use stop_request::StopRequest;
pub use trigger::trigger_checkpoint;
