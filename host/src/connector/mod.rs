//! Sources and sinks: where records come from and where they go.
//!
//! The traits are in `source` and `sink`. Each connector is a folder, implements the traits of `spec`, and is listed in
//! `registry`. `open` opens the connector that a pipeline file names. `outbox` is shared by sinks, `splits` and
//! `split_discovery` by sources with several splits, and `pump` by asynchronous clients.
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
pub mod ingest;
#[cfg(feature = "kafka")]
mod kafka;
mod open;
mod outbox;
mod pump;
mod reconnect;
mod registry;
mod schema_registry;
mod shared_header;
mod sink;
mod sink_progress;
mod socket;
mod source;
mod spec;
mod split_discovery;
mod splits;
mod stdout;
mod undecodable;
mod versioned_bytes;

#[cfg(test)]
mod leaky;
#[cfg(test)]
mod pump_tests;
#[cfg(test)]
mod registry_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod schema_validator;
#[cfg(test)]
mod settings_tests;
#[cfg(test)]
pub(crate) mod split_log;
#[cfg(test)]
mod splits_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use context::ConnectorContext;
pub use dead_letters::{
    LetterFile, LetterLine, LetterLines, LetterQuota, LetterStore, StoredLetter, is_letter_committable,
    letter_committer, open_letter_sink,
};
pub use health::{ConnectorHealth, HealthBoard, HealthReporter, HealthState};
pub use open::{
    SettingError, check_headers, check_promise, check_sink, check_source, committer, find_record, first_records,
    guarantee, ignores_records, ingest_source, open_sink, open_source, published_by_other_jobs, publishes_files,
    replay, uses_outbox,
};
#[cfg(test)]
pub use outbox::FakePeer;
pub use outbox::{
    HeaderBuffer, HeaderList, OutboxCommitter, OutboxEncoder, OutboxPeer, OutboxRecord, OutboxSettings, OutboxSink,
    Parts, Publisher, Trouble, is_outbox_committable,
};
pub use pump::{Pump, PumpClosed, PumpPosition, PumpSender, PumpedBatch};
pub use registry::CONNECTORS;
pub use schema_registry::{avro_reading, avro_writing};
pub use sink::{
    Committer, FinishOutput, OtherJobOutput, OutputFiles, Prepared, PreparedFile, Recovered, Sink, SinkOutput,
};
pub use sink_progress::{PublishTrouble, SinkProgress};
pub use source::{
    FIRST_RECORDS, HeaderRun, OpenSplits, Poll, RecordLocation, Replay, Source, SourceCheck, SplitId, UndecodableRecord,
};
pub use spec::SinkGuarantee;
pub use split_discovery::SplitDiscovery;
pub use splits::{OwnSplits, SplitName, SplitOrigin};
pub use undecodable::SkipLog;
