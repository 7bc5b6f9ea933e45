//! Opens everything that a subtask runs with, on the thread of the subtask.
//!
//! - `execution_options` holds the options of an attempt.
//! - `edge_channels` creates the channels between subtasks, and the partitions that write to them.
//! - `subtask_startup` opens the chain of a subtask, runs its loop and reports its failure.
//! - `source_startup` and `operator_startup` open a source or an operator.
//! - `record_origin` finds the record that a function failed on.
//! - `operator_logs` creates the logs of the operators.
//! - `restored_node` selects what a subtask takes over from a checkpoint.
//! - `guest_migration` lets a function migrate its own state.

pub(super) mod edge_channels;
pub(super) mod execution_options;
mod guest_migration;
pub(super) mod operator_logs;
mod operator_startup;
pub(super) mod operator_trial;
pub(super) mod record_origin;
mod restored_node;
mod source_startup;
pub(super) mod subtask_context;
pub(super) mod subtask_startup;
