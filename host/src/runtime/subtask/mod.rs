//! The loop of a subtask and its operator chain.

pub(super) mod operator_chain;
pub(super) mod subtask_runner;
