//! The life of a job on its thread: attempts, restarts after failures, and the end.
//!
//! An attempt is prepared (`attempt_start`), runs (`attempt`), and ends with an `AttemptEnd` or an `AttemptFailure`. Its
//! subtasks run in `regions`, which can restart one by one (`region_start`). After a failure `restart` decides whether a
//! restart follows. `job_end` stores how the job ended.

mod attempt;
mod attempt_context;
mod attempt_end;
mod attempt_failure;
mod attempt_plan;
mod attempt_start;
mod fault_history;
mod job_end;
mod job_thread;
mod region_start;
mod regions;
mod requested_end;
mod restart;
mod restore_trace;
mod shutdown;
mod wind_up;

#[cfg(test)]
mod attempt_start_tests;
#[cfg(test)]
mod region_restart_tests;

pub use attempt_context::AttemptContext;
pub use job_thread::JobThread;
