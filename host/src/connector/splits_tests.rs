//! Splits with owners by name: each record is read once at any parallelism, and new splits are read from their beginning.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::source::{Poll, Source, SplitId};
use super::split_discovery::SplitDiscovery;
use super::split_log::{SplitLog, SplitLogSource};
use super::splits::{OwnSplits, SplitName, SplitOrigin};
use super::testing::{context, subtask_of};
use crate::error::{Result, source_failed};
use crate::model::Batch;

fn name(of: &str, number: u32) -> SplitName {
    SplitName { of: of.to_owned(), number }
}

fn open(log: &SplitLog, subtask: u32, parallelism: u32, positions: &[Vec<u8>]) -> Result<SplitLogSource> {
    let positions: Vec<&[u8]> = positions.iter().map(Vec::as_slice).collect();
    SplitLogSource::open(log, &subtask_of(context(Path::new("")), subtask, parallelism), &positions)
}

fn poll(source: &mut SplitLogSource, records: usize) -> (Vec<String>, Poll) {
    let mut batch = Batch::default();
    let poll = source.poll(&mut batch, records).unwrap();
    (batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect(), poll)
}

proptest! {
    /// Each attempt adds splits and records, runs some polls at its parallelism, takes a checkpoint, runs more polls, and fails.
    #[test]
    fn each_record_is_read_once_at_any_parallelism_and_new_splits_from_their_beginning(
        attempts in prop::collection::vec((1u32..5, 0usize..3, prop::collection::vec((0usize..4, 1usize..4), 0..12)), 1..6),
    ) {
        let (log, mut sizes, mut positions) = (SplitLog::default(), Vec::<u32>::new(), Vec::new());
        let mut add = |split: usize, records: u32| {
            let sizes_len = sizes.len().max(split + 1);
            sizes.resize(sizes_len, 0);
            let from = sizes[split];
            log.append(split, (from..from + records).map(|number| format!("{split}:{number}")));
            sizes[split] += records;
            sizes_len
        };
        let mut committed: Vec<String> = Vec::new();
        let mut splits = 0;
        let attempts = attempts.into_iter().map(Some).chain([None]);
        for attempt in attempts {
            let (parallelism, new_splits, polls) = attempt.clone().unwrap_or((3, 0, Vec::new()));
            for split in 0..splits + new_splits {
                splits = add(split, 3);
            }
            if attempt.is_none() {
                log.complete();
            }
            let mut sources: Vec<_> =
                (0..parallelism).map(|subtask| open(&log, subtask, parallelism, &positions).unwrap()).collect();
            let owned: usize = sources.iter().map(|source| source.open_splits().splits.len()).sum();
            prop_assert_eq!(owned, splits, "each split has one owner");
            for (number, (subtask, records)) in polls.iter().enumerate() {
                let count = sources.len();
                let source = &mut sources[subtask % count];
                if number == polls.len() / 2 {
                    splits = add(splits, 2);
                }
                committed.extend(poll(source, *records).0);
            }
            if attempt.is_none() {
                for source in &mut sources {
                    loop {
                        match poll(source, 2) {
                            (_, Poll::End) => break,
                            (read, _) => committed.extend(read),
                        }
                    }
                }
            }
            positions = sources.iter_mut().map(|source| source.snapshot(1).unwrap()).collect();
            // What is read after the checkpoint is read again.
            sources.iter_mut().for_each(|source| drop(poll(source, 2)));
        }
        let mut read = BTreeMap::<u32, Vec<u32>>::new();
        for record in &committed {
            let (split, number) = record.split_once(':').unwrap();
            read.entry(split.parse().unwrap()).or_default().push(number.parse().unwrap());
        }
        for (split, size) in sizes.iter().enumerate() {
            let expected: Vec<u32> = (0..*size).collect();
            prop_assert_eq!(read.remove(&(split as u32)).unwrap_or_default(), expected, "split {}, in order", split);
        }
    }

    #[test]
    fn untrusted_positions_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let framed = [&[1], &bytes[..]].concat();
        let _ = OwnSplits::<u64>::open(&context(Path::new("")), &[&framed, &bytes]);
    }
}

#[test]
fn splits_with_consecutive_numbers_spread_and_owners_do_not_change() {
    let owners: Vec<u32> = (0..6).map(|number| name("orders", number).owner(3)).collect();
    let first = owners[0];
    assert_eq!(owners, [0, 1, 2, 0, 1, 2].map(|step| (first + step) % 3));
    assert_eq!(["orders", "payments", ""].map(|of| name(of, 0).owner(1 << 20)), OWNERS);
    assert_eq!(name("orders", u32::MAX).owner(0), 0);
}

/// The hash is durable: another one would give splits to two subtasks while a region restarts.
const OWNERS: [u32; 3] = [619771, 504893, 234690];

#[test]
fn only_splits_of_the_first_listing_without_a_checkpoint_may_begin_at_another_place() {
    let context = context(Path::new(""));
    let origins = |own: &mut OwnSplits<u64>, numbers: &[u32]| {
        let mut origins = Vec::new();
        let listed = numbers.iter().map(|number| name("t", *number));
        own.take_listed(listed, |name, origin| {
            origins.push((name.number, origin));
            Ok(0)
        })
        .unwrap();
        origins
    };
    let mut own = OwnSplits::<u64>::open(&context, &[]).unwrap();
    assert_eq!(origins(&mut own, &[0, 1]), [(0, SplitOrigin::FirstListing), (1, SplitOrigin::FirstListing)]);
    assert_eq!(origins(&mut own, &[0, 1, 2]), [(2, SplitOrigin::Discovered)]);
    let position = own.encode().unwrap();
    let mut restored = OwnSplits::<u64>::open(&context, &[&position]).unwrap();
    assert_eq!(origins(&mut restored, &[0, 3]), [(3, SplitOrigin::Discovered)], "known splits keep their positions");
    // A source that saw no splits at all: what it lists after a restore has appeared since.
    let empty = OwnSplits::<u64>::open(&context, &[]).unwrap().encode().unwrap();
    let mut restored = OwnSplits::<u64>::open(&context, &[&empty]).unwrap();
    assert_eq!(origins(&mut restored, &[0]), [(0, SplitOrigin::Discovered)]);
}

#[test]
fn a_closed_split_is_not_taken_again() {
    let log = SplitLog::default();
    log.append(0, ["a".to_owned()]);
    log.append(1, ["b".to_owned()]);
    let mut source = open(&log, 0, 1, &[]).unwrap();
    let before = source.open_splits().version;
    log.close(0);
    assert_eq!(poll(&mut source, 5).0, ["b"]);
    assert_ne!(source.open_splits().version, before);
    assert_eq!(source.open_splits().splits, [SplitId(1)]);
    assert_eq!(poll(&mut source, 5).0, [""; 0]);
    assert_eq!(source.open_splits().splits, [SplitId(1)]);
}

#[test]
fn positions_that_name_a_split_twice_are_corrupt() {
    let log = SplitLog::default();
    log.append(0, []);
    let position = open(&log, 0, 1, &[]).unwrap().snapshot(1).unwrap();
    let error = open(&log, 0, 1, &[position.clone(), position]).err().unwrap();
    assert_eq!(error.code, "checkpoint-corrupt");
    assert!(error.message.contains("split 0 of `log` twice"), "{error}");
}

#[test]
fn a_discovery_lists_again_and_again_and_wakes_the_subtask() {
    let context = context(Path::new(""));
    let mut calls = 0;
    let list = move || {
        calls += 1;
        if calls == 1 { Err(source_failed("the peer is away")) } else { Ok(vec![name("t", calls)]) }
    };
    let discovery = SplitDiscovery::start(&context, Duration::from_millis(1), list).unwrap();
    let (mut listed, mut failed) = (Vec::new(), 0);
    for _ in 0..10_000 {
        match discovery.take() {
            Some(Ok(names)) => listed.extend(names),
            Some(Err(_)) => failed += 1,
            None => context.wakeup.wait(Duration::from_millis(20)),
        }
        if listed.len() == 3 {
            break;
        }
    }
    assert!(listed.len() == 3 && listed.is_sorted(), "{listed:?} after {failed} failures");
}
