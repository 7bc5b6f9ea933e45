//! Jobs: submit, run, restart, savepoint, cancel; the job store and the component store.

pub mod view;
