//! Reads timestamps in the format that a pipeline names.

use jiff::tz::TimeZone;

use crate::model::NO_TIMESTAMP;
use crate::model::row::time_text::{by_pattern, decimal, rfc3339, zone};
use crate::pipeline::TimestampFormat;

/// Reads the text of a timestamp.
#[derive(Clone, Debug)]
pub struct TimeParser {
    format: Option<TimestampFormat>,
    /// Time zone of values without an offset.
    zone: Option<TimeZone>,
}

impl TimeParser {
    /// Returns the parser of a format. `None` if `zone` is not a time zone.
    pub fn new(format: TimestampFormat, zone_name: Option<&str>) -> Option<TimeParser> {
        let zone = match zone_name {
            Some(name) => Some(zone(name)?),
            None => None,
        };
        Some(TimeParser { format: Some(format), zone })
    }

    /// Returns the parser for fields whose format is not set: RFC 3339, or a number of milliseconds.
    pub fn of_any_field(self) -> TimeParser {
        TimeParser { format: None, ..self }
    }

    /// The parser for fields of a source without a `timestamp`: RFC 3339, or a number of milliseconds.
    pub fn unset() -> TimeParser {
        TimeParser { format: None, zone: None }
    }

    /// Returns milliseconds since the Unix epoch, rounded down. `None` if the text is not a time of the format.
    #[inline]
    pub fn parse(&self, text: &[u8]) -> Option<i64> {
        let text = text.trim_ascii();
        let zone = self.zone.as_ref();
        let ms = match &self.format {
            None if text.first().is_some_and(|first| first.is_ascii_digit() || *first == b'-') => {
                rfc3339(text, zone).or_else(|| decimal(text, 0))
            }
            None | Some(TimestampFormat::Rfc3339) => rfc3339(text, zone),
            Some(TimestampFormat::UnixS) => decimal(text, 3),
            Some(TimestampFormat::UnixMs) => decimal(text, 0),
            Some(TimestampFormat::UnixUs) => decimal(text, -3),
            Some(TimestampFormat::Pattern(pattern)) => by_pattern(pattern, text, zone),
        };
        ms.filter(|ms| *ms != NO_TIMESTAMP)
    }

    /// Returns the time of a number. `None` if the format is no format of whole numbers, or the number is no time.
    pub fn parse_number(&self, number: i64) -> Option<i64> {
        let ms = match &self.format {
            None | Some(TimestampFormat::UnixMs) => number,
            Some(TimestampFormat::UnixS) => number.checked_mul(1_000)?,
            Some(TimestampFormat::UnixUs) => number.div_euclid(1_000),
            Some(TimestampFormat::Rfc3339 | TimestampFormat::Pattern(_)) => return None,
        };
        Some(ms).filter(|ms| *ms != NO_TIMESTAMP)
    }

    /// Describes the format, for a message.
    pub fn described(&self) -> &str {
        self.format.as_ref().map_or("RFC 3339 or a number of milliseconds", TimestampFormat::as_str)
    }

    /// Explains why a text cannot be read, and how to correct it.
    pub fn why_unreadable(&self, text: &[u8]) -> String {
        let text = text.trim_ascii();
        let is_date = || rfc3339(text, Some(&TimeZone::UTC)).is_some();
        let why = match &self.format {
            Some(TimestampFormat::Rfc3339) if text.iter().all(u8::is_ascii_digit) => {
                "it is a number, so the format may be `unix-s`, `unix-ms` or `unix-us`"
            }
            None | Some(TimestampFormat::Rfc3339) if self.zone.is_none() && is_date() => {
                "it has neither `Z` nor an offset, so set its `zone`, such as `zone = \"UTC\"`"
            }
            None | Some(TimestampFormat::Rfc3339) => {
                "the format `rfc3339` expects a time like `2013-01-01T05:00:00Z` or `2013-01-01`"
            }
            Some(TimestampFormat::Pattern(pattern)) => return format!("it does not match the pattern `{pattern}`"),
            Some(_) if is_date() => "it is a date, so the format may be `rfc3339`",
            Some(_) => "it is not a number, or is out of range",
        };
        why.to_owned()
    }

    /// Returns a remark on a time that was read but probably has another format.
    pub fn remark(&self, ms: i64) -> Option<String> {
        if is_implausible(ms) {
            let year = 1970 + ms.div_euclid(31_556_952_000);
            return Some(format!("is in the year {year}, so the format may be wrong"));
        }
        let is_in_seconds = self.format == Some(TimestampFormat::UnixMs) && (100_000_000..10_000_000_000).contains(&ms);
        is_in_seconds.then(|| "is early in 1970, so the format may be `unix-s`".to_owned())
    }
}

/// The milliseconds of the years 0 to 9999. A time outside of them suggests a wrong format.
const PLAUSIBLE_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Returns whether a time is outside of the years 0 to 9999.
pub fn is_implausible(ms: i64) -> bool {
    !PLAUSIBLE_MS.contains(&ms)
}
