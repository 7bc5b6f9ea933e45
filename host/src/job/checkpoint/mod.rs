//! The checkpoints of a running attempt: when they are triggered, collected, uploaded, completed, and given up.
//!
//! [`CheckpointCoordinator`] owns all of it. The storage and the format of checkpoints belong to `crate::checkpoint`.

mod barrier_target;
mod coordinator;
mod history;
mod open_publications;
mod operator_versions;
mod pending;
mod schedule;
mod upload;

#[cfg(test)]
mod acknowledgement_tests;
#[cfg(test)]
mod coordinator_tests;

pub use barrier_target::BarrierTarget;
pub use coordinator::{AfterCheckpoint, CheckpointCoordinator};
pub use history::CheckpointHistory;
pub use operator_versions::OperatorVersions;
pub use upload::UploadedCheckpoint;
