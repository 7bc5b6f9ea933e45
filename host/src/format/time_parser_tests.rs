//! Timestamps in every format, and the explanations for values that are not timestamps.

use super::time_parser::TimeParser;
use crate::model::row::time_text::rfc3339;
use crate::pipeline::TimestampFormat;

fn parser(format: TimestampFormat, zone: Option<&str>) -> TimeParser {
    TimeParser::new(format, zone).unwrap()
}

fn read(format: TimestampFormat, zone: Option<&str>, text: &str) -> Option<i64> {
    parser(format, zone).parse(text.as_bytes())
}

#[test]
fn timestamps_are_read_as_milliseconds() {
    use TimestampFormat::{Rfc3339, UnixMs, UnixS, UnixUs};
    let cases = [
        (Rfc3339, "2013-01-01T10:00:00Z", Some(1_357_034_400_000)),
        (Rfc3339, "2013-01-01 05:00:00Z", Some(1_357_016_400_000)),
        (Rfc3339, "2013-01-01t05:00z", Some(1_357_016_400_000)),
        (Rfc3339, "2013-01-01T05:00:00.1239-05:00", Some(1_357_034_400_123)),
        (Rfc3339, "2013-01-01T05:00:00.123456789Z", Some(1_357_016_400_123)),
        (Rfc3339, "2013-01-01T05:00:00-0500", Some(1_357_034_400_000)),
        (Rfc3339, "2024-03-31T02:30:00+02:00", Some(1_711_845_000_000)),
        (Rfc3339, "1969-12-31T23:59:59.9999Z", Some(-1)),
        (Rfc3339, "1969-12-31T23:59:59.999Z", Some(-1)),
        (Rfc3339, "9999-12-31T23:59:59.999Z", Some(253_402_300_799_999)),
        (Rfc3339, "2016-12-31T23:59:60Z", Some(1_483_228_799_000)),
        (Rfc3339, "2012-01-01", Some(1_325_376_000_000)),
        (Rfc3339, "0000-02-29", Some(-62_162_121_600_000)),
        (Rfc3339, "20130101T100000Z", Some(1_357_034_400_000)),
        (Rfc3339, "2013-01-01T05:00:00-05:00[America/New_York]", Some(1_357_034_400_000)),
        (Rfc3339, "2013-01-01T05:00:00", None),
        (Rfc3339, "2013-01-01T24:00:00Z", None),
        (Rfc3339, "2013-01-01T10:00:61Z", None),
        (Rfc3339, "2013-01-01T10:00:00.Z", None),
        (Rfc3339, "2013-13-01T10:00:00Z", None),
        (Rfc3339, "2013-02-29", None),
        (Rfc3339, "1357034400", None),
        (Rfc3339, "2013-01-01T10:00:00\u{e4}", None),
        (UnixMs, "1357034400123", Some(1_357_034_400_123)),
        (UnixMs, " -5 ", Some(-5)),
        (UnixMs, "1.5", Some(1)),
        (UnixMs, "-1.5", Some(-2)),
        (UnixMs, "1.357E12", Some(1_357_000_000_000)),
        (UnixMs, "1.357e+12", Some(1_357_000_000_000)),
        (UnixMs, "1357034400123.0", Some(1_357_034_400_123)),
        (UnixMs, "9223372036854775807", Some(i64::MAX)),
        (UnixMs, "9223372036854775808", None),
        (UnixMs, "-9223372036854775808", None),
        (UnixMs, "1e400", None),
        (UnixMs, "0e400", Some(0)),
        (UnixMs, "-1e-400", Some(-1)),
        (UnixMs, "1e99999999999", None),
        (UnixMs, "NaN", None),
        (UnixMs, "inf", None),
        (UnixUs, "1357034400123456", Some(1_357_034_400_123)),
        (UnixUs, "-1", Some(-1)),
        (UnixS, "1357034400", Some(1_357_034_400_000)),
        (UnixS, "1357034400123", Some(1_357_034_400_123_000)),
        (UnixS, "1357034400.1239", Some(1_357_034_400_123)),
        (UnixS, "1.5", Some(1_500)),
        (UnixS, "-1.5", Some(-1_500)),
        (UnixS, "-0.0001", Some(-1)),
        (UnixS, "-0.00000000000000000000001", Some(-1)),
        (UnixS, "0.00000000000000000000001", Some(0)),
        (UnixS, "1.", None),
        (UnixS, ".5", None),
        (UnixS, "1.-5", None),
        (UnixS, "1.\u{e9}", None),
        (UnixS, "--5", None),
        (UnixS, "9223372036854775807", None),
        (UnixS, "soon", None),
    ];
    for (format, text, expected) in cases {
        assert_eq!(read(format.clone(), None, text), expected, "{format:?} {text}");
    }
}

#[test]
fn the_zone_applies_to_times_without_an_offset() {
    let cases = [
        ("UTC", "2013-01-01T05:00:00", Some(1_357_016_400_000)),
        ("UTC", "9999-12-31T23:59:59.999", Some(253_402_300_799_999)),
        ("-05:00", "2013-01-01T05:00:00", Some(1_357_034_400_000)),
        ("-05:00", "2013-01-01T05:00:00Z", Some(1_357_016_400_000)),
        ("+02:00", "2012-01-01", Some(1_325_368_800_000)),
        ("UTC", "2013-01-01T05:00:00x", None),
    ];
    for (zone, text, expected) in cases {
        assert_eq!(read(TimestampFormat::Rfc3339, Some(zone), text), expected, "{zone} {text}");
    }
    for zone in ["Nowhere/Atlantis", "+2", "", "+99:00"] {
        assert!(TimeParser::new(TimestampFormat::Rfc3339, Some(zone)).is_none(), "{zone}");
    }
}

#[test]
fn times_equal_those_of_another_implementation() {
    let mut seed = 1_u64;
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let ms = (seed >> 16) as i64 % 253_000_000_000_000 * if seed & 1 == 0 { 1 } else { -1 };
        let Ok(timestamp) = jiff::Timestamp::from_millisecond(ms) else { continue };
        let text = timestamp.to_string();
        if !text.starts_with('-') {
            assert_eq!(rfc3339(text.as_bytes(), None), Some(ms), "{text}");
        }
    }
}

#[test]
fn an_unreadable_value_is_explained() {
    let why = |format, text: &str| parser(format, None).why_unreadable(text.as_bytes());
    assert!(why(TimestampFormat::Rfc3339, "2013-01-01T05:00:00").contains("`zone`"));
    assert!(why(TimestampFormat::Rfc3339, "1357016400").contains("`unix-s`"));
    assert!(why(TimestampFormat::Rfc3339, "01.01.2013").contains("2013-01-01T05:00:00Z"));
    assert!(why(TimestampFormat::UnixS, "2013-01-01 05:00").contains("`rfc3339`"));
    assert!(why(TimestampFormat::UnixS, "soon").contains("not a number"));
    let seconds = parser(TimestampFormat::UnixS, None);
    assert!(seconds.remark(1_357_034_400_123_000).unwrap().contains("the year 44972"));
    assert_eq!(seconds.remark(1_357_034_400_123), None);
    let ms = parser(TimestampFormat::UnixMs, None);
    assert!(ms.remark(1_357_034_400).unwrap().contains("`unix-s`"));
    assert_eq!(ms.remark(11_000), None);
}

#[test]
fn a_pattern_reads_local_times_and_times_with_an_offset() {
    let pattern = |pattern: &str| TimestampFormat::Pattern(pattern.into());
    let day_first = "%d.%m.%Y %H:%M";
    for (format, zone, text, expected) in [
        (pattern(day_first), None, "01.01.2013 05:00", Some(1_357_016_400_000)),
        (pattern(day_first), Some("-05:00"), "01.01.2013 05:00", Some(1_357_034_400_000)),
        (pattern(day_first), Some("Europe/Berlin"), "01.07.2013 05:00", Some(1_372_647_600_000)),
        (pattern("%Y-%m-%d"), None, "2012-01-01", Some(1_325_376_000_000)),
        (pattern("%Y-%m-%d %H:%M:%S %z"), Some("Europe/Berlin"), "2013-01-01 05:00:00 -0500", Some(1_357_034_400_000)),
        (pattern("%s"), None, "1357034400", Some(1_357_034_400_000)),
        (pattern(day_first), None, "01.13.2013 05:00", None),
        (pattern(day_first), None, "01.01.2013 05:00 Uhr", None),
        (pattern(day_first), None, "2013-01-01T05:00:00Z", None),
    ] {
        assert_eq!(read(format.clone(), zone, text), expected, "{format:?} {zone:?} {text}");
    }
}
