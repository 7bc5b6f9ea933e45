//! Reads the state in a checkpoint or savepoint: lists it, looks up a key, dumps it as lines of JSON. Also writes a
//! savepoint from such lines.
//!
//! Invariant: a dumped entry can be loaded again to the same bytes. Only complete checkpoints are read, and a loaded savepoint
//! exists only once all of it is written. Must not depend on jobs, functions or connectors.
//!
//! | file | contents |
//! |---|---|
//! | `reader`, `listing` | finds the states and entries of a checkpoint |
//! | `entry`, `entry_codec` | one entry as a line of JSON |
//! | `value_codec` | chooses the representation of a value by the state's codec and schema |
//! | `postcard_json`, `value_shape` | values in postcard, whose type the schema describes |
//! | `row_json` | values that hold rows, whose schema the state's schema contains |
//! | `map_key` | map keys, which are encoded so that their bytes sort like the keys |
//! | `internal_values` | values that windows, joins and watermarks store for themselves |
//! | `bytes_json` | bytes as text, or as hex if they are not text |
//! | `load_target`, `parsed_entries`, `savepoint_loader` | writes a savepoint from lines of JSON |

mod bytes_json;
mod entry;
mod entry_codec;
mod internal_values;
mod listing;
mod load_target;
mod map_key;
mod parsed_entries;
mod postcard_json;
mod reader;
mod row_json;
mod savepoint_loader;
mod value_codec;
mod value_shape;

#[cfg(test)]
mod entry_codec_tests;
#[cfg(test)]
mod postcard_json_tests;
#[cfg(test)]
mod row_json_tests;
#[cfg(test)]
mod savepoint_loader_tests;

pub use entry::{StateEntry, UpdatedAt};
pub use listing::{KeyState, OperatorState, StateListing, StateSummary};
pub use load_target::LoadTarget;
pub use parsed_entries::ParsedEntries;
pub use reader::StateReader;
pub use savepoint_loader::loaded_metadata;
