//! Files: a source that reads a file or a folder, and a sink that publishes whole files by checkpoints.
//!
//! The source: `list` finds the files, `remaining_files` records how far they are read, `open` and `decompress` read
//! one. `check` checks the input before a job starts, and `locate` finds the line of a record that failed.
//! The sink: `sink` writes parts, `committer` publishes them, `committable` describes them in a checkpoint.

mod check;
mod committable;
mod committer;
mod decompress;
mod file_names;
mod input_path;
mod line;
mod list;
mod locate;
mod open;
mod other_jobs;
mod remaining_files;
mod sink;
mod sink_part;
mod source;

#[cfg(test)]
mod committer_tests;
#[cfg(test)]
mod sink_tests;
#[cfg(test)]
mod source_tests;

pub(super) use check::check as check_source;
pub(super) use committable::check_promise;
pub(super) use committer::FileCommitter;
pub(super) use input_path::FileSettings;
pub(super) use locate::find_record;
pub(super) use other_jobs::output_of_other_jobs;
pub(super) use sink::{FileSink, check as check_sink};
pub(super) use source::FileSource;
