//! Ended spans until they are exported.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::ended_span::EndedSpan;
use crate::clock::SharedClock;

/// Number of spans that wait at most.
const SPANS_MAX: usize = 4096;
/// Number of spans that are exported at once.
const BATCH: usize = 512;
/// Time after which spans are exported although they are few.
const LINGER: Duration = Duration::from_secs(1);

/// Numbers of exported and dropped spans of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Spans that the collector has accepted.
    pub exported: u64,
    /// Spans that were dropped because the collector did not take them in time.
    pub dropped: u64,
}

/// The queue of ended spans. Drops the oldest ones if the exporter does not take them in time.
pub struct SpanQueue {
    pub(super) clock: SharedClock,
    waiting: Mutex<WaitingSpans>,
    /// Notified when there are many spans, when the queue is closed, and when spans are exported.
    changed: Condvar,
}

#[derive(Default)]
struct WaitingSpans {
    spans: VecDeque<EndedSpan>,
    /// Number of spans that the exporter is sending.
    in_flight: usize,
    counts: SpanCounts,
    is_closed: bool,
    /// Whether it was logged that spans are dropped.
    is_loss_logged: bool,
}

impl SpanQueue {
    pub fn new(clock: SharedClock) -> SpanQueue {
        SpanQueue { clock, waiting: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds a span. Drops the oldest one if there are too many. Does not block.
    pub fn push(&self, span: EndedSpan) {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed {
            waiting.counts.dropped += 1;
            return;
        }
        waiting.spans.push_back(span);
        waiting.drop_surplus();
        if waiting.spans.len() == 1 || waiting.spans.len() >= BATCH {
            self.changed.notify_all();
        }
    }

    /// Waits for spans, and takes the oldest ones. `None` once the queue is closed and empty.
    pub fn take_batch(&self) -> Option<Vec<EndedSpan>> {
        let mut waiting = self.waiting.lock();
        while !waiting.is_closed && waiting.spans.len() < BATCH {
            if waiting.spans.is_empty() {
                self.changed.wait(&mut waiting);
            } else if self.changed.wait_for(&mut waiting, LINGER).timed_out() {
                break;
            }
        }
        let count = waiting.spans.len().min(BATCH);
        let batch: Vec<EndedSpan> = waiting.spans.drain(..count).collect();
        waiting.in_flight = batch.len();
        (!batch.is_empty()).then_some(batch)
    }

    /// Notes that a batch was exported.
    pub fn exported(&self) {
        let mut waiting = self.waiting.lock();
        waiting.counts.exported += std::mem::take(&mut waiting.in_flight) as u64;
        waiting.is_loss_logged = false;
        self.changed.notify_all();
    }

    /// Takes back a batch that could not be exported. It is dropped if there is no room, if the collector has refused it, or if
    /// the queue is closed.
    pub fn put_back(&self, batch: Vec<EndedSpan>, is_refused: bool) {
        let mut waiting = self.waiting.lock();
        waiting.in_flight = 0;
        if is_refused || waiting.is_closed {
            waiting.note_dropped(batch.len());
        } else {
            batch.into_iter().rev().for_each(|span| waiting.spans.push_front(span));
            waiting.drop_surplus();
        }
        self.changed.notify_all();
    }

    /// Waits for `time`, or until the queue is closed. Returns whether it is.
    pub fn pause(&self, time: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        self.changed.wait_while_for(&mut waiting, |waiting| !waiting.is_closed, time);
        waiting.is_closed
    }

    /// Closes the queue, and waits until it is empty, for at most `time`.
    pub fn finish(&self, time: Duration) {
        let mut waiting = self.waiting.lock();
        waiting.is_closed = true;
        self.changed.notify_all();
        self.changed.wait_while_for(&mut waiting, |waiting| waiting.in_flight > 0 || !waiting.spans.is_empty(), time);
    }

    pub fn counts(&self) -> SpanCounts {
        self.waiting.lock().counts
    }
}

impl WaitingSpans {
    fn drop_surplus(&mut self) {
        let surplus = self.spans.len().saturating_sub(SPANS_MAX);
        if surplus > 0 {
            self.spans.drain(..surplus);
            self.note_dropped(surplus);
        }
    }

    fn note_dropped(&mut self, spans: usize) {
        self.counts.dropped += spans as u64;
        if !std::mem::replace(&mut self.is_loss_logged, true) {
            tracing::warn!("spans of traces are dropped, because the collector does not take them");
        }
    }
}
