//! Decoders against `serde_json` and the crate `csv`, and hostile input.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::Column;
use crate::model::row::testing::any_record;
use crate::model::row::{FieldType, RowSchema, write_json};
use crate::pipeline::{
    DecodingSettings, FileFormat, KeySelector, TimestampFormat, TimestampSelector, UndecodablePolicy,
};

fn decoding(format: FileFormat, schema: &str) -> SourceDecoding {
    SourceDecoding {
        format,
        settings: DecodingSettings::default(),
        avro: None,
        rows: vec![Arc::new(schema.parse().unwrap())],
        wants_raw: false,
        timestamp: None,
        record_timestamps: false,
        record_keys: false,
        on_undecodable: UndecodablePolicy::Fail,
        keep_raw: false,
    }
}

fn decoded(decoder: &mut RecordDecoder, record: &[u8]) -> Result<Value, String> {
    let mut rows = vec![Column::new()];
    match decoder.decode(record, &mut rows) {
        Ok(_) => {
            let mut json = Vec::new();
            write_json(&decoder.schemas()[0], rows[0].value(0), &mut json).unwrap();
            Ok(serde_json::from_slice(&json).unwrap())
        }
        Err(DecodeDefect::Field(defect) | DecodeDefect::Timestamp(defect) | DecodeDefect::Registry(defect)) => {
            assert!(rows[0].is_empty());
            assert!(defect.to_string().len() < 400, "{defect}");
            Err(defect.to_string())
        }
    }
}

fn csv(schema: &str, header: &str, record: &str) -> Result<Value, String> {
    let mut decoder = RecordDecoder::compile(&decoding(FileFormat::Csv, schema), true).unwrap();
    decoder.set_columns(&column_names(header.as_bytes()))?;
    decoded(&mut decoder, record.as_bytes())
}

fn ndjson(schema: &str, record: &str) -> Result<Value, String> {
    decoded(&mut RecordDecoder::compile(&decoding(FileFormat::Ndjson, schema), false).unwrap(), record.as_bytes())
}

/// The text that CSV has for a JSON value.
fn csv_text(value: &Value, kind: &FieldType) -> String {
    match (value, kind) {
        (Value::String(text), FieldType::Bytes) => {
            use base64::Engine;
            String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap_or_default()
        }
        (Value::String(text), FieldType::Json) => Value::String(text.clone()).to_string(),
        (Value::String(text), _) => text.clone(),
        (Value::Null, FieldType::Json) => "null".to_owned(),
        (value, _) => value.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn needed_fields_of_json_are_decoded((schema, mut value) in any_record(), extra in prop::collection::vec(any::<String>(), 0..4)) {
        let expected = value.clone();
        for (index, text) in extra.into_iter().enumerate() {
            value.as_object_mut().unwrap().insert(format!("extra field {index}"), json!([{"nested": text}, null]));
        }
        let record = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(ndjson(&schema.to_string(), &record), Ok(expected));
    }

    #[test]
    fn needed_columns_are_those_of_the_csv_crate(
        cells in prop::collection::vec("[a-c,\"\n ]{0,4}", 1..8),
        wanted in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(&cells).unwrap();
        let bytes = writer.into_inner().unwrap();
        let record = &bytes[..bytes.len() - 1];
        let mut columns: Vec<usize> = wanted.iter().map(|index| index.index(cells.len())).collect();
        columns.sort_unstable();
        columns.dedup();
        columns.reverse();
        let schema = columns.iter().map(|column| format!("column{column}:string")).collect::<Vec<_>>().join(",");
        let mut decoder = RecordDecoder::compile(&decoding(FileFormat::Csv, &format!("{{{schema}}}")), false).unwrap();
        let value = decoded(&mut decoder, record).unwrap();
        for column in columns {
            prop_assert_eq!(value[format!("column{column}")].as_str().unwrap(), cells[column].as_str());
        }
    }

    #[test]
    fn every_type_is_read_from_csv((schema, value) in any_record()) {
        let is_written_as_text = |kind: &FieldType| *kind != FieldType::Bytes;
        let fields: Vec<_> = schema.fields().iter().filter(|field| is_written_as_text(&field.value)).cloned().collect();
        prop_assume!(!fields.is_empty());
        let schema = RowSchema::new(fields).unwrap();
        let mut writer = ::csv::WriterBuilder::new().quote_style(::csv::QuoteStyle::Always).from_writer(Vec::new());
        writer.write_record(schema.fields().iter().map(|field| field.name.clone())).unwrap();
        let null = "\u{1}null";
        let cell = |field: &crate::model::row::Field| match &value[&field.name] {
            Value::Null if field.nullable => null.to_owned(),
            value => csv_text(value, &field.value),
        };
        writer.write_record(schema.fields().iter().map(cell)).unwrap();
        let text = writer.into_inner().unwrap();
        let mut records = ::csv::ReaderBuilder::new().from_reader(&text[..]);
        let names: Vec<String> = records.headers().unwrap().iter().map(str::to_owned).collect();
        let header_length = records.position().byte() as usize;
        let mut decoding = decoding(FileFormat::Csv, &schema.to_string());
        decoding.settings.null_values = vec![null.to_owned()];
        let mut decoder = RecordDecoder::compile(&decoding, true).unwrap();
        decoder.set_columns(&names).unwrap();
        let record = text[header_length..].strip_suffix(b"\n").unwrap();
        let mut expected = value.as_object().unwrap().clone();
        expected.retain(|name, _| schema.field(name).is_some());
        prop_assert_eq!(decoded(&mut decoder, record), Ok(Value::Object(expected)));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(record in prop::collection::vec(any::<u8>(), 0..64)) {
        for (format, schema) in [
            (FileFormat::Csv, "{column0:string?,column1:i64?}"),
            (FileFormat::Ndjson, "{a:json?,b:list<i8>?}"),
            (FileFormat::Lines, "{line:string}"),
        ] {
            let _ = decoded(&mut RecordDecoder::compile(&decoding(format, schema), false).unwrap(), &record);
        }
    }
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    let header = "year,tailnum,dep_delay,\"a b\"";
    let row = |record| csv("{dep_delay:i32?,tailnum:string,missing:u8?,\"a b\":f64}", header, record);
    assert_eq!(row("2013,N1,-2,0.5"), Ok(json!({"dep_delay": -2, "tailnum": "N1", "missing": null, "a b": 0.5})));
    assert_eq!(row("2013,,,1e3"), Ok(json!({"dep_delay": null, "tailnum": "", "missing": null, "a b": 1000.0})));
    assert_eq!(row("\"x\"\"y\",\"a,\nb\",007,inf,more").unwrap()["tailnum"], "a,\nb");
}

#[test]
fn a_missing_column_is_named_with_the_nearest_name() {
    let missing = |schema, header| csv(schema, header, "").unwrap_err();
    assert_eq!(missing("{tail:string}", "tails,b"), "there is no column `tail`; did you mean `tails`?");
    assert_eq!(
        missing("{b:string}", "a,b,b"),
        "the header names the column `b` twice: columns 1 and 2, counted from 0"
    );
    let compiled = RecordDecoder::compile(&decoding(FileFormat::Csv, "{a:string}"), false);
    assert!(compiled.err().unwrap().contains("the names are `column0`, `column1`"));
    assert!(RecordDecoder::compile(&decoding(FileFormat::Raw, "{a:string}"), false).is_err());
    assert!(RecordDecoder::compile(&decoding(FileFormat::Lines, "{a:string}"), false).is_err());
}

#[test]
fn bad_columns_are_refused_with_field_value_and_type() {
    let header = "id,at,flag,list,day";
    let schema = "{id:u8,at:timestamp?,flag:bool?,list:list<i8>?,day:date?}";
    let cases = [
        ("", "the field `at` is column 1, counted from 0, but the row has only 1"),
        ("256,,,,", "the field `id` is `256`, which is not `u8`"),
        ("1.0,,,,", "the field `id` is `1.0`, which is not `u8`"),
        ("1", "the field `at` is column 1, counted from 0, but the row has only 1"),
        ("1,,,", "the field `day` is column 4, counted from 0, but the row has only 4"),
        ("\"1\",,", "the field `list` is column 3"),
        ("1,soon,,,", "the field `at` is `soon`, which is not a timestamp: the format `rfc3339` expects"),
        ("1,2013-01-01T05:00,,,", "so set its `zone`"),
        ("1,,yes,,", "the field `flag` is `yes`, which is not `bool?`"),
        ("1,,,[300],", "the field `list` is `300`, which is not `i8`"),
        ("1,,,[,", "the field `list` is not JSON"),
        ("1,,,,2013-13-01", "the field `day` is `2013-13-01`, which is not `date?`"),
        ("1\0,,,,", "the field `id` is `1\\u{0}`, which is not `u8`"),
    ];
    for (record, expected) in cases {
        let defect = csv(schema, header, record).unwrap_err();
        assert!(defect.contains(expected), "{record}: {defect}");
    }
    let row = csv(schema, header, "+07, 1970-01-01T00:00:01Z ,TRUE,\" [ 1, -2 ] \", 2013-01-31").unwrap();
    assert_eq!(row, json!({"id": 7, "at": "1970-01-01T00:00:01Z", "flag": true, "list": [1, -2], "day": "2013-01-31"}));
    let mut decoder = RecordDecoder::compile(&decoding(FileFormat::Csv, "{column0:string}"), false).unwrap();
    assert!(decoded(&mut decoder, b"\xff,1").unwrap_err().contains("the field `column0` is `hex:ff`"));
}

#[test]
fn null_values_are_null_only_in_nullable_fields() {
    let mut decoding = decoding(FileFormat::Csv, "{a:string?,b:string,c:i64?}");
    decoding.settings.null_values = vec!["NA".into(), "-".into()];
    decoding.settings.columns = Some(vec!["a".into(), "b".into(), "c".into()]);
    let mut decoder = RecordDecoder::compile(&decoding, false).unwrap();
    assert_eq!(decoded(&mut decoder, b"NA,NA,-"), Ok(json!({"a": null, "b": "NA", "c": null})));
    assert_eq!(decoded(&mut decoder, b",,5"), Ok(json!({"a": "", "b": "", "c": 5})));
    assert!(decoded(&mut decoder, b",,").unwrap_err().contains("the field `c` is ``, which is not `i64?`"));
}

#[test]
fn hostile_json_ends_in_the_documented_way() {
    let schema = "{a:i64?,s:string?,f:f64?}";
    let deep = |depth: usize| format!("{{\"x\":{}{},\"a\":1}}", "[".repeat(depth), "]".repeat(depth));
    let numbers = format!("{{\"a\":{}}}", "9".repeat(1 << 20));
    let long = format!("{{\"s\":\"{}\",\"a\":1}}", "x".repeat(16 << 20));
    assert_eq!(ndjson(schema, &deep(128)).unwrap()["a"], 1);
    assert!(ndjson(schema, &deep(129)).unwrap_err().contains("nesting of more than 128 levels"));
    assert!(ndjson(schema, &deep(1 << 20)).unwrap_err().contains("nesting of more than 128 levels"));
    assert!(ndjson(schema, &numbers).unwrap_err().contains("which is not `i64?`"));
    assert_eq!(ndjson(schema, &long).unwrap()["s"].as_str().unwrap().len(), 16 << 20);
    let cases = [
        ("{\"a\":1,\"a\":2}", Ok(2)),
        ("{\"a\":\"x\",\"\\u0061\":3}", Ok(3)),
        ("{\"a\":9223372036854775807}", Ok(i64::MAX)),
        ("{\"a\":9223372036854775808}", Err("which is not `i64?`")),
        ("{\"a\":-0}", Ok(0)),
        ("{\"a\":1e3}", Err("which is not `i64?`")),
        ("{\"f\":1e400}", Err("which is not `f64?`")),
        ("{\"f\":NaN}", Err("no value")),
        ("{\"f\":-Infinity}", Err("no `,` or `}`")),
        ("{\"s\":\"\\ud800\"}", Err("which is not `string?`")),
        ("{\"s\":\"\\ud83d\\ude00\",\"a\":1}", Ok(1)),
        ("{\"a\":1,}", Err("no name")),
        ("{\"a\":1}{\"a\":2}", Err("text behind the object")),
        ("[1]", Err("no object")),
        ("null", Err("no object")),
        ("\u{feff}{\"a\":1}", Err("no object")),
        ("{\"a\":1,\"x\":[}", Err("another closing bracket")),
        ("{\"a\":1,\"x\":\"", Err("a string without an end")),
        ("{a:1}", Err("no name")),
        ("{\"a\" 1}", Err("no `:`")),
    ];
    for (record, expected) in cases {
        match (ndjson(schema, record), expected) {
            (Ok(row), Ok(number)) => assert_eq!(row["a"], number, "{record}"),
            (Err(defect), Err(part)) => assert!(defect.contains(part), "{record}: {defect}"),
            (result, expected) => panic!("{record}: {result:?}, expected {expected:?}"),
        }
    }
}

fn with_timestamp(
    mut decoding: SourceDecoding,
    at: KeySelector,
    format: TimestampFormat,
    zone: Option<&str>,
) -> RecordDecoder {
    decoding.timestamp = Some(TimestampSelector { at, format, zone: zone.map(str::to_owned) });
    RecordDecoder::compile(&decoding, false).unwrap()
}

#[test]
fn timestamps_are_read_in_their_format_also_as_fields() {
    let pattern = TimestampFormat::Pattern("%d.%m.%Y %H:%M".into());
    let at = KeySelector::Field("at".into());
    let json = decoding(FileFormat::Ndjson, "{at:timestamp?,other:timestamp?}");
    let mut decoder = with_timestamp(json, at, pattern, Some("Europe/Berlin"));
    let mut rows = vec![Column::new()];
    let record = br#"{"other":"2013-07-01T00:00","at":"01.07.2013 12:30"}"#;
    assert_eq!(decoder.decode(record, &mut rows), Ok(EventTime::At(1_372_674_600_000)));
    assert_eq!(decoder.decode(br#"{"at":null}"#, &mut rows), Ok(EventTime::Missing));
    assert!(decoder.decode(br#"{"at":"2013-07-01"}"#, &mut rows).is_err());
    assert_eq!(rows[0].len(), 2);
    let mut text = Vec::new();
    write_json(&decoder.schemas()[0], rows[0].value(0), &mut text).unwrap();
    assert_eq!(text, br#"{"at":"2013-07-01T10:30:00Z","other":"2013-06-30T22:00:00Z"}"#);

    let csv = decoding(FileFormat::Csv, "{}");
    let mut decoder = with_timestamp(csv, KeySelector::Column(1), TimestampFormat::UnixS, None);
    let mut rows = vec![Column::new()];
    assert_eq!(decoder.decode(b"x,2", &mut rows), Ok(EventTime::At(2_000)));
    assert_eq!(decoder.decode(b"x,,", &mut rows), Ok(EventTime::Missing));
    assert!(matches!(decoder.decode(b"x,2013-01-01", &mut rows), Err(DecodeDefect::Timestamp(_))));
    assert!(matches!(decoder.decode(b"x", &mut rows), Err(DecodeDefect::Field(_))));
    assert_eq!(rows[0].len(), 2);

    let nested = decoding(FileFormat::Ndjson, "{}");
    let mut decoder = with_timestamp(nested, KeySelector::Field("a.t".into()), TimestampFormat::UnixMs, None);
    assert_eq!(decoder.decode(br#"{"a":{"t":1.5e3}}"#, &mut rows), Ok(EventTime::At(1_500)));
    assert_eq!(decoder.decode(br#"{"a":[]}"#, &mut rows), Ok(EventTime::Missing));
}

#[test]
fn several_schemas_are_decoded_together_or_not_at_all() {
    let mut decoding = decoding(FileFormat::Ndjson, "{a:string}");
    decoding.rows.push(Arc::new("{a:json,b:u8}".parse().unwrap()));
    let mut decoder = RecordDecoder::compile(&decoding, false).unwrap();
    let mut rows = vec![Column::new(), Column::new()];
    assert!(decoder.decode(br#"{"a":"x","b":1}"#, &mut rows).is_ok());
    assert!(decoder.decode(br#"{"a":"x","b":-1}"#, &mut rows).is_err());
    assert_eq!(rows.iter().map(Column::len).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_line_is_one_field() {
    let mut decoder = RecordDecoder::compile(&decoding(FileFormat::Lines, "{line:string}"), false).unwrap();
    assert_eq!(decoded(&mut decoder, b"a,\"b"), Ok(json!({"line": "a,\"b"})));
    assert!(decoded(&mut decoder, b"\xff").unwrap_err().contains("the field `line` is `hex:ff`"));
}
