//! The partitions of an edge: keyed and broadcast.

use std::sync::Arc;
use std::time::Duration;

use super::result_partition::ResultPartition;
use crate::format::SourceDecoding;
use crate::model::row::{RowKey, RowSchema, read_json, write_json};
use crate::model::{Batch, FaultCode, NO_ATTRIBUTES, group_of_key, hash_key, subtask_of_group};
use crate::pipeline::{BatchSettings, DecodingSettings, FileFormat, InputRole};
use crate::runtime::channel::{Inbox, channel};
use crate::runtime::records::record_converter::RecordConverter;
use crate::runtime::records::record_format::RecordFormat;
use crate::runtime::records::record_key::{FieldKey, KeyOrigin, TextKey};
use crate::runtime::stream_element::StreamElement;
use crate::runtime::testing::unwatched_channel;
use crate::wakeup::Wakeup;

/// The key of CSV rows: the text of this column.
fn csv_key(column: usize) -> KeyOrigin {
    let path = format!("column{column}");
    let schema: RowSchema = format!("{{{path}:string?}}").parse().unwrap();
    let key = RowKey::compile(&schema, &[&path]).unwrap();
    let decoding = SourceDecoding::raw(FileFormat::Csv, DecodingSettings::default(), None);
    let decoding = SourceDecoding { rows: vec![Arc::new(schema)], wants_raw: false, ..decoding };
    KeyOrigin::Fields(Arc::new(FieldKey { paths: vec![path], rows: Vec::new(), text: Some(TextKey { decoding, key }) }))
}

#[test]
fn records_of_a_key_reach_the_owner_of_its_group_in_order() {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| unwatched_channel(100)).unzip();
    let settings =
        BatchSettings { records: 4, bytes: 1 << 20, linger: Duration::from_millis(10), ..BatchSettings::default() };
    let origin = csv_key(0);
    let mut partition = ResultPartition::keyed(InputRole::Second, senders, origin, 13, settings, Arc::default());
    let mut batch = Batch::default();
    for n in 0..100 {
        batch.push(format!("k{},{n}", n % 7).as_bytes(), n);
    }
    partition.write(batch, 5).unwrap();
    assert!(partition.has_open_records());
    partition.flush_due(5 + 9_999_999).unwrap();
    assert!(partition.has_open_records(), "the linger time has not passed");
    partition.flush_due(5 + 10_000_000).unwrap();
    assert!(!partition.has_open_records());

    let mut seen = 0;
    for (subtask, receiver) in receivers.iter().enumerate() {
        let mut last = [-1i64; 7];
        while let Ok(Some(sent)) = receiver.try_next() {
            let StreamElement::Batch(InputRole::Second, batch) = sent.element else { panic!("{:?}", sent.element) };
            let keys = batch.keys.as_ref().unwrap();
            assert!(batch.len() <= 4);
            for (record, &key) in keys.key_of.iter().enumerate() {
                let name = keys.distinct.value(key as usize);
                assert!(batch.values.value(record).starts_with(name));
                let group = group_of_key(hash_key(name), 13);
                assert_eq!(keys.groups[key as usize], group);
                assert_eq!(subtask_of_group(group, 3, 13), subtask as u32);
                let last = &mut last[(batch.timestamps[record] % 7) as usize];
                assert!(*last < batch.timestamps[record], "the records of a key keep their order");
                *last = batch.timestamps[record];
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 100);
}

#[test]
fn a_batch_goes_at_once_to_a_receiver_that_has_nothing_to_do_and_grows_while_it_is_busy() {
    let (sending, inboxes) = (Wakeup::default(), [(); 2].map(|()| Arc::<Inbox>::default()));
    let (senders, receivers): (Vec<_>, Vec<_>) =
        inboxes.iter().map(|inbox| channel(8, &sending, inbox, &Arc::default())).unzip();
    let settings =
        BatchSettings { records: 100, bytes: 1 << 20, linger: Duration::from_secs(1), ..BatchSettings::default() };
    let mut partition =
        ResultPartition::keyed(InputRole::First, senders, KeyOrigin::Emitted, 2, settings, Arc::default());
    let key_of = |receiver: u32| {
        let mut keys = (0u32..).map(|number| number.to_string());
        keys.find(|key| subtask_of_group(group_of_key(hash_key(key.as_bytes()), 2), 2, 2) == receiver).unwrap()
    };
    let keys = [key_of(0), key_of(1)];
    let write = |partition: &mut ResultPartition, receiver: usize| {
        let mut batch = Batch::default();
        batch.push(b"value", 0);
        batch.chosen_keys = Some([keys[receiver].as_bytes()].into_iter().collect());
        partition.write(batch, 0).unwrap();
        partition.flush_due(1).unwrap();
    };
    let take = |receiver: usize| {
        let element = receivers[receiver].try_next().unwrap().map(|sent| receivers[receiver].accept(sent));
        element.map(|element| match element {
            StreamElement::Batch(_, batch) => batch.len(),
            other => panic!("{other:?}"),
        })
    };
    write(&mut partition, 0);
    assert!(!partition.has_open_records(), "the receiver had nothing to do");
    write(&mut partition, 0);
    write(&mut partition, 0);
    write(&mut partition, 1);
    assert!(partition.has_open_records(), "the first receiver is busy, the second is not");
    assert_eq!((take(0), take(0), take(1), take(1)), (Some(1), None, Some(1), None));
    receivers[0].request_held_records();
    assert!(sending.is_woken(), "the receiver asks for what was held back");
    partition.flush_due(2).unwrap();
    assert_eq!((take(0), partition.has_open_records()), (Some(2), false));
}

#[test]
fn a_broadcast_batch_reaches_every_subtask() {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| unwatched_channel(1)).unzip();
    let settings = BatchSettings { records: 4, bytes: 1 << 20, linger: Duration::ZERO, ..BatchSettings::default() };
    let mut partition = ResultPartition::broadcast(senders, settings, Arc::default());
    let mut batch = Batch::default();
    batch.push(b"rule", 3);
    partition.write(batch.clone(), 0).unwrap();
    assert!(!partition.has_open_records());
    for receiver in receivers {
        let sent = receiver.try_next().unwrap().unwrap();
        let StreamElement::Batch(InputRole::Broadcast, received) = sent.element else {
            panic!("not a broadcast batch")
        };
        assert_eq!(received, batch);
    }
}

#[test]
fn a_record_without_a_key_is_sent_as_a_rejected_record() {
    let (sender, receiver) = unwatched_channel(1);
    let settings = BatchSettings { records: 4, bytes: 1 << 20, linger: Duration::ZERO, ..BatchSettings::default() };
    let origin = csv_key(1);
    let mut partition = ResultPartition::keyed(InputRole::Second, vec![sender], origin, 128, settings, Arc::default());
    let mut batch = Batch::default();
    batch.push(b"only", 3);
    partition.write(batch, 0).unwrap();
    let sent = receiver.try_next().unwrap().unwrap();
    let StreamElement::Rejected(rejected) = sent.element else { panic!("not rejected") };
    assert_eq!(
        (rejected.value.as_slice(), rejected.timestamp, rejected.fault.code),
        (&b"only"[..], 3, FaultCode::KeyMissing)
    );
}

#[test]
fn attributes_follow_their_records() {
    let (sender, receiver) = unwatched_channel(100);
    let settings = BatchSettings { records: 3, bytes: 1 << 20, linger: Duration::ZERO, ..BatchSettings::default() };
    let origin = csv_key(0);
    let mut partition = ResultPartition::keyed(InputRole::First, vec![sender], origin, 128, settings, Arc::default());
    let plain: Vec<&[u8]> = vec![b"a", b"b"];
    let with_attributes: Vec<&[u8]> = vec![b"c", b"d"];
    let batch = |values: &[&[u8]], attributes: Option<&[&[u8]]>| Batch {
        values: values.iter().collect(),
        timestamps: vec![0; values.len()],
        schema: None,
        attributes: attributes.map(|attributes| attributes.iter().collect()),
        ..Batch::default()
    };
    partition.write(batch(&plain, None), 0).unwrap();
    partition.write(batch(&with_attributes, Some(&[b"\x01\x01k\x01v", b"\x01\x01k\x01w"])), 0).unwrap();
    partition.write(batch(&plain, None), 0).unwrap();
    partition.flush_due(0).unwrap();
    let mut seen = Vec::new();
    while let Ok(Some(sent)) = receiver.try_next() {
        let StreamElement::Batch(_, batch) = sent.element else { panic!("not a batch") };
        for (index, value) in batch.values.iter().enumerate() {
            let attributes = batch.attributes.as_ref().map_or(NO_ATTRIBUTES, |all| all.value(index));
            seen.push((value.to_vec(), attributes.to_vec()));
        }
    }
    let attributes: [&[u8]; 6] = [b"\0", b"\0", b"\x01\x01k\x01v", b"\x01\x01k\x01w", b"\0", b"\0"];
    let expected: Vec<_> = [b"a", b"b", b"c", b"d", b"a", b"b"]
        .iter()
        .zip(attributes)
        .map(|(value, attributes)| (value.to_vec(), attributes.to_vec()))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_batch_holds_rows_of_one_schema() {
    let (sender, receiver) = unwatched_channel(100);
    let settings = BatchSettings { records: 100, bytes: 1 << 20, linger: Duration::ZERO, ..BatchSettings::default() };
    let origin = KeyOrigin::Value;
    let mut partition = ResultPartition::keyed(InputRole::First, vec![sender], origin, 128, settings, Arc::default());
    let texts = [Some("{a:string}"), Some("{a:string}"), Some("{b:string}"), None, None, Some("{a:string}")];
    for text in texts {
        let mut batch = Batch { schema: text.map(|text| Arc::new(text.parse().unwrap())), ..Batch::default() };
        batch.push(b"x", 0);
        partition.write(batch, 0).unwrap();
    }
    partition.flush_due(0).unwrap();
    let mut seen = Vec::new();
    while let Ok(Some(sent)) = receiver.try_next() {
        let StreamElement::Batch(_, batch) = sent.element else { panic!("not a batch") };
        seen.push((batch.schema.map(|schema| schema.to_string()), batch.values.len()));
    }
    let of = |text: &str, records| (Some(text.to_owned()), records);
    assert_eq!(seen, [of("{a:string}", 2), of("{b:string}", 1), (None, 2), of("{a:string}", 1)]);
}

#[test]
fn the_key_is_that_of_the_producers_row_and_the_record_that_of_the_consumer() {
    let (sender, receiver) = unwatched_channel(100);
    let settings = BatchSettings { records: 100, bytes: 1 << 20, linger: Duration::ZERO, ..BatchSettings::default() };
    let [from, to] =
        ["{id:i64?,name:string,n:i32?}", "{n:i32?,name:string}"].map(|text| Arc::new(text.parse().unwrap()));
    let rows = vec![(Arc::clone(&from), RowKey::compile(&from, &["id"]).unwrap())];
    let origin = KeyOrigin::Fields(Arc::new(FieldKey { paths: vec!["id".into()], rows, text: None }));
    let converter = RecordConverter::new(RecordFormat::Row(Arc::clone(&to)));
    let mut partition = ResultPartition::keyed(InputRole::First, vec![sender], origin, 128, settings, Arc::default())
        .converted_by(Some(converter));
    let mut batch = Batch { schema: Some(Arc::clone(&from)), ..Batch::default() };
    for (at, record) in (0..).zip([r#"{"id":-7,"name":"a","n":1}"#, r#"{"name":"b"}"#, r#"{"id":8,"name":"c"}"#]) {
        let mut row = Vec::new();
        read_json(&from, record.as_bytes(), &mut row).unwrap();
        batch.push(&row, at);
    }
    batch.push(b"\x01", 3);
    partition.write(batch, 0).unwrap();
    partition.flush_due(0).unwrap();
    let (mut rejected, mut seen) = (Vec::new(), Vec::new());
    while let Ok(Some(sent)) = receiver.try_next() {
        match sent.element {
            StreamElement::Rejected(record) => {
                assert!(record.schema.is_some_and(|schema| Arc::ptr_eq(&schema, &from)));
                rejected.push((record.timestamp, record.fault.message));
            }
            StreamElement::Batch(_, batch) => {
                assert!(batch.schema.as_ref().is_some_and(|schema| Arc::ptr_eq(schema, &to)));
                let keys = batch.keys.as_ref().unwrap();
                for (value, &key) in batch.values.iter().zip(&keys.key_of) {
                    let mut json = Vec::new();
                    write_json(&to, value, &mut json).unwrap();
                    let key = String::from_utf8(keys.distinct.value(key as usize).to_vec()).unwrap();
                    seen.push((key, String::from_utf8(json).unwrap()));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let expected = [("-7", r#"{"n":1,"name":"a"}"#), ("8", r#"{"n":null,"name":"c"}"#)];
    assert_eq!(seen, expected.map(|(key, json)| (key.to_owned(), json.to_owned())));
    assert_eq!(rejected.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(rejected[0].1, "the record has no key: `id` is null or missing");
    assert!(rejected[1].1.starts_with("the record has no key in `id`: "), "{}", rejected[1].1);
}
