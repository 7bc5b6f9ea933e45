//! The life of a job on its thread: attempts, restarts after failures, and the end.
//!
//! An attempt is prepared (`attempt_start`), runs (`attempt`), and ends with an [`AttemptEnd`] or a `JobFailure`. After
//! a failure `restart` decides whether another attempt follows. `job_end` stores how the job ended.

mod attempt;
mod attempt_context;
mod attempt_end;
mod attempt_start;
mod fault_history;
mod job_end;
mod job_thread;
mod restart;

#[cfg(test)]
mod attempt_start_tests;

pub use attempt_context::AttemptContext;
pub use job_thread::JobThread;
