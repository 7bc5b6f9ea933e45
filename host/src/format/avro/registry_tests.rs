//! Records with the id of their schema in front, as a schema registry writes them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::format::{DecodeDefect, RecordDecoder, RecordEncoder, SourceDecoding};
use crate::model::row::{RowSchema, write_json};
use crate::model::{Column, Interrupt};
use crate::pipeline::{DecodingSettings, EncodingSettings, FileFormat, SinkFormat};

const FIRST: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
/// Another order, another name for `a`, and a new field with a default.
const SECOND: &str = r#"{"type":"record","name":"R","fields":[
    {"name":"b","type":"string","default":"new"},{"name":"c","type":"long","aliases":["a"]}]}"#;
/// Lacks both.
const OTHER: &str = r#"{"type":"record","name":"R","fields":[{"name":"zzzz","type":"int"}]}"#;

/// A registry that counts its requests.
#[derive(Debug, Default)]
struct Registry {
    schemas: HashMap<u32, &'static str>,
    requests: AtomicU32,
    is_down: bool,
}

impl WriterSchemas for Registry {
    fn schema(&self, id: u32, _: &Interrupt) -> Result<Arc<AvroSchema>, SchemaLookupError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match (self.is_down, self.schemas.get(&id)) {
            (true, _) => Err(SchemaLookupError::Failed("the registry does not answer".into())),
            (false, Some(text)) => Ok(Arc::new(AvroSchema::parse(text).unwrap())),
            (false, None) => Err(SchemaLookupError::Unknown(format!("there is no schema {id}"))),
        }
    }
}

impl SchemaIds for Registry {
    fn id(&self, schema: &str) -> Result<u32, SchemaLookupError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let found = self.schemas.iter().find(|(_, text)| **text == schema);
        found.map(|(id, _)| *id).ok_or_else(|| SchemaLookupError::Failed("it is not registered".into()))
    }
}

fn decoder(registry: &Arc<Registry>, row: &str) -> RecordDecoder {
    let reading = AvroReading {
        schema: Arc::new(AvroSchema::parse(SECOND).unwrap()),
        writers: Some(registry.clone() as Arc<dyn WriterSchemas>),
    };
    let raw = SourceDecoding::raw(FileFormat::Avro, DecodingSettings::default(), None);
    let rows = vec![Arc::new(row.parse::<RowSchema>().unwrap())];
    RecordDecoder::compile(&SourceDecoding { avro: Some(reading), rows, ..raw }, false).unwrap()
}

#[test]
fn each_record_is_read_by_its_own_schema() {
    let registry =
        Arc::new(Registry { schemas: [(1, FIRST), (2, SECOND), (300, OTHER)].into(), ..Registry::default() });
    let row = "{b:string,c:i64}";
    let mut decoder = decoder(&registry, row);
    let mut rows = [Column::new()];
    for record in [&[0, 0, 0, 0, 1, 2][..], &[0, 0, 0, 0, 2, 2, b'x', 4], &[0, 0, 0, 0, 1, 6], &[0, 0, 0, 0, 1, 8]] {
        decoder.decode(record, &mut rows).unwrap();
    }
    let json = |index: usize| {
        let mut json = Vec::new();
        write_json(&row.parse().unwrap(), rows[0].value(index), &mut json).unwrap();
        String::from_utf8(json).unwrap()
    };
    assert_eq!((json(0), json(1)), (r#"{"b":"new","c":1}"#.into(), r#"{"b":"x","c":2}"#.into()));
    assert_eq!((json(2), json(3)), (r#"{"b":"new","c":3}"#.into(), r#"{"b":"new","c":4}"#.into()));
    assert_eq!(registry.requests.load(Ordering::Relaxed), 2, "a schema is asked for once");
    let defect = |decoder: &mut RecordDecoder, record: &[u8]| decoder.decode(record, &mut [Column::new()]).unwrap_err();
    for _ in 0..2 {
        assert_eq!(
            defect(&mut decoder, &[0, 0, 0, 1, 44, 2]).to_string(),
            "the record has the schema 300: there is no field `c`; the fields are `zzzz`"
        );
    }
    assert_eq!(registry.requests.load(Ordering::Relaxed), 3);
    assert_eq!(
        defect(&mut decoder, &[0, 0, 0, 0, 9, 2]).to_string(),
        "the record has the schema 9: there is no schema 9"
    );
    for record in [&b"{\"a\":1}"[..], &[0, 0, 0, 0], &[], &[1, 0, 0, 0, 1, 2]] {
        assert!(defect(&mut decoder, record).to_string().contains("does not begin with 0 and the id"), "{record:?}");
    }
    assert!(defect(&mut decoder, &[0, 0, 0, 0, 1]).to_string().contains("ends before its last field"));
}

#[test]
fn a_registry_that_is_down_fails_the_source_and_not_the_record() {
    let registry = Arc::new(Registry { is_down: true, ..Registry::default() });
    let defect = decoder(&registry, "{c:i64}").decode(&[0, 0, 0, 0, 1, 2], &mut [Column::new()]).unwrap_err();
    assert!(defect.fails_source() && matches!(defect, DecodeDefect::Registry(_)), "{defect}");
}

#[test]
fn written_records_begin_with_the_id_of_their_schema() {
    let registry = Arc::new(Registry { schemas: [(300, FIRST)].into(), ..Registry::default() });
    let writing = AvroWriting {
        schema: Some(Arc::new(AvroSchema::parse(FIRST).unwrap())),
        name: String::new(),
        ids: Some(registry.clone() as Arc<dyn SchemaIds>),
    };
    let settings = EncodingSettings { format: Some(SinkFormat::Avro), ..EncodingSettings::default() };
    let mut encoder = RecordEncoder::new(settings).with_avro(writing);
    let row: Arc<RowSchema> = Arc::new("{a:i32}".parse().unwrap());
    let mut record = Vec::new();
    encoder.encode_message(Some(&row), &[2], &mut record).unwrap();
    encoder.encode_message(Some(&row), &[4], &mut record).unwrap();
    assert_eq!(record, [0, 0, 0, 1, 44, 2, 0, 0, 0, 1, 44, 4]);
    assert_eq!(registry.requests.load(Ordering::Relaxed), 1);
    let error = encoder.encode_message(None, b"x", &mut record).unwrap_err();
    assert_eq!(error.to_string(), "a record has no fields, so it cannot be written as Avro");
}
