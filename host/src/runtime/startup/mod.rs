//! Opens everything that a subtask runs with, on the subtask's own thread.
//!
//! | file | owns |
//! |---|---|
//! | `execution_options` | the options of an attempt |
//! | `edge_channels` | the channels between subtasks, and the partitions that write to them |
//! | `subtask_startup` | opens the chain of a subtask and runs its loop |
//! | `source_startup`, `operator_startup` | open a source or an operator |
//! | `restored_node` | what a checkpoint holds for one subtask of a node |
//! | `guest_migration` | state migration by the function itself |

pub(super) mod edge_channels;
pub(super) mod execution_options;
mod guest_migration;
mod operator_startup;
mod restored_node;
mod source_startup;
pub(super) mod subtask_context;
pub(super) mod subtask_startup;
