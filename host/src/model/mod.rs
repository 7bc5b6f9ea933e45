//! The data that flows through a job: columns, batches, keys and key groups, faults, counters, distributions.
//!
//! Plain data. Knows nothing of the sandbox, state or files.

pub mod attributes;
mod batch;
mod column;
mod counters;
mod dead_letter;
mod duration_histogram;
mod element_budget;
mod event_time;
mod fault;
mod interrupt;
mod key_group;
mod log_level;
pub mod row;
mod turn_positions;
mod user_metrics;

pub use batch::{Batch, NO_ATTRIBUTES, NO_TIMESTAMP};
pub use column::{Column, ColumnDefect};
pub use counters::Counters;
pub use dead_letter::LetterReplay;
pub use duration_histogram::DurationHistogram;
pub use element_budget::{budgeted_vec, within_element_budget};
pub use event_time::{
    DueTimers, JoinedPairs, PairSide, TimeDomain, WindowElements, Windows, time_bytes, time_of_bytes,
};
pub use fault::{Fault, FaultCode};
pub use interrupt::Interrupt;
pub use key_group::{
    KeyGroup, Keys, MAX_PARALLELISM_LIMIT, common_groups, default_max_parallelism, group_of_key, groups_of_subtask,
    hash_key, subtask_of_group,
};
pub use log_level::LogLevel;
pub use turn_positions::TurnPositions;
pub use user_metrics::{GaugeSummary, Histogram, MetricKind, UserMetrics};
