//! Durations as a person writes them: `"200ms"`, `"1h 30min"`.
//!
//! Units are those of the documentation and no others, in lower case: `"1M"` must not be taken for a month.

use std::time::Duration;

/// Units, the longest first, in nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Whole numbers with their units, the longer unit first. The error says what is wrong with the text.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    let mut units = &UNITS[..];
    let mut rest = text;
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| number_expected(text, number))?;
        let letters = behind.find(|c: char| c == ' ' || c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let place = units.iter().position(|(name, _)| *name == unit).ok_or_else(|| unit_expected(unit))?;
        let part = times(units[place].1, number);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| format!("`{text}` is too long"))?;
        units = &units[place + 1..];
        rest = behind.trim_start_matches(' ');
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
        true => format!("`{text}` is not one: a whole number with a unit is expected"),
        false => format!("`{number}` is too large"),
    }
}

fn unit_expected(unit: &str) -> String {
    let all = "the units are `us`, `ms`, `s`, `min`, `h` and `d`, each once, the longest first";
    let meant = match unit {
        "m" | "M" | "mins" | "minute" | "minutes" => Some("min"),
        "sec" | "secs" | "second" | "seconds" | "S" => Some("s"),
        "hour" | "hours" | "hr" | "hrs" | "H" => Some("h"),
        "day" | "days" | "D" => Some("d"),
        "msec" | "MS" | "Ms" => Some("ms"),
        _ => None,
    };
    match (unit, meant) {
        ("", _) => format!("its unit is missing: {all}"),
        (unit, Some(meant)) => format!("`{unit}` is not a unit; did you mean `{meant}`? {all}"),
        (unit, None) => format!("`{unit}` is not a unit here: {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_units_are_read() {
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
    fn other_units_are_refused_by_name() {
        for (text, why) in [
            ("1M", "`M` is not a unit; did you mean `min`?"),
            ("1m", "`m` is not a unit; did you mean `min`?"),
            ("1S", "did you mean `s`?"),
            ("2 weeks", "its unit is missing"),
            ("1s1s", "`s` is not a unit here"),
            ("1w", "`w` is not a unit here"),
            ("1y", "`y` is not a unit here"),
            ("1month", "`month` is not a unit here"),
            ("5sec", "did you mean `s`?"),
            ("1MS", "did you mean `ms`?"),
            ("1", "its unit is missing"),
            ("", "`` is not one"),
            ("-1s", "`-1s` is not one"),
            ("1.5s", "`.` is not a unit here"),
            ("5s 1h", "`h` is not a unit here: the units are `us`, `ms`, `s`, `min`, `h` and `d`, each once"),
            ("99999999999999999999s", "is too large"),
            ("18446744073709551615d", "is too long"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
