//! Restores: the checkpoint that an attempt starts from, and whether the pipeline is compatible with it.
//!
//! Invariant: a job whose checkpoints are lost never starts again with empty state on its own.

mod compatibility;
mod origins;
mod starting_point;

pub use compatibility::{check_in_flight, check_states, restored_watermark_warnings, with_restored_max_parallelism};
pub use origins::OriginRegistry;
pub use starting_point::{StartingPoint, find_starting_point};
