//! Runs a function over batches, one turn each, and isolates the records that it fails on.
//!
//! A turn that fails leaves no trace. The batch is run again in halves until the bad record stands alone; the good ones
//! commit in order, the bad one meets the operator's disposition. Outputs are emitted after their turn's commit only.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::dead_letter::{Letter, Position};
use crate::checkpoint::Counters;
use crate::clock::SharedClock;
use crate::error::Error;
use crate::manifest::Disposition;
use crate::model::{Batch, Fault, NO_TIMESTAMP};
use crate::turn::{Failure, Guest, LogLevel, SECOND_INPUT, Turn};

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

/// One function in one subtask. See the module.
pub struct FunctionOperator {
    guest: Box<dyn Guest>,
    turn: Turn,
    settings: FunctionSettings,
    watermark: i64,
    cancel: Arc<AtomicBool>,
    pub counters: Counters,
}

impl FunctionOperator {
    pub fn new(guest: Box<dyn Guest>, turn: Turn, settings: FunctionSettings, counters: Counters) -> FunctionOperator {
        FunctionOperator { guest, turn, settings, watermark: NO_TIMESTAMP, cancel: Arc::default(), counters }
    }

    /// Has it look at `cancel` between turns: isolating many bad records of one batch can take as many deadlines.
    pub fn cancelled_by(self, cancel: Arc<AtomicBool>) -> FunctionOperator {
        FunctionOperator { cancel, ..self }
    }

    pub fn set_watermark(&mut self, watermark: i64) {
        self.watermark = watermark;
    }

    /// The turn, for snapshots and metrics.
    pub fn turn(&mut self) -> &mut Turn {
        &mut self.turn
    }

    /// Handles a batch of an input: adds `(output, records)` to `outputs` in the order in which their turns committed.
    pub fn process(
        &mut self,
        input: u32,
        batch: Batch,
        outputs: &mut Vec<(usize, Batch)>,
    ) -> Result<(), OperatorFailure> {
        let received = self.counters.records_in;
        let mut open: Vec<Range<usize>> = Vec::new();
        let step = self.settings.batch_records.max(1);
        open.extend((0..batch.len()).step_by(step).map(|start| start..batch.len().min(start + step)).rev());
        while let Some(range) = open.pop() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(OperatorFailure::Cancelled);
            }
            let part;
            let records = if range.len() == batch.len() {
                &batch
            } else {
                part = batch.slice(range.clone());
                &part
            };
            let Some(fault) = self.run_turn(input, records, outputs)? else { continue };
            self.counters.faults += 1;
            if range.len() > 1 {
                if range.len() == batch.len().min(step) {
                    self.say_search(range.len(), &fault);
                }
                let middle = range.start + range.len() / 2;
                open.extend([middle..range.end, range.start..middle]);
            } else {
                let position = Position { subtask: self.turn.context.subtask, record: received + range.start as u64 };
                let key = records.keys.as_ref().and_then(|keys| keys.distinct.iter().next());
                let rejected =
                    Rejected { value: records.values.value(0).to_vec(), timestamp: records.timestamps[0], fault };
                self.dispose(rejected, position, key, outputs)?;
            }
        }
        self.counters.records_in += batch.len() as u64;
        Ok(())
    }

    /// Isolating a record can take as many deadlines as there are halvings: says at once why nothing moves.
    fn say_search(&self, records: usize, fault: &Fault) {
        let FunctionSettings { job, function, .. } = &self.settings;
        let (operator, code) = (&self.turn.context.operator, fault.code.as_str());
        tracing::warn!(target: "guest", %job, %operator, %function, records, code, "a batch failed, looking for the record: {}", fault.message);
    }

    /// Meets a record that was rejected before it reached the function.
    pub fn reject(&mut self, rejected: Rejected, outputs: &mut Vec<(usize, Batch)>) -> Result<(), OperatorFailure> {
        let position = Position { subtask: self.turn.context.subtask, record: self.counters.records_in };
        self.counters.records_in += 1;
        self.counters.faults += 1;
        self.dispose(rejected, position, None, outputs)
    }

    /// One turn. A fault comes back; everything of it is undone then.
    fn run_turn(
        &mut self,
        input: u32,
        records: &Batch,
        outputs: &mut Vec<(usize, Batch)>,
    ) -> Result<Option<Fault>, OperatorFailure> {
        self.turn.begin(records.keys.as_ref(), self.watermark, self.settings.clock.wall_ms());
        // Where there is broadcast state, the second input is the broadcast one.
        self.turn.allow_broadcast_writes(input == SECOND_INPUT);
        let result = self.guest.process(&mut self.turn, input, records);
        self.write_log();
        match result {
            Ok(produced) => {
                self.turn.commit().map_err(OperatorFailure::Error)?;
                for output in produced.into_iter().filter(|output| !output.batch.is_empty()) {
                    self.counters.records_out += output.batch.len() as u64;
                    outputs.push((output.index, output.batch));
                }
                Ok(None)
            }
            Err(Failure::Fault(fault)) => {
                self.turn.abort();
                Ok(Some(fault))
            }
            Err(Failure::Error(error)) => Err(OperatorFailure::Error(error)),
        }
    }

    fn dispose(
        &mut self,
        rejected: Rejected,
        position: Position,
        key: Option<&[u8]>,
        outputs: &mut Vec<(usize, Batch)>,
    ) -> Result<(), OperatorFailure> {
        let Rejected { value, timestamp, fault } = rejected;
        let FunctionSettings { job, function, on_fault, .. } = &self.settings;
        let operator = &self.turn.context.operator;
        let Position { subtask, record } = position;
        let message = one_line(&fault.message);
        tracing::warn!(target: "guest", %job, %operator, %function, subtask, record, code = fault.code.as_str(), ?on_fault, "{message}");
        match on_fault {
            Disposition::Fail => return Err(OperatorFailure::Fault { fault, position }),
            Disposition::Skip => self.counters.records_skipped += 1,
            Disposition::DeadLetter => {
                self.counters.records_dead_lettered += 1;
                let letter = Letter { operator, function, fault: &fault, position, timestamp, key, value: &value };
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
    use crate::clock::SystemClock;
    use crate::model::FaultCode;
    use crate::turn::{FIRST_INPUT, Output, TurnContext};

    /// Fails on every record; cancels the job in its third turn.
    struct Failing {
        turns: u32,
        cancel: Arc<AtomicBool>,
    }

    impl Guest for Failing {
        fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<Output>, Failure> {
            self.turns += 1;
            assert!(self.turns <= 3, "a turn after the cancel");
            self.cancel.store(self.turns == 3, Ordering::Relaxed);
            Err(Fault::new(FaultCode::DeadlineExceeded, "too long").into())
        }
    }

    #[test]
    fn a_cancel_ends_the_search_for_bad_records() {
        let cancel = Arc::new(AtomicBool::new(false));
        let settings = FunctionSettings {
            job: "job".into(),
            function: "f".into(),
            on_fault: Disposition::Skip,
            outputs: 1,
            batch_records: 1024,
            clock: SystemClock::shared(),
        };
        let guest = Box::new(Failing { turns: 0, cancel: cancel.clone() });
        let turn = Turn::stateless(TurnContext::default());
        let mut operator = FunctionOperator::new(guest, turn, settings, Counters::default()).cancelled_by(cancel);
        let mut batch = Batch::default();
        (0..64).for_each(|at| batch.push(b"x", at));
        let ended = operator.process(FIRST_INPUT, batch, &mut Vec::new());
        assert!(matches!(ended, Err(OperatorFailure::Cancelled)), "{ended:?}");
    }

    #[test]
    fn a_guest_cannot_write_lines_of_its_own() {
        assert_eq!(one_line("one\ntwo\n"), "one\\ntwo");
    }
}
