//! Extracts event timestamps from records.
//!
//! Owns the timestamp formats and their time zones. [`TimestampExtractor::extract`] runs for every record of a source.

use jiff::tz::TimeZone;

use super::select::KeyExtractor;
use crate::error::{Result, manifest_invalid, manifest_key};
use crate::model::NO_TIMESTAMP;
use crate::model::row::time_text::{self, by_pattern, decimal, rfc3339};
use crate::pipeline::{KeySelector, TimestampFormat, TimestampSelector, ValueFormat};

/// The milliseconds of the years 0 to 9999. A time outside of them suggests a wrong format.
const PLAUSIBLE_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Maximum number of bytes of a value that a message shows.
const SHOWN_BYTES_MAX: usize = 80;

/// The event timestamp of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTimestamp {
    /// Milliseconds since the Unix epoch, rounded down.
    At(i64),
    /// The record does not have the field, or the field is empty.
    Missing,
    /// The value of the field is not a time in the format.
    Unreadable,
}

/// Extracts the event timestamp of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampExtractor {
    at: KeyExtractor,
    selector: TimestampSelector,
    /// Time zone of values without an offset.
    zone: Option<TimeZone>,
}

impl TimestampExtractor {
    /// Compiles a selector for records of `format`.
    ///
    /// Errors: `manifest-key` if such records have no such field, `manifest-invalid` if the time zone is unknown.
    pub fn compile(selector: &TimestampSelector, format: &ValueFormat) -> Result<TimestampExtractor> {
        if selector.at == KeySelector::Emitted {
            return Err(manifest_key("a source has no emitted timestamps").hint("select a field or a column"));
        }
        let at = KeyExtractor::compile(&selector.at, format).map_err(|error| error.context("timestamp"))?;
        let zone = selector.zone.as_deref().map(zone).transpose()?;
        Ok(TimestampExtractor { at, selector: selector.clone(), zone })
    }

    /// Returns the event timestamp of a record.
    #[inline]
    pub fn extract(&self, value: &[u8]) -> EventTimestamp {
        let mut scratch = Vec::new();
        let text = match self.at.extract(value, &mut scratch) {
            Some(text) => text.trim_ascii(),
            None => return EventTimestamp::Missing,
        };
        if text.is_empty() {
            return EventTimestamp::Missing;
        }
        let ms = match &self.selector.format {
            TimestampFormat::Rfc3339 => rfc3339(text, self.zone.as_ref()),
            TimestampFormat::UnixS => decimal(text, 3),
            TimestampFormat::UnixMs => decimal(text, 0),
            TimestampFormat::UnixUs => decimal(text, -3),
            TimestampFormat::Pattern(pattern) => by_pattern(pattern, text, self.zone.as_ref()),
        };
        match ms {
            Some(ms) if ms != NO_TIMESTAMP => EventTimestamp::At(ms),
            _ => EventTimestamp::Unreadable,
        }
    }

    /// Describes the field and the format, for a message.
    pub fn described(&self) -> String {
        let field = match &self.selector.at {
            KeySelector::Field(name) => format!("field `{}`", shown(name.as_bytes())),
            KeySelector::Column(index) => format!("column {index}"),
            KeySelector::Value | KeySelector::Emitted | KeySelector::Fields(_) => "the value".to_owned(),
        };
        format!("{field} (format `{}`)", self.selector.format.as_str())
    }

    /// Returns the value of the record's field, shortened for a message.
    pub fn shown(&self, value: &[u8]) -> String {
        let mut scratch = Vec::new();
        shown(self.at.extract(value, &mut scratch).unwrap_or_default())
    }

    /// Explains why the value of the record's field cannot be read, and how to correct it.
    pub fn why_unreadable(&self, value: &[u8]) -> String {
        let mut scratch = Vec::new();
        let text = self.at.extract(value, &mut scratch).unwrap_or_default().trim_ascii();
        let why = match &self.selector.format {
            TimestampFormat::Pattern(pattern) => return format!("it does not have the form `{pattern}`"),
            TimestampFormat::Rfc3339 if text.iter().all(u8::is_ascii_digit) => {
                "it is a number, so the format may be `unix-s`, `unix-ms` or `unix-us`"
            }
            TimestampFormat::Rfc3339 if self.zone.is_none() && rfc3339(text, Some(&TimeZone::UTC)).is_some() => {
                "it has neither `Z` nor an offset, so set its `zone`, such as `zone = \"UTC\"`"
            }
            TimestampFormat::Rfc3339 => {
                "the format `rfc3339` expects a time like `2013-01-01T05:00:00Z` or `2013-01-01`"
            }
            _ if rfc3339(text, Some(&TimeZone::UTC)).is_some() => "it is a date, so the format may be `rfc3339`",
            _ => "it is not a number, or is out of range",
        };
        why.to_owned()
    }

    /// Returns a remark on a time that was read but probably has another format.
    pub fn remark(&self, ms: i64) -> Option<String> {
        if is_implausible(ms) {
            let year = 1970 + ms.div_euclid(31_556_952_000);
            return Some(format!("is in the year {year}, so the format may be wrong"));
        }
        let is_in_seconds =
            self.selector.format == TimestampFormat::UnixMs && (100_000_000..10_000_000_000).contains(&ms);
        is_in_seconds.then(|| "is early in 1970, so the format may be `unix-s`".to_owned())
    }
}

/// Returns whether a time is outside of the years 0 to 9999.
pub fn is_implausible(ms: i64) -> bool {
    !PLAUSIBLE_MS.contains(&ms)
}

/// Formats bytes of a record for a message: shortened and on one line.
fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let more = if cut.len() < bytes.len() { "..." } else { "" };
    let text = String::from_utf8_lossy(cut);
    let text = text.chars().map(|one| if one.is_control() { char::REPLACEMENT_CHARACTER } else { one });
    text.chain(more.chars()).collect()
}

/// Returns a time zone by its name.
fn zone(name: &str) -> Result<TimeZone> {
    time_text::zone(name).ok_or_else(|| {
        manifest_invalid(format!("timestamp: `{name}` is not a time zone"))
            .hint("a time zone is \"UTC\", an offset like \"+02:00\", or a name like \"Europe/Berlin\"")
    })
}
