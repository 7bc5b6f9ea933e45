//! Selectors, compiled: where a field of a record is found. They run for every record on the way.

use super::{csv_row, json_field};
use crate::error::{Error, Result, manifest_key};
use crate::pipeline::{KeySelector, ValueFormat};

/// Finds the key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExtractor {
    place: KeyLocation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyLocation {
    Value,
    /// Beside the record, not in it: the caller has it.
    Emitted,
    Column(usize),
    Json(Vec<String>),
}

impl KeyExtractor {
    /// Fails with `manifest-key` where records of `format` have no such place, and says what would be right.
    pub fn compile(selector: &KeySelector, format: &ValueFormat) -> Result<KeyExtractor> {
        let place = match (selector, format) {
            (KeySelector::Value, _) => KeyLocation::Value,
            (KeySelector::Emitted, _) => KeyLocation::Emitted,
            (KeySelector::Field(name), ValueFormat::Json) => {
                KeyLocation::Json(name.split('.').map(str::to_owned).collect())
            }
            (KeySelector::Field(name), ValueFormat::Csv(Some(names))) => KeyLocation::Column(column_of(name, names)?),
            (KeySelector::Field(name), ValueFormat::Csv(None)) => {
                return Err(manifest_key(format!("`{name}`: the names of these CSV columns are not known")).hint(
                    "name the column by its place, from 0: `{ column = 0 }`, or read the source with `header = true`",
                ));
            }
            (KeySelector::Column(index), ValueFormat::Csv(names)) => {
                KeyLocation::Column(within(*index, names.as_deref())?)
            }
            (KeySelector::Column(index), ValueFormat::Json) => {
                return Err(manifest_key(format!("column {index}: these records are JSON"))
                    .hint("name a field: `{ field = \"name\" }`"));
            }
            (KeySelector::Field(name), ValueFormat::Raw) => return Err(raw(&format!("`{name}`"))),
            (KeySelector::Column(index), ValueFormat::Raw) => return Err(raw(&format!("column {index}"))),
        };
        Ok(KeyExtractor { place })
    }

    /// The key of `value`; None where the record has none. An empty text is a key. `scratch` is for keys that have to be
    /// unescaped. Always None for `emitted` keys, which are not in the value.
    #[inline]
    pub fn extract<'a>(&self, value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match &self.place {
            KeyLocation::Value => Some(value),
            KeyLocation::Emitted => None,
            KeyLocation::Column(index) => csv_row::column(value, *index, scratch),
            KeyLocation::Json(path) => json_field::field(value, path, scratch),
        }
    }
}

fn column_of(name: &str, names: &[String]) -> Result<usize> {
    let mut places = names.iter().enumerate().filter(|(_, other)| *other == name).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(first), Some(second)) => {
            let what = format!("the header has the column `{name}` twice: columns {first} and {second}, from 0");
            Err(manifest_key(what).hint("name the column by its place: `{ column = ... }`"))
        }
        (None, _) => {
            let hint = format!("the columns are {}", listed(names));
            Err(manifest_key(format!("there is no column `{name}`")).hint(hint))
        }
    }
}

fn within(index: usize, names: Option<&[String]>) -> Result<usize> {
    match names {
        Some(names) if index >= names.len() => {
            let hint = format!("the columns, from 0, are {}", listed(names));
            Err(manifest_key(format!("there is no column {index}")).hint(hint))
        }
        _ => Ok(index),
    }
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn raw(what: &str) -> Error {
    manifest_key(format!("{what}: these records are plain bytes, in which the host cannot look anything up")).hint(
        "read the source with `format = \"csv\"` or \"ndjson\", or give the function upstream a CSV or JSON output",
    )
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
