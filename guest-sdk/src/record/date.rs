//! Days of the calendar.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A day of the Gregorian calendar, as the number of days since 1970-01-01.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// let date = Date::from_ymd(2013, 2, 28).ok_or("no such day")?;
/// assert_eq!(date.to_string(), "2013-02-28");
/// assert_eq!(Date::from_days(date.as_days() + 1).ymd(), (2013, 3, 1));
/// assert_eq!("2013-02-28".parse(), Ok(date));
/// # Ok::<(), FunctionError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days of 400 years.
const ERA: i64 = 146_097;

impl Date {
    /// Makes a date from days since 1970-01-01.
    pub const fn from_days(days: i32) -> Self {
        Date(days)
    }

    /// Returns the days since 1970-01-01.
    pub const fn as_days(self) -> i32 {
        self.0
    }

    /// Makes a date from a year, a month (1 to 12) and a day of the month. Returns `None` if there is no such day.
    pub fn from_ymd(year: i32, month: u32, day: u32) -> Option<Self> {
        let date = Date(i32::try_from(days_of(year, month, day)).ok()?);
        // A month or day out of range is another day.
        (date.ymd() == (year, month, day)).then_some(date)
    }

    /// Returns the year, the month (1 to 12) and the day of the month.
    pub fn ymd(self) -> (i32, u32, u32) {
        // Years begin in March here, so that the leap day is the last day of a year.
        let days = i64::from(self.0) + EPOCH;
        let (era, day_of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * months + 2) / 5 + 1;
        let month = if months < 10 { months + 3 } else { months - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        (year as i32, month as u32, day as u32)
    }

    /// Returns the year.
    pub fn year(self) -> i32 {
        self.ymd().0
    }

    /// Returns the month, 1 to 12.
    pub fn month(self) -> u32 {
        self.ymd().1
    }

    /// Returns the day of the month, 1 to 31.
    pub fn day(self) -> u32 {
        self.ymd().2
    }
}

fn days_of(year: i32, month: u32, day: u32) -> i64 {
    let (month, day) = (i64::from(month), i64::from(day));
    let year = i64::from(year) - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH
}

/// Writes `2013-02-28`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        let sign = if year < 0 { "-" } else { "" };
        write!(f, "{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs())
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error of text that is not a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateError;

impl fmt::Display for DateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a date such as 2013-02-28")
    }
}

impl std::error::Error for DateError {}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let parse = || {
            let (negative, text) = match text.strip_prefix('-') {
                Some(text) => (true, text),
                None => (false, text),
            };
            let mut parts = text.split('-');
            let [year, month, day] = [parts.next()?, parts.next()?, parts.next()?];
            let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u32>().ok());
            if parts.next().is_some() || year.len() < 4 || month.len() != 2 || day.len() != 2 {
                return None;
            }
            let year = i32::try_from(digits(year)??).ok()?;
            Date::from_ymd(if negative { -year } else { year }, digits(month)??, digits(day)??)
        };
        parse().ok_or(DateError)
    }
}

/// Written as text in JSON, and as the number of days in other formats.
impl Serialize for Date {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i32(self.0) }
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<R: Deserializer<'de>>(deserializer: R) -> Result<Self, R::Error> {
        if !deserializer.is_human_readable() {
            return i32::deserialize(deserializer).map(Date);
        }
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (15_755, "2013-02-19"),
            (19_782, "2024-02-29"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
            (2_932_896, "9999-12-31"),
        ] {
            assert_eq!(Date(days).to_string(), text);
            assert_eq!(text.parse(), Ok(Date(days)));
        }
        let mut before = Date(-200_000).ymd();
        for days in -199_999..200_000 {
            let date = Date(days);
            let (year, month, day) = date.ymd();
            assert_eq!(Date::from_ymd(year, month, day), Some(date));
            assert!((year, month, day) > before && (day == before.2 + 1 || day == 1), "{date}");
            before = (year, month, day);
        }
        for days in [i32::MIN, i32::MAX] {
            let (year, month, day) = Date(days).ymd();
            assert_eq!(Date::from_ymd(year, month, day), Some(Date(days)));
        }
    }

    #[test]
    fn a_day_that_does_not_exist_is_refused() {
        for (year, month, day) in
            [(2013, 2, 29), (2013, 13, 1), (2013, 0, 1), (2013, 4, 31), (2013, 4, 0), (1900, 2, 29)]
        {
            assert_eq!(Date::from_ymd(year, month, day), None);
        }
        assert_eq!((Date::from_ymd(i32::MAX, 1, 1), Date::from_ymd(2013, u32::MAX, 1)), (None, None));
        for text in
            ["", "2013-2-28", "2013-02-30", "2013-02-28x", "2013-02", "+2013-02-28", "13-02-28", "2013-02-28-01"]
        {
            assert_eq!(text.parse::<Date>(), Err(DateError), "{text}");
        }
    }
}
