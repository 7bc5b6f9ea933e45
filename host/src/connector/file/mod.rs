//! Files: a source of the records of a file or a folder, and a sink that publishes whole files by checkpoints.

mod commit;
mod list;
mod locate;
mod part;
mod sink;
mod source;

pub(super) use commit::FileCommitter;
pub(super) use list::check as check_source;
pub(super) use locate::find as find_record;
pub(super) use sink::{FileSink, check as check_sink};
pub(super) use source::FileSource;
