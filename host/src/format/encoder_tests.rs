//! Encoders against `serde_json` and the crate `csv`.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::model::row::testing::any_record;
use crate::model::row::{RowSchema, read_json};
use crate::model::{Batch, Column};
use crate::pipeline::{DecodingSettings, EncodingSettings, FileFormat, SinkFormat, UndecodablePolicy};

fn settings(format: Option<SinkFormat>) -> EncodingSettings {
    EncodingSettings { format, header: true, columns: None, avro: None }
}

fn batch_of(schema: &RowSchema, values: &[Value]) -> Batch {
    let row = |value: &Value| {
        let mut row = Vec::new();
        read_json(schema, value.to_string().as_bytes(), &mut row).unwrap();
        row
    };
    let mut batch = raw(&values.iter().map(row).collect::<Vec<_>>());
    batch.schema = Some(Arc::new(schema.clone()));
    batch
}

fn raw(values: &[impl AsRef<[u8]>]) -> Batch {
    let values: Column = values.iter().collect();
    Batch { timestamps: vec![0; values.len()], values, ..Batch::default() }
}

fn encoded(format: Option<SinkFormat>, batch: &Batch) -> Result<Vec<u8>, EncodeDefect> {
    let mut bytes = Vec::new();
    RecordEncoder::new(settings(format)).encode(batch, &mut bytes).map(|()| bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_row_is_one_line_of_json((schema, value) in any_record()) {
        let bytes = encoded(None, &batch_of(&schema, &[value.clone(), value.clone()])).unwrap();
        let lines: Vec<&[u8]> = bytes.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
        prop_assert_eq!(lines.len(), 2);
        for line in lines {
            prop_assert_eq!(&serde_json::from_slice::<Value>(line).unwrap(), &value);
        }
    }

    #[test]
    fn csv_is_read_by_the_csv_crate_and_decoded_as_the_same_row((schema, value) in any_record()) {
        prop_assume!(!schema.is_empty());
        let bytes = encoded(Some(SinkFormat::Csv), &batch_of(&schema, &[value.clone(), value.clone()])).unwrap();
        let mut reader = ::csv::Reader::from_reader(&bytes[..]);
        let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        prop_assert!(names.iter().eq(schema.fields().iter().map(|field| &field.name)));
        prop_assert_eq!(reader.byte_records().map(Result::unwrap).count(), 2);

        let mut framed = records::RecordSplitter::new(&bytes[..], FileFormat::Csv, 0);
        let mut rows = Vec::new();
        loop {
            while let Some(record) = framed.next_record() {
                rows.push(record.to_vec());
            }
            if framed.fill().unwrap() == records::Fill::End {
                break;
            }
        }
        let decoding = SourceDecoding {
            rows: vec![Arc::new(schema.clone())],
            on_undecodable: UndecodablePolicy::Fail,
            ..SourceDecoding::raw(FileFormat::Csv, DecodingSettings::default(), None)
        };
        let mut decoder = RecordDecoder::compile(&decoding, true).unwrap();
        decoder.set_columns(&column_names(&rows[0])).unwrap();
        let mut columns = vec![Column::new()];
        let decoded = decoder.decode(&rows[1], &mut columns);
        // Bytes that are no text are written as they are, and an empty text is read as null.
        prop_assert!(decoded.is_ok(), "{decoded:?}");
        let mut json = Vec::new();
        crate::model::row::write_json(&schema, columns[0].value(0), &mut json).unwrap();
        let read: Value = serde_json::from_slice(&json).unwrap();
        for field in schema.fields() {
            let written = &value[&field.name];
            if !(read[&field.name].is_null() && written.as_str() == Some("")) {
                prop_assert_eq!(&read[&field.name], written);
            }
        }
    }
}

#[test]
fn a_line_end_never_makes_two_lines() {
    assert_eq!(encoded(None, &raw(&["{\"a\":\n1}", "b"])).unwrap(), b"{\"a\": 1}\nb\n");
    assert_eq!(encoded(Some(SinkFormat::Raw), &raw(&["a\nb"])), Err(EncodeDefect::LineEnd("a\\nb".into())));
    let schema: RowSchema = "{line:string}".parse().unwrap();
    let rows = batch_of(&schema, &[serde_json::json!({"line": "a\nb"})]);
    assert_eq!(encoded(Some(SinkFormat::Raw), &rows), Err(EncodeDefect::LineEnd("a\\nb".into())));
    assert_eq!(encoded(None, &rows).unwrap(), b"{\"line\":\"a\\nb\"}\n");
    assert_eq!(encoded(Some(SinkFormat::Csv), &rows).unwrap(), b"line\n\"a\nb\"\n");
    assert_eq!(encoded(Some(SinkFormat::Csv), &raw(&["a"])), Err(EncodeDefect::NoFields));
}

#[test]
fn raw_rows_of_one_text_are_that_text() {
    let schema: RowSchema = "{line:string}".parse().unwrap();
    let rows = batch_of(&schema, &[serde_json::json!({"line": "a,\"b"})]);
    assert_eq!(encoded(Some(SinkFormat::Raw), &rows).unwrap(), b"a,\"b\n");
    let schema: RowSchema = "{a:u8,b:string}".parse().unwrap();
    let rows = batch_of(&schema, &[serde_json::json!({"a": 1, "b": "x"})]);
    assert_eq!(encoded(Some(SinkFormat::Raw), &rows).unwrap(), b"{\"a\":1,\"b\":\"x\"}\n");
}

#[test]
fn a_file_has_one_header() {
    let schema: RowSchema = "{\"a,b\":u8,c:f64?,d:string}".parse().unwrap();
    let row = |c: Value, d: &str| batch_of(&schema, &[serde_json::json!({"a,b": 1, "c": c, "d": d})]);
    let mut encoder = RecordEncoder::new(settings(Some(SinkFormat::Csv)));
    let mut bytes = Vec::new();
    assert!(encoder.needs_header());
    encoder.encode(&row(0.5.into(), "x"), &mut bytes).unwrap();
    encoder.encode(&row(Value::Null, "\"q\""), &mut bytes).unwrap();
    encoder.begin_file();
    encoder.encode(&row(1.into(), ""), &mut bytes).unwrap();
    let expected = "\"a,b\",c,d\n1,0.5,x\n1,,\"\"\"q\"\"\"\n\"a,b\",c,d\n1,1.0,\n";
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    let other = batch_of(&"{a:u8}".parse().unwrap(), &[serde_json::json!({"a": 1})]);
    assert!(matches!(encoder.encode(&other, &mut Vec::new()), Err(EncodeDefect::OtherColumns { .. })));
    let mut without = RecordEncoder::new(EncodingSettings { header: false, ..settings(Some(SinkFormat::Csv)) });
    let mut bytes = Vec::new();
    without.encode(&row(Value::Null, "x"), &mut bytes).unwrap();
    assert_eq!(bytes, b"1,,x\n");
}

#[test]
fn floats_that_are_no_numbers_are_null_in_json_and_text_in_csv() {
    let schema: RowSchema = "{x:f64,y:f32}".parse().unwrap();
    let row = [f64::NAN.to_le_bytes().as_slice(), &f32::NEG_INFINITY.to_le_bytes()].concat();
    let batch = Batch { schema: Some(Arc::new(schema)), ..raw(&[row]) };
    assert_eq!(encoded(None, &batch).unwrap(), b"{\"x\":null,\"y\":null}\n");
    assert_eq!(encoded(Some(SinkFormat::Csv), &batch).unwrap(), b"x,y\nNaN,-inf\n");
}
