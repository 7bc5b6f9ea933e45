//! A log of several splits in memory, and a connector that reads it: a stand-in for a topic in tests. Faults and turns are set by the test.
//!
//! The timestamp of a record is the number that it is or begins with, and its key is the whole record.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::context::ConnectorContext;
use super::source::{OpenSplits, Poll, Replay, Source, SplitId};
use super::spec::{self, SourceSpec};
use super::splits::{OwnSplits, SplitName, SplitOrigin};
use crate::error::{Result, source_failed};
use crate::format::SourceDecoding;
use crate::model::{Batch, Column, NO_TIMESTAMP};
use crate::pipeline::{Connector, FileFormat, RecordParts, Setting, SettingKind, SourceConnector};

pub(super) const CONNECTOR: Connector = Connector {
    name: "split-log",
    source: Some(SourceConnector {
        settings: &[Setting::required("log", SettingKind::Text)],
        read: |section| Ok(spec::source(SplitLogSpec { log: section.need("log")?.string()?.to_owned() })),
    }),
    sink: None,
};

/// The logs that pipelines name.
static LOGS: Mutex<BTreeMap<String, SplitLog>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct SplitLogSpec {
    log: String,
}

impl SourceSpec for SplitLogSpec {
    fn format(&self) -> (FileFormat, bool) {
        (FileFormat::Lines, false)
    }

    fn replay(&self) -> Replay {
        Replay::Yes
    }

    fn record_parts(&self) -> RecordParts {
        RecordParts { timestamps: true, keys: true }
    }

    fn location_key(&self) -> &'static str {
        "log"
    }

    fn open(&self, _: &SourceDecoding, context: &ConnectorContext, positions: &[&[u8]]) -> Result<Box<dyn Source>> {
        Ok(Box::new(SplitLogSource::open(&SplitLog::named(&self.log), context, positions)?))
    }
}

/// A log. Clones are the same log.
#[derive(Clone, Default)]
pub(crate) struct SplitLog(Arc<Mutex<LogContent>>);

#[derive(Default)]
struct LogContent {
    splits: Vec<Vec<String>>,
    /// Whether no record will follow.
    is_complete: bool,
    /// The source fails once it has read this many records.
    fails_after: Option<u64>,
    /// How many records a poll returns of each split. All that are requested if it is missing.
    records_per_poll: Vec<usize>,
    /// The numbers of the splits that sources close.
    closed: Vec<u32>,
    /// Whether sources wait for the end of their last checkpoint.
    awaits_completion: bool,
    /// The folder of the checkpoints of the job that reads the log.
    checkpoints: Option<PathBuf>,
    /// What sources were told, as `complete 3` or `released 2`.
    told: Vec<String>,
}

impl SplitLog {
    /// Returns the log that pipelines name so.
    pub(crate) fn named(name: &str) -> SplitLog {
        LOGS.lock().entry(name.to_owned()).or_default().clone()
    }

    /// Lets sources check that checkpoints which are complete have metadata in this folder.
    pub(crate) fn watch_checkpoints(&self, folder: PathBuf) {
        self.0.lock().checkpoints = Some(folder);
    }

    /// Appends records to a split. Creates the split and those before it if they do not exist.
    pub(crate) fn append(&self, split: usize, records: impl IntoIterator<Item = String>) {
        let splits = &mut self.0.lock().splits;
        splits.resize_with(splits.len().max(split + 1), Vec::new);
        splits[split].extend(records);
    }

    /// Lets sources end behind the last record.
    pub(crate) fn complete(&self) {
        self.0.lock().is_complete = true;
    }

    /// Lets a source fail once it has read this many records, counted from its start.
    pub(crate) fn fail_after(&self, records: Option<u64>) {
        self.0.lock().fails_after = records;
    }

    /// Sets how many records a poll returns of each split.
    pub(crate) fn read_unevenly(&self, records_per_poll: &[usize]) {
        self.0.lock().records_per_poll = records_per_poll.to_vec();
    }

    /// Lets sources close a split.
    pub(crate) fn close(&self, number: u32) {
        self.0.lock().closed.push(number);
    }

    /// Lets sources wait for the end of their last checkpoint.
    pub(crate) fn await_completion(&self) {
        self.0.lock().awaits_completion = true;
    }

    /// Returns what sources were told since the last call.
    pub(crate) fn take_told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().told)
    }

    fn names(&self) -> impl Iterator<Item = SplitName> + use<> {
        let count = self.0.lock().splits.len() as u32;
        (0..count).map(|number| SplitName { of: "log".to_owned(), number })
    }
}

/// One subtask's share of a [`SplitLog`].
pub(crate) struct SplitLogSource {
    log: SplitLog,
    /// The position is the number of records read.
    own: OwnSplits<u64>,
    paused: Vec<SplitId>,
    /// The split whose turn it is, as an index of the open splits.
    turn: usize,
    read: u64,
    last_poll: Option<(SplitId, u64)>,
}

impl SplitLogSource {
    pub(crate) fn open(log: &SplitLog, context: &ConnectorContext, positions: &[&[u8]]) -> Result<SplitLogSource> {
        let mut source = SplitLogSource {
            log: log.clone(),
            own: OwnSplits::open(context, positions)?,
            paused: Vec::new(),
            turn: 0,
            read: 0,
            last_poll: None,
        };
        source.list()?;
        Ok(source)
    }

    /// Takes new splits, and closes others. A job without a checkpoint begins at the end of the splits that exist if they begin with `skip`.
    fn list(&mut self) -> Result<()> {
        let log = self.log.clone();
        let closed = log.0.lock().closed.clone();
        let close = closed.iter().filter_map(|&number| self.own.id(&SplitName { of: "log".to_owned(), number }));
        close.collect::<Vec<_>>().into_iter().for_each(|id| self.own.close(id));
        self.own.take_listed(self.log.names(), |name, origin| {
            let content = log.0.lock();
            let split = &content.splits[name.number as usize];
            let skips = origin == SplitOrigin::FirstListing && split.first().is_some_and(|first| first == "skip");
            Ok(if skips { split.len() as u64 } else { 0 })
        })?;
        Ok(())
    }
}

impl Source for SplitLogSource {
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        self.list()?;
        let log = self.log.clone();
        let content = log.0.lock();
        if content.fails_after.is_some_and(|after| self.read >= after) {
            return Err(source_failed("the test fails the source"));
        }
        let open = self.own.open_splits().splits.to_vec();
        for at in 0..open.len() {
            let place = (self.turn + at) % open.len();
            let (split, number) = (open[place], self.own.name(open[place]).number as usize);
            if self.paused.contains(&split) || records == 0 {
                continue;
            }
            let count = content.records_per_poll.get(number).copied().unwrap_or(records).min(records);
            let position = *self.own.position(split);
            let rest = content.splits[number].iter().skip(position as usize);
            for record in rest.take(count) {
                let timestamp = record.split(':').next().and_then(|number| number.parse().ok());
                batch.push(record.as_bytes(), timestamp.unwrap_or(NO_TIMESTAMP));
                batch.chosen_keys.get_or_insert_with(Column::new).push(record.as_bytes());
            }
            if !batch.is_empty() {
                self.turn = place + 1;
                self.read += batch.len() as u64;
                self.last_poll = Some((split, position));
                *self.own.position_mut(split) += batch.len() as u64;
                return Ok(Poll::Records(split));
            }
        }
        let is_read = |&split: &SplitId| {
            let number = self.own.name(split).number as usize;
            *self.own.position(split) == content.splits[number].len() as u64
        };
        Ok(match content.is_complete && open.iter().all(is_read) {
            true => Poll::End,
            false => Poll::Pending(Duration::from_millis(2)),
        })
    }

    fn snapshot(&mut self, _checkpoint: u64) -> Result<Vec<u8>> {
        self.own.encode()
    }

    fn complete(&mut self, checkpoint: u64) {
        let mut content = self.log.0.lock();
        let metadata = content.checkpoints.as_ref().map(|folder| folder.join(format!("chk-{checkpoint}/manifest")));
        let is_durable = metadata.is_none_or(|metadata| metadata.exists());
        content.told.push(format!("complete {checkpoint}{}", if is_durable { "" } else { " too early" }));
    }

    fn released(&mut self, oldest_retained: u64) {
        self.log.0.lock().told.push(format!("released {oldest_retained}"));
    }

    fn awaits_completion(&self) -> bool {
        self.log.0.lock().awaits_completion
    }

    fn open_splits(&self) -> OpenSplits<'_> {
        self.own.open_splits()
    }

    fn pause(&mut self, paused: &[SplitId]) {
        self.paused = paused.to_vec();
    }

    fn give_back(&mut self, records: usize) -> Result<()> {
        if let Some((split, before)) = self.last_poll.take() {
            let read = *self.own.position(split) - before;
            *self.own.position_mut(split) = before + read.saturating_sub(records as u64);
        }
        Ok(())
    }
}
