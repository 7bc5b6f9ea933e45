//! Durability of a log: torn tails, damage, keys, failures of the disk, and the order of sync and answer.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::append_queue::AcceptedRequest;
use super::attached_reader::AttachedReader;
use super::ingest_log::{AppendRefusal, AppendedRequest, IngestLog};
use super::log_cursor::LogCursor;
use super::log_position::LogPosition;
use super::segment::{SEGMENT_HEADER_BYTES, numbers, segment_path};
use super::test_log::{DiskCall, TestLog, key};
use crate::connector::testing::wait_until;
use crate::wakeup::Wakeup;

/// Reads all frames of a log. Returns the records of each.
fn contents(log: &Arc<IngestLog>) -> Vec<Vec<String>> {
    let (segment, _) = log.shared.contents.lock().oldest().unwrap();
    let mut cursor = LogCursor::new(&log.shared, LogPosition { segment, offset: SEGMENT_HEADER_BYTES });
    let mut frames = Vec::new();
    while let Some(header) = cursor.header().unwrap() {
        let payload = cursor.payload(&header).unwrap();
        frames.push(payload.records_from(0).map(|record| String::from_utf8(record.to_vec()).unwrap()).collect());
        cursor.skip(&header);
    }
    frames
}

fn record(number: usize, length: usize) -> String {
    format!("{number:03}").repeat(1 + length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// The last segment is cut at every byte, or everything from a byte on is replaced. Whatever was appended completely before the cut
    /// is kept, and nothing else.
    #[test]
    fn a_tail_that_is_torn_at_any_byte_costs_only_what_it_tore(
        lengths in prop::collection::vec(0usize..9, 2..4),
        garbage in any::<u8>(),
    ) {
        let test = TestLog::new(4 << 10);
        let log = test.open().unwrap();
        let mut ends = vec![SEGMENT_HEADER_BYTES];
        let mut frames: Vec<Vec<String>> = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let records = [record(number, *length), record(number + 100, 1)];
            test.accept(&log, &[&records[0], &records[1]]);
            frames.push(records.to_vec());
            ends.push(log.end().offset);
        }
        log.close();
        let path = segment_path(test.path(), 1);
        let whole = fs::read(&path).unwrap();
        let end = *ends.last().unwrap() as usize;
        for cut in SEGMENT_HEADER_BYTES as usize..=end {
            let kept = ends.iter().filter(|end| **end <= cut as u64).count() - 1;
            // A file that ends there; then zeros, and then other bytes, up to the reserved size.
            for rest in [None, Some(0), Some(garbage)] {
                let mut bytes = whole[..cut].to_vec();
                if let Some(byte) = rest {
                    bytes.resize(end + 100, byte);
                }
                fs::write(&path, &bytes).unwrap();
                let log = test.open().unwrap();
                let found = contents(&log);
                prop_assert_eq!(&found[..], &frames[..found.len()]);
                if found.len() != kept {
                    // The bytes behind the cut happen to be the same, or are padding, which has no checksum.
                    let start = ends[kept] as usize;
                    let payload = u32::from_le_bytes(whole[start + 4..start + 8].try_into().unwrap()) as usize;
                    let same = (cut..start + 40 + payload).all(|at| bytes.get(at) == Some(&whole[at]));
                    prop_assert!(same && found.len() == kept + 1, "{} of {kept} at {cut}, {rest:?}", found.len());
                }
                if cut % 4 == 0 {
                    let next = test.accept(&log, &["next"]);
                    log.close();
                    let again = test.open().unwrap();
                    let after = contents(&again);
                    prop_assert_eq!((after.len(), &after[found.len()][..]), (found.len() + 1, &["next".to_owned()][..]));
                    prop_assert!(again.end() > next.position);
                }
            }
        }
    }
}

/// Creates a log of three segments, and returns the ends of its frames.
fn three_segments(test: &TestLog) -> Vec<LogPosition> {
    let log = test.open().unwrap();
    let mut ends = Vec::new();
    while log.end().segment < 3 {
        test.accept(&log, &["some record", "another record"]);
        ends.push(log.end());
    }
    test.accept(&log, &["last"]);
    ends.push(log.end());
    ends
}

#[test]
fn damage_before_the_tail_is_an_error_that_names_segment_and_offset() {
    let test = TestLog::new(400);
    let ends = three_segments(&test);
    let starts: Vec<LogPosition> = ends
        .windows(2)
        .map(|pair| match pair[0].segment == pair[1].segment {
            true => pair[0],
            false => LogPosition { segment: pair[1].segment, offset: SEGMENT_HEADER_BYTES },
        })
        .collect();
    // Every frame but the last one was followed by a synced group.
    for (index, start) in starts.iter().enumerate().take(starts.len() - 1) {
        let path = segment_path(test.path(), start.segment);
        let whole = fs::read(&path).unwrap();
        for offset in [start.offset, start.offset + 20, start.offset + 60] {
            let file = File::options().write(true).open(&path).unwrap();
            file.write_all_at(&[whole[offset as usize] ^ 1], offset).unwrap();
            let error = test.open().err().unwrap_or_else(|| panic!("frame {index}, offset {offset}"));
            assert_eq!(error.code, "ingest-corrupt");
            let place = format!("segment {}, offset {}:", path.display(), start.offset);
            assert!(error.message.contains(&place), "{error}");
            fs::write(&path, &whole).unwrap();
        }
    }
    assert_eq!(contents(&test.open().unwrap()).len(), ends.len());
}

#[test]
fn a_missing_or_foreign_segment_is_an_error() {
    let test = TestLog::new(400);
    three_segments(&test);
    let [first, second, third] = [1, 2, 3].map(|number| segment_path(test.path(), number));
    let whole = fs::read(&second).unwrap();
    fs::remove_file(&second).unwrap();
    assert!(test.open().err().unwrap().message.contains("segment 3 does not follow"));
    fs::copy(&first, &second).unwrap();
    assert_eq!(test.open().err().unwrap().code, "ingest-corrupt");
    let other = TestLog::new(400);
    three_segments(&other);
    fs::copy(segment_path(other.path(), 2), &second).unwrap();
    assert_eq!(test.open().err().unwrap().code, "ingest-corrupt");
    fs::write(&second, &whole[..whole.len() - 8]).unwrap();
    assert_eq!(test.open().err().unwrap().code, "ingest-corrupt");
    fs::write(&second, &whole).unwrap();
    fs::write(&third, b"").unwrap();
    assert!(test.open().err().unwrap().message.contains("header"));
}

#[test]
fn bytes_of_a_body_never_look_like_a_frame() {
    let test = TestLog::new(64 << 10);
    let log = test.open().unwrap();
    test.accept(&log, &["first"]);
    let path = segment_path(test.path(), 1);
    // A client sends a copy of a frame that it has seen, from a log of its own.
    let other = TestLog::new(64 << 10);
    let foreign = other.open().unwrap();
    for _ in 0..3 {
        other.accept(&foreign, &["evil"]);
    }
    let evil = fs::read(segment_path(other.path(), 1)).unwrap();
    test.accept_bytes(&log, &evil[64..600]);
    let end = log.end().offset;
    log.close();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..end as usize - 20]).unwrap();
    assert_eq!(contents(&test.open().unwrap()), [["first"]]);
}

#[test]
fn a_request_is_answered_after_its_sync_and_never_before() {
    let test = TestLog::new(64 << 10);
    let log = test.open().unwrap();
    let (disk, syncs) = (test.disk.clone(), test.disk.syncs());
    disk.stop(true);
    let mut waiting: Vec<_> = (0..20)
        .map(|number| match log.append(&test.frame(&log, &["record"], key(number + 1, 0))) {
            Ok(AppendedRequest::Waiting(outcome)) => outcome,
            _ => panic!("the request waits"),
        })
        .collect();
    // The first group is written, and the others gather behind it. None may be answered or read.
    std::thread::sleep(Duration::from_millis(50));
    assert!(waiting.iter_mut().all(|outcome| matches!(outcome.try_recv(), Err(TryRecvError::Empty))));
    assert_eq!((log.end().offset, contents(&log).len()), (SEGMENT_HEADER_BYTES, 0));
    assert!(matches!(log.append(&test.frame(&log, &["record"], key(1, 0))), Err(AppendRefusal::KeyInProgress)));
    assert!(matches!(log.append(&test.frame(&log, &["other"], key(1, 1))), Err(AppendRefusal::KeyReused)));
    disk.stop(false);
    let positions: BTreeSet<LogPosition> =
        waiting.into_iter().map(|outcome| outcome.blocking_recv().unwrap().unwrap().position).collect();
    assert_eq!((positions.len(), contents(&log).len()), (20, 20));
    let groups = disk.syncs() - syncs;
    assert!((1..20).contains(&groups), "20 requests needed {groups} syncs");
}

#[test]
fn a_failed_group_is_refused_and_leaves_no_trace() {
    for (call, kind) in [
        (DiskCall::Write, ErrorKind::StorageFull),
        (DiskCall::Write, ErrorKind::Other),
        (DiskCall::Sync, ErrorKind::Other),
    ] {
        let test = TestLog::new(64 << 10);
        let log = test.open().unwrap();
        test.accept(&log, &["before"]);
        let end = log.end();
        test.disk.fail(&[(call, kind)]);
        let error = test.append(&log, &["refused"], key(1, 0)).unwrap().unwrap_err();
        assert_eq!(error.code, "ingest-failed");
        assert_eq!(error.message.contains("the disk is full"), kind == ErrorKind::StorageFull, "{error}");
        // Nothing is written as long as the rest of the failed group cannot be cut off.
        test.disk.fail(&[(DiskCall::Truncate, ErrorKind::Other)]);
        assert!(test.append(&log, &["refused"], None).unwrap().is_err());
        assert_eq!(log.end(), end);
        test.disk.fail(&[]);
        let (accepted, is_replayed) = test.append(&log, &["after"], key(1, 1)).unwrap().unwrap();
        assert!(!is_replayed, "a refused request does not use up its key");
        assert_eq!(accepted.position, end);
        log.close();
        assert_eq!(contents(&test.open().unwrap()), [["before"], ["after"]]);
    }
}

#[test]
fn a_full_disk_at_the_end_of_a_segment_refuses_until_there_is_space() {
    let test = TestLog::new(400);
    let log = test.open().unwrap();
    let mut accepted = 0;
    test.disk.fail(&[(DiskCall::Preallocate, ErrorKind::StorageFull)]);
    while test.append(&log, &["some record"], None).unwrap().is_ok() {
        accepted += 1;
        assert!(accepted < 100, "the segment never ends");
    }
    assert!(test.append(&log, &["some record"], None).unwrap().is_err());
    assert!(numbers(test.path(), "new").unwrap().is_empty());
    test.disk.fail(&[]);
    test.accept(&log, &["some record"]);
    assert_eq!(log.end().segment, 2);
    log.close();
    assert_eq!(contents(&test.open().unwrap()).len(), accepted + 1);
}

#[test]
fn a_request_that_is_larger_than_a_segment_is_accepted() {
    let test = TestLog::new(400);
    let log = test.open().unwrap();
    let large = "x".repeat(10_000);
    for records in [&[&large[..]][..], &["small"], &[&large[..], &large[..]], &["small"]] {
        test.accept(&log, records);
    }
    assert_eq!(contents(&log).iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2, 1]);
    log.close();
    assert_eq!(contents(&test.open().unwrap()).len(), 4);
}

#[test]
fn keys_survive_a_restart_and_the_removal_of_their_segments() {
    let test = TestLog::new(400);
    let log = test.open().unwrap();
    let mut accepted: Vec<AcceptedRequest> = Vec::new();
    for number in 0..12 {
        accepted.push(test.append(&log, &["some record"], key(number + 1, 5)).unwrap().unwrap().0);
    }
    let check = |log: &Arc<IngestLog>| {
        for (number, first) in accepted.iter().enumerate() {
            let again = test.append(log, &["some record"], key(number as u128 + 1, 5)).unwrap().unwrap();
            assert_eq!(again, (*first, true), "request {number}");
            let other = test.append(log, &["other"], key(number as u128 + 1, 6));
            assert_eq!(other.unwrap_err(), AppendRefusal::KeyReused);
        }
    };
    check(&log);
    log.close();
    let log = test.open().unwrap();
    check(&log);

    let reader = AttachedReader::attach(&log.shared, 0, 1, accepted[0].position, Wakeup::default());
    reader.release(log.end());
    drop(reader);
    wait_until("the segments are removed", || {
        (numbers(test.path(), "log").unwrap() == [log.end().segment]).then_some(())
    });
    // Another removal begins once this one has ended.
    drop(log.shared.removal.lock());
    check(&log);
    log.close();
    drop(log);
    let log = test.open().unwrap();
    check(&log);
    assert_eq!(log.end(), test.open_end());
    test.clock.set_ms(24 * 3600 * 1000);
    assert!(!test.append(&log, &["other"], key(1, 6)).unwrap().unwrap().1, "the key has expired");
}

#[test]
fn files_of_expired_keys_are_removed() {
    let test = TestLog::new(400);
    let log = test.open().unwrap();
    let reader = AttachedReader::attach(&log.shared, 0, 1, log.end(), Wakeup::default());
    let fill = |first: u128, segment: u64| {
        (first..).take_while(|_| log.end().segment < segment).for_each(|number| {
            test.append(&log, &["some record"], key(number, 5)).unwrap().unwrap();
        });
    };
    fill(1, 3);
    reader.release(log.end());
    wait_until("the keys of two segments are stored", || {
        (numbers(test.path(), "keys").unwrap() == [1, 2]).then_some(())
    });
    test.clock.set_ms(25 * 3600 * 1000);
    fill(100, 4);
    reader.release(log.end());
    wait_until("the expired keys are removed", || (numbers(test.path(), "keys").unwrap() == [3]).then_some(()));
}

#[test]
fn a_backlog_is_refused_until_a_checkpoint_covers_it() {
    let mut test = TestLog::new(64 << 10);
    test.limits.backlog_max = 1000;
    let log = test.open().unwrap();
    let refusal = std::iter::repeat_with(|| test.append(&log, &["some record"], None)).find_map(Result::err);
    assert_eq!(refusal, Some(AppendRefusal::BacklogFull { retry_after_s: 10 }));
    let end = log.end();
    assert!((1000..1200).contains(&(end.offset - SEGMENT_HEADER_BYTES)));
    let start = LogPosition { offset: SEGMENT_HEADER_BYTES, ..end };
    let reader = AttachedReader::attach(&log.shared, 0, 1, start, Wakeup::default());
    assert!(test.append(&log, &["some record"], None).is_err());
    reader.cover(end);
    assert_eq!(log.backlog(), 0);
    test.accept(&log, &["some record"]);
}

#[test]
fn a_closed_log_has_answered_everything_and_refuses_the_rest() {
    let test = TestLog::new(64 << 10);
    let log = test.open().unwrap();
    let outcomes: Vec<_> = (0..100).map(|_| log.append(&test.frame(&log, &["record"], None))).collect();
    log.close();
    for outcome in outcomes {
        let Ok(AppendedRequest::Waiting(mut outcome)) = outcome else { panic!("the request waits") };
        outcome.try_recv().unwrap().unwrap();
    }
    assert_eq!(test.append(&log, &["record"], None).unwrap_err(), AppendRefusal::Closed);
}

impl TestLog {
    /// Returns the end of what is on the disk.
    fn open_end(&self) -> LogPosition {
        self.open().unwrap().end()
    }
}
