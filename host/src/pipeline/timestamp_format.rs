//! Reads the `format` of a timestamp: a name, or a pattern of `strptime`.

use super::node_spec::TimestampFormat;
use super::toml_reader::TomlItem;
use crate::error::Result;

/// Reads a format of timestamps.
pub(super) fn read(item: &TomlItem<'_>) -> Result<TimestampFormat> {
    if let Some(pattern) = item.as_str().filter(|text| text.contains('%')) {
        check_pattern(pattern)
            .map_err(|why| item.invalid(format_args!("is `{pattern}`, which is not a pattern: {why}")))?;
        return Ok(TimestampFormat::Pattern(pattern.to_owned()));
    }
    use TimestampFormat::{Rfc3339, UnixMs, UnixS, UnixUs};
    let formats = [Rfc3339, UnixMs, UnixS, UnixUs];
    let choices: Vec<(&str, &TimestampFormat)> = formats.iter().map(|format| (format.as_str(), format)).collect();
    item.choose(&choices).cloned().map_err(|error| {
        let hint = error.hint.clone().unwrap_or_default();
        error.hint(format!("{hint}, or a pattern like \"%d.%m.%Y %H:%M\""))
    })
}

/// Checks that a pattern has known directives only, and that they determine a date.
fn check_pattern(pattern: &str) -> std::result::Result<(), String> {
    let sample = jiff::Zoned::new(jiff::Timestamp::UNIX_EPOCH, jiff::tz::TimeZone::UTC);
    let written = jiff::fmt::strtime::format(pattern, &sample).map_err(|error| error.to_string())?;
    let read = jiff::fmt::strtime::parse(pattern, &written).map_err(|error| error.to_string())?;
    match read.to_timestamp().is_ok() || read.to_date().is_ok() {
        true => Ok(()),
        false => Err("it determines no date".to_owned()),
    }
}
