//! The faults of a job in groups, so that a million bad records are a few lines.
//!
//! - `fault_group` is a group with its samples, as it is stored and shown.
//! - `occurrence` is a fault that happens now.
//! - `fault_table` counts faults and takes samples, within limits.
//! - `group_files` stores the groups below the job's folder.
//! - `recorder` puts these together for all threads of a job.
//!
//! Invariants: recording a fault waits for no file. A fault whose record is part of a complete checkpoint is stored, and so is a fault that was
//! shown. A job takes bounded memory and storage, whatever its functions do.

mod fault_group;
mod fault_table;
mod group_files;
mod occurrence;
mod recorder;

#[cfg(test)]
mod fault_groups_tests;

pub use fault_group::{FaultGroup, FaultGroupDetail, FaultSample, FaultStatus};
pub use occurrence::FaultOccurrence;
pub use recorder::FaultRecorder;
