//! Records of Avro: the first byte chooses the schema, the rest is the record. Or, with the first bit, the rest is a schema.

use std::sync::Arc;

use crate::format::avro::{AvroReading, AvroSchema, AvroWriting};
use crate::format::{RecordDecoder, RecordEncoder, SourceDecoding};
use crate::model::Column;
use crate::model::row::{RowSchema, write_json};
use crate::pipeline::{DecodingSettings, EncodingSettings, FileFormat, SinkFormat};

/// Schemas whose records are decoded: most types, a schema that contains itself, and a list of lists.
const SCHEMAS: [&str; 3] = [
    r#"{"type":"record","name":"A","fields":[{"name":"a","type":"long"},{"name":"b","type":["null","string"]},
       {"name":"c","type":{"type":"map","values":["null","double"]}},{"name":"d","type":{"type":"enum","name":"E","symbols":["x","y"]}},
       {"name":"e","type":{"type":"bytes","logicalType":"decimal","precision":30,"scale":4}},
       {"name":"f","type":{"type":"fixed","name":"F","size":3}},{"name":"g","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#,
    r#"{"type":"record","name":"T","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","T"]}]}"#,
    r#"{"type":"record","name":"L","fields":[{"name":"l","type":{"type":"array","items":{"type":"array","items":"boolean"}}}]}"#,
];

/// A record becomes a valid row or none, and a row of a schema becomes a record that gives the same row.
pub(super) fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    if choice & 1 == 1 {
        let (schema, record) = super::split_line(rest);
        if let Ok(schema) = AvroSchema::parse(&String::from_utf8_lossy(schema)) {
            decode(schema, record);
        }
        return;
    }
    let schema = SCHEMAS[usize::from(choice >> 1) % SCHEMAS.len()];
    decode(AvroSchema::parse(schema).expect("the schema is valid"), rest);
}

fn decode(schema: AvroSchema, record: &[u8]) {
    // A schema may have names and types that rows cannot have.
    let Ok(row) = RowSchema::new(schema.row_fields()) else { return };
    let (schema, row) = (Arc::new(schema), Arc::new(row));
    let reading = AvroReading { schema: schema.clone(), writers: None };
    let raw = SourceDecoding::raw(FileFormat::Avro, DecodingSettings::default(), None);
    let decoding = SourceDecoding { avro: Some(reading), rows: vec![row.clone()], ..raw };
    let mut decoder = RecordDecoder::compile(&decoding, false).expect("the row types of a schema fit it");
    let mut rows = [Column::new()];
    if decoder.decode(record, &mut rows).is_err() {
        assert!(rows[0].is_empty());
        return;
    }
    write_json(&row, rows[0].value(0), &mut Vec::new()).expect("a decoded row is valid");
    let settings = EncodingSettings { format: Some(SinkFormat::Avro), ..EncodingSettings::default() };
    let writing = AvroWriting { schema: Some(schema), name: String::new(), ids: None };
    let mut again = Vec::new();
    let encoded =
        RecordEncoder::new(settings).with_avro(writing).encode_message(Some(&row), rows[0].value(0), &mut again);
    if encoded.is_ok() && decoder.decode(&again, &mut rows).is_ok() {
        assert_eq!(rows[0].value(0).len(), rows[0].value(1).len());
    }
}
