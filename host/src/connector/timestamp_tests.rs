//! Timestamps in every format, and the explanations for values that are not timestamps.

use super::timestamp::EventTimestamp::{At, Missing, Unreadable};
use super::timestamp::{EventTimestamp, TimestampExtractor};
use crate::error::Result;
use crate::model::row::time_text::rfc3339;
use crate::pipeline::{KeySelector, TimestampFormat, TimestampSelector, ValueFormat};

fn extractor(format: TimestampFormat, zone: Option<&str>) -> Result<TimestampExtractor> {
    let selector = TimestampSelector { at: KeySelector::Column(1), format, zone: zone.map(str::to_owned) };
    TimestampExtractor::compile(&selector, &ValueFormat::Csv(None))
}

fn read(format: TimestampFormat, zone: Option<&str>, text: &str) -> EventTimestamp {
    extractor(format, zone).unwrap().extract(format!("x,\"{text}\",y").as_bytes())
}

#[test]
fn timestamps_are_read_as_milliseconds() {
    use TimestampFormat::{Rfc3339, UnixMs, UnixS, UnixUs};
    let cases = [
        (Rfc3339, "2013-01-01T10:00:00Z", At(1_357_034_400_000)),
        (Rfc3339, "2013-01-01 05:00:00Z", At(1_357_016_400_000)),
        (Rfc3339, "2013-01-01t05:00z", At(1_357_016_400_000)),
        (Rfc3339, "2013-01-01T05:00:00.1239-05:00", At(1_357_034_400_123)),
        (Rfc3339, "2013-01-01T05:00:00.123456789Z", At(1_357_016_400_123)),
        (Rfc3339, "2013-01-01T05:00:00-0500", At(1_357_034_400_000)),
        (Rfc3339, "2024-03-31T02:30:00+02:00", At(1_711_845_000_000)),
        (Rfc3339, "1969-12-31T23:59:59.9999Z", At(-1)),
        (Rfc3339, "1969-12-31T23:59:59.999Z", At(-1)),
        (Rfc3339, "9999-12-31T23:59:59.999Z", At(253_402_300_799_999)),
        (Rfc3339, "2016-12-31T23:59:60Z", At(1_483_228_799_000)),
        (Rfc3339, "2012-01-01", At(1_325_376_000_000)),
        (Rfc3339, "0000-02-29", At(-62_162_121_600_000)),
        (Rfc3339, "20130101T100000Z", At(1_357_034_400_000)),
        (Rfc3339, "2013-01-01T05:00:00-05:00[America/New_York]", At(1_357_034_400_000)),
        (Rfc3339, "2013-01-01T05:00:00", Unreadable),
        (Rfc3339, "2013-01-01T24:00:00Z", Unreadable),
        (Rfc3339, "2013-01-01T10:00:61Z", Unreadable),
        (Rfc3339, "2013-01-01T10:00:00.Z", Unreadable),
        (Rfc3339, "2013-13-01T10:00:00Z", Unreadable),
        (Rfc3339, "2013-02-29", Unreadable),
        (Rfc3339, "1357034400", Unreadable),
        (Rfc3339, "2013-01-01T10:00:00\u{e4}", Unreadable),
        (UnixMs, "1357034400123", At(1_357_034_400_123)),
        (UnixMs, " -5 ", At(-5)),
        (UnixMs, "1.5", At(1)),
        (UnixMs, "-1.5", At(-2)),
        (UnixMs, "1.357E12", At(1_357_000_000_000)),
        (UnixMs, "1.357e+12", At(1_357_000_000_000)),
        (UnixMs, "1357034400123.0", At(1_357_034_400_123)),
        (UnixMs, "9223372036854775807", At(i64::MAX)),
        (UnixMs, "9223372036854775808", Unreadable),
        (UnixMs, "-9223372036854775808", Unreadable),
        (UnixMs, "1e400", Unreadable),
        (UnixMs, "0e400", At(0)),
        (UnixMs, "-1e-400", At(-1)),
        (UnixMs, "1e99999999999", Unreadable),
        (UnixMs, "NaN", Unreadable),
        (UnixMs, "inf", Unreadable),
        (UnixUs, "1357034400123456", At(1_357_034_400_123)),
        (UnixUs, "-1", At(-1)),
        (UnixS, "1357034400", At(1_357_034_400_000)),
        (UnixS, "1357034400123", At(1_357_034_400_123_000)),
        (UnixS, "1357034400.1239", At(1_357_034_400_123)),
        (UnixS, "1.5", At(1_500)),
        (UnixS, "-1.5", At(-1_500)),
        (UnixS, "-0.0001", At(-1)),
        (UnixS, "-0.00000000000000000000001", At(-1)),
        (UnixS, "0.00000000000000000000001", At(0)),
        (UnixS, "1.", Unreadable),
        (UnixS, ".5", Unreadable),
        (UnixS, "1.-5", Unreadable),
        (UnixS, "1.\u{e9}", Unreadable),
        (UnixS, "--5", Unreadable),
        (UnixS, "9223372036854775807", Unreadable),
        (UnixS, "soon", Unreadable),
        (UnixS, "", Missing),
        (Rfc3339, "  ", Missing),
    ];
    for (format, text, expected) in cases {
        assert_eq!(read(format.clone(), None, text), expected, "{format:?} {text}");
    }
    assert_eq!(extractor(UnixS, None).unwrap().extract(b"only one column"), Missing);
    for (document, expected) in
        [("{}", Missing), ("{\"t\":null}", Missing), ("{\"t\":7}", At(7)), ("{\"t\":true}", Unreadable)]
    {
        let at = KeySelector::Field("t".to_owned());
        let selector = TimestampSelector { at, format: UnixMs, zone: None };
        let extractor = TimestampExtractor::compile(&selector, &ValueFormat::Json).unwrap();
        assert_eq!(extractor.extract(document.as_bytes()), expected, "{document}");
    }
}

#[test]
fn the_zone_applies_to_times_without_an_offset() {
    let cases = [
        ("UTC", "2013-01-01T05:00:00", At(1_357_016_400_000)),
        ("UTC", "9999-12-31T23:59:59.999", At(253_402_300_799_999)),
        ("-05:00", "2013-01-01T05:00:00", At(1_357_034_400_000)),
        ("-05:00", "2013-01-01T05:00:00Z", At(1_357_016_400_000)),
        ("+02:00", "2012-01-01", At(1_325_368_800_000)),
        ("UTC", "2013-01-01T05:00:00x", Unreadable),
    ];
    for (zone, text, expected) in cases {
        assert_eq!(read(TimestampFormat::Rfc3339, Some(zone), text), expected, "{zone} {text}");
    }
    for zone in ["Nowhere/Atlantis", "+2", "", "+99:00"] {
        let error = extractor(TimestampFormat::Rfc3339, Some(zone)).unwrap_err();
        assert_eq!(error.code, "manifest-invalid", "{zone}");
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
    let why = |format, text: &str| extractor(format, None).unwrap().why_unreadable(format!("x,{text}").as_bytes());
    assert!(why(TimestampFormat::Rfc3339, "2013-01-01T05:00:00").contains("`zone`"));
    assert!(why(TimestampFormat::Rfc3339, "1357016400").contains("`unix-s`"));
    assert!(why(TimestampFormat::Rfc3339, "01.01.2013").contains("2013-01-01T05:00:00Z"));
    assert!(why(TimestampFormat::UnixS, "2013-01-01 05:00").contains("`rfc3339`"));
    assert!(why(TimestampFormat::UnixS, "soon").contains("not a number"));
    let seconds = extractor(TimestampFormat::UnixS, None).unwrap();
    assert!(seconds.remark(1_357_034_400_123_000).unwrap().contains("the year 44972"));
    assert_eq!(seconds.remark(1_357_034_400_123), None);
    let ms = extractor(TimestampFormat::UnixMs, None).unwrap();
    assert!(ms.remark(1_357_034_400).unwrap().contains("`unix-s`"));
    assert_eq!(ms.remark(11_000), None);
    assert_eq!(ms.shown(format!("x,a\u{1b}[2J{}", "b".repeat(100)).as_bytes()).chars().count(), 83);
    let emitted = TimestampSelector { at: KeySelector::Emitted, format: TimestampFormat::UnixMs, zone: None };
    assert_eq!(TimestampExtractor::compile(&emitted, &ValueFormat::Csv(None)).unwrap_err().code, "manifest-key");
}
