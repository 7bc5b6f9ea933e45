//! The loop of a subtask, which runs on a thread of its own.
//!
//! | file | owns |
//! |---|---|
//! | `input_loop` | the loop of a chain that starts at an input gate |
//! | `source_loop` | the loop of a chain that starts with a source |
//! | `subtask_core` | what both loops share: snapshots, statistics, waiting |
//! | `operator_chain` | how batches, watermarks and barriers pass through the nodes of a chain |
//! | `chained_node` | one node of a chain |
//! | `step_budget` | how much work a chain does before it looks at its input again |

pub(super) mod chained_node;
pub(super) mod input_loop;
#[cfg(test)]
mod input_loop_tests;
pub(super) mod operator_chain;
#[cfg(test)]
mod operator_chain_tests;
pub(super) mod source_loop;
#[cfg(test)]
mod source_loop_tests;
mod step_budget;
pub(super) mod subtask_core;
