//! Taps: what they show and count, and that a slow reader delays nothing.

use std::sync::Arc;

use super::open_tap::TapCounts;
use super::tapped_record::{COPIED_BYTES_MAX, START_BYTES};
use super::{JobTaps, NodeTap, RecordRoute, TapReader, TapSettings, TapSide};
use crate::model::Batch;

const ROUTE: RecordRoute = RecordRoute { subtask: 3, input: Some(0), output: None };
const SECOND_NS: u64 = 1_000_000_000;

fn batch(from: u32, records: u32) -> Batch {
    let mut batch = Batch::default();
    (from..from + records).for_each(|number| batch.push(number.to_string().as_bytes(), i64::from(number)));
    batch
}

fn open(node: &Arc<NodeTap>, side: TapSide, every: u64, rate: u64) -> TapReader {
    TapReader::open(node.clone(), TapSettings { side, every, rate })
}

fn values(reader: &mut TapReader) -> Vec<String> {
    std::iter::from_fn(|| reader.try_next()).map(|record| String::from_utf8(record.value.into()).unwrap()).collect()
}

#[test]
fn a_side_is_open_as_long_as_it_has_a_reader() {
    let taps = JobTaps::default();
    let (node, same) = (taps.node("a"), taps.node("a"));
    let is_open = |node: &NodeTap| (node.is_open(TapSide::In), node.is_open(TapSide::Out));
    assert_eq!(is_open(&node), (false, false));
    let first = open(&same, TapSide::In, 1, 10);
    let second = open(&same, TapSide::In, 1, 10);
    assert_eq!((is_open(&node), is_open(&taps.node("b"))), ((true, false), (false, false)));
    drop(first);
    let third = open(&same, TapSide::Out, 1, 10);
    assert_eq!(is_open(&node), (true, true));
    drop(second);
    assert_eq!(is_open(&node), (false, true));
    drop(third);
    assert_eq!(is_open(&node), (false, false));
}

#[test]
fn a_tap_shows_at_most_its_rate_and_counts_all_that_pass() {
    let node = Arc::<NodeTap>::default();
    let mut reader = open(&node, TapSide::In, 1, 4);
    let mut other = open(&node, TapSide::Out, 1, 4);
    node.offer(TapSide::In, ROUTE, &batch(0, 100), SECOND_NS);
    node.offer(TapSide::In, ROUTE, &batch(100, 100), SECOND_NS);
    assert_eq!(values(&mut reader), ["0", "1", "2", "3"]);
    node.offer(TapSide::In, ROUTE, &batch(200, 100), SECOND_NS + SECOND_NS / 4);
    assert_eq!(values(&mut reader), ["200"]);
    assert_eq!(reader.counts(), TapCounts { passed: 300, dropped: 0 });
    assert!(values(&mut other).is_empty() && other.counts().passed == 0);
}

#[test]
fn one_of_every_few_records_is_taken_also_across_batches() {
    let node = Arc::<NodeTap>::default();
    let mut reader = open(&node, TapSide::In, 7, 1000);
    let mut from = 0;
    for records in [3, 1, 10, 2, 20] {
        node.offer(TapSide::In, ROUTE, &batch(from, records), SECOND_NS);
        from += records;
    }
    let expected: Vec<String> = (0..from).step_by(7).map(|number| number.to_string()).collect();
    assert_eq!(values(&mut reader), expected);
    let mut rare = open(&node, TapSide::In, u64::MAX, 1000);
    node.offer(TapSide::In, ROUTE, &batch(0, 2), SECOND_NS);
    assert_eq!(values(&mut rare), ["0"]);
}

#[test]
fn records_that_a_slow_reader_does_not_take_are_dropped_and_counted() {
    let node = Arc::<NodeTap>::default();
    let mut reader = open(&node, TapSide::In, 1, 1000);
    // The queue is full after 64 records. This returns nevertheless.
    node.offer(TapSide::In, ROUTE, &batch(0, 200), SECOND_NS);
    assert_eq!(reader.counts(), TapCounts { passed: 200, dropped: 136 });
    assert_eq!(values(&mut reader).len(), 64);
    node.offer(TapSide::In, ROUTE, &batch(200, 1), SECOND_NS);
    assert_eq!(values(&mut reader), ["200"]);
    assert_eq!(reader.counts(), TapCounts { passed: 201, dropped: 136 });
}

#[test]
fn a_record_is_copied_with_its_time_and_a_large_one_is_cut() {
    let node = Arc::<NodeTap>::default();
    let mut reader = open(&node, TapSide::In, 1, 10);
    let mut batch = batch(7, 1);
    batch.push(&[b'x'; COPIED_BYTES_MAX], i64::MIN);
    batch.push(&[b'x'; COPIED_BYTES_MAX + 1], 0);
    node.offer(TapSide::In, ROUTE, &batch, SECOND_NS);
    let records: Vec<_> = std::iter::from_fn(|| reader.try_next()).collect();
    assert_eq!((records[0].route, records[0].timestamp_ms), (ROUTE, Some(7)));
    assert_eq!((records[1].value.len(), records[1].is_cut(), records[1].timestamp_ms), (COPIED_BYTES_MAX, false, None));
    assert_eq!((records[2].value.len(), records[2].is_cut()), (START_BYTES, true));
    assert_eq!(records[2].value_bytes, COPIED_BYTES_MAX + 1);
}
