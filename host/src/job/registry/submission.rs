//! A submission: a pipeline file and how its job starts.

use std::path::PathBuf;

/// A pipeline to run, and how it starts.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// Text of the pipeline file.
    pub pipeline_text: String,
    /// Name of the pipeline file in error messages.
    pub file_name: String,
    /// Relative paths in the pipeline file are relative to this folder. `None` means the process's working folder.
    pub base_dir: Option<PathBuf>,
    /// Folder of a savepoint or checkpoint to start from: a path, or `s3://bucket/folder`.
    pub from: Option<String>,
    /// Whether the job owns `from`: it may build on its files, and removes it once it has a checkpoint of its own.
    pub claim: bool,
    /// Whether state in `from` that the pipeline does not have is dropped instead of refused.
    pub allow_unclaimed_state: bool,
    /// Whether operators forget the watermarks in `from`.
    pub reset_watermarks: bool,
    /// Whether sources go on if records after a restored position are gone.
    pub allow_loss: bool,
    /// Whether the sink output that was prepared for `from` is assumed to be published, without a check.
    pub assume_published: bool,
    /// Whether that output is published if a sink's peer no longer knows whether it is.
    pub assume_lost: bool,
    /// Whether to start although sinks have published output that was produced after `from`, which will be published again.
    pub allow_duplicates: bool,
    /// Whether to start without state if the state is lost: `from` is damaged, or no checkpoint of the last job of this
    /// name is usable.
    pub ignore_state: bool,
}

impl Submission {
    /// Creates a submission that starts without state. Set further fields with `..Submission::new(...)`.
    pub fn new(pipeline_text: impl Into<String>, file_name: impl Into<String>) -> Submission {
        Submission { pipeline_text: pipeline_text.into(), file_name: file_name.into(), ..Submission::default() }
    }
}
