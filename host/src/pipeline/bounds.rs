//! Bounds and checks that several parts of a pipeline file share.

use std::ops::Range;

use super::toml_reader::{PipelineText, TomlItem};
use crate::error::{Result, manifest_invalid, manifest_parallelism};
use crate::model::MAX_PARALLELISM_LIMIT;

/// Maximum length of the pipeline's name and of an id, in characters.
pub(super) const NAME_CHARS_MAX: usize = 64;
/// A regular expression for the pipeline's name.
pub(super) const NAME_PATTERN: &str = "^[a-z0-9-]{1,64}$";
/// A regular expression for ids.
pub(super) const ID_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";
/// Maximum size of a batch and of an output, in bytes. Offsets in columns have 32 bits, so sizes must stay far below 4 GiB.
pub(super) const COLUMN_BYTES_MAX: u64 = 1 << 30;

/// Reads the `parallelism` of the pipeline or of a node.
pub(super) fn parallelism(item: &TomlItem<'_>) -> Result<u32> {
    let value = item.integer().and_then(|value| u32::try_from(value).ok());
    value.filter(|value| (1..=MAX_PARALLELISM_LIMIT).contains(value)).ok_or_else(|| {
        let message = format!("{} must be an integer between 1 and {MAX_PARALLELISM_LIMIT}", item.what);
        item.error(manifest_parallelism(message))
    })
}

/// Checks the id of a node. Ids are part of the names of folders and metrics, and a `.` would refer to a side output.
pub(super) fn check_id(text: &PipelineText<'_>, what: &str, id: &str, span: &Range<usize>) -> Result<()> {
    let well_formed = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if well_formed && !id.is_empty() && id.len() <= NAME_CHARS_MAX {
        return Ok(());
    }
    let message = format!("the id in {what} must consist of 1 to {NAME_CHARS_MAX} letters, digits, `-` and `_`");
    Err(manifest_invalid(message).at(text.location(span)))
}
