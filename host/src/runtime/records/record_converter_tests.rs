//! Batches are rewritten in the format of their consumer, whatever schema they name.

use std::sync::Arc;

use super::record_converter::{NoConversion, RecordConversion, RecordConverter};
use super::record_format::RecordFormat;
use crate::model::row::{RowSchema, read_json, write_json};
use crate::model::{Batch, FaultCode};

fn schema(text: &str) -> Arc<RowSchema> {
    Arc::new(text.parse().unwrap())
}

fn batch_of(schema: &Arc<RowSchema>, records: &[&str]) -> Batch {
    let mut batch = Batch { schema: Some(schema.clone()), ..Batch::default() };
    for (at, record) in (0..).zip(records) {
        let mut row = Vec::new();
        read_json(schema, record.as_bytes(), &mut row).unwrap();
        batch.push(&row, at);
    }
    batch
}

fn json_of(batch: &Batch) -> Vec<String> {
    let schema = batch.schema.as_ref().unwrap();
    let json = |row: &[u8]| {
        let mut json = Vec::new();
        write_json(schema, row, &mut json).unwrap();
        String::from_utf8(json).unwrap()
    };
    batch.values.iter().map(json).collect()
}

#[test]
fn rows_of_several_schemas_become_rows_of_one() {
    let target = schema("{b:string,n:i64?}");
    let mut converter = RecordConverter::new(RecordFormat::Row(target.clone()));
    let mut rejected = Vec::new();
    for (from, record, expected) in [
        ("{n:i64?,a:bool,b:string}", r#"{"n":1,"a":true,"b":"x"}"#, r#"{"b":"x","n":1}"#),
        ("{b:string}", r#"{"b":"y"}"#, r#"{"b":"y","n":null}"#),
        ("{b:string,n:i64?}", r#"{"b":"z","n":3}"#, r#"{"b":"z","n":3}"#),
    ] {
        let converted = converter.convert(batch_of(&schema(from), &[record]), &mut rejected).unwrap();
        assert!(Arc::ptr_eq(converted.schema.as_ref().unwrap(), &target), "{from}");
        assert_eq!(json_of(&converted), [expected]);
    }
    assert!(rejected.is_empty());
}

#[test]
fn a_record_that_cannot_be_read_is_rejected_and_the_others_keep_their_timestamps() {
    let target = schema("{n:i64}");
    let mut converter = RecordConverter::new(RecordFormat::Row(target));
    let mut batch = Batch::default();
    for (at, record) in (0..).zip(["{\"n\":1}", "{\"n\":\"two\"}", "{\"n\":3}", "four"]) {
        batch.push(record.as_bytes(), at);
    }
    let mut rejected = Vec::new();
    let converted = converter.convert(batch, &mut rejected).unwrap();
    assert_eq!(
        (json_of(&converted), &converted.timestamps[..]),
        (vec![r#"{"n":1}"#.into(), r#"{"n":3}"#.into()], &[0, 2][..])
    );
    let rejected: Vec<_> =
        rejected.iter().map(|record| (record.value.as_slice(), record.timestamp, record.fault.code)).collect();
    assert_eq!(
        rejected,
        [(&br#"{"n":"two"}"#[..], 1, FaultCode::RecordInvalid), (b"four", 3, FaultCode::RecordInvalid)]
    );
}

#[test]
fn rows_become_json() {
    let mut converter = RecordConverter::new(RecordFormat::Json);
    let batch = batch_of(&schema("{n:i64,s:string?}"), &[r#"{"n":1,"s":"x"}"#]);
    let converted = converter.convert(batch, &mut Vec::new()).unwrap();
    assert_eq!((converted.values.value(0), &converted.schema), (&br#"{"n":1,"s":"x"}"#[..], &None));
}

#[test]
fn plain_bytes_neither_become_rows_nor_come_from_them() {
    let rows = RecordFormat::Row(schema("{n:i64}"));
    for (from, to) in [
        (&RecordFormat::Raw, &rows),
        (&rows, &RecordFormat::Raw),
        (&RecordFormat::Raw, &RecordFormat::Json),
        (&RecordFormat::Json, &RecordFormat::Raw),
    ] {
        assert!(matches!(RecordConversion::between(from, to), Err(NoConversion::Formats)), "{from} {to}");
    }
    let other = RecordFormat::Row(schema("{n:i32}"));
    assert!(matches!(RecordConversion::between(&other, &rows), Err(NoConversion::Schemas(_))));
}
