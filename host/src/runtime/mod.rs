//! Runs a checked pipeline as subtasks.
//!
//! - `plan/` makes the execution plan: chains, edges, and the checks that need the functions.
//! - `execution` runs one attempt: it starts the threads, injects barriers and cancels. `heartbeat` finds threads that hang.
//! - `startup/` opens the channels, the state, the source and the operators of a subtask.
//! - `subtask/` holds the loop of a subtask and its operator chain.
//! - `source/` reads a source: timestamps, watermarks, rate limit, watermark alignment; `source_control` is what the job tells it.
//! - `input/` is the receiving side: barrier alignment, combined watermarks, in-flight data.
//! - `records/` rewrites records for their consumers, and computes their keys.
//! - `replay/` reads kept dead letters for the subtasks that replay them.
//! - `tap/` copies a few records for those who look at them.
//! - `stats/` is what subtasks publish of their work, and its totals.
//! - `output/` is the sending side: it partitions records by key and batches them.
//! - `channel` connects two subtasks within an `edge_budget`; `stream_element` and `barrier` are what flows through it.
//!
//! A subtask is one OS thread with a synchronous loop. Batches, watermarks and barriers flow between subtasks over bounded
//! channels; operators joined by a forward edge run in one chain. The runtime must not depend on the job store or on HTTP.

mod attempt_signals;
mod barrier;
mod channel;
mod edge_budget;
mod execution;
mod heartbeat;
mod injected_failures;
mod input;
mod output;
mod plan;
mod records;
mod replay;
mod source;
mod source_control;
mod startup;
mod stats;
mod stream_element;
mod subtask;
mod subtask_event;
mod subtask_failure;
mod subtask_snapshot;
mod tap;

pub use barrier::{Barrier, BarrierKind};
pub use execution::{AbandonedThread, Execution};
pub use injected_failures::InjectedFailures;
pub use input::in_flight_data::InFlightData;
pub use plan::execution_plan::{ExecutionPlan, PlanPurpose};
pub use plan::functions::{FunctionPlan, GuestFactory, GuestOptions};
pub use plan::regions::Region;
pub use plan::topology::{PlannedInput, PlannedNode};
pub use replay::replay_board::{ReplayBoard, ReplayOrder};
pub use replay::replay_position::ReplayPosition;
pub use source::checkpoint_triggers::CheckpointTriggers;
pub use startup::execution_options::{ExecutionOptions, LetterOptions, RestoredCheckpoint};
pub use startup::operator_trial::OperatorTrial;
pub use startup::record_origin::first_with_value;
pub use stats::job_totals::{JobTotals, NodeMetrics, SubtaskMetrics, SubtaskTotals};
pub use stats::node_meters::{NodeMeters, TimerMeter};
pub use stats::node_times::NodeTimes;
pub use stats::stats_reader::{NodeStats, StatsReader};
pub use stats::subtask_stats::SubtaskEventTime;
pub use subtask_event::SubtaskEvent;
pub use subtask_failure::{RecordOrigin, SubtaskFailure};
pub use subtask_snapshot::{BarrierTimes, SubtaskSnapshot};
pub use tap::{JobTaps, RecordRoute, TapReader, TapSettings, TapSide, TappedRecord};

#[cfg(test)]
mod channel_budget_tests;
#[cfg(test)]
mod hung_subtask_tests;
#[cfg(test)]
mod multiple_inputs_tests;
#[cfg(test)]
mod row_evolution_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod unaligned_checkpoint_tests;
#[cfg(test)]
mod window_operator_tests;
