//! The sinks of a job at its checkpoints: committing prepared output, recovering it after a restore, and checks at
//! submission.
//!
//! Invariant: once a checkpoint is complete, its records are not read again. A job that restores it publishes the
//! output that its sinks prepared, or does not start. See docs/decisions/0010-publishing-restored-output.md.

mod committers;
mod existing_output;
mod prepared_output;

#[cfg(test)]
mod committers_tests;

pub use committers::SinkCommitters;
pub use existing_output::existing_output_warnings;
pub use prepared_output::check_prepared_output;
