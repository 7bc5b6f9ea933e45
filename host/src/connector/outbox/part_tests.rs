//! Parts are read as they were written, and no damaged byte passes.

use std::path::PathBuf;

use proptest::prelude::*;

use super::headers::HeaderBuffer;
use super::part_reader::PartReader;
use super::part_writer::{PartWriter, WrittenContent, WrittenPart};
use super::record::OutboxRecord;
use crate::error::{Error, Result};

/// A record with its own memory.
#[derive(Clone, Debug, PartialEq)]
struct OwnedRecord {
    topic: Option<String>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
}

impl OwnedRecord {
    fn write(&self, writer: &mut PartWriter, path: &dyn Fn() -> PathBuf) {
        let mut headers = HeaderBuffer::default();
        self.headers.iter().for_each(|(name, value)| headers.push(name, value.as_deref()));
        let record = OutboxRecord {
            topic: self.topic.as_deref(),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: headers.list(),
            timestamp: self.timestamp,
        };
        writer.push(&record, path).unwrap();
    }

    fn copy(record: &OutboxRecord<'_>) -> OwnedRecord {
        let header = |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
        OwnedRecord {
            topic: record.topic.map(str::to_owned),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(header).collect(),
            timestamp: record.timestamp,
        }
    }
}

fn records() -> impl Strategy<Value = Vec<OwnedRecord>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    let headers = proptest::collection::vec((".{0,9}", bytes()), 0..4);
    let record = (proptest::option::of("[a-z.]{0,9}"), bytes(), bytes(), headers, any::<Option<i64>>());
    let record = record.prop_map(|(topic, key, value, headers, timestamp)| OwnedRecord {
        topic,
        key,
        value,
        headers,
        timestamp,
    });
    proptest::collection::vec(record, 0..300)
}

fn read(part: &WrittenPart, bytes: &[u8]) -> Result<Vec<OwnedRecord>> {
    let mut all = Vec::new();
    let mut reader = PartReader::new(Box::new(bytes), "part".into(), part.bytes, part.records)?;
    while reader.next_block(|record| {
        all.push(OwnedRecord::copy(record));
        Ok::<(), Error>(())
    })? {}
    Ok(all)
}

fn bytes_of(part: &WrittenPart) -> Vec<u8> {
    match &part.content {
        WrittenContent::Memory(bytes) => bytes.clone(),
        WrittenContent::File(path) => std::fs::read(path).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_part_is_read_as_it_was_written(records in records(), inline_bytes in prop_oneof![Just(0), Just(usize::MAX)]) {
        prop_assume!(!records.is_empty());
        let folder = tempfile::tempdir().unwrap();
        let path = || folder.path().join("below/part");
        let mut writer = PartWriter::default();
        records.iter().for_each(|record| record.write(&mut writer, &path));
        let part = writer.seal(inline_bytes, &path).unwrap();
        prop_assert!(writer.is_empty());
        let bytes = bytes_of(&part);
        prop_assert_eq!(bytes.len() as u64, part.bytes);
        prop_assert_eq!(read(&part, &bytes).unwrap(), records);
    }
}

#[test]
fn a_damaged_part_is_never_read() {
    let record = |number: u64| OwnedRecord {
        topic: Some("topic".into()),
        key: Some(number.to_be_bytes().to_vec()),
        value: None,
        headers: vec![("name".into(), Some(b"value".to_vec())), ("none".into(), None)],
        timestamp: Some(-1),
    };
    let path = || -> PathBuf { unreachable!("the part is small") };
    let mut writer = PartWriter::default();
    (0..3).for_each(|number| record(number).write(&mut writer, &path));
    let part = writer.seal(usize::MAX, &path).unwrap();
    let bytes = bytes_of(&part);
    assert_eq!(read(&part, &bytes).unwrap().len(), 3);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(read(&part, &damaged).unwrap_err().code, "checkpoint-corrupt", "byte {at}");
        assert_eq!(read(&part, &bytes[..at]).unwrap_err().code, "checkpoint-corrupt", "ends at {at}");
        let shorter = WrittenPart { bytes: at as u64, records: 3, content: WrittenContent::Memory(Vec::new()) };
        assert_eq!(read(&shorter, &bytes[..at]).unwrap_err().code, "checkpoint-corrupt", "says that it ends at {at}");
    }
    for records in [2, 4] {
        let other = WrittenPart { records, bytes: part.bytes, content: WrittenContent::Memory(Vec::new()) };
        assert_eq!(read(&other, &bytes).unwrap_err().code, "checkpoint-corrupt");
    }
}

#[test]
fn a_part_that_no_checkpoint_covers_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = || folder.path().join("part");
    let record = OutboxRecord { value: Some(&[7; 70_000]), ..OutboxRecord::default() };
    let mut writer = PartWriter::default();
    writer.push(&record, &path).unwrap();
    assert!(path().exists());
    drop(writer);
    assert!(!path().exists());
}
