//! The interface between a subtask and the operators of its chain.
//!
//! Invariant: every method adds outputs in the order in which their turns committed. The interface names neither channels nor
//! barriers, so that an operator cannot depend on them.

use super::failure::OperatorFailure;
use super::rejected_record::RejectedRecord;
use crate::model::{Batch, Counters, DurationHistogram};
use crate::turn::{OutputBatch, Turn};

/// An operator of a chain: it processes records and timers, and appends what it produces to `outputs`.
pub trait Operator: Send {
    /// Processes a batch of an input. After an error the operator must not be used again.
    fn process(&mut self, input: u32, batch: Batch, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure>;

    /// Applies the fault policy to a record that was rejected before it reached the operator.
    fn reject(&mut self, rejected: RejectedRecord, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure>;

    /// Advances event time to `watermark`, in milliseconds, and fires one bounded step of the due timers.
    ///
    /// Returns whether more timers may be due: the caller then forwards the outputs and calls again. Two values are special:
    /// - `i64::MAX` is the end of the input. Processing-time timers fire then, too.
    /// - [`NO_TIMESTAMP`](crate::model::NO_TIMESTAMP) resumes the timers that were being fired when the restored snapshot was
    ///   taken.
    fn advance_watermark(&mut self, watermark: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure>;

    /// Advances processing time to `now_ms`, in milliseconds since the Unix epoch, and fires one bounded step of the due timers.
    /// Returns whether more timers may be due.
    fn advance_clock(&mut self, now_ms: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure>;

    /// The next processing-time deadline, in milliseconds since the Unix epoch, if any.
    fn next_due_ms(&self) -> Option<i64>;

    /// The largest watermark that the operator has received, including those before a restart. After a rescale this is the
    /// smallest watermark of its key groups. Never decreases.
    fn watermark(&self) -> i64;

    /// The operator's turn, for snapshots and metrics.
    fn turn(&mut self) -> &mut Turn;

    /// The record counters of the operator.
    fn counters(&self) -> Counters;

    /// How long its turns took since the attempt began.
    fn turn_times(&self) -> DurationHistogram;

    /// Sets how often the records of the next batches have failed before. Above 0 only while dead letters are replayed.
    fn set_failed_before(&mut self, _times: u32) {}

    /// Logs how many lines were suppressed by a rate limit, if no line has reported it for a while. Called periodically.
    fn log_suppressed(&self) {}

    /// Returns whether lines were suppressed whose number has not been logged.
    fn has_suppressed_lines(&self) -> bool {
        false
    }
}
