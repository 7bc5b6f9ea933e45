//! Jobs: submit, run, restart, savepoint, cancel; the job store and the component store.

mod attempt;
mod checkpointing;
mod components;
mod coordination;
mod failures;
mod fit;
mod host;
mod known_jobs;
mod lifecycle;
mod live;
mod losses;
mod origins;
mod planning;
mod promises;
mod reading;
mod record;
mod removal;
mod repeats;
mod restore;
mod schedule;
mod stopping;
pub mod view;

pub use host::{Host, HostOptions, INSTANCES_MAX, Submission};
pub use reading::JobState;
