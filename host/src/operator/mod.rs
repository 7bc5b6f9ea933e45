//! What a subtask runs between its input and its outputs: a function, and what happens to the records it fails on.
//!
//! An operator hands its outputs on only when their turn has committed. It knows channels, barriers and other operators not.

mod by_watermark;
mod dead_letter;
mod failed_record;
mod function;
#[cfg(test)]
mod function_tests;
mod interval_join;
mod log;
mod pairs;
mod turns;
mod window;

#[cfg(test)]
pub(crate) mod testing;

pub use dead_letter::RecordPosition;
pub use failed_record::FailedRecord;
pub use function::FunctionOperator;
pub use interval_join::{IntervalJoin, join_states};
pub use log::OperatorLog;
pub use turns::{FunctionSettings, OperatorFailure, RejectedRecord};
pub use window::{
    FieldExtractor, WINDOWS_PER_RECORD_MAX, WindowFunction, WindowOperator, WindowOptions, native_aggregate,
    stores_windows_without_panes, too_many_windows, window_states,
};

use crate::model::{Batch, Counters};
use crate::turn::{OutputBatch, Turn};

/// A member of a chain that computes. What it produces is added to `outputs` in the order in which its turns committed.
pub trait Operator: Send {
    /// Handles a batch of an input.
    fn process(&mut self, input: u32, batch: Batch, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure>;

    /// Meets a record that was rejected before it reached the operator.
    fn reject(&mut self, rejected: RejectedRecord, outputs: &mut Vec<OutputBatch>) -> Result<(), OperatorFailure>;

    /// Event time has reached `watermark`, in milliseconds: does one step of what has waited for it, and says whether there may be
    /// more to do. The caller hands the outputs on and asks again. `i64::MAX` is the end of the input, at which timers of
    /// processing time fire as well; [`NO_TIMESTAMP`](crate::model::NO_TIMESTAMP) goes on with what was due before a restore.
    fn advance_watermark(&mut self, watermark: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure>;

    /// The same for processing time.
    fn advance_clock(&mut self, now_ms: i64, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure>;

    /// Before this moment of processing time there is nothing to do for [`Operator::advance_clock`]. None where nothing waits.
    fn next_due_ms(&self) -> Option<i64>;

    /// The event time that it has reached: the largest watermark that it was told, also before a restart; behind a rescale the
    /// smallest of its key groups'. It never goes back.
    fn watermark(&self) -> i64;

    /// Its turn, for snapshots and metrics.
    fn turn(&mut self) -> &mut Turn;

    fn counters(&self) -> Counters;

    /// Logs what it has counted instead of logging it, where that is due. Called every now and then.
    fn log_suppressed(&self) {}
}
