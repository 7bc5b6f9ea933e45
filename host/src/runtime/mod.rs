//! From a checked pipeline to running subtasks.
//!
//! | folder or file | owns |
//! |---|---|
//! | `plan/` | the plan: chains, edges and the checks that need the functions |
//! | `startup/` | opening what a subtask runs with: channels, state, sources, operators |
//! | `execution` | the threads of one attempt: start, barriers, cancel |
//! | `source/` | reading a source: timestamps, watermarks, rate, watermark alignment |
//! | `subtask/` | the loop of a subtask and its operator chain |
//! | `input/` | the receiving side: barrier alignment, watermarks, in-flight data |
//! | `output/` | the sending side: partitioning by key, batches |
//!
//! A subtask is one OS thread with a synchronous loop. Batches, watermarks and barriers flow between subtasks over bounded
//! channels; operators joined by a forward edge run in one chain. The runtime must not depend on the job store or on HTTP.

mod attempt_signals;
mod barrier;
mod channel;
mod execution;
mod input;
mod metrics_aggregation;
mod output;
mod plan;
mod source;
mod startup;
mod stream_element;
mod subtask;
mod subtask_event;
mod subtask_failure;
mod subtask_snapshot;

pub use barrier::{Barrier, BarrierKind};
pub use execution::Execution;
pub use input::in_flight_data::InFlightData;
pub use metrics_aggregation::{NodeStats, SubtaskEventTime};
pub use plan::execution_plan::{ExecutionPlan, PlanPurpose};
pub use plan::functions::{FunctionPlan, GuestFactory, GuestOptions};
pub use startup::execution_options::{ExecutionOptions, RestoredCheckpoint};
pub use subtask_event::SubtaskEvent;
pub use subtask_failure::{RecordOrigin, SubtaskFailure};
pub use subtask_snapshot::{BarrierTimes, SubtaskSnapshot};

#[cfg(test)]
mod multiple_inputs_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod unaligned_checkpoint_tests;
#[cfg(test)]
mod window_operator_tests;
