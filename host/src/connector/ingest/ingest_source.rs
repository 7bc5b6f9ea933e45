//! The source `http`: reads the log of what was sent to it.
//!
//! Invariant: it reads only what is synced, so that no record disappears that a checkpoint contains.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::attached_reader::AttachedReader;
use super::ingest_log::IngestLog;
use super::ingest_position::{self, FrameShare, FrameShares};
use super::log_cursor::LogCursor;
use super::log_position::LogPosition;
use super::segment::SEGMENT_HEADER_BYTES;
use crate::connector::context::ConnectorContext;
use crate::connector::health::HealthReporter;
use crate::connector::source::{POLL_BYTES_MAX, Poll, RecordLocation, Source, SplitId};
use crate::error::{Error, Result, source_behind};
use crate::model::{Batch, Column, NO_ATTRIBUTES};

/// One subtask of a source `http`.
pub(super) struct IngestSource {
    reader: AttachedReader,
    log: Arc<IngestLog>,
    cursor: LogCursor,
    /// What the subtask reads, the first share first.
    shares: FrameShares,
    /// The shares before the last poll.
    before: FrameShares,
    /// Number of records of the last poll.
    polled: usize,
    /// Where the records of the last poll come from: index of the first record, segment and offset of the frame.
    origins: Vec<(usize, PathBuf, u64)>,
    /// The smallest position of each snapshot that is not released yet.
    snapshots: VecDeque<(u64, LogPosition)>,
    health: HealthReporter,
}

impl IngestSource {
    /// Opens a subtask's share of a log. Errors: `checkpoint-corrupt`; `source-behind` if records after a restored position have been
    /// removed, unless `allow_loss` is set.
    pub(super) fn open(
        log: &Arc<IngestLog>,
        context: &ConnectorContext,
        positions: &[&[u8]],
        allow_loss: bool,
    ) -> Result<IngestSource> {
        let (subtask, parallelism) = (context.subtask, context.parallelism.max(1));
        let shares = match positions {
            [] => vec![start_of(log, subtask, parallelism)],
            positions => ingest_position::share(&context.node, positions, subtask, parallelism)?,
        };
        let shares = check_present(log, &context.node, shares, allow_loss)?;
        let start = smallest(&shares);
        let reader = AttachedReader::attach(&log.shared, subtask, parallelism, start, context.wakeup.clone());
        let cursor = LogCursor::new(&log.shared, start);
        let (log, before, origins, snapshots) = (log.clone(), shares.clone(), Vec::new(), VecDeque::new());
        let health = context.health.clone();
        Ok(IngestSource { reader, log, cursor, shares, before, polled: 0, origins, snapshots, health })
    }

    /// Reads records of the first share. Returns whether the share has ended.
    fn read_share(&mut self, batch: &mut Batch, records: usize, bytes: usize) -> Result<bool> {
        let Some(share) = self.shares.first_mut() else { return Ok(true) };
        self.cursor.seek(share.position);
        while batch.len() < records && batch.values.bytes().len() < bytes {
            if share.to.is_some_and(|to| share.sequence >= to) {
                return Ok(true);
            }
            let Some(frame) = self.cursor.header()? else { return Ok(false) };
            // A segment may have ended.
            share.position = self.cursor.position();
            if share.contains(frame.sequence) {
                let first = batch.len();
                let path = self.cursor.path();
                let payload = self.cursor.payload(&frame)?;
                let timestamp = payload.event_ms.unwrap_or(payload.received_ms);
                for record in payload.records_from(share.read as usize) {
                    if batch.len() == records || batch.values.bytes().len() >= bytes {
                        break;
                    }
                    batch.push(record, timestamp);
                    share.read += 1;
                }
                add_attributes(batch, first, payload.attributes);
                self.origins.push((first, path, share.position.offset));
            }
            if !share.contains(frame.sequence) || share.read >= frame.records {
                self.cursor.skip(&frame);
                share.position = self.cursor.position();
                (share.sequence, share.record) = (frame.sequence + 1, frame.first_record + u64::from(frame.records));
                share.read = 0;
            }
        }
        Ok(false)
    }

    fn read(&mut self, batch: &mut Batch, records: usize) -> Result<()> {
        let (records, bytes) = (batch.len().saturating_add(records), batch.values.bytes().len() + POLL_BYTES_MAX);
        while batch.len() < records && self.read_share(batch, records, bytes)? {
            self.shares.remove(0);
        }
        Ok(())
    }
}

/// Adds the attributes of the records from index `first` on.
fn add_attributes(batch: &mut Batch, first: usize, attributes: &[u8]) {
    let records = batch.values.len();
    if attributes.is_empty() || attributes == NO_ATTRIBUTES {
        // A batch has the attributes of all its records or of none.
        if let Some(column) = &mut batch.attributes {
            (column.len()..records).for_each(|_| column.push(NO_ATTRIBUTES));
        }
        return;
    }
    let column = batch.attributes.get_or_insert_with(Column::new);
    (column.len()..first).for_each(|_| column.push(NO_ATTRIBUTES));
    (first..records).for_each(|_| column.push(attributes));
}

/// Returns the whole share of a subtask in a log that it has not read before.
fn start_of(log: &IngestLog, subtask: u32, parallelism: u32) -> FrameShare {
    let oldest = log.shared.contents.lock().oldest();
    let (segment, sequence, record) =
        oldest.map_or((1, 0, 0), |(segment, extent)| (segment, extent.first_sequence, extent.first_record));
    let position = LogPosition { segment, offset: SEGMENT_HEADER_BYTES };
    FrameShare { position, sequence, record, read: 0, modulus: parallelism, residue: subtask, from: sequence, to: None }
}

/// Checks that the log contains everything from the restored positions on.
fn check_present(log: &IngestLog, node: &str, shares: FrameShares, allow_loss: bool) -> Result<FrameShares> {
    let (oldest, end) = {
        let contents = log.shared.contents.lock();
        (contents.oldest(), contents.end())
    };
    let Some((oldest, extent)) = oldest else { return Ok(shares) };
    let start = LogPosition { segment: oldest, offset: SEGMENT_HEADER_BYTES };
    if let Some(beyond) = shares.iter().find(|share| share.position > end) {
        let own = shares.last().copied().unwrap_or(*beyond);
        let why = format!(
            "the log of source `{node}` ends at {end}, before the restored position {}: it is not the log that the checkpoint was \
             taken with",
            beyond.position
        );
        lose(allow_loss, why)?;
        let (sequence, record) = (extent.first_sequence, extent.first_record);
        return Ok(vec![FrameShare { position: start, sequence, record, read: 0, from: sequence, ..own }]);
    }
    let behind = shares.iter().filter(|share| share.position < start).map(|share| share.record + u64::from(share.read));
    let Some(first_missing) = behind.min() else { return Ok(shares) };
    let missing = extent.first_record.saturating_sub(first_missing);
    if missing > 0 {
        let why = format!(
            "{missing} records of source `{node}` after the restored position have been removed from the log, which begins at {start}"
        );
        lose(allow_loss, why)?;
    }
    let moved = |share: FrameShare| match share.position < start {
        true => FrameShare {
            position: start,
            sequence: extent.first_sequence,
            record: extent.first_record,
            read: 0,
            ..share
        },
        false => share,
    };
    let last = shares.len().saturating_sub(1);
    let kept = shares.into_iter().map(moved).enumerate();
    let is_left = |index: usize, share: &FrameShare| index == last || share.to.is_none_or(|to| share.sequence < to);
    Ok(kept.filter(|(index, share)| is_left(*index, share)).map(|(_, share)| share).collect())
}

/// Logs a loss that is allowed, or returns the error `source-behind`.
fn lose(allow_loss: bool, why: String) -> Result<()> {
    if !allow_loss {
        let error: Error = source_behind(why);
        return Err(error.hint(
            "start from a newer savepoint, or submit with --allow-loss to go on with the oldest record that is there",
        ));
    }
    tracing::warn!("{why}; the job goes on without them");
    Ok(())
}

/// Returns the position of the first frame that a subtask still needs.
fn smallest(shares: &[FrameShare]) -> LogPosition {
    let first = shares.iter().map(|share| share.position).min();
    first.unwrap_or(LogPosition { segment: 0, offset: SEGMENT_HEADER_BYTES })
}

impl Source for IngestSource {
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        if records == 0 {
            return Ok(Poll::Pending(Duration::ZERO));
        }
        let before = batch.len();
        self.before.clone_from(&self.shares);
        self.origins.clear();
        let read = self.read(batch, records);
        self.polled = batch.len() - before;
        read?;
        Ok(if self.polled > 0 { Poll::Records(SplitId::ONLY) } else { Poll::Pending(Duration::MAX) })
    }

    fn snapshot(&mut self, checkpoint: u64) -> Result<Vec<u8>> {
        self.snapshots.push_back((checkpoint, smallest(&self.shares)));
        ingest_position::encode(&self.shares)
    }

    fn complete(&mut self, checkpoint: u64) {
        if let Some((_, position)) = self.snapshots.iter().rev().find(|(id, _)| *id <= checkpoint) {
            self.reader.cover(*position);
        }
        if let Some(own) = self.shares.last() {
            let behind = self.log.shared.contents.lock().next_record.saturating_sub(own.record);
            self.health.set_lag(behind / u64::from(own.modulus));
        }
    }

    fn released(&mut self, oldest_retained: u64) {
        while self.snapshots.get(1).is_some_and(|(id, _)| *id <= oldest_retained) {
            self.snapshots.pop_front();
        }
        if let Some((id, position)) = self.snapshots.front()
            && *id <= oldest_retained
        {
            self.reader.release(*position);
        }
    }

    fn give_back(&mut self, records: usize) -> Result<()> {
        let kept = self.polled.saturating_sub(records);
        self.shares.clone_from(&self.before);
        self.read(&mut Batch::default(), kept)
    }

    fn locate(&self, index: usize, _is_cancelled: &dyn Fn() -> bool) -> Option<RecordLocation> {
        let behind = self.origins.partition_point(|(first, ..)| *first <= index);
        let (_, path, offset) = self.origins.get(behind.checked_sub(1)?)?;
        Some(RecordLocation { file: path.display().to_string(), byte: *offset, line: None })
    }
}
