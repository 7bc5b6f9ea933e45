//! From a checked pipeline to running subtasks: plan, channels, keyed exchange, barriers, the subtask loop.
//!
//! A subtask is one OS thread and a synchronous loop. Between subtasks flow batches, watermarks and barriers over bounded
//! channels; operators joined by a forward edge are chained in one subtask. It must not know of the job store or HTTP.

mod alignment;
mod chain;
mod element;
mod event_time;
mod exchange;
mod execution;
mod failure;
mod gate;
mod in_flight;
mod link;
mod plan;
mod signals;
mod source;
mod stamps;
mod subtask;
mod triggers;
mod windows;

pub use chain::SubtaskEventTime;
pub use element::{Barrier, BarrierKind};
pub use execution::{Execution, ExecutionOptions, NodeStats};
pub use failure::{RecordOrigin, SubtaskFailure};
pub use in_flight::InFlightData;
pub use plan::{ExecutionPlan, FunctionPlan, GuestFactory, GuestOptions, PlanPurpose};
pub use subtask::{BarrierTimes, SubtaskEvent, SubtaskSnapshot};

#[cfg(test)]
mod backpressure_tests;
#[cfg(test)]
mod inputs_tests;
#[cfg(test)]
mod windows_tests;
