//! Files: a source that reads a file or a folder, and a sink that publishes whole files by checkpoints.

mod sink;
mod source;

pub(super) use sink::{FileCommitter, FileSink, check_promise, check_sink, output_of_other_jobs, part_name};
pub(super) use source::{FileSettings, FileSource, check_headers, check_source, find_record};
