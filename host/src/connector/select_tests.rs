//! Key selectors on values of each format, and the errors for impossible ones.

use super::select::KeyExtractor;
use crate::pipeline::{KeySelector, ValueFormat};

fn key(selector: KeySelector, format: ValueFormat, value: &str) -> Option<String> {
    let mut scratch = Vec::new();
    let extractor = KeyExtractor::compile(&selector, &format).unwrap();
    extractor.extract(value.as_bytes(), &mut scratch).map(|key| String::from_utf8(key.to_vec()).unwrap())
}

fn field(name: &str) -> KeySelector {
    KeySelector::Field(name.to_owned())
}

fn flights() -> ValueFormat {
    ValueFormat::Csv(Some(vec!["carrier".to_owned(), "tailnum".to_owned()]))
}

#[test]
fn a_key_is_extracted_from_each_format() {
    assert_eq!(key(KeySelector::Value, ValueFormat::Raw, "all of it").unwrap(), "all of it");
    assert_eq!(key(KeySelector::Emitted, ValueFormat::Raw, "x"), None);
    assert_eq!(key(field("tailnum"), flights(), "UA,\"N\"\"1\"").unwrap(), "N\"1");
    assert_eq!(key(field("tailnum"), flights(), "UA,").unwrap(), "");
    assert_eq!(key(field("tailnum"), flights(), "UA"), None);
    assert_eq!(key(KeySelector::Column(0), ValueFormat::Csv(None), "UA,N1").unwrap(), "UA");
    assert_eq!(key(field("a.b"), ValueFormat::Json, r#"{"a":{"b":"x\/y"}}"#).unwrap(), "x/y");
    assert_eq!(key(field("a"), ValueFormat::Json, "not json"), None);
}

#[test]
fn the_error_for_an_impossible_selector_names_a_possible_one() {
    let refused = |selector, format: &ValueFormat| {
        let error = KeyExtractor::compile(&selector, format).unwrap_err();
        assert_eq!(error.code, "manifest-key");
        error.to_string()
    };
    assert!(refused(field("tail"), &flights()).contains("`carrier`, `tailnum`"));
    assert!(refused(field("tail"), &ValueFormat::Csv(None)).contains("{ column = 0 }"));
    assert!(refused(KeySelector::Column(2), &flights()).contains("`carrier`, `tailnum`"));
    assert!(refused(KeySelector::Column(0), &ValueFormat::Json).contains("{ field = "));
    assert!(refused(field("a"), &ValueFormat::Raw).contains("csv"));
    assert!(refused(KeySelector::Column(0), &ValueFormat::Raw).contains("csv"));
    let twice = ValueFormat::Csv(Some(["k", "ts", "k"].map(str::to_owned).to_vec()));
    assert!(refused(field("k"), &twice).contains("the header names the column `k` twice: columns 0 and 2"));
    assert!(KeyExtractor::compile(&field("ts"), &twice).is_ok(), "only the name in use must be unique");
}
