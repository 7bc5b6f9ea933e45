//! Runs turns one after another, and searches for the item that a guest fails on.
//!
//! A turn that fails leaves no trace. Its items (records, timers or windows) run again in parts until the failing item is alone: see
//! `bad_item_search.rs`. A turn of several items that exceeds a limit per turn is divided, too, but without a fault.
//! Invariant: good items commit in order, and each bad item reaches the operator's fault policy exactly once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bad_item_search::{BadItemSearch, SearchStep};
use crate::clock::SharedClock;
use crate::error;
use crate::fault_groups::FaultRecorder;
use crate::model::{Counters, DurationHistogram, Fault, Keys, TimeDomain};
use crate::operator::failure::{OperatorFailure, TurnOutcome};
use crate::operator::faults::retry::RetryPolicy;
use crate::operator::operator_log::OperatorLog;
use crate::permits;
use crate::pipeline::FaultPolicy;
use crate::state::StateBackend;
use crate::turn::{CallShare, Guest, OutputBatch, Turn, TurnFailure};

/// How an operator runs its function.
pub struct FunctionSettings {
    pub job: String,
    /// Name of the function, for log lines and dead letters.
    pub function: String,
    /// What happens to a record, a timer or a window that the function fails on.
    pub on_fault: FaultPolicy,
    /// Whether a failed item is tried again before `on_fault` applies.
    pub retry: Option<RetryPolicy>,
    /// SHA-256 of the component, for dead letters.
    pub component: Option<String>,
    /// Whether the host keeps the dead letters, so that they must contain what a replay needs.
    pub keeps_letters: bool,
    /// Largest number of records in one guest call. Larger batches are split.
    pub batch_records: usize,
    pub clock: SharedClock,
    pub log: Arc<OperatorLog>,
    /// Records the faults, if anything does.
    pub faults: Option<Arc<FaultRecorder>>,
    /// Checked between turns: isolating many bad records of one batch can take a deadline for each.
    pub cancel: Arc<AtomicBool>,
}

/// Metric: number of processing-time timers that fired early because the input ended.
pub(in crate::operator) const FIRED_AT_END: &str = "numProcessingTimersFiredAtEnd";

/// Metric: number of timers that were dropped because a function registered them while its timers fired at the end of the input.
pub(in crate::operator) const DROPPED_AT_END: &str = "numTimersDroppedAtEnd";

/// A guest, its turn and its settings. See the module.
pub(in crate::operator) struct TurnRunner {
    pub guest: Box<dyn Guest>,
    pub turn: Turn,
    pub settings: FunctionSettings,
    /// The watermark that the input has reached. Initially the one of the restored state.
    pub watermark: i64,
    pub counters: Counters,
    /// How long turns of the guest took, with their commit.
    pub turn_times: DurationHistogram,
    /// How often the records that are processed now have failed before. Above 0 only while dead letters are replayed.
    pub failed_before: u32,
}

impl TurnRunner {
    pub fn new(guest: Box<dyn Guest>, turn: Turn, settings: FunctionSettings, counters: Counters) -> TurnRunner {
        let watermark = turn.context.watermark;
        let turn_times = DurationHistogram::default();
        TurnRunner { guest, turn, settings, watermark, counters, turn_times, failed_before: 0 }
    }

    /// Runs turns over the items `0..count`, in order, each over at most `settings.batch_records` items.
    ///
    /// `run` runs one turn over a range. `on_bad_item` handles an item that failed alone.
    pub fn run_items(
        &mut self,
        count: usize,
        outputs: &mut Vec<OutputBatch>,
        mut run: impl FnMut(&mut TurnRunner, Range<usize>, &mut Vec<OutputBatch>) -> Result<TurnOutcome, OperatorFailure>,
        on_bad_item: impl FnMut(&mut TurnRunner, usize, Fault, &mut Vec<OutputBatch>) -> Result<(), OperatorFailure>,
    ) -> Result<(), OperatorFailure> {
        let run_whole = |runner: &mut TurnRunner, range: Range<usize>, outputs: &mut Vec<OutputBatch>| {
            let end = range.end;
            Ok(run(runner, range, outputs)?.map(|()| end))
        };
        self.run_item_prefixes(count, outputs, run_whole, on_bad_item)
    }

    /// Like [`TurnRunner::run_items`], but a turn may handle only the first items of its range, at least one. It returns the
    /// index after the last item that it handled.
    pub fn run_item_prefixes(
        &mut self,
        count: usize,
        outputs: &mut Vec<OutputBatch>,
        mut run: impl FnMut(
            &mut TurnRunner,
            Range<usize>,
            &mut Vec<OutputBatch>,
        ) -> Result<TurnOutcome<usize>, OperatorFailure>,
        mut on_bad_item: impl FnMut(&mut TurnRunner, usize, Fault, &mut Vec<OutputBatch>) -> Result<(), OperatorFailure>,
    ) -> Result<(), OperatorFailure> {
        let mut search = BadItemSearch::new(count, self.settings.batch_records);
        while let Some(items) = search.next() {
            permits::check();
            self.check_cancelled()?;
            self.turn.set_divisible(items.range.len() > 1);
            let fault = match self.run_share(items.share, |runner| run(runner, items.range.clone(), outputs))? {
                TurnOutcome::Committed(end) => {
                    search.handled_until(items, end);
                    continue;
                }
                TurnOutcome::RolledBack(fault) => fault,
            };
            let records = items.range.len();
            if records > 1 && self.turn.too_large().is_some() {
                self.turn.shared_limits().note_divided();
                search.divide(items);
                continue;
            }
            self.note_fault(&fault);
            match search.failed(items, fault.code) {
                SearchStep::Divided { is_first: true } => self.settings.log.search_started(records, &fault),
                SearchStep::Divided { is_first: false } => {}
                SearchStep::BadItem(item) => {
                    let retried = self.retry_item(fault, |runner| run(runner, item..item + 1, outputs))?;
                    if let TurnOutcome::RolledBack(fault) = retried {
                        on_bad_item(self, item, fault, outputs)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs a turn whose calls get a share of their deadline.
    fn run_share<T>(
        &mut self,
        share: CallShare,
        run: impl FnOnce(&mut TurnRunner) -> Result<TurnOutcome<T>, OperatorFailure>,
    ) -> Result<TurnOutcome<T>, OperatorFailure> {
        if share == CallShare::WHOLE {
            return run(self);
        }
        self.guest.limit_to_share(share);
        let outcome = run(self);
        self.guest.limit_to_share(CallShare::WHOLE);
        outcome
    }

    /// Runs one turn of the guest over these keys, and measures it. If `call` succeeds, the turn is committed; otherwise it is rolled
    /// back.
    pub fn run_turn<T>(
        &mut self,
        keys: Option<&Arc<Keys>>,
        call: impl FnOnce(&mut dyn Guest, &mut Turn) -> Result<T, TurnFailure>,
    ) -> Result<TurnOutcome<T>, OperatorFailure> {
        let begun_ns = self.settings.clock.monotonic_ns();
        let outcome = self.run_unmeasured_turn(keys, call);
        let elapsed_ns = self.settings.clock.monotonic_ns().saturating_sub(begun_ns);
        self.turn_times.observe(elapsed_ns as f64 / 1e9);
        outcome
    }

    fn run_unmeasured_turn<T>(
        &mut self,
        keys: Option<&Arc<Keys>>,
        call: impl FnOnce(&mut dyn Guest, &mut Turn) -> Result<T, TurnFailure>,
    ) -> Result<TurnOutcome<T>, OperatorFailure> {
        self.turn.begin(keys, self.watermark, self.settings.clock.wall_ms());
        let result = call(&mut *self.guest, &mut self.turn);
        self.settings.log.guest_lines(self.turn.context.subtask, self.turn.log_lines());
        match (result, self.turn.too_large()) {
            (Ok(_) | Err(TurnFailure::Fault(_)), Some(fault)) => {
                let fault = fault.clone();
                self.turn.abort();
                Ok(TurnOutcome::RolledBack(fault))
            }
            (Ok(value), None) => {
                self.turn.commit()?;
                Ok(TurnOutcome::Committed(value))
            }
            (Err(failure), _) => {
                self.turn.abort();
                TurnOutcome::of_failure(failure)
            }
        }
    }

    /// Runs one turn whose call produces records, and emits them after the commit.
    pub fn run_turn_and_emit(
        &mut self,
        keys: Option<&Arc<Keys>>,
        outputs: &mut Vec<OutputBatch>,
        call: impl FnOnce(&mut dyn Guest, &mut Turn) -> Result<Vec<OutputBatch>, TurnFailure>,
    ) -> Result<TurnOutcome, OperatorFailure> {
        let outcome = self.run_turn(keys, call)?;
        Ok(outcome.map(|produced| self.emit(produced, outputs)))
    }

    /// Runs a turn in which no guest takes part. Its writes are not limited, because no guest chooses them.
    pub fn run_host_turn(
        &mut self,
        keys: &Arc<Keys>,
        stage: impl FnOnce(&mut Turn) -> Result<(), TurnFailure>,
    ) -> Result<(), OperatorFailure> {
        let outcome = self.run_unmeasured_turn(Some(keys), |_, turn| {
            turn.lift_write_limit();
            stage(turn)
        })?;
        outcome.committed()
    }

    /// Counts a fault.
    pub fn note_fault(&mut self, fault: &Fault) {
        self.counters.faults += 1;
        self.turn.shared_limits().note_fault(fault.code);
    }

    /// Returns the number of records that were skipped or sent to the dead letters.
    pub fn bad_records(&self) -> u64 {
        self.counters.records_skipped + self.counters.records_dead_lettered
    }

    /// Notes the records of a batch for the limit on the share of bad records. `bad_before` is the number of bad records before
    /// the batch. Error: `too-many-faults`.
    pub fn note_share(&self, records: usize, bad_before: u64) -> Result<(), OperatorFailure> {
        Ok(self.turn.shared_limits().note_records(records as u64, self.bad_records() - bad_before)?)
    }

    /// Counts records of an input that were handled.
    pub fn note_handled(&mut self, input: u32, records: usize) {
        self.counters.records_in += records as u64;
        self.turn.positions.advance(input, records);
    }

    /// Appends the records that a committed turn produced to `outputs`.
    pub fn emit(&mut self, produced: Vec<OutputBatch>, outputs: &mut Vec<OutputBatch>) {
        for output in produced.into_iter().filter(|output| !output.batch.is_empty()) {
            self.counters.records_out += output.batch.len() as u64;
            outputs.push(output);
        }
    }

    /// Counts processing-time timers that fire early because the input has ended. Does nothing for other timers.
    pub fn count_fired_at_end(&mut self, domain: TimeDomain, now: i64, timers: usize) -> Result<(), OperatorFailure> {
        if domain == TimeDomain::Event || now < i64::MAX {
            return Ok(());
        }
        self.run_host_turn(&Arc::default(), |turn| {
            turn.count(FIRED_AT_END, timers as u64);
            Ok(())
        })
    }

    /// The state backend of the operator. Error: `internal` if it has none.
    pub fn backend(&mut self) -> Result<&mut (dyn StateBackend + 'static), OperatorFailure> {
        self.turn.backend().ok_or_else(|| error::internal("the operator has no state backend").into())
    }

    /// Error: [`OperatorFailure::Cancelled`] if the job is being cancelled.
    pub fn check_cancelled(&self) -> Result<(), OperatorFailure> {
        if self.settings.cancel.load(Ordering::Relaxed) { Err(OperatorFailure::Cancelled) } else { Ok(()) }
    }
}
