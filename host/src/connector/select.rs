//! Compiled key selectors. They extract the key of every record on the hot path.

use super::{csv_row, json_field};
use crate::error::{Error, Result, manifest_key};
use crate::pipeline::{KeySelector, ValueFormat};

/// Extracts the key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExtractor {
    location: KeyLocation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyLocation {
    Value,
    /// The function upstream emitted the key beside the record.
    Emitted,
    Column(usize),
    Json(Vec<String>),
}

impl KeyExtractor {
    /// Compiles a selector for records of `format`. Error: `manifest-key` if such records have no such field.
    pub fn compile(selector: &KeySelector, format: &ValueFormat) -> Result<KeyExtractor> {
        let location = match (selector, format) {
            (KeySelector::Value, _) => KeyLocation::Value,
            (KeySelector::Emitted, _) => KeyLocation::Emitted,
            (KeySelector::Fields(_), _) => return Err(manifest_key("several fields are no place in a record")),
            (KeySelector::Field(name), ValueFormat::Json) => {
                KeyLocation::Json(name.split('.').map(str::to_owned).collect())
            }
            (KeySelector::Field(name), ValueFormat::Csv(Some(names))) => KeyLocation::Column(column_of(name, names)?),
            (KeySelector::Field(name), ValueFormat::Csv(None)) => {
                return Err(manifest_key(format!("column `{name}` cannot be found: the names of these CSV columns are unknown")).hint(
                    "select the column by its index, counted from 0: `{ column = 0 }`, or read the source with `header = true`",
                ));
            }
            (KeySelector::Column(index), ValueFormat::Csv(names)) => {
                KeyLocation::Column(within(*index, names.as_deref())?)
            }
            (KeySelector::Column(index), ValueFormat::Json) => {
                return Err(manifest_key(format!("column {index} cannot be found: these records are JSON"))
                    .hint("select a field: `{ field = \"name\" }`"));
            }
            (KeySelector::Field(name), ValueFormat::Raw) => return Err(raw(&format!("`{name}`"))),
            (KeySelector::Column(index), ValueFormat::Raw) => return Err(raw(&format!("column {index}"))),
        };
        Ok(KeyExtractor { location })
    }

    /// Returns the key of `value`, or `None` if the record has none. An empty text is a key. A key that needs unescaping
    /// is built in `scratch`. Always returns `None` for emitted keys, which are not part of the value.
    #[inline]
    pub fn extract<'a>(&self, value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match &self.location {
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
            let what =
                format!("the header names the column `{name}` twice: columns {first} and {second}, counted from 0");
            Err(manifest_key(what).hint("select the column by its index: `{ column = ... }`"))
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
            let hint = format!("the columns, counted from 0, are {}", listed(names));
            Err(manifest_key(format!("there is no column {index}")).hint(hint))
        }
        _ => Ok(index),
    }
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn raw(what: &str) -> Error {
    manifest_key(format!("{what} cannot be found: these records are plain bytes without fields")).hint(
        "read the source with `format = \"csv\"` or \"ndjson\", or give the function upstream a CSV or JSON output",
    )
}
