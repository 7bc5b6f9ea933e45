//! The jobs of a host: found by id or name, submitted, started, and resumed after a restart of the process.
//!
//! Invariant: at most one job of a name runs at a time.

mod job_registry;
mod resume;
mod submission;
mod submit;
mod submitted_origin;

pub use job_registry::JobRegistry;
pub use resume::{resume_all, resume_named};
pub use submission::Submission;
pub use submit::{check, submit};
