//! Record counts of one subtask, which a checkpoint stores and a restore sets back.
//!
//! The fields are part of the checkpoint metadata: a field is never changed or moved, and a new one needs a new format
//! (see `checkpoint/metadata/`). Plain data; depends on no other module.

use serde::{Deserialize, Serialize};

/// Record counts of one subtask, or of several subtasks together. A restore sets them back to those of the checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Records received.
    pub records_in: u64,
    /// Records emitted.
    pub records_out: u64,
    /// For an operator or a sink: turns that were rolled back because of a fault. One bad record costs several, since its
    /// batch is bisected. For a source: records without a readable timestamp, see [`Counters::records_without_timestamp`].
    pub faults: u64,
    /// Records dropped by the policy `on_fault = "skip"`.
    pub records_skipped: u64,
    /// Records sent to a dead letter.
    pub records_dead_lettered: u64,
    /// Late records that were dropped because no node reads the output for late records.
    pub records_late: u64,
}

impl Counters {
    /// Adds the counts of another subtask.
    pub fn add(&mut self, other: &Counters) {
        self.records_in += other.records_in;
        self.records_out += other.records_out;
        self.faults += other.faults;
        self.records_skipped += other.records_skipped;
        self.records_dead_lettered += other.records_dead_lettered;
        self.records_late += other.records_late;
    }

    /// Returns the counts after `earlier`.
    pub fn since(&self, earlier: &Counters) -> Counters {
        Counters {
            records_in: self.records_in.saturating_sub(earlier.records_in),
            records_out: self.records_out.saturating_sub(earlier.records_out),
            faults: self.faults.saturating_sub(earlier.faults),
            records_skipped: self.records_skipped.saturating_sub(earlier.records_skipped),
            records_dead_lettered: self.records_dead_lettered.saturating_sub(earlier.records_dead_lettered),
            records_late: self.records_late.saturating_sub(earlier.records_late),
        }
    }

    /// Returns a source's count of records whose timestamp could not be read.
    ///
    /// A source runs no turns and so has no faults of its own. The durable format stores this count in `faults`; call
    /// this method on the counters of a source only.
    pub fn records_without_timestamp(&self) -> u64 {
        self.faults
    }

    /// Adds to a source's count of records whose timestamp could not be read.
    pub fn add_records_without_timestamp(&mut self, records: u64) {
        self.faults += records;
    }
}
