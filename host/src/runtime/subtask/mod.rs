//! The loop of a subtask, which runs on a thread of its own.
//!
//! - `input_loop` runs a chain that starts at an input gate.
//! - `source_loop` runs a chain that starts with a source.
//! - `subtask_core` is the common part of both loops: snapshots, statistics, waiting.
//! - `operator_chain` passes batches, watermarks and barriers through the nodes of a chain.
//! - `chained_node` is one node of a chain.
//! - `node_clock` notes which node of a chain works.
//! - `kept_letters` writes and replays the dead letters that the host keeps.
//! - `unlocated_letters` are dead letters whose records are still to be found in the input.
//! - `step_budget` limits how much a chain does before it looks at its input again.

pub(super) mod chained_node;
pub(super) mod input_loop;
#[cfg(test)]
mod input_loop_tests;
mod kept_letters;
mod node_clock;
pub(super) mod operator_chain;
#[cfg(test)]
mod operator_chain_tests;
pub(super) mod source_loop;
#[cfg(test)]
mod source_loop_tests;
#[cfg(test)]
mod source_splits_tests;
mod step_budget;
pub(super) mod subtask_core;
#[cfg(test)]
mod testing;
mod unlocated_letters;
