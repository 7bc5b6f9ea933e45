//! Files: a source of the records of a file or a folder, and a sink that publishes whole files by checkpoints.

mod commit;
mod list;
mod locate;
mod others;
mod part;
mod promise;
mod sink;
mod source;

use std::path::Path;

pub(super) use commit::FileCommitter;
pub(super) use list::check as check_source;
pub(super) use locate::find as find_record;
pub(super) use others::others;
pub(super) use sink::{FileSink, check as check_sink};
pub(super) use source::FileSource;

use crate::error::Result;

/// Whether the promise of another job's checkpoint can be kept by a sink that writes to `own`; None if there is no such
/// sink. Returns the names of parts that cannot be found. Error: `sink-changed`.
pub(super) fn check_promise(committables: &[Vec<u8>], own: Option<&Path>, node: &str) -> Result<Vec<String>> {
    promise::judge(committables, own, node).map(|promise| promise.unknown)
}
