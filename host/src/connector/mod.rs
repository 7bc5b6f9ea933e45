//! Sources and sinks: where records come from and where they go.
//!
//! The traits are in `source` and `sink`; `open` creates the connector that a pipeline file names. `file` is a folder of
//! its own.
//!
//! Invariant: a source's position and a sink's committables are part of the checkpoint. Connectors run on their
//! subtask's thread and never block for long (see [`Source::poll`]), so barriers and cancellation are not held up.
//! Must not depend on operators, checkpoints or jobs.

mod blackhole;
mod context;
mod dead_letters;
mod file;
mod generator;
mod open;
mod sink;
mod socket;
mod source;
mod stdout;
mod undecodable;
mod versioned_bytes;

#[cfg(test)]
mod testing;

pub use context::ConnectorContext;
pub use dead_letters::{
    LetterFile, LetterLine, LetterLines, LetterQuota, LetterStore, StoredLetter, is_letter_committable,
    letter_committer, open_letter_sink,
};
pub use open::{
    check_headers, check_promise, check_sink, check_source, committer, find_record, first_records, open_sink,
    open_source, published_by_other_jobs, replay,
};
pub use sink::{Committer, OtherJobOutput, Sink};
pub use source::{FIRST_RECORDS, HeaderRun, Poll, RecordLocation, Replay, Source, SourceCheck, UndecodableRecord};
pub use undecodable::SkipLog;
