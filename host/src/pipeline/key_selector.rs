//! Key selectors: the place in a record where its key, or another field, is found.

use super::operator_settings::OPERATOR_SETTINGS;
use super::record_format::names;
use super::setting::setting_keys;
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::{Result, manifest_key};

/// The place in a record where its key is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySelector {
    /// The whole value.
    Value,
    /// The key that the function upstream passed to `emit_keyed`, or that the connector upstream has for the record.
    Emitted,
    /// A field by name (`a.b` is field `b` of the nested record `a`).
    Field(String),
    /// A CSV column by its index, counted from 0.
    Column(usize),
    /// Several fields by their names, which form one key.
    Fields(Vec<String>),
}

const KEY_HINT: &str = "a key is \"value\", \"emitted\", \"record\" (of a source whose records have keys), { field = \"name\" }, { fields = [\"a\", \"b\"] } or { column = 0 } (counted from 0)";

/// Reads `field` or `column` of a table. Exactly one of them must be set.
pub(super) fn field_or_column(item: &TomlItem<'_>, section: &TomlSection<'_>) -> Result<KeySelector> {
    match (section.get("field"), section.get("column")) {
        (Some(field), None) => Ok(KeySelector::Field(field.string()?.to_string())),
        (None, Some(column)) => {
            let index = column.integer().and_then(|index| u32::try_from(index).ok());
            let index = index.and_then(|index| usize::try_from(index).ok());
            index.map(KeySelector::Column).ok_or_else(|| {
                column.error(manifest_key(format!("{} must be the index of a column, counted from 0", column.what)))
            })
        }
        _ => Err(item.error(manifest_key(format!("{} needs either `field` or `column`", item.what)))),
    }
}

/// Reads a key selector.
pub(super) fn key(item: &TomlItem<'_>) -> Result<KeySelector> {
    if item.is_table() {
        let section = item.section()?;
        section.check_keys(&setting_keys(OPERATOR_SETTINGS, Some("key")))?;
        if let Some(fields) = section.get("fields") {
            if let Some(other) = ["field", "column"].iter().find_map(|key| section.get(key)) {
                let message = format!("{} cannot be combined with `fields`", other.what);
                return Err(other.error(manifest_key(message).hint(KEY_HINT)));
            }
            return names(&fields).map(KeySelector::Fields);
        }
        return field_or_column(item, &section).map_err(|error| error.hint(KEY_HINT));
    }
    match item.as_str() {
        Some("value") => Ok(KeySelector::Value),
        Some("emitted" | "record") => Ok(KeySelector::Emitted),
        _ => Err(item.error(manifest_key(format!("{} is not a key", item.what)).hint(KEY_HINT))),
    }
}
