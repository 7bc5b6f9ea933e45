//! Cofferdam: a stateful stream processor that runs user functions as WebAssembly components.
//!
//! Modules have ranks (see ARCHITECTURE.md). A module uses only modules of lower ranks; the test `tidy` checks this.

// First, because its macro is used by all other modules.
#[macro_use]
mod fail_point;

pub mod access;
pub mod allocator;
pub mod auth;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod connector;
pub mod error;
pub mod escape;
pub mod fault_groups;
pub mod format;
pub mod http;
pub mod job;
pub mod job_log;
pub mod log_limit;
pub mod model;
pub mod namespace_usage;
pub mod operator;
pub mod permits;
pub mod pipeline;
pub mod problem_body;
pub mod runtime;
pub mod sandbox;
pub mod state;
pub mod state_reader;
pub mod stdio;
pub mod tracer;
pub mod turn;
pub mod wakeup;

#[cfg(test)]
mod error_tests;
#[cfg(test)]
mod fuzz_targets;
#[cfg(test)]
mod fuzz_targets_tests;
