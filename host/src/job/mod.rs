//! Jobs: submit, run, restart, savepoint, cancel; the job store and the component store.

mod attempt;
mod checkpointing;
mod components;
mod coordination;
mod fit;
mod host;
mod lifecycle;
mod live;
mod origins;
mod planning;
mod promises;
mod reading;
mod record;
mod removal;
mod restore;
mod schedule;
mod stopping;
pub mod view;

pub use host::{Host, HostOptions, INSTANCES_MAX, Submission};
pub use reading::JobState;
