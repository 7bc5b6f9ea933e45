//! Selectors, compiled: where a record's key and its timestamp are found. They run for every record on the way.

use jiff::fmt::temporal::DateTimeParser;

use super::{csv_row, json_field};
use crate::error::{Error, Result, manifest_key};
use crate::manifest::{Format, KeySelector, TimestampFormat, TimestampSelector};
use crate::model::NO_TIMESTAMP;

/// Finds the key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExtractor {
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Value,
    /// Beside the record, not in it: the caller has it.
    Emitted,
    Column(usize),
    Json(Vec<String>),
}

impl KeyExtractor {
    /// Fails with `manifest-key` where records of `format` have no such place, and says what would be right.
    pub fn compile(selector: &KeySelector, format: &Format) -> Result<KeyExtractor> {
        let place = match (selector, format) {
            (KeySelector::Value, _) => Place::Value,
            (KeySelector::Emitted, _) => Place::Emitted,
            (KeySelector::Field(name), Format::Json) => Place::Json(name.split('.').map(str::to_owned).collect()),
            (KeySelector::Field(name), Format::Csv(Some(names))) => Place::Column(column_of(name, names)?),
            (KeySelector::Field(name), Format::Csv(None)) => {
                return Err(manifest_key(format!("`{name}`: the names of these CSV columns are not known")).hint(
                    "name the column by its place, from 0: `{ column = 0 }`, or read the source with `header = true`",
                ));
            }
            (KeySelector::Column(index), Format::Csv(names)) => Place::Column(within(*index, names.as_deref())?),
            (KeySelector::Column(index), Format::Json) => {
                return Err(manifest_key(format!("column {index}: these records are JSON"))
                    .hint("name a field: `{ field = \"name\" }`"));
            }
            (KeySelector::Field(name), Format::Raw) => return Err(raw(&format!("`{name}`"))),
            (KeySelector::Column(index), Format::Raw) => return Err(raw(&format!("column {index}"))),
        };
        Ok(KeyExtractor { place })
    }

    /// The key of `value`; None where the record has none. An empty text is a key. `scratch` is for keys that have to be
    /// unescaped. Always None for `emitted` keys, which are not in the value.
    #[inline]
    pub fn extract<'a>(&self, value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match &self.place {
            Place::Value => Some(value),
            Place::Emitted => None,
            Place::Column(index) => csv_row::column(value, *index, scratch),
            Place::Json(path) => json_field::field(value, path, scratch),
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

/// Finds the event timestamp of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampExtractor {
    at: KeyExtractor,
    format: TimestampFormat,
}

impl TimestampExtractor {
    /// Fails with `manifest-key` where records of `format` have no such place.
    pub fn compile(selector: &TimestampSelector, format: &Format) -> Result<TimestampExtractor> {
        if selector.at == KeySelector::Emitted {
            return Err(manifest_key("a timestamp cannot be `emitted`").hint("name a field or a column"));
        }
        let at = KeyExtractor::compile(&selector.at, format).map_err(|error| error.context("timestamp"))?;
        Ok(TimestampExtractor { at, format: selector.format })
    }

    /// Milliseconds since the Unix epoch, rounded down; None where there is no timestamp or it cannot be read.
    #[inline]
    pub fn extract(&self, value: &[u8]) -> Option<i64> {
        static RFC3339: DateTimeParser = DateTimeParser::new();
        let mut scratch = Vec::new();
        let text = self.at.extract(value, &mut scratch)?.trim_ascii();
        let ms = match self.format {
            TimestampFormat::Rfc3339 => {
                let timestamp = RFC3339.parse_timestamp(text).ok()?;
                i64::try_from(timestamp.as_nanosecond().div_euclid(1_000_000)).ok()?
            }
            TimestampFormat::UnixMs => std::str::from_utf8(text).ok()?.parse().ok()?,
            TimestampFormat::UnixS => seconds(std::str::from_utf8(text).ok()?)?,
        };
        (ms != NO_TIMESTAMP).then_some(ms)
    }
}

/// Seconds with any number of decimals, as milliseconds, rounded down.
fn seconds(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if text.ends_with('.') || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole_ms = whole.parse::<i64>().ok()?.checked_mul(1_000)?;
    let (used, unused) = decimals.split_at(decimals.len().min(3));
    let ms = format!("{used:0<3}").parse::<i64>().ok()?;
    if whole.starts_with('-') {
        let lower = i64::from(unused.bytes().any(|byte| byte != b'0'));
        return whole_ms.checked_sub(ms)?.checked_sub(lower);
    }
    whole_ms.checked_add(ms)
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
