//! The file sink: `file_sink` writes parts, `committer` publishes them, and `committable` describes them in a checkpoint.
//!
//! `sealed_part` makes them durable, `sink_part` names their files, and `sink_folder` opens and renames them. `other_jobs` finds parts of other jobs in the same folder.

mod committable;
mod committer;
mod file_sink;
mod other_jobs;
mod sealed_part;
mod sink_folder;
mod sink_part;

#[cfg(test)]
mod committer_tests;
#[cfg(test)]
mod file_sink_tests;

pub(in crate::connector) use committable::check_promise;
pub(in crate::connector) use committer::FileCommitter;
pub(in crate::connector) use file_sink::{FileSink, check as check_sink};
pub(in crate::connector) use other_jobs::output_of_other_jobs;
pub(in crate::connector) use sink_part::part_name;
