//! Parses durations such as `"200ms"` and `"1h 30min"`.
//!
//! Accepts only the documented units, in lower case, so that `"1M"` cannot be mistaken for a month.

use std::time::Duration;

/// The units with their lengths in nanoseconds, the longest first.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Parses whole numbers with units, longer units first. The error explains what is wrong with the text.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    let mut units = &UNITS[..];
    let mut rest = text;
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| number_expected(text, number))?;
        let letters = after.find(|c: char| c == ' ' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let index = units.iter().position(|(name, _)| *name == unit).ok_or_else(|| unit_expected(unit))?;
        let part = times(units[index].1, number);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| format!("`{text}` is too long"))?;
        units = &units[index + 1..];
        rest = after.trim_start_matches(' ');
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

fn times(unit_nanos: u64, number: u64) -> Option<Duration> {
    let nanos = u128::from(unit_nanos) * u128::from(number);
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

fn number_expected(text: &str, number: &str) -> String {
    match number.is_empty() {
        true => format!("`{text}` is not a whole number with a unit"),
        false => format!("`{number}` is too large"),
    }
}

fn unit_expected(unit: &str) -> String {
    let all = "the units are `us`, `ms`, `s`, `min`, `h` and `d`, each at most once, the longest first";
    let meant = match unit {
        "m" | "M" | "mins" | "minute" | "minutes" => Some("min"),
        "sec" | "secs" | "second" | "seconds" | "S" => Some("s"),
        "hour" | "hours" | "hr" | "hrs" | "H" => Some("h"),
        "day" | "days" | "D" => Some("d"),
        "msec" | "MS" | "Ms" => Some("ms"),
        _ => None,
    };
    match (unit, meant) {
        ("", _) => format!("the unit is missing: {all}"),
        (unit, Some(meant)) => format!("`{unit}` is not a unit; did you mean `{meant}`? {all}"),
        (unit, None) => format!("`{unit}` is not allowed here: {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_units_are_accepted() {
        for (text, ms) in [
            ("0s", 0),
            ("200ms", 200),
            ("5s", 5_000),
            ("2min", 120_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("1h 30min", 5_400_000),
            ("1h30min", 5_400_000),
            ("1000us", 1),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse("1500us"), Ok(Duration::from_micros(1500)));
    }

    #[test]
    fn other_units_are_rejected_by_name() {
        for (text, why) in [
            ("1M", "`M` is not a unit; did you mean `min`?"),
            ("1m", "`m` is not a unit; did you mean `min`?"),
            ("1S", "did you mean `s`?"),
            ("2 weeks", "the unit is missing"),
            ("1s1s", "`s` is not allowed here"),
            ("1w", "`w` is not allowed here"),
            ("1y", "`y` is not allowed here"),
            ("1month", "`month` is not allowed here"),
            ("5sec", "did you mean `s`?"),
            ("1MS", "did you mean `ms`?"),
            ("1", "the unit is missing"),
            ("", "`` is not a whole number"),
            ("-1s", "`-1s` is not a whole number"),
            ("1.5s", "`.` is not allowed here"),
            ("5s 1h", "`h` is not allowed here: the units are `us`, `ms`, `s`, `min`, `h` and `d`, each at most once"),
            ("99999999999999999999s", "is too large"),
            ("18446744073709551615d", "is too long"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
