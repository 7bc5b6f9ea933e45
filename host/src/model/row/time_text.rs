//! Times as text: RFC 3339, dates, and decimal numbers.

use jiff::civil;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;

const DAY_MS: i64 = 86_400_000;

/// The milliseconds of the years 0 to 9999, which RFC 3339 can write.
const YEARS_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Appends a timestamp in quotes as RFC 3339 in UTC, such as `"2013-01-01T05:00:00Z"`, with milliseconds if there are any. A time
/// outside of the years 0 to 9999 is written as its milliseconds, without quotes.
pub fn write_timestamp(to: &mut Vec<u8>, ms: i64, quotes: bool) {
    if !YEARS_MS.contains(&ms) {
        return to.extend_from_slice(itoa::Buffer::new().format(ms).as_bytes());
    }
    write_quote(to, quotes);
    write_date_part(to, ms.div_euclid(DAY_MS));
    let ms = ms.rem_euclid(DAY_MS);
    to.push(b'T');
    write_pair(to, ms / 3_600_000);
    to.push(b':');
    write_pair(to, ms / 60_000 % 60);
    to.push(b':');
    write_pair(to, ms / 1_000 % 60);
    let fraction = ms % 1_000;
    if fraction > 0 {
        to.push(b'.');
        to.push(b'0' + (fraction / 100) as u8);
        write_pair(to, fraction % 100);
    }
    to.push(b'Z');
    write_quote(to, quotes);
}

/// Appends a date in quotes, such as `"2013-01-01"`. A date outside of the years 0 to 9999 is written as its days since 1970-01-01,
/// without quotes.
pub fn write_date(to: &mut Vec<u8>, days: i32, quotes: bool) {
    if !YEARS_MS.contains(&(i64::from(days) * DAY_MS)) {
        return to.extend_from_slice(itoa::Buffer::new().format(days).as_bytes());
    }
    write_quote(to, quotes);
    write_date_part(to, i64::from(days));
    write_quote(to, quotes);
}

fn write_quote(to: &mut Vec<u8>, quotes: bool) {
    if quotes {
        to.push(b'"');
    }
}

fn write_pair(to: &mut Vec<u8>, number: i64) {
    to.extend_from_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]);
}

/// Writes year, month and day. The inverse of [`days_since_epoch`].
fn write_date_part(to: &mut Vec<u8>, days: i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    write_pair(to, year / 100);
    write_pair(to, year % 100);
    to.push(b'-');
    write_pair(to, month);
    to.push(b'-');
    write_pair(to, day);
}

/// Parses a date like `2013-01-01`: its days since 1970-01-01.
pub fn date(text: &[u8]) -> Option<i32> {
    match standard(text)? {
        DateAndTime { days, has_time: false, .. } => i32::try_from(days).ok(),
        _ => None,
    }
}

/// Returns a time zone by its name in the time zone database, `UTC`, or an offset like `+02:00`.
pub fn zone(name: &str) -> Option<TimeZone> {
    let offset = || {
        let time = format!("1970-01-02T00:00:00{name}");
        let seconds = name.starts_with(['+', '-']).then(|| standard(time.as_bytes())).flatten()?.offset_s?;
        jiff::tz::Offset::from_seconds(i32::try_from(seconds).ok()?).ok()
    };
    if name == "UTC" || name == "Z" {
        return Some(TimeZone::UTC);
    }
    offset().map(TimeZone::fixed).or_else(|| TimeZone::get(name).ok())
}

/// Reads a time in a pattern of `strptime`. Without an offset it is a time of `zone`, or of UTC.
pub fn by_pattern(pattern: &str, text: &[u8], zone: Option<&TimeZone>) -> Option<i64> {
    let read = jiff::fmt::strtime::parse(pattern, text).ok()?;
    if read.offset().is_some() || read.timestamp().is_some() {
        return Some(read.to_timestamp().ok()?.as_millisecond());
    }
    let time = read.to_time().unwrap_or_default();
    let local = read.to_date().ok()?.to_datetime(time);
    let timestamp = zone.unwrap_or(&TimeZone::UTC).to_ambiguous_timestamp(local).compatible().ok()?;
    Some(timestamp.as_millisecond())
}

/// A date with an optional time and offset, as written in a value.
struct DateAndTime {
    days: i64,
    date: (i16, i8, i8),
    ms_of_day: i64,
    offset_s: Option<i64>,
    has_time: bool,
}

/// Converts a date, or a date with a time and an offset, to milliseconds. A date alone is the start of the day in `zone`,
/// or in UTC. A time without an offset needs a `zone`.
#[inline]
pub fn rfc3339(text: &[u8], zone: Option<&TimeZone>) -> Option<i64> {
    let Some(written) = standard(text) else { return rare_form(text) };
    let local = written.days * 86_400_000 + written.ms_of_day;
    match (written.offset_s, zone) {
        (Some(offset_s), _) => Some(local - offset_s * 1_000),
        (None, Some(zone)) => in_zone(&written, local, zone),
        (None, None) => (!written.has_time).then_some(local),
    }
}

/// Parses rare forms, such as a week date, a year of six digits or a time zone in brackets.
#[cold]
fn rare_form(text: &[u8]) -> Option<i64> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let timestamp = PARSER.parse_timestamp(text).ok()?;
    i64::try_from(timestamp.as_nanosecond().div_euclid(1_000_000)).ok()
}

/// Converts a local time of a zone. An ambiguous time is the earlier of the two. A skipped time moves forward by the
/// length of the gap.
fn in_zone(written: &DateAndTime, local_ms: i64, zone: &TimeZone) -> Option<i64> {
    if let Ok(offset) = zone.to_fixed_offset() {
        return Some(local_ms - i64::from(offset.seconds()) * 1_000);
    }
    let (year, month, day) = written.date;
    let date = civil::Date::new(year, month, day).ok()?;
    let (seconds, ms) = (written.ms_of_day / 1_000, written.ms_of_day % 1_000);
    let time = civil::time((seconds / 3_600) as i8, (seconds / 60 % 60) as i8, (seconds % 60) as i8, 0);
    let timestamp = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().ok()?;
    Some(timestamp.as_millisecond() + ms)
}

/// Parses `2013-01-01`, `2013-01-01T05:00:00.123Z` and similar forms: RFC 3339, where a space may replace the `T`, and the
/// seconds and the offset may be missing. A leap second counts as the second before it.
fn standard(text: &[u8]) -> Option<DateAndTime> {
    let (&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2], rest) = text.split_first_chunk::<10>()? else { return None };
    let year = pair(y1, y2)? * 100 + pair(y3, y4)?;
    let (month, day) = (pair(m1, m2)?, pair(d1, d2)?);
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let date = (year as i16, month as i8, day as i8);
    let days = days_since_epoch(year, month, day);
    if rest.is_empty() {
        return Some(DateAndTime { days, date, ms_of_day: 0, offset_s: None, has_time: false });
    }
    let (&[b'T' | b't' | b' ', h1, h2, b':', m1, m2], mut rest) = rest.split_first_chunk::<6>()? else { return None };
    let (hour, minute) = (pair(h1, h2)?, pair(m1, m2)?);
    let (mut second, mut ms) = (0, 0);
    if let Some((&[b':', s1, s2], behind)) = rest.split_first_chunk::<3>() {
        second = pair(s1, s2)?;
        rest = behind;
        if let [b'.' | b',', decimals @ ..] = rest {
            let digits = decimals.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let digit = |at: usize| decimals[..digits].get(at).map_or(0, |byte| i64::from(byte - b'0'));
            ms = digit(0) * 100 + digit(1) * 10 + digit(2);
            rest = &decimals[digits..];
            if digits == 0 {
                return None;
            }
        }
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let ms_of_day = ((hour * 60 + minute) * 60 + second.min(59)) * 1_000 + ms;
    Some(DateAndTime { days, date, ms_of_day, offset_s: offset(rest)?, has_time: true })
}

/// Parses the offset after a time, in seconds. The inner value is `None` if there is no offset.
fn offset(text: &[u8]) -> Option<Option<i64>> {
    let (sign, hours, minutes) = match *text {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        [sign, h1, h2] => (sign, pair(h1, h2)?, 0),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, pair(h1, h2)?, pair(m1, m2)?),
        _ => return None,
    };
    let seconds = (hours * 60 + minutes) * 60;
    match sign {
        _ if hours > 25 || minutes > 59 => None,
        b'+' => Some(Some(seconds)),
        b'-' => Some(Some(-seconds)),
        _ => None,
    }
}

/// Returns the number that two digits form.
fn pair(one: u8, other: u8) -> Option<i64> {
    (one.is_ascii_digit() && other.is_ascii_digit()).then(|| i64::from(one - b'0') * 10 + i64::from(other - b'0'))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days since 1970-01-01 in the Gregorian calendar. Years begin in March here, so that a leap day is the last
/// day of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Parses a decimal number like `1357034400`, `1.5` or `1.357E12`. Multiplies it by ten to the power of `shift` and rounds
/// down.
#[inline]
pub fn decimal(text: &[u8], shift: i32) -> Option<i64> {
    if text.len() < 19 && text.iter().all(u8::is_ascii_digit) {
        let number = text.iter().fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'));
        return match shift {
            3 => number.checked_mul(1_000),
            -3 => Some(number / 1_000),
            _ => Some(number),
        };
    }
    any_decimal(std::str::from_utf8(text).ok()?, shift)
}

fn any_decimal(text: &str, shift: i32) -> Option<i64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => (true, mantissa),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, decimals) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(decimals.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Digits after the 19th decimal place are too small to count. They matter only for rounding down a negative number.
    let (used, unused) = decimals.split_at(decimals.len().min(19));
    let mut number = 0_i128;
    for digit in whole.bytes().chain(used.bytes()) {
        number = number.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let rest = unused.bytes().any(|byte| byte != b'0');
    let number = if negative { -number - i128::from(rest) } else { number };
    let exponent: i32 = exponent.parse().ok()?;
    let shift = exponent.checked_add(shift)?.checked_sub(i32::try_from(used.len()).ok()?)?;
    let scaled = match (u32::try_from(shift), 10_i128.checked_pow(shift.unsigned_abs())) {
        (Ok(_), Some(power)) => number.checked_mul(power)?,
        (Ok(_), None) => (number == 0).then_some(0)?,
        (Err(_), Some(power)) => number.div_euclid(power),
        (Err(_), None) => -i128::from(number < 0),
    };
    i64::try_from(scaled).ok()
}
