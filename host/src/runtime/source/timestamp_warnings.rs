//! Warns the user about records without a timestamp, and about timestamps that were probably read in a wrong format.

use crate::connector::FIRST_RECORDS;
use crate::format::{RecordDecoder, is_implausible};
use crate::model::{Batch, NO_TIMESTAMP};

/// The warnings about the timestamps of one source subtask. Each kind is given once.
pub(super) struct TimestampWarnings {
    /// Id of the source.
    node: String,
    /// Records without a timestamp so far.
    missing: u64,
    /// Records so far.
    seen: u64,
    has_timestamps: bool,
    has_warned_of_missing: bool,
    has_warned_of_implausible: bool,
    warnings: Vec<String>,
}

impl TimestampWarnings {
    pub(super) fn new(node: &str) -> TimestampWarnings {
        TimestampWarnings {
            node: node.to_owned(),
            missing: 0,
            seen: 0,
            has_timestamps: false,
            has_warned_of_missing: false,
            has_warned_of_implausible: false,
            warnings: Vec::new(),
        }
    }

    /// Checks the timestamps of a batch. `missing` is the number of records without one.
    pub(super) fn check(&mut self, batch: &Batch, max_timestamp: i64, missing: u64, decoder: &mut RecordDecoder) {
        self.missing += missing;
        self.seen += batch.len() as u64;
        self.has_timestamps |= max_timestamp != NO_TIMESTAMP;
        if !self.has_warned_of_implausible && max_timestamp != NO_TIMESTAMP {
            self.warn_of_implausible(batch, max_timestamp, decoder);
        }
        if !self.has_timestamps && missing > 0 && self.seen >= FIRST_RECORDS as u64 {
            self.warn_of_missing(decoder);
        }
    }

    /// Notes that the source has ended.
    pub(super) fn end(&mut self, decoder: &RecordDecoder) {
        if !self.has_timestamps && self.missing > 0 {
            self.warn_of_missing(decoder);
        }
    }

    /// Returns the warnings since the last call.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn warn_of_missing(&mut self, decoder: &RecordDecoder) {
        if !std::mem::replace(&mut self.has_warned_of_missing, true) {
            let field = decoder.described_timestamp();
            self.warnings.push(format!("source `{}`: its first records have no timestamp in {field}", self.node));
        }
    }

    /// Checks the very first timestamp, and later the largest one of each batch if it is implausible.
    fn warn_of_implausible(&mut self, batch: &Batch, max_timestamp: i64, decoder: &mut RecordDecoder) {
        let is_first_batch = self.seen == batch.len() as u64;
        let is_suspect = is_implausible(max_timestamp);
        if !is_first_batch && !is_suspect {
            return;
        }
        let is_shown = |ms: i64| if is_suspect { ms == max_timestamp } else { ms != NO_TIMESTAMP };
        let Some(index) = batch.timestamps.iter().position(|timestamp| is_shown(*timestamp)) else { return };
        let (value, timestamp) = (batch.values.value(index), batch.timestamps[index]);
        if let Some(remark) = decoder.remark(timestamp) {
            self.has_warned_of_implausible = true;
            let (shown, field) = (decoder.shown_timestamp(value), decoder.described_timestamp());
            self.warnings.push(format!("source `{}`: the timestamp `{shown}` in {field} {remark}", self.node));
        }
    }
}
