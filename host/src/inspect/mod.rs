//! Looking into the state of a checkpoint or savepoint: list, read, dump; and writing a savepoint from such a dump.
//!
//! What is read stands still: an image that is complete. Nothing here reaches a running job, and what is loaded is a
//! savepoint only once all of it is written. It must not know jobs, functions or connectors.

mod entry;
mod internal;
mod load;
mod ordered;
mod postcard;
mod read;
mod shape;
mod text;

pub use entry::{StateEntry, UpdatedAt};
pub use load::{LoadTarget, Loaded, loaded_manifest};
pub use read::{KeyState, OperatorState, StateImages, StateListing, StateSummary};
