//! Selectors against values of each format, and what is said of those that cannot be.

use super::*;

fn key(selector: KeySelector, format: Format, value: &str) -> Option<String> {
    let mut scratch = Vec::new();
    let extractor = KeyExtractor::compile(&selector, &format).unwrap();
    extractor.extract(value.as_bytes(), &mut scratch).map(|key| String::from_utf8(key.to_vec()).unwrap())
}

fn field(name: &str) -> KeySelector {
    KeySelector::Field(name.to_owned())
}

fn flights() -> Format {
    Format::Csv(Some(vec!["carrier".to_owned(), "tailnum".to_owned()]))
}

#[test]
fn a_key_is_found_in_each_format() {
    assert_eq!(key(KeySelector::Value, Format::Raw, "all of it").unwrap(), "all of it");
    assert_eq!(key(KeySelector::Emitted, Format::Raw, "x"), None);
    assert_eq!(key(field("tailnum"), flights(), "UA,\"N\"\"1\"").unwrap(), "N\"1");
    assert_eq!(key(field("tailnum"), flights(), "UA,").unwrap(), "");
    assert_eq!(key(field("tailnum"), flights(), "UA"), None);
    assert_eq!(key(KeySelector::Column(0), Format::Csv(None), "UA,N1").unwrap(), "UA");
    assert_eq!(key(field("a.b"), Format::Json, r#"{"a":{"b":"x\/y"}}"#).unwrap(), "x/y");
    assert_eq!(key(field("a"), Format::Json, "not json"), None);
}

#[test]
fn a_selector_that_cannot_work_is_told_what_would() {
    let refused = |selector, format: &Format| {
        let error = KeyExtractor::compile(&selector, format).unwrap_err();
        assert_eq!(error.code, "manifest-key");
        error.to_string()
    };
    assert!(refused(field("tail"), &flights()).contains("`carrier`, `tailnum`"));
    assert!(refused(field("tail"), &Format::Csv(None)).contains("{ column = 0 }"));
    assert!(refused(KeySelector::Column(2), &flights()).contains("`carrier`, `tailnum`"));
    assert!(refused(KeySelector::Column(0), &Format::Json).contains("{ field = "));
    assert!(refused(field("a"), &Format::Raw).contains("csv"));
    assert!(refused(KeySelector::Column(0), &Format::Raw).contains("csv"));
    let twice = Format::Csv(Some(["k", "ts", "k"].map(str::to_owned).to_vec()));
    assert!(refused(field("k"), &twice).contains("the header has the column `k` twice: columns 0 and 2"));
    assert!(KeyExtractor::compile(&field("ts"), &twice).is_ok(), "only a name that is used has to be one column's");
    let emitted = TimestampSelector { at: KeySelector::Emitted, format: TimestampFormat::UnixMs };
    assert_eq!(TimestampExtractor::compile(&emitted, &flights()).unwrap_err().code, "manifest-key");
}

#[test]
fn timestamps_are_read_as_milliseconds() {
    let read = |format, text: &str| {
        let selector = TimestampSelector { at: KeySelector::Column(1), format };
        let extractor = TimestampExtractor::compile(&selector, &Format::Csv(None)).unwrap();
        extractor.extract(format!("x,{text},y").as_bytes())
    };
    let cases = [
        (TimestampFormat::Rfc3339, "2013-01-01T10:00:00Z", Some(1_357_034_400_000)),
        (TimestampFormat::Rfc3339, "2013-01-01T05:00:00.1239-05:00", Some(1_357_034_400_123)),
        (TimestampFormat::Rfc3339, "1969-12-31T23:59:59.9999Z", Some(-1)),
        (TimestampFormat::Rfc3339, "2013-01-01", None),
        (TimestampFormat::Rfc3339, "2013-13-01T10:00:00Z", None),
        (TimestampFormat::Rfc3339, "", None),
        (TimestampFormat::UnixMs, "1357034400123", Some(1_357_034_400_123)),
        (TimestampFormat::UnixMs, " -5 ", Some(-5)),
        (TimestampFormat::UnixMs, "1.5", None),
        (TimestampFormat::UnixMs, "9223372036854775808", None),
        (TimestampFormat::UnixMs, "-9223372036854775808", None),
        (TimestampFormat::UnixS, "1357034400", Some(1_357_034_400_000)),
        (TimestampFormat::UnixS, "1357034400.1239", Some(1_357_034_400_123)),
        (TimestampFormat::UnixS, "1.5", Some(1_500)),
        (TimestampFormat::UnixS, "-1.5", Some(-1_500)),
        (TimestampFormat::UnixS, "-0.0001", Some(-1)),
        (TimestampFormat::UnixS, "1.", None),
        (TimestampFormat::UnixS, ".5", None),
        (TimestampFormat::UnixS, "1.-5", None),
        (TimestampFormat::UnixS, "1.é", None),
        (TimestampFormat::UnixS, "9223372036854775807", None),
        (TimestampFormat::UnixS, "soon", None),
    ];
    for (format, text, expected) in cases {
        assert_eq!(read(format, text), expected, "{format:?} {text}");
    }
    let missing = TimestampSelector { at: field("t"), format: TimestampFormat::UnixMs };
    assert_eq!(TimestampExtractor::compile(&missing, &Format::Json).unwrap().extract(b"{}"), None);
}
