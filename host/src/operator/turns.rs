//! What every operator with a guest does alike: one turn after the other, and the search for what a guest fails on.
//!
//! A turn that fails leaves no trace. Its items (records, timers, windows) are run again in halves until the bad one stands
//! alone; the good ones commit in order, the bad one meets the operator's disposition.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::dead_letter::{Letter, Position};
use crate::checkpoint::Counters;
use crate::clock::SharedClock;
use crate::error::Error;
use crate::manifest::Disposition;
use crate::model::{Batch, Fault, Keys};
use crate::turn::{Failure, Guest, LogLevel, Output, Turn};

/// Records with the index of the output that they leave by: 0 is the main one.
pub type Outputs = Vec<(usize, Batch)>;

/// Why an operator cannot go on.
#[derive(Debug)]
pub enum OperatorFailure {
    /// A record made the function fail, and the disposition is `fail`.
    Fault {
        fault: Fault,
        position: Position,
    },
    Error(Error),
    /// The job is being cancelled, and the batch is left in the middle.
    Cancelled,
}

/// A record that could not even be handed to the function, such as one without its key.
#[derive(Clone, Debug)]
pub struct Rejected {
    pub value: Vec<u8>,
    pub timestamp: i64,
    pub fault: Fault,
}

pub struct FunctionSettings {
    pub job: String,
    pub function: String,
    pub on_fault: Disposition,
    /// Number of the function's outputs; dead letters go to the one behind them.
    pub outputs: usize,
    /// Larger batches are handed over in parts.
    pub batch_records: usize,
    pub clock: SharedClock,
}

/// An item that a guest failed on alone, or that could not be handed to it.
pub(super) struct Bad<'a> {
    pub value: &'a [u8],
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub fault: Fault,
    /// How many records the subtask had received before it.
    pub record: u64,
}

/// A guest, its turn, and what happens to what it fails on. See the module.
pub(super) struct Turns {
    pub guest: Box<dyn Guest>,
    pub turn: Turn,
    pub settings: FunctionSettings,
    /// The event time that the input has reached; begins with what the turn was restored with.
    pub watermark: i64,
    pub cancel: Arc<AtomicBool>,
    pub counters: Counters,
}

impl Turns {
    pub fn new(guest: Box<dyn Guest>, turn: Turn, settings: FunctionSettings, counters: Counters) -> Turns {
        let watermark = turn.context.watermark;
        Turns { guest, turn, settings, watermark, cancel: Arc::default(), counters }
    }

    /// Runs turns over items `0..count`, in order, in parts of `settings.batch_records` at most. `run` is one turn over a range;
    /// it gives back the fault of one that failed, of which nothing stays. `bad` meets an item that failed alone.
    pub fn run(
        &mut self,
        count: usize,
        outputs: &mut Outputs,
        mut run: impl FnMut(&mut Turns, Range<usize>, &mut Outputs) -> Result<Option<Fault>, OperatorFailure>,
        bad: impl FnMut(&mut Turns, usize, Fault, &mut Outputs) -> Result<(), OperatorFailure>,
    ) -> Result<(), OperatorFailure> {
        let whole = |turns: &mut Turns, range: Range<usize>, outputs: &mut Outputs| {
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
        outputs: &mut Outputs,
        mut run: impl FnMut(&mut Turns, Range<usize>, &mut Outputs) -> Result<Result<usize, Fault>, OperatorFailure>,
        mut bad: impl FnMut(&mut Turns, usize, Fault, &mut Outputs) -> Result<(), OperatorFailure>,
    ) -> Result<(), OperatorFailure> {
        let step = self.settings.batch_records.max(1);
        let parts = (0..count).step_by(step).map(|start| start..count.min(start + step));
        let mut open: Vec<Range<usize>> = parts.rev().collect();
        while let Some(range) = open.pop() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(OperatorFailure::Cancelled);
            }
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
                    self.say_search(range.len(), &fault);
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
        call: impl FnOnce(&mut dyn Guest, &mut Turn) -> Result<T, Failure>,
    ) -> Result<Result<T, Fault>, OperatorFailure> {
        self.turn.begin(keys, self.watermark, self.settings.clock.wall_ms());
        let result = call(&mut *self.guest, &mut self.turn);
        self.write_log();
        match result {
            Ok(value) => {
                self.turn.commit().map_err(OperatorFailure::Error)?;
                Ok(Ok(value))
            }
            Err(Failure::Fault(fault)) => {
                self.turn.abort();
                Ok(Err(fault))
            }
            Err(Failure::Error(error)) => Err(OperatorFailure::Error(error)),
        }
    }

    /// A turn whose call produces records. They leave after its commit.
    pub fn attempt_outputs(
        &mut self,
        keys: Option<&Arc<Keys>>,
        outputs: &mut Outputs,
        call: impl FnOnce(&mut dyn Guest, &mut Turn) -> Result<Vec<Output>, Failure>,
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
    pub fn emit(&mut self, produced: Vec<Output>, outputs: &mut Outputs) {
        for output in produced.into_iter().filter(|output| !output.batch.is_empty()) {
            self.counters.records_out += output.batch.len() as u64;
            outputs.push((output.index, output.batch));
        }
    }

    /// Isolating a record can take as many deadlines as there are halvings: says at once why nothing moves.
    fn say_search(&self, records: usize, fault: &Fault) {
        let FunctionSettings { job, function, .. } = &self.settings;
        let (operator, code) = (&self.turn.context.operator, fault.code.as_str());
        tracing::warn!(target: "guest", %job, %operator, %function, records, code, "a batch failed, looking for the record: {}", fault.message);
    }

    /// Meets a record that was rejected before it reached the function.
    pub fn reject(&mut self, rejected: Rejected, outputs: &mut Outputs) -> Result<(), OperatorFailure> {
        let Rejected { value, timestamp, fault } = rejected;
        let record = self.counters.records_in;
        self.counters.records_in += 1;
        self.counters.faults += 1;
        self.dispose(Bad { value: &value, timestamp, key: None, fault, record }, outputs)
    }

    /// Has an item meet the operator's disposition.
    pub fn dispose(&mut self, bad: Bad<'_>, outputs: &mut Outputs) -> Result<(), OperatorFailure> {
        let Bad { value, timestamp, key, fault, record } = bad;
        let position = Position { subtask: self.turn.context.subtask, record };
        let FunctionSettings { job, function, on_fault, .. } = &self.settings;
        let operator = &self.turn.context.operator;
        let subtask = position.subtask;
        let message = one_line(&fault.message);
        tracing::warn!(target: "guest", %job, %operator, %function, subtask, record, code = fault.code.as_str(), ?on_fault, "{message}");
        match on_fault {
            Disposition::Fail => return Err(OperatorFailure::Fault { fault, position }),
            Disposition::Skip => self.counters.records_skipped += 1,
            Disposition::DeadLetter => {
                self.counters.records_dead_lettered += 1;
                let letter = Letter { operator, function, fault: &fault, position, timestamp, key, value };
                let mut batch = Batch::default();
                batch.push(&letter.encode(), timestamp);
                outputs.push((self.settings.outputs, batch));
            }
        }
        Ok(())
    }

    fn write_log(&self) {
        let FunctionSettings { job, function, .. } = &self.settings;
        let context = &self.turn.context;
        let (operator, subtask) = (&context.operator, context.subtask);
        for line in self.turn.log_lines() {
            let (message, record) = (one_line(&line.message), line.record);
            match line.level {
                LogLevel::Trace => {
                    tracing::trace!(target: "guest", %job, %operator, %function, subtask, record, "{message}")
                }
                LogLevel::Debug => {
                    tracing::debug!(target: "guest", %job, %operator, %function, subtask, record, "{message}")
                }
                LogLevel::Info => {
                    tracing::info!(target: "guest", %job, %operator, %function, subtask, record, "{message}")
                }
                LogLevel::Warn => {
                    tracing::warn!(target: "guest", %job, %operator, %function, subtask, record, "{message}")
                }
                LogLevel::Error => {
                    tracing::error!(target: "guest", %job, %operator, %function, subtask, record, "{message}")
                }
            }
        }
    }
}

/// A guest's text within one line of the log, so that it cannot write lines of its own.
fn one_line(text: &str) -> String {
    text.trim_end().replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_write_lines_of_its_own() {
        assert_eq!(one_line("one\ntwo\n"), "one\\ntwo");
    }
}
