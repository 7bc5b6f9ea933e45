//! Event timestamps of the records that a source gives, and what a person is told of those without one.

use std::sync::Arc;

use crate::connector::{EventTimestamp, FIRST_RECORDS, SkipLog, TimestampExtractor, is_implausible};
use crate::error::{Error, record_undecodable};
use crate::model::{Batch, NO_TIMESTAMP};
use crate::pipeline::UndecodablePolicy;

/// Sets the timestamps of one source subtask. See the module.
pub(in crate::runtime) struct Stamper {
    /// The source's id.
    node: String,
    extractor: Arc<TimestampExtractor>,
    on_undecodable: UndecodablePolicy,
    skip_log: SkipLog,
    /// Records without a timestamp, in all.
    without: u64,
    seen: u64,
    has_read_any: bool,
    has_warned_of_none: bool,
    has_remarked: bool,
    warnings: Vec<String>,
}

/// What became of a batch.
pub(in crate::runtime) struct Stamped {
    /// The largest timestamp in it.
    pub(in crate::runtime) latest: i64,
    /// Records without a timestamp.
    pub(in crate::runtime) without: u64,
    /// Records that were left out.
    pub(in crate::runtime) skipped: u64,
    /// The first record whose timestamp cannot be read, where such a record fails the job. Nothing behind it is set.
    pub(in crate::runtime) unreadable: Option<usize>,
}

impl Stamper {
    pub(in crate::runtime) fn new(
        node: &str,
        extractor: Arc<TimestampExtractor>,
        on_undecodable: UndecodablePolicy,
    ) -> Stamper {
        Stamper {
            node: node.to_owned(),
            extractor,
            on_undecodable,
            skip_log: SkipLog::default(),
            without: 0,
            seen: 0,
            has_read_any: false,
            has_warned_of_none: false,
            has_remarked: false,
            warnings: Vec::new(),
        }
    }

    /// Sets the timestamps. Records whose timestamp cannot be read leave the batch, or stop it.
    pub(in crate::runtime) fn stamp(&mut self, batch: &mut Batch) -> Stamped {
        let mut stamped = Stamped { latest: NO_TIMESTAMP, without: 0, skipped: 0, unreadable: None };
        let mut unreadable = Vec::new();
        for (index, (timestamp, value)) in batch.timestamps.iter_mut().zip(batch.values.iter()).enumerate() {
            match self.extractor.extract(value) {
                EventTimestamp::At(event_ms) => {
                    *timestamp = event_ms;
                    stamped.latest = stamped.latest.max(event_ms);
                }
                EventTimestamp::Missing => stamped.without += 1,
                EventTimestamp::Unreadable if self.on_undecodable == UndecodablePolicy::Fail => {
                    stamped.unreadable = Some(index);
                    break;
                }
                EventTimestamp::Unreadable => unreadable.push(index),
            }
        }
        self.without += stamped.without;
        self.seen += batch.len() as u64;
        self.has_read_any |= stamped.latest != NO_TIMESTAMP;
        if !self.has_remarked && stamped.latest != NO_TIMESTAMP {
            self.remark(batch, stamped.latest);
        }
        if !self.has_read_any && stamped.without > 0 && self.seen >= FIRST_RECORDS as u64 {
            self.warn_of_none();
        }
        if !unreadable.is_empty() {
            stamped.skipped = unreadable.len() as u64;
            self.leave_out(batch, &unreadable);
        }
        stamped
    }

    /// No more records will come.
    pub(in crate::runtime) fn end(&mut self) {
        if !self.has_read_any && self.without > 0 {
            self.warn_of_none();
        }
    }

    /// What is to be told since the last call.
    pub(in crate::runtime) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// `record-undecodable` for the record `value` at `place`.
    pub(in crate::runtime) fn unreadable(&self, value: &[u8], place: &str) -> Error {
        unreadable(&self.node, &self.extractor, value, place)
    }

    fn warn_of_none(&mut self) {
        if !std::mem::replace(&mut self.has_warned_of_none, true) {
            self.warnings.push(no_timestamps(&self.node, &self.extractor));
        }
    }

    /// Looks at the first timestamp of all, and later at the largest one.
    fn remark(&mut self, batch: &Batch, latest: i64) {
        let is_first = self.seen == batch.len() as u64;
        if !is_first && !is_implausible(latest) {
            return;
        }
        let wanted = |timestamp: i64| if is_first { timestamp != NO_TIMESTAMP } else { timestamp == latest };
        let Some(index) = batch.timestamps.iter().position(|timestamp| wanted(*timestamp)) else { return };
        let index = if is_implausible(latest) {
            batch.timestamps.iter().position(|timestamp| *timestamp == latest).unwrap_or(index)
        } else {
            index
        };
        if let Some(remark) = remark(&self.node, &self.extractor, batch.values.value(index), batch.timestamps[index]) {
            self.has_remarked = true;
            self.warnings.push(remark);
        }
    }

    /// Takes these records out of a batch.
    fn leave_out(&mut self, batch: &mut Batch, unreadable: &[usize]) {
        let mut kept = Batch::with_capacity(batch.len() - unreadable.len(), batch.values.bytes().len());
        let mut left_out = unreadable.iter().copied().peekable();
        for (index, (value, timestamp)) in batch.values.iter().zip(&batch.timestamps).enumerate() {
            if left_out.next_if_eq(&index).is_none() {
                kept.push(value, *timestamp);
                continue;
            }
            let (node, extractor) = (&self.node, &self.extractor);
            self.skip_log.skip(node, || self::unreadable(node, extractor, value, ""));
        }
        *batch = kept;
    }
}

fn unreadable(node: &str, extractor: &TimestampExtractor, value: &[u8], place: &str) -> Error {
    let (field, shown, why) = (extractor.described(), extractor.shown(value), extractor.why_unreadable(value));
    let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
    let message = format!("source `{node}`: {place}`{shown}` in {field} is no timestamp: {why}");
    record_undecodable(message)
        .hint("correct `timestamp`, or set `on_undecodable = \"skip\"` at the source to leave out such records")
}

fn no_timestamps(node: &str, extractor: &TimestampExtractor) -> String {
    format!("source `{node}`: its first records have no timestamp in {}", extractor.described())
}

fn remark(node: &str, extractor: &TimestampExtractor, value: &[u8], ms: i64) -> Option<String> {
    let (shown, field, remark) = (extractor.shown(value), extractor.described(), extractor.remark(ms)?);
    Some(format!("source `{node}`: the timestamp `{shown}` in {field} {remark}"))
}

/// At submit: what is to be told of the first records of a source. An error where no timestamp of them can be read.
pub(in crate::runtime) fn check_first(
    node: &str,
    extractor: &TimestampExtractor,
    on_undecodable: UndecodablePolicy,
    first: &Batch,
) -> Result<Option<String>, Error> {
    let of = |value| (value, extractor.extract(value));
    let all: Vec<(&[u8], EventTimestamp)> = first.values.iter().map(of).collect();
    let read = all.iter().find_map(|(value, at)| match at {
        EventTimestamp::At(ms) => Some((*value, *ms)),
        _ => None,
    });
    let unreadable = all.iter().find(|(_, at)| *at == EventTimestamp::Unreadable);
    match (read, unreadable) {
        (Some((value, ms)), _) => Ok(remark(node, extractor, value, ms)),
        (None, Some((value, _))) => {
            let error = self::unreadable(node, extractor, value, "");
            match on_undecodable {
                UndecodablePolicy::Fail => Err(error),
                UndecodablePolicy::Skip => Ok(Some(format!("{}; all of the first records are skipped", error.message))),
            }
        }
        (None, None) => Ok((!all.is_empty()).then(|| no_timestamps(node, extractor))),
    }
}
