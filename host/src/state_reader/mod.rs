//! Looking into the state of a checkpoint or savepoint: list, read, dump; and writing a savepoint from such a dump.
//!
//! What is read stands still: an image that is complete. Nothing here reaches a running job, and what is loaded is a
//! savepoint only once all of it is written. It must not know jobs, functions or connectors.

mod bytes_json;
mod entry_codec;
mod internal_values;
mod map_key;
mod postcard_json;
mod reader;
mod savepoint_loader;
mod value_shape;

#[cfg(test)]
mod entry_codec_tests;
#[cfg(test)]
mod postcard_json_tests;
#[cfg(test)]
mod savepoint_loader_tests;

pub use entry_codec::{StateEntry, UpdatedAt};
pub use reader::{KeyState, OperatorState, StateListing, StateReader, StateSummary};
pub use savepoint_loader::{LoadTarget, ParsedEntries, loaded_metadata};
