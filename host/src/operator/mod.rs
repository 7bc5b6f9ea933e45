//! Operators: what a subtask runs between its inputs and its outputs.
//!
//! | file or folder | content |
//! |---|---|
//! | `interface.rs` | The [`Operator`] trait, which the subtask calls. |
//! | `rejected_record.rs` | A record that never reaches the function. |
//! | `function.rs` | [`FunctionOperator`]: a function with one or two inputs, and its timers. |
//! | `window/` | [`WindowOperator`]: window assigners, triggers, evictors and window functions. |
//! | `interval_join/` | [`IntervalJoin`]: pairs of records that lie close to each other in event time. |
//! | `row_operator/` | [`RowGuest`]: filters and selects the fields of rows, without a component. |
//! | `turn_runner/` | Runs turns one after another and isolates the item that a guest fails on. |
//! | `faults/` | Applies the fault policy: fails the job, skips the record or builds a dead letter. |
//! | `late_records.rs` | Emits or counts late records. |
//! | `operator_log.rs` | Rate-limited log lines of an operator. |
//! | `failure.rs` | [`OperatorFailure`], and how other failures become one. |
//!
//! Invariant: an operator hands out the outputs of a turn only after the turn has committed.
//! Must not depend on channels, barriers or the operators next to it in the chain.

mod failure;
mod faults;
mod function;
#[cfg(test)]
mod function_tests;
mod interface;
mod interval_join;
mod late_records;
mod operator_log;
mod rejected_record;
mod row_operator;
mod turn_runner;
#[cfg(test)]
mod two_input_function_tests;
mod window;

#[cfg(test)]
pub(crate) mod testing;

pub use failure::OperatorFailure;
pub use faults::dead_letter::RecordPosition;
pub use faults::failed_record::FailedRecord;
pub use faults::retry::RetryPolicy;
pub use function::FunctionOperator;
pub use interface::Operator;
pub use interval_join::{IntervalJoin, join_states};
pub use operator_log::OperatorLog;
pub use rejected_record::RejectedRecord;
pub use row_operator::{FilteredFormat, RowGuest, RowPredicate, RowProgram, RowSelection};
pub use turn_runner::runner::FunctionSettings;
pub use window::{
    AggregateKey, FieldExtractor, NativeAggregate, WINDOWS_PER_RECORD_MAX, WindowFunction, WindowOperator,
    WindowOptions, stores_windows_without_panes, too_many_windows, window_states,
};
