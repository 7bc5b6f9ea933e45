//! The store of a host: the data folder, job records, components, and the removal of checkpoints.
//!
//! Invariant: files are replaced atomically; data that a job, a reader or another job still needs is not removed.

mod component_store;
mod data_dir;
mod json_file;
mod loaded_components;
mod readers;
mod record;
mod removal;

pub use component_store::ComponentStore;
pub use data_dir::DataDir;
pub use json_file::{create_dir, list_dir, read_json, write_json};
pub use readers::{CheckpointReaders, JobState};
pub use record::JobRecord;
pub use removal::{remove_checkpoints_of_ended, remove_claimed, remove_job, remove_savepoint};
