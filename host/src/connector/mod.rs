//! Sources and sinks: where records come from and where they go.
//!
//! The traits are in `source` and `sink`. Each connector is a folder, implements the traits of `spec`, and is listed in
//! `registry`. `open` opens the connector that a pipeline file names.
//!
//! Invariant: a source's position and a sink's committables are part of the checkpoint. Connectors run on their
//! subtask's thread and never block for long (see [`Source::poll`]), so barriers and cancellation are not held up.
//! Must not depend on operators, checkpoints or jobs.

mod blackhole;
mod context;
mod dead_letters;
mod file;
mod generator;
mod health;
mod open;
mod reconnect;
mod registry;
mod sink;
mod socket;
mod source;
mod spec;
mod stdout;
mod undecodable;
mod versioned_bytes;

#[cfg(test)]
mod leaky;
#[cfg(test)]
mod registry_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use context::ConnectorContext;
pub use dead_letters::{
    LetterFile, LetterLine, LetterLines, LetterQuota, LetterStore, StoredLetter, is_letter_committable,
    letter_committer, open_letter_sink,
};
pub use health::{Health, HealthBoard, HealthReporter, HealthState};
pub use open::{
    SettingError, check_headers, check_promise, check_sink, check_source, committer, find_record, first_records,
    guarantee, ignores_records, open_sink, open_source, published_by_other_jobs, publishes_files, replay,
    writes_to_stdout,
};
pub use registry::CONNECTORS;
pub use sink::{Committer, OtherJobOutput, Sink};
pub use source::{FIRST_RECORDS, HeaderRun, Poll, RecordLocation, Replay, Source, SourceCheck, UndecodableRecord};
pub use spec::SinkGuarantee;
pub use undecodable::SkipLog;
