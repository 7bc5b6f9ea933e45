//! Assigns event timestamps to the records of a source, and warns the user about records without one.

use std::sync::Arc;

use crate::connector::{EventTimestamp, FIRST_RECORDS, SkipLog, TimestampExtractor, is_implausible};
use crate::error::{Error, record_undecodable};
use crate::model::{Batch, NO_TIMESTAMP};
use crate::pipeline::UndecodablePolicy;

/// Assigns the timestamps of one source subtask.
pub(crate) struct TimestampAssigner {
    /// Id of the source.
    node: String,
    extractor: Arc<TimestampExtractor>,
    on_undecodable: UndecodablePolicy,
    skip_log: SkipLog,
    /// Records without a timestamp so far.
    missing: u64,
    /// Records so far.
    seen: u64,
    has_timestamps: bool,
    has_warned_of_missing: bool,
    has_warned_of_implausible: bool,
    warnings: Vec<String>,
}

/// The result of [`TimestampAssigner::assign`].
pub(super) struct AssignedTimestamps {
    /// The largest timestamp of the batch, or [`NO_TIMESTAMP`].
    pub(super) max_timestamp: i64,
    /// Number of records without a timestamp.
    pub(super) missing: u64,
    /// Number of records that were removed because their timestamp cannot be read.
    pub(super) skipped: u64,
    /// Index of the first record whose timestamp cannot be read, if such a record fails the job. No later record has its
    /// timestamp set.
    pub(super) first_unreadable: Option<usize>,
}

impl TimestampAssigner {
    pub(crate) fn new(
        node: &str,
        extractor: Arc<TimestampExtractor>,
        on_undecodable: UndecodablePolicy,
    ) -> TimestampAssigner {
        TimestampAssigner {
            node: node.to_owned(),
            extractor,
            on_undecodable,
            skip_log: SkipLog::default(),
            missing: 0,
            seen: 0,
            has_timestamps: false,
            has_warned_of_missing: false,
            has_warned_of_implausible: false,
            warnings: Vec::new(),
        }
    }

    /// Sets the timestamps of a batch. A record whose timestamp cannot be read is removed, or ends the batch.
    pub(super) fn assign(&mut self, batch: &mut Batch) -> AssignedTimestamps {
        let mut assigned =
            AssignedTimestamps { max_timestamp: NO_TIMESTAMP, missing: 0, skipped: 0, first_unreadable: None };
        let mut unreadable = Vec::new();
        for (index, (timestamp, value)) in batch.timestamps.iter_mut().zip(batch.values.iter()).enumerate() {
            match self.extractor.extract(value) {
                EventTimestamp::At(event_ms) => {
                    *timestamp = event_ms;
                    assigned.max_timestamp = assigned.max_timestamp.max(event_ms);
                }
                EventTimestamp::Missing => assigned.missing += 1,
                EventTimestamp::Unreadable if self.on_undecodable == UndecodablePolicy::Fail => {
                    assigned.first_unreadable = Some(index);
                    break;
                }
                EventTimestamp::Unreadable => unreadable.push(index),
            }
        }
        self.missing += assigned.missing;
        self.seen += batch.len() as u64;
        self.has_timestamps |= assigned.max_timestamp != NO_TIMESTAMP;
        if !self.has_warned_of_implausible && assigned.max_timestamp != NO_TIMESTAMP {
            self.warn_of_implausible(batch, assigned.max_timestamp);
        }
        if !self.has_timestamps && assigned.missing > 0 && self.seen >= FIRST_RECORDS as u64 {
            self.warn_of_missing();
        }
        if !unreadable.is_empty() {
            assigned.skipped = unreadable.len() as u64;
            self.remove_records(batch, &unreadable);
        }
        assigned
    }

    /// Notes that the source has ended.
    pub(super) fn end(&mut self) {
        if !self.has_timestamps && self.missing > 0 {
            self.warn_of_missing();
        }
    }

    /// Returns the warnings since the last call.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Returns the error `record-undecodable` for the record `value` at `place`.
    pub(super) fn unreadable_error(&self, value: &[u8], place: &str) -> Error {
        unreadable_error(&self.node, &self.extractor, value, place)
    }

    fn warn_of_missing(&mut self) {
        if !std::mem::replace(&mut self.has_warned_of_missing, true) {
            self.warnings.push(missing_warning(&self.node, &self.extractor));
        }
    }

    /// Checks the very first timestamp, and later the largest one of each batch if it is implausible.
    fn warn_of_implausible(&mut self, batch: &Batch, max_timestamp: i64) {
        let is_first_batch = self.seen == batch.len() as u64;
        let is_suspect = is_implausible(max_timestamp);
        if !is_first_batch && !is_suspect {
            return;
        }
        let is_shown = |ms: i64| if is_suspect { ms == max_timestamp } else { ms != NO_TIMESTAMP };
        let Some(index) = batch.timestamps.iter().position(|timestamp| is_shown(*timestamp)) else { return };
        let (value, timestamp) = (batch.values.value(index), batch.timestamps[index]);
        if let Some(warning) = implausible_warning(&self.node, &self.extractor, value, timestamp) {
            self.has_warned_of_implausible = true;
            self.warnings.push(warning);
        }
    }

    /// Removes the records at these indexes from a batch.
    fn remove_records(&mut self, batch: &mut Batch, removed: &[usize]) {
        let mut kept = Batch::with_capacity(batch.len() - removed.len(), batch.values.bytes().len());
        let mut removed = removed.iter().copied().peekable();
        for (index, (value, timestamp)) in batch.values.iter().zip(&batch.timestamps).enumerate() {
            if removed.next_if_eq(&index).is_none() {
                kept.push(value, *timestamp);
                continue;
            }
            let (node, extractor) = (&self.node, &self.extractor);
            self.skip_log.skip(node, || unreadable_error(node, extractor, value, ""));
        }
        *batch = kept;
    }
}

fn unreadable_error(node: &str, extractor: &TimestampExtractor, value: &[u8], place: &str) -> Error {
    let (field, shown, reason) = (extractor.described(), extractor.shown(value), extractor.why_unreadable(value));
    let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
    let message = format!("source `{node}`: {place}`{shown}` in {field} is not a timestamp: {reason}");
    record_undecodable(message)
        .hint("correct `timestamp`, or set `on_undecodable = \"skip\"` for the source to skip such records")
}

fn missing_warning(node: &str, extractor: &TimestampExtractor) -> String {
    format!("source `{node}`: its first records have no timestamp in {}", extractor.described())
}

fn implausible_warning(node: &str, extractor: &TimestampExtractor, value: &[u8], ms: i64) -> Option<String> {
    let (shown, field, remark) = (extractor.shown(value), extractor.described(), extractor.remark(ms)?);
    Some(format!("source `{node}`: the timestamp `{shown}` in {field} {remark}"))
}

/// Checks the first records of a source when a job is submitted. Returns a warning for the user, if any. Fails with
/// `record-undecodable` if records have a timestamp and none can be read.
pub(crate) fn check_first_timestamps(
    node: &str,
    extractor: &TimestampExtractor,
    on_undecodable: UndecodablePolicy,
    first: &Batch,
) -> Result<Option<String>, Error> {
    let records: Vec<(&[u8], EventTimestamp)> =
        first.values.iter().map(|value| (value, extractor.extract(value))).collect();
    let readable = records.iter().find_map(|(value, timestamp)| match timestamp {
        EventTimestamp::At(ms) => Some((*value, *ms)),
        _ => None,
    });
    let unreadable = records.iter().find(|(_, timestamp)| *timestamp == EventTimestamp::Unreadable);
    match (readable, unreadable) {
        (Some((value, ms)), _) => Ok(implausible_warning(node, extractor, value, ms)),
        (None, Some((value, _))) => {
            let error = unreadable_error(node, extractor, value, "");
            match on_undecodable {
                UndecodablePolicy::Fail => Err(error),
                UndecodablePolicy::Skip | UndecodablePolicy::DeadLetter => {
                    Ok(Some(format!("{}; all of the first records are skipped", error.message)))
                }
            }
        }
        (None, None) => Ok((!records.is_empty()).then(|| missing_warning(node, extractor))),
    }
}
