//! The trait of a source, and what its callers pass to it and get from it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::model::Batch;
use crate::wakeup::Wakeup;

/// Bytes after which a source ends a poll, however many records were requested: the size of a column is limited.
pub(super) const POLL_BYTES_MAX: usize = 1 << 20;

/// Number of records examined before a source is reported as having no timestamps.
pub const FIRST_RECORDS: usize = 100;

/// A part of a source's input with its own order and its own event time, such as a partition of a topic.
///
/// The index is chosen by the source of one subtask. It is not durable, and it is not used again after its split has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitId(pub u32);

impl SplitId {
    /// The split of a source that has only one.
    pub const ONLY: SplitId = SplitId(0);
}

/// The splits that one subtask of a source reads at the moment.
#[derive(Clone, Copy, Debug)]
pub struct OpenSplits<'a> {
    /// Changes with each change of `splits`.
    pub version: u64,
    /// The splits, in ascending order.
    pub splits: &'a [SplitId],
}

impl OpenSplits<'static> {
    /// The splits of a source that has only one.
    pub const ONLY: OpenSplits<'static> = OpenSplits { version: 0, splits: &[SplitId::ONLY] };
}

/// The outcome of [`Source::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// At least one record of this split was appended, and none of another split.
    Records(SplitId),
    /// No split that may be read has a record now. Poll again after this time at the latest, or after [`Source::wait`] if that returns before.
    /// `Duration::MAX` means that records always end that wait.
    Pending(Duration),
    /// The input has ended. No record will follow.
    End,
}

/// Whether a source can read its records again from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The source continues from any position that it returned.
    Yes,
    /// Records are lost with a failure.
    No,
}

/// One subtask's share of a source.
///
/// All methods are called on the thread of the subtask and do not block. A client that is asynchronous or waits for a peer has threads
/// or tasks of its own.
pub trait Source: Send {
    /// Appends up to `records` records to `batch`. Appends fewer if fewer are available at once, or if they exceed about
    /// 1 MiB. With `records` = 0 the result is `Pending`. Does not wait for records.
    ///
    /// Takes turns: if a split is returned twice, each other open split that had records in between, and is not paused, was
    /// returned as well. Otherwise it would be taken for idle.
    ///
    /// After an error, the records that the same call appended count, and the position is behind them. They belong to the first
    /// open split. Another call fails again.
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll>;

    /// Waits after a `Pending`: until records may be available, until `wakeup` is woken, or until `timeout` has passed. May
    /// return earlier.
    ///
    /// A client with threads of its own need not implement this. It wakes [`ConnectorContext::wakeup`] after each record that
    /// it has received, and the default ends.
    ///
    /// [`ConnectorContext::wakeup`]: super::ConnectorContext::wakeup
    fn wait(&self, wakeup: &Wakeup, timeout: Duration) {
        wakeup.wait(timeout);
    }

    /// Returns the position behind the last record that `poll` returned, for a checkpoint. [`super::open_source`] continues
    /// from it.
    fn snapshot(&mut self, checkpoint: u64) -> Result<Vec<u8>>;

    /// A checkpoint or savepoint is durable, so no restart goes back behind it, unless it is damaged. A client may now acknowledge its records to its peer. Each
    /// call is for a later checkpoint than the call before. Some checkpoints are never reported: they failed, or the process ended.
    ///
    /// The first call after a restore may be for the restored checkpoint, which another process may have taken. Its position is the
    /// one that the source was opened at.
    fn complete(&mut self, _checkpoint: u64) {}

    /// All checkpoints before `oldest_retained` have been removed, so no restart needs records from before its position. Savepoints
    /// do not count.
    fn released(&mut self, _oldest_retained: u64) {}

    /// Returns whether the subtask waits at its end for [`Source::complete`] of its last checkpoint.
    fn awaits_completion(&self) -> bool {
        false
    }

    /// Returns the open splits. A split that has not returned a record yet holds event time back, unless it is idle. A subtask
    /// without open splits is idle.
    fn open_splits(&self) -> OpenSplits<'_> {
        OpenSplits::ONLY
    }

    /// Stops reading these splits, and goes on with all others. A source that is paused as a whole is not polled, so a source with
    /// one split does nothing here.
    fn pause(&mut self, _paused: &[SplitId]) {}

    /// Returns the number of undecodable records skipped since the last call.
    fn take_skipped(&mut self) -> u64 {
        0
    }

    /// Moves the position back, in front of the last `records` records of the last poll. Does nothing if the source
    /// cannot be replayed and therefore has no position.
    fn give_back(&mut self, _records: usize) -> Result<()> {
        Ok(())
    }

    /// Returns the headers of the inputs that the records of the last poll come from. Empty if inputs have no headers.
    fn headers(&self) -> &[HeaderRun] {
        &[]
    }

    /// Returns the parts of the input that are no records, since the last call. Only with `on_undecodable = "dead-letter"`.
    fn take_undecodable(&mut self) -> Vec<UndecodableRecord> {
        Vec::new()
    }

    /// Returns the locations of records of the last `poll`, in ascending order of their indexes. Reads the input at most once more.
    /// See [`Source::locate`].
    fn locate_all(&mut self, indexes: &[usize], is_cancelled: &dyn Fn() -> bool) -> Vec<Option<RecordLocation>> {
        indexes.iter().map(|&index| self.locate(index, is_cancelled)).collect()
    }

    /// Returns the location in the input of record `index` of the last `poll`, or `None` if it is unknown. It may read
    /// the input again, so call it only for a record that failed. Gives up once `is_cancelled` returns true.
    fn locate(&self, _index: usize, _is_cancelled: &dyn Fn() -> bool) -> Option<RecordLocation> {
        None
    }
}

/// The names of the columns of consecutive records of one poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRun {
    /// Index of the first record within the poll.
    pub first: usize,
    /// The names in the header of their input.
    pub columns: Arc<[String]>,
    /// The path of the input.
    pub input: Arc<str>,
}

/// Part of an input that is no record: a CSV quote is not closed, or the record is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndecodableRecord {
    /// Its first bytes, at most 64 KiB.
    pub value: Vec<u8>,
    /// Where it begins, if that is known.
    pub location: Option<RecordLocation>,
    /// Why it is no record.
    pub message: String,
}

/// Maximum number of bytes of [`UndecodableRecord::value`].
pub(super) const UNDECODABLE_BYTES_MAX: usize = 64 << 10;

/// The place in an input file where a record begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLocation {
    /// Path of the file.
    pub file: String,
    /// Byte offset in the decompressed file, from 0.
    pub byte: u64,
    /// Line number from 1, or `None` if it was not determined.
    pub line: Option<u64>,
}

impl RecordLocation {
    /// Formats the location with its byte offset: ``line 12, byte 345 of `FILE` ``.
    pub fn with_byte(&self) -> String {
        let line = self.line.map(|line| format!("line {line}, ")).unwrap_or_default();
        format!("{line}byte {} of `{}`", self.byte, self.file)
    }
}

impl fmt::Display for RecordLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} of `{}`", self.file),
            None => write!(f, "byte {} of `{}`", self.byte, self.file),
        }
    }
}

/// The occasion on which a source is checked.
#[derive(Clone, Copy, Debug)]
pub enum SourceCheck<'a> {
    /// A job is submitted: every problem that the user should fix is an error.
    Submit,
    /// An attempt of an accepted job starts from these positions, or from the beginning if there are none. Only the input
    /// that is still to be read is checked.
    Attempt {
        /// The restored position of each subtask.
        positions: &'a [&'a [u8]],
    },
}
