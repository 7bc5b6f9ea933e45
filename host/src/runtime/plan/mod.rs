//! The execution plan of a job, and the checks of a pipeline that need its functions and its connectors.
//!
//! | file | owns |
//! |---|---|
//! | `execution_plan` | the plan, and how it is built |
//! | `chaining` | which nodes run in one chain, and the edges between chains |
//! | `functions` | the functions of the operators |
//! | `output_ports` | the outputs of an operator and their formats |
//! | `source_checks`, `function_checks`, `event_time_check` | what is refused before a job starts |
//! | `window_functions` | what the host adds to window functions, and native aggregates |
//! | `delivery_guarantee` | exactly-once, or what weakens it |
//!
//! Nothing is started here.

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
mod source_checks;
pub(super) mod window_functions;
