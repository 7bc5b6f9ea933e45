//! The log of one job: the level of each function, the rate of its lines, and the newest lines, which the server keeps in memory.
//!
//! A line of a function passes three checks: the level of its operator, the limits of its operator (`turn/shared_limits.rs`), and the
//! limit of its job ([`JobLog`]). It is then written to the log of the process, and kept. Kept lines are bounded per operator and for
//! the process. An operator without a line takes no memory for lines.
//!
//! | file | contents |
//! |---|---|
//! | `log_of_job` | the log of a job, with its operators |
//! | `node_log` | the level of an operator, and its suppressed lines |
//! | `kept_lines` | the newest lines of all operators of a job, read in pages |
//! | `line_ring` | the newest lines of one operator |
//! | `line_memory` | the memory for the kept lines of all jobs |
//! | `ended_logs` | the logs of jobs that have ended |

mod ended_logs;
mod kept_lines;
mod line_memory;
mod line_ring;
mod log_of_job;
mod node_log;

#[cfg(test)]
mod job_log_tests;

pub use ended_logs::EndedLogs;
pub use kept_lines::{LinePage, LineQuery};
pub use line_ring::{KEPT_LINE_BYTES_MAX, KeptLine};
pub use log_of_job::{JobLog, LineRate};
pub use node_log::{NodeLog, default_level, set_default_level};
