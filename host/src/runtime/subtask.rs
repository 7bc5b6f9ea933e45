//! The loop of one subtask: read or receive, run the chain, answer barriers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

use super::chain::{Chain, Ended, MemberStats};
use super::element::Barrier;
use super::gate::{Arrival, Gate};
use super::source::SourceReader;
use crate::checkpoint::Counters;
use crate::connector::Poll;
use crate::error::Error;
use crate::model::Fault;
use crate::operator::Position;
use crate::state::StateSnapshot;
use crate::turn::{BROADCAST_INPUT, FIRST_INPUT};

/// The longest wait without a look at cancellation.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// What a subtask tells the job.
pub enum Event {
    /// The subtask's parts of a checkpoint are fixed.
    Acknowledged {
        checkpoint: u64,
        parts: Vec<SubtaskPart>,
    },
    /// A source subtask will give no more records. It goes on answering barriers.
    SourceEnded,
    /// The sources have read as many records as `checkpoint.records` says since the last time.
    RecordsDue,
    Failed(Box<SubtaskFailure>),
}

/// One node's part of a checkpoint, in one subtask.
pub struct SubtaskPart {
    pub node: String,
    pub subtask: u32,
    pub source_position: Option<Vec<u8>>,
    pub state: Option<Box<dyn StateSnapshot>>,
    pub broadcast: Option<Box<dyn StateSnapshot>>,
    pub committable: Option<Vec<u8>>,
    pub counters: Counters,
}

impl SubtaskPart {
    pub(super) fn new(node: &str, subtask: u32) -> SubtaskPart {
        SubtaskPart {
            node: node.to_owned(),
            subtask,
            source_position: None,
            state: None,
            broadcast: None,
            committable: None,
            counters: Counters::default(),
        }
    }
}

/// Why a subtask failed, and with it the job's attempt.
#[derive(Clone, Debug)]
pub struct SubtaskFailure {
    pub node: String,
    pub subtask: u32,
    pub code: &'static str,
    pub message: String,
    pub fault: Option<Fault>,
}

impl SubtaskFailure {
    pub(super) fn error(node: &str, subtask: u32, error: Error) -> SubtaskFailure {
        SubtaskFailure { node: node.to_owned(), subtask, code: error.code, message: error.message, fault: None }
    }

    pub(super) fn fault(node: &str, subtask: u32, fault: Fault, position: Option<Position>) -> SubtaskFailure {
        let at = position
            .map(|position| format!(" at record {} of subtask {}", position.record, position.subtask))
            .unwrap_or_default();
        let message = format!("operator `{node}`{at}: {}", fault.message);
        SubtaskFailure { node: node.to_owned(), subtask, code: fault.code.as_str(), message, fault: Some(fault) }
    }
}

/// Told about everything that a subtask does which concerns the job.
pub type Notify = Arc<dyn Fn(Event) + Send + Sync>;

pub(super) struct Subtask {
    pub(super) chain: Chain,
    pub(super) cancel: Arc<AtomicBool>,
    pub(super) notify: Notify,
    /// Where the members' counts are shown, one for each member.
    pub(super) shown: Vec<Arc<Mutex<MemberStats>>>,
    pub(super) shown_ns: u64,
}

/// How often counts are shown.
const SHOW_INTERVAL_NS: u64 = 50_000_000;

/// Counts records for checkpoints by record count, over all sources of the job.
pub(super) struct RecordCount {
    pub(super) every: u64,
    pub(super) read: AtomicU64,
}

impl Subtask {
    fn check_cancelled(&self) -> Result<(), Ended> {
        if self.cancel.load(Ordering::Relaxed) { Err(Ended::Cancelled) } else { Ok(()) }
    }

    fn show(&mut self) {
        for (shown, stats) in self.shown.iter().zip(self.chain.stats()) {
            *shown.lock() = stats;
        }
    }

    fn show_due(&mut self) {
        let now = self.chain.clock.monotonic_ns();
        if now.saturating_sub(self.shown_ns) >= SHOW_INTERVAL_NS {
            self.shown_ns = now;
            self.show();
        }
    }

    /// How long to wait for input: not past the moment at which waiting records are due.
    fn patience(&self) -> Duration {
        if self.chain.is_waiting() { Duration::from_millis(1) } else { WAIT_MAX }
    }

    /// Runs a chain that begins at a gate, until its last barrier.
    pub(super) fn run_gate(&mut self, mut gate: Gate) -> Result<(), Ended> {
        let mut quiet = false;
        loop {
            self.check_cancelled()?;
            match gate.next(self.patience())? {
                Arrival::Batch(batch) => self.chain.deliver(0, FIRST_INPUT, batch)?,
                Arrival::Broadcast(batch) => self.chain.deliver(0, BROADCAST_INPUT, batch)?,
                Arrival::Rejected(rejected) => self.chain.reject(rejected)?,
                Arrival::Watermark(watermark) => self.chain.watermark(watermark)?,
                Arrival::Barrier(barrier) => {
                    self.answer(barrier, None)?;
                    if barrier.kind.is_last() {
                        return Ok(());
                    }
                }
                Arrival::Idle if !quiet => {
                    self.chain.idle()?;
                    self.show();
                    quiet = true;
                    continue;
                }
                Arrival::Idle => {}
            }
            quiet &= !self.chain.is_waiting();
            self.chain.flush_due()?;
            self.show_due();
        }
    }

    /// Runs a chain that begins with a source, until its last barrier. Barriers come over `control`.
    pub(super) fn run_source(
        &mut self,
        mut reader: SourceReader,
        control: Receiver<Barrier>,
        count: Option<Arc<RecordCount>>,
    ) -> Result<(), Ended> {
        let mut ended = false;
        let mut wait = Duration::ZERO;
        loop {
            match control.recv_timeout(wait) {
                Ok(barrier) => {
                    self.answer(barrier, Some(&reader))?;
                    if barrier.kind.is_last() {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Ended::Cancelled),
            }
            self.check_cancelled()?;
            wait = if ended { self.patience() } else { self.read(&mut reader, count.as_deref(), &mut ended)? };
            self.chain.flush_due()?;
            self.show_due();
        }
    }

    /// Reads once. The result is how long nothing more can be expected.
    fn read(
        &mut self,
        reader: &mut SourceReader,
        count: Option<&RecordCount>,
        ended: &mut bool,
    ) -> Result<Duration, Ended> {
        let failed =
            |chain: &Chain, error| Ended::Failed(SubtaskFailure::error(&chain.members[0].node, chain.subtask, error));
        let (batch, poll) = reader.read().map_err(|error| failed(&self.chain, error))?;
        let records = batch.len() as u64;
        if records > 0 {
            self.chain.accept(batch, reader.counters)?;
            if let Some(watermark) = reader.due_watermark() {
                self.chain.watermark(watermark)?;
            }
            if let Some(count) = count {
                let before = count.read.fetch_add(records, Ordering::Relaxed);
                if before / count.every != (before + records) / count.every {
                    (self.notify)(Event::RecordsDue);
                }
            }
        }
        match poll {
            Poll::Records => Ok(Duration::ZERO),
            Poll::Pending(wait) => {
                if records == 0 && wait >= Duration::from_millis(10) {
                    self.chain.idle()?;
                }
                Ok(wait.min(self.patience()))
            }
            Poll::End => {
                *ended = true;
                self.chain.watermark(i64::MAX)?;
                self.chain.idle()?;
                self.show();
                (self.notify)(Event::SourceEnded);
                Ok(self.patience())
            }
        }
    }

    fn answer(&mut self, barrier: Barrier, reader: Option<&SourceReader>) -> Result<(), Ended> {
        let mut parts = self.chain.snapshot(barrier)?;
        if let (Some(reader), Some(part)) = (reader, parts.first_mut()) {
            let position = reader.source.position();
            let failed = |error| Ended::Failed(SubtaskFailure::error(&part.node, part.subtask, error));
            part.source_position = Some(position.map_err(failed)?);
            part.counters = reader.counters;
        }
        self.show();
        (self.notify)(Event::Acknowledged { checkpoint: barrier.checkpoint, parts });
        Ok(())
    }
}
