//! One tap as the subtasks see it: its rate, its counts and its queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::tapped_record::{RecordRoute, TappedRecord};
use crate::log_limit::LogLimit;
use crate::model::Batch;

/// Number of records that wait for a reader. Each has at most [`super::tapped_record::COPIED_BYTES_MAX`] bytes.
const QUEUE_RECORDS: usize = 64;

/// Where the records of a tap pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapSide {
    /// Records that the node takes, as it reads them.
    In,
    /// Records that the node emits.
    Out,
}

impl TapSide {
    pub(super) fn bit(self) -> u8 {
        match self {
            TapSide::In => 1,
            TapSide::Out => 2,
        }
    }
}

/// What a tap takes.
#[derive(Clone, Copy, Debug)]
pub struct TapSettings {
    /// Where the records pass.
    pub side: TapSide,
    /// Take one of this many records, at least 1.
    pub every: u64,
    /// Largest number of records per second, at least 1.
    pub rate: u64,
}

/// What a tap has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapCounts {
    /// Records that have passed.
    pub passed: u64,
    /// Records that were taken, but dropped because the reader is slow.
    pub dropped: u64,
}

/// A tap as the subtasks see it.
pub(super) struct OpenTap {
    pub(super) settings: TapSettings,
    limit: LogLimit,
    passed: AtomicU64,
    dropped: AtomicU64,
    queue: Sender<TappedRecord>,
}

impl OpenTap {
    pub(super) fn new(settings: TapSettings) -> (Arc<OpenTap>, Receiver<TappedRecord>) {
        let (queue, receiver) = mpsc::channel(QUEUE_RECORDS);
        let limit = LogLimit::new(settings.rate, settings.rate);
        let tap = OpenTap { settings, limit, passed: AtomicU64::new(0), dropped: AtomicU64::new(0), queue };
        (Arc::new(tap), receiver)
    }

    /// Returns what the tap has seen until now.
    pub(super) fn counts(&self) -> TapCounts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TapCounts { passed: count(&self.passed), dropped: count(&self.dropped) }
    }

    /// Copies some records of a batch into the queue.
    pub(super) fn offer(&self, route: RecordRoute, batch: &Batch, now_ns: u64) {
        let every = self.settings.every.max(1);
        let before = self.passed.fetch_add(batch.len() as u64, Ordering::Relaxed);
        // The records with the numbers 0, `every`, 2 × `every` and so on are taken.
        let first = before.checked_next_multiple_of(every).unwrap_or(u64::MAX) - before;
        let mut index = usize::try_from(first).unwrap_or(usize::MAX);
        while index < batch.len() && self.limit.take_tokens(1, now_ns) {
            match self.queue.try_reserve() {
                Ok(place) => place.send(TappedRecord::copy(route, batch, index)),
                Err(_) => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
            }
            index = index.saturating_add(usize::try_from(every).unwrap_or(usize::MAX));
        }
    }
}
