//! From a checked pipeline to running subtasks: plan, channels, keyed exchange, barriers, the subtask loop.
//!
//! A subtask is one OS thread with a synchronous loop. Batches, watermarks and barriers flow between subtasks over bounded
//! channels; operators joined by a forward edge run in one chain. The runtime must not depend on the job store or on HTTP.

mod channel;
mod execution;
mod input;
mod output;
mod plan;
mod signals;
mod source;
mod stream_element;
mod subtask;
mod subtask_failure;

pub use execution::{Execution, ExecutionOptions, NodeStats};
pub use input::in_flight_data::InFlightData;
pub use plan::execution_plan::{ExecutionPlan, FunctionPlan, GuestFactory, GuestOptions, PlanPurpose};
pub use stream_element::{Barrier, BarrierKind};
pub use subtask::operator_chain::SubtaskEventTime;
pub use subtask::subtask_runner::{BarrierTimes, SubtaskEvent, SubtaskSnapshot};
pub use subtask_failure::{RecordOrigin, SubtaskFailure};

#[cfg(test)]
mod multiple_inputs_tests;
#[cfg(test)]
mod unaligned_checkpoint_tests;
#[cfg(test)]
mod window_operator_tests;
