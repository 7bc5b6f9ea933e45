//! The execution plan of a job, and the checks of a pipeline that need its functions and its connectors.
//!
//! - `execution_plan` builds the plan.
//! - `chaining` decides which nodes run in one chain, and creates the edges between chains.
//! - `functions` holds the functions of the operators.
//! - `output_ports` finds the outputs of an operator.
//! - `records/` plans the fields and formats of all records, and their keys.
//! - `source_checks`, `function_checks` and `event_time_check` refuse pipelines that cannot work.
//! - `window_functions` adds hidden states to window functions, and creates native aggregates.
//! - `delivery_guarantee` describes the guarantee: exactly-once, or why it is weaker.
//! - `topology` shows the nodes and edges of a plan.
//! - `error_context` adds the node and the key to an error.
//!
//! Making a plan starts nothing.

pub(super) mod chaining;
mod delivery_guarantee;
mod error_context;
mod event_time_check;
pub(super) mod execution_plan;
#[cfg(test)]
mod execution_plan_tests;
mod function_checks;
pub(super) mod functions;
pub(super) mod output_ports;
pub(super) mod records;
pub(super) mod regions;
#[cfg(test)]
mod regions_tests;
mod source_checks;
pub(super) mod topology;
pub(super) mod window_functions;
