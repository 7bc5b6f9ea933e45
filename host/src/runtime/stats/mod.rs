//! Statistics of the subtasks of an attempt, and totals over all attempts.
//!
//! - `subtask_stats`: what a subtask publishes from time to time.
//! - `node_meters`: turns, timers and databases, for monitoring.
//! - `node_times`: how the time of a thread is divided between the nodes of its chain.
//! - `stats_reader`: reads the statistics of an attempt.
//! - `job_totals`: counts that never go back while the process runs.

pub(crate) mod job_totals;
pub(crate) mod node_meters;
pub(crate) mod node_times;
pub(crate) mod stats_reader;
pub(crate) mod subtask_stats;
