//! What the source reads: everything once, at any parallelism, and nothing that is not synced.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::ingest_source::IngestSource;
use super::segment::numbers;
use super::test_log::{TestLog, key};
use crate::connector::context::ConnectorContext;
use crate::connector::source::{Poll, Source};
use crate::connector::testing::{context, subtask_of};
use crate::model::{Batch, NO_ATTRIBUTES};

fn subtask(subtask: u32, parallelism: u32) -> ConnectorContext {
    subtask_of(context(Path::new("")), subtask, parallelism)
}

/// Polls up to `records` records at once.
fn poll(source: &mut IngestSource, records: usize) -> Vec<String> {
    let mut batch = Batch::default();
    match source.poll(&mut batch, records).unwrap() {
        Poll::Pending(wait) => assert!(wait == Duration::MAX && batch.is_empty()),
        _ => assert!((1..=records).contains(&batch.len()) && batch.timestamps.len() == batch.len()),
    }
    batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

/// Polls until nothing is left.
fn drain(source: &mut IngestSource, records: usize) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let polled = poll(source, records);
        if polled.is_empty() {
            return all;
        }
        all.extend(polled);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_record_is_read_once_through_restarts_at_other_parallelisms(
        steps in prop::collection::vec(
            (1u32..4, prop::collection::vec(1usize..5, 0..6), prop::collection::vec(0usize..9, 3), 1usize..4), 1..5),
    ) {
        let test = TestLog::new(300);
        let log = test.open().unwrap();
        let (mut sent, mut found, mut number) = (Vec::new(), Vec::new(), 0);
        let mut positions: Vec<Vec<u8>> = Vec::new();
        let steps = steps.into_iter().chain([(2, vec![2], vec![1000; 3], 7)]);
        for (parallelism, requests, reads, at_once) in steps {
            for records in requests {
                let records: Vec<String> = (0..records).map(|_| { number += 1; format!("r{number}") }).collect();
                test.accept(&log, &records.iter().map(String::as_str).collect::<Vec<_>>());
                sent.extend(records);
            }
            let restored: Vec<&[u8]> = positions.iter().map(Vec::as_slice).collect();
            let mut next = Vec::new();
            for index in 0..parallelism {
                let mut source = IngestSource::open(&log, &subtask(index, parallelism), &restored, false).unwrap();
                let mut left = reads[index as usize];
                while left > 0 {
                    let polled = poll(&mut source, at_once);
                    if polled.is_empty() {
                        break;
                    }
                    // The last record is given back, and read again.
                    source.give_back(1).unwrap();
                    prop_assert_eq!(&poll(&mut source, 1)[..], &polled[polled.len() - 1..]);
                    found.extend(polled);
                    left -= 1;
                }
                next.push(source.snapshot(1).unwrap());
            }
            positions = next;
        }
        found.sort();
        sent.sort();
        prop_assert_eq!(found, sent);
    }
}

#[test]
fn records_of_a_request_stay_in_order_and_times_and_places_are_known() {
    let test = TestLog::new(64 << 10);
    let log = test.open().unwrap();
    test.clock.set_ms(77);
    let first = test.accept(&log, &["a", "b", "c"]);
    let second = test.accept(&log, &["d"]);
    let mut source = IngestSource::open(&log, &subtask(0, 1), &[], false).unwrap();
    let mut batch = Batch::default();
    source.poll(&mut batch, 10).unwrap();
    assert_eq!(batch.values.iter().collect::<Vec<_>>(), [b"a", b"b", b"c", b"d"]);
    assert_eq!((batch.timestamps, batch.attributes), (vec![77; 4], None));
    let byte = |index| source.locate(index, &|| false).unwrap().byte;
    assert_eq!(
        [0, 1, 2, 3].map(byte),
        [first.position.offset; 3].into_iter().chain([second.position.offset]).collect::<Vec<_>>()[..]
    );
}

#[test]
fn attributes_belong_to_the_records_of_their_request() {
    let test = TestLog::new(64 << 10);
    let log = test.open().unwrap();
    test.accept(&log, &["plain"]);
    test.accept_with_attributes(&log, &["a", "b"], b"\x01\x01k\x01v");
    test.accept(&log, &["plain"]);
    let mut source = IngestSource::open(&log, &subtask(0, 1), &[], false).unwrap();
    let mut batch = Batch::default();
    source.poll(&mut batch, 10).unwrap();
    let attributes = batch.attributes.unwrap();
    let expected = [NO_ATTRIBUTES, b"\x01\x01k\x01v", b"\x01\x01k\x01v", NO_ATTRIBUTES];
    assert_eq!(attributes.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_new_record_wakes_its_readers() {
    let test = TestLog::new(64 << 10);
    let log = test.open().unwrap();
    let context = subtask(0, 1);
    let mut source = IngestSource::open(&log, &context, &[], false).unwrap();
    assert!(poll(&mut source, 1).is_empty() && !context.wakeup.is_woken());
    test.accept(&log, &["a"]);
    context.wakeup.wait(Duration::MAX);
    assert_eq!(poll(&mut source, 1), ["a"]);
}

#[test]
fn a_position_that_the_log_no_longer_contains_is_an_error_unless_loss_is_allowed() {
    let test = TestLog::new(400);
    let log = test.open().unwrap();
    let mut source = IngestSource::open(&log, &subtask(0, 1), &[], false).unwrap();
    let oldest = source.snapshot(1).unwrap();
    let mut number = 0;
    while log.end().segment < 4 {
        number += 1;
        test.append(&log, &["x", "y"], key(number, 0)).unwrap().unwrap();
    }
    assert_eq!(drain(&mut source, 100).len(), 2 * number as usize);
    let newest = source.snapshot(2).unwrap();
    source.complete(2);
    assert_eq!(log.backlog(), 0);
    source.released(1);
    assert_eq!(numbers(test.path(), "log").unwrap(), [1, 2, 3, 4], "checkpoint 1 needs all");
    source.released(2);
    for _ in 0..60_000 {
        if numbers(test.path(), "log").unwrap() == [4] {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(source);
    log.close();
    let log = test.open().unwrap();
    let error = IngestSource::open(&log, &subtask(0, 1), &[&oldest], false).err().unwrap();
    let (first, _) = {
        let contents = log.shared.contents.lock();
        contents.oldest().unwrap()
    };
    assert_eq!((error.code, first), ("source-behind", 4));
    let kept = drain(&mut IngestSource::open(&log, &subtask(0, 1), &[&oldest], true).unwrap(), 100).len();
    let missing = 2 * number as usize - kept;
    assert!(missing > 0 && error.message.starts_with(&format!("{missing} records")), "{error}");
    assert!(poll(&mut IngestSource::open(&log, &subtask(0, 1), &[&newest], false).unwrap(), 1).is_empty());

    // Another log, as after its folder was removed.
    let other = TestLog::new(400);
    let log = other.open().unwrap();
    other.accept(&log, &["new"]);
    let error = IngestSource::open(&log, &subtask(0, 1), &[&newest], false).err().unwrap();
    assert_eq!(error.code, "source-behind");
    let mut source = IngestSource::open(&log, &subtask(0, 1), &[&newest], true).unwrap();
    assert_eq!(drain(&mut source, 100), ["new"]);
}
