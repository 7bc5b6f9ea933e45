//! What every operator with a guest does alike: one turn after the other, and the search for what a guest fails on.
//!
//! A turn that fails leaves no trace. Its items (records, timers, windows) are run again in halves until the bad one stands
//! alone; the good ones commit in order, the bad one meets the operator's disposition.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::dead_letter::{Letter, RecordPosition};
use super::failed_record::FailedRecord;
use super::log::OperatorLog;
use super::{Operator, by_watermark};
use crate::clock::SharedClock;
use crate::error::{self, Error};
use crate::model::{Batch, Counters, Fault, Keys, NO_TIMESTAMP, TimeDomain};
use crate::pipeline::FaultPolicy;
use crate::state::StateBackend;
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

/// Why an operator cannot go on.
#[derive(Debug)]
pub enum OperatorFailure {
    /// A record made the function fail, and the disposition is `fail`.
    Fault {
        fault: Fault,
        record: Box<FailedRecord>,
    },
    Error(Error),
    /// The job is being cancelled, and the batch is left in the middle.
    Cancelled,
}

/// A record that could not even be handed to the function, such as one without its key.
#[derive(Clone, Debug)]
pub struct RejectedRecord {
    pub value: Vec<u8>,
    pub timestamp: i64,
    pub fault: Fault,
}

pub struct FunctionSettings {
    pub job: String,
    pub function: String,
    pub on_fault: FaultPolicy,
    /// Number of the function's outputs; dead letters go to the one behind them.
    pub outputs: usize,
    /// Larger batches are handed over in parts.
    pub batch_records: usize,
    pub clock: SharedClock,
    pub log: Arc<OperatorLog>,
    /// Looked at between turns: isolating many bad records of one batch can take as many deadlines.
    pub cancel: Arc<AtomicBool>,
}

/// An item that a guest failed on alone, or that could not be handed to it.
pub(super) struct Bad<'a> {
    pub value: &'a [u8],
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub fault: Fault,
    /// How many records the subtask had received before it.
    pub record: u64,
    pub kind: BadKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadKind {
    /// With its index in the batch, where it came in one.
    Record(Option<usize>),
    TimerOrWindow,
}

impl<'a> Bad<'a> {
    /// Record `at` of a batch, before which the subtask had received so many others.
    pub fn record(batch: &'a Batch, at: usize, received: u64, fault: Fault) -> Bad<'a> {
        let key = batch.keys.as_ref().map(|keys| keys.distinct.value(keys.key_of[at] as usize));
        Bad {
            value: batch.values.value(at),
            timestamp: batch.timestamps[at],
            key,
            fault,
            record: received + at as u64,
            kind: BadKind::Record(Some(at)),
        }
    }
}

/// The metric of late records that nobody reads, by the name that Flink gives it.
pub(super) const LATE_DROPPED: &str = "numLateRecordsDropped";

/// The metric of timers of processing time that fired at the end of the input, before their time.
pub(super) const FIRED_AT_END: &str = "numProcessingTimersFiredAtEnd";

/// The metric of timers that a function registered while its timers fired at the end of the input.
pub(super) const DROPPED_AT_END: &str = "numTimersDroppedAtEnd";

/// What is an operator by the turns that it runs.
pub(super) trait Turning: Send {
    fn turns(&self) -> &Turns;
    fn turns_mut(&mut self) -> &mut Turns;

    /// Handles a batch of an input. The counter `records_in` says how many records came before it.
    fn take(&mut self, input: u32, batch: Batch, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure>;

    /// Fires timers of a clock that has reached `now`, as many as one turn takes. Whether there may be more. `i64::MAX` is the end
    /// of the input: a timer that a function registers while its timers fire is dropped then, so that the input does end.
    fn fire(&mut self, domain: TimeDomain, now: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure>;

    /// The order in which the timers of the two clocks fire at the end of the input.
    fn clocks_at_end(&self) -> [TimeDomain; 2] {
        [TimeDomain::Event, TimeDomain::Processing]
    }
}

impl<T: Turning> Operator for T {
    fn process(&mut self, input: u32, batch: Batch, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        if !self.turns_mut().turn.group_watermarks().is_empty() {
            return by_watermark::process(self, input, &batch, outputs);
        }
        let records = batch.len() as u64;
        self.take(input, batch, outputs)?;
        self.turns_mut().counters.records_in += records;
        Ok(())
    }

    fn reject(&mut self, rejected: RejectedRecord, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        let RejectedRecord { value, timestamp, fault } = rejected;
        let turns = self.turns_mut();
        let record = turns.counters.records_in;
        turns.counters.records_in += 1;
        turns.counters.faults += 1;
        turns.dispose(Bad { value: &value, timestamp, key: None, fault, record, kind: BadKind::Record(None) }, outputs)
    }

    fn advance_watermark(&mut self, watermark: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
        if watermark == NO_TIMESTAMP {
            return by_watermark::resume(self, outputs);
        }
        let reached = self.watermark().max(watermark);
        let turns = self.turns_mut();
        turns.watermark = reached;
        turns.turn.group_watermarks().advance_to(reached);
        let is_firing = if watermark < i64::MAX {
            by_watermark::fire(self, TimeDomain::Event, reached, outputs)?
        } else {
            let [first, second] = self.clocks_at_end();
            by_watermark::fire(self, first, i64::MAX, outputs)? || by_watermark::fire(self, second, i64::MAX, outputs)?
        };
        self.turns_mut().turn.set_firing(is_firing);
        Ok(is_firing)
    }

    fn advance_clock(&mut self, now_ms: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
        by_watermark::fire(self, TimeDomain::Processing, now_ms, outputs)
    }

    fn next_due_ms(&self) -> Option<i64> {
        self.turns().turn.next_timer(TimeDomain::Processing)
    }

    fn watermark(&self) -> i64 {
        self.turns().watermark
    }

    fn turn(&mut self) -> &mut Turn {
        &mut self.turns_mut().turn
    }

    fn counters(&self) -> Counters {
        self.turns().counters
    }

    fn log_suppressed(&self) {
        self.turns().settings.log.log_suppressed();
    }
}

/// A guest, its turn, and what happens to what it fails on. See the module.
pub(super) struct Turns {
    pub guest: Box<dyn Guest>,
    pub turn: Turn,
    pub settings: FunctionSettings,
    /// The event time that the input has reached; begins with what the turn was restored with.
    pub watermark: i64,
    pub counters: Counters,
}

impl Turns {
    pub fn new(guest: Box<dyn Guest>, turn: Turn, settings: FunctionSettings, counters: Counters) -> Turns {
        let watermark = turn.context.watermark;
        Turns { guest, turn, settings, watermark, counters }
    }

    /// Runs turns over items `0..count`, in order, in parts of `settings.batch_records` at most. `run` is one turn over a range;
    /// it gives back the fault of one that failed, of which nothing stays. `bad` meets an item that failed alone.
    pub fn run(
        &mut self,
        count: usize,
        outputs: &mut Vec<OutputBatch>,
        mut run: impl FnMut(&mut Turns, Range<usize>, &mut Vec<OutputBatch>) -> Result<Option<Fault>, OperatorFailure>,
        bad: impl FnMut(&mut Turns, usize, Fault, &mut Vec<OutputBatch>) -> Result<(), OperatorFailure>,
    ) -> Result<(), OperatorFailure> {
        let whole = |turns: &mut Turns, range: Range<usize>, outputs: &mut Vec<OutputBatch>| {
            let end = range.end;
            Ok(match run(turns, range, outputs)? {
                None => Ok(end),
                Some(fault) => Err(fault),
            })
        };
        self.run_parts(count, outputs, whole, bad)
    }

    /// As [`Turns::run`], where a turn may take the first items of its range only, one at least: it says where it ended.
    pub fn run_parts(
        &mut self,
        count: usize,
        outputs: &mut Vec<OutputBatch>,
        mut run: impl FnMut(
            &mut Turns,
            Range<usize>,
            &mut Vec<OutputBatch>,
        ) -> Result<Result<usize, Fault>, OperatorFailure>,
        mut bad: impl FnMut(&mut Turns, usize, Fault, &mut Vec<OutputBatch>) -> Result<(), OperatorFailure>,
    ) -> Result<(), OperatorFailure> {
        let step = self.settings.batch_records.max(1);
        let parts = (0..count).step_by(step).map(|start| start..count.min(start + step));
        let mut open: Vec<Range<usize>> = parts.rev().collect();
        while let Some(range) = open.pop() {
            self.check_cancelled()?;
            let fault = match run(self, range.clone(), outputs)? {
                Ok(end) => {
                    open.extend((end < range.end).then_some(end..range.end));
                    continue;
                }
                Err(fault) => fault,
            };
            self.counters.faults += 1;
            if range.len() > 1 {
                if range.len() == count.min(step) {
                    self.settings.log.search_begins(range.len(), &fault);
                }
                let middle = range.start + range.len() / 2;
                open.extend([middle..range.end, range.start..middle]);
            } else {
                bad(self, range.start, fault, outputs)?;
            }
        }
        Ok(())
    }

    /// One turn over these keys: what `call` stages takes effect when it returns well. A fault comes back; everything of the
    /// turn is undone then.
    pub fn attempt<T>(
        &mut self,
        keys: Option<&Arc<Keys>>,
        call: impl FnOnce(&mut dyn Guest, &mut Turn) -> Result<T, TurnFailure>,
    ) -> Result<Result<T, Fault>, OperatorFailure> {
        self.turn.begin(keys, self.watermark, self.settings.clock.wall_ms());
        let result = call(&mut *self.guest, &mut self.turn);
        self.settings.log.guest_lines(self.turn.context.subtask, self.turn.log_lines());
        match result {
            Ok(value) => {
                self.turn.commit().map_err(OperatorFailure::Error)?;
                Ok(Ok(value))
            }
            Err(TurnFailure::Fault(fault)) => {
                self.turn.abort();
                Ok(Err(fault))
            }
            Err(TurnFailure::Error(error)) => Err(OperatorFailure::Error(error)),
            Err(TurnFailure::Cancelled) => Err(OperatorFailure::Cancelled),
        }
    }

    /// A turn in which no guest takes part, and which has no bound: nothing in it is of a guest's choosing.
    pub fn write(
        &mut self,
        keys: &Arc<Keys>,
        stage: impl FnOnce(&mut Turn) -> Result<(), TurnFailure>,
    ) -> Result<(), OperatorFailure> {
        let written = self.attempt(Some(keys), |_, turn| {
            turn.lift_write_limit();
            stage(turn)
        })?;
        written.map_err(|fault| refused(fault.into()))
    }

    /// Counts timers of processing time that fire at the end of the input, before their time.
    pub fn count_fired_at_end(&mut self, domain: TimeDomain, now: i64, timers: usize) -> Result<(), OperatorFailure> {
        if domain == TimeDomain::Event || now < i64::MAX {
            return Ok(());
        }
        self.write(&Arc::default(), |turn| {
            turn.count(FIRED_AT_END, timers as u64);
            Ok(())
        })
    }

    /// Where the operator's state is. Error: `internal` where it has none.
    pub fn backend(&mut self) -> Result<&mut (dyn StateBackend + 'static), OperatorFailure> {
        self.turn.backend().ok_or_else(|| OperatorFailure::Error(error::internal("an operator without its state")))
    }

    pub fn check_cancelled(&self) -> Result<(), OperatorFailure> {
        if self.settings.cancel.load(Ordering::Relaxed) { Err(OperatorFailure::Cancelled) } else { Ok(()) }
    }

    /// A turn whose call produces records. They leave after its commit.
    pub fn attempt_outputs(
        &mut self,
        keys: Option<&Arc<Keys>>,
        outputs: &mut Vec<OutputBatch>,
        call: impl FnOnce(&mut dyn Guest, &mut Turn) -> Result<Vec<OutputBatch>, TurnFailure>,
    ) -> Result<Option<Fault>, OperatorFailure> {
        match self.attempt(keys, call)? {
            Ok(produced) => {
                self.emit(produced, outputs);
                Ok(None)
            }
            Err(fault) => Ok(Some(fault)),
        }
    }

    /// Hands on what a committed turn produced.
    pub fn emit(&mut self, produced: Vec<OutputBatch>, outputs: &mut Vec<OutputBatch>) {
        for output in produced.into_iter().filter(|output| !output.batch.is_empty()) {
            self.counters.records_out += output.batch.len() as u64;
            outputs.push(output);
        }
    }

    /// Has an item meet the operator's disposition.
    pub fn dispose(&mut self, bad: Bad<'_>, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure> {
        let Bad { value, timestamp, key, fault, record, kind } = bad;
        let position = RecordPosition { subtask: self.turn.context.subtask, record };
        let FunctionSettings { function, on_fault, log, .. } = &self.settings;
        let operator = &self.turn.context.operator;
        log.record_failed(position.subtask, record, &fault, *on_fault);
        match on_fault {
            FaultPolicy::Fail => {
                let (is_record, index) = match kind {
                    BadKind::Record(index) => (true, index),
                    BadKind::TimerOrWindow => (false, None),
                };
                let (key, value) = (key.map(<[u8]>::to_vec), value.to_vec());
                let record = Box::new(FailedRecord { position, is_record, index, timestamp, key, value });
                return Err(OperatorFailure::Fault { fault, record });
            }
            FaultPolicy::Skip => self.counters.records_skipped += 1,
            FaultPolicy::DeadLetter => {
                self.counters.records_dead_lettered += 1;
                let letter = Letter { operator, function, fault: &fault, position, timestamp, key, value };
                let mut batch = Batch::default();
                batch.push(&letter.encode(), timestamp);
                outputs.push(OutputBatch { index: self.settings.outputs, batch });
            }
        }
        Ok(())
    }
}

/// Something failed in which no guest takes part.
pub(super) fn refused(failure: TurnFailure) -> OperatorFailure {
    match failure {
        TurnFailure::Error(error) => OperatorFailure::Error(error),
        TurnFailure::Cancelled => OperatorFailure::Cancelled,
        TurnFailure::Fault(fault) => OperatorFailure::Error(error::internal(fault.to_string())),
    }
}
