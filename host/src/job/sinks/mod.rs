//! The sinks of a job at its checkpoints: committing prepared output, recovering it after a restore, and checks at
//! submission.
//!
//! Invariant: once a checkpoint is complete, its records are not read again. A job that restores it publishes the
//! output that its sinks prepared, or does not start. See docs/decisions/0010-publishing-restored-output.md.

mod committers;
mod existing_output;
mod output_reader;
mod prepared_output;
mod publications;
mod recovered;

#[cfg(test)]
mod committers_tests;
#[cfg(test)]
mod publications_tests;

pub use committers::{SinkCommitters, mark_published};
pub use existing_output::existing_output_warnings;
pub use output_reader::{LocalOutput, PublishableCheckpoint};
pub use prepared_output::{check_prepared_output, unpublished_sinks};
pub use publications::Publications;
