//! Jobs: submit, run, restart, savepoint, cancel; the job store and the component store.

mod attempt;
mod checkpointing;
mod components;
mod coordination;
mod fit;
mod host;
mod lifecycle;
mod live;
mod planning;
mod record;
mod schedule;
pub mod view;

pub use host::{Host, HostOptions, Submission};
