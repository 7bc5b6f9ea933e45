//! Faults are grouped by their place, samples and groups are bounded, and what was stored or shown is found after a kill.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::fault_table::{FaultTable, GROUPS_MAX, SAMPLES_MAX};
use super::{FaultGroupDetail, FaultOccurrence, FaultRecorder, FaultStatus};
use crate::clock::ManualClock;
use crate::model::{Fault, FaultCode};

fn fault(code: FaultCode, frame: &str) -> Fault {
    Fault::new(code, format!("it failed in {frame}")).with_backtrace(vec![frame.to_owned(), "caller".to_owned()])
}

fn occurrence<'a>(operator: &'a str, component: Option<&'a str>, fault: &'a Fault, record: u64) -> FaultOccurrence<'a> {
    FaultOccurrence {
        operator,
        function: "f",
        component,
        fault,
        on_fault: "skip",
        attempt: 1,
        subtask: 0,
        record,
        timestamp_ms: Some(7),
        key: Some(b"k"),
        value: &|| b"value".to_vec(),
    }
}

fn records(detail: &FaultGroupDetail) -> Vec<u64> {
    detail.samples.iter().map(|sample| sample.record).collect()
}

#[test]
fn faults_are_grouped_by_operator_component_code_and_place() {
    let mut table = FaultTable::default();
    let (here, there) = (fault(FaultCode::GuestPanic, "here"), fault(FaultCode::GuestPanic, "there"));
    let trap = fault(FaultCode::GuestTrap, "here");
    let all = [
        ("a", None, &here),
        ("a", None, &there),
        ("a", None, &trap),
        ("b", None, &here),
        ("a", Some("1"), &here),
        ("a", Some("2"), &here),
    ];
    for _ in 0..3 {
        all.iter()
            .for_each(|(operator, component, fault)| table.record(&occurrence(operator, *component, fault, 0), 5));
    }
    let groups: Vec<_> = table.groups().map(|detail| detail.group.clone()).collect();
    assert!(groups.len() == 6 && groups.iter().all(|group| group.count == 3), "{groups:?}");
    let ids: BTreeSet<_> = groups.iter().map(|group| group.id.clone()).collect();
    assert!(ids.len() == 6 && ids.iter().all(|id| id.len() == 16));
    assert!(groups.iter().all(|group| group.frame.as_deref().is_some_and(|frame| group.message.contains(frame))));
}

#[test]
fn the_first_samples_stay_and_the_newest_replace_each_other_once_a_second() {
    let (mut table, here) = (FaultTable::default(), fault(FaultCode::GuestPanic, "here"));
    // 100 faults per second, for 20 seconds.
    (0..2000).for_each(|record| table.record(&occurrence("a", None, &here, record), record as i64 * 10));
    let detail = table.groups().next().unwrap();
    assert_eq!((detail.group.count, detail.group.first_seen_ms, detail.group.last_seen_ms), (2000, 0, 19_990));
    let records = records(detail);
    assert_eq!((records.len(), &records[..5]), (SAMPLES_MAX, &[0, 1, 2, 3, 4][..]));
    assert!(records[5..].windows(2).all(|pair| pair[1] - pair[0] == 100) && records[9] >= 1900, "{records:?}");
    let sample = &detail.samples[0];
    assert_eq!((sample.key.as_deref(), sample.value.as_str(), sample.timestamp_ms), (Some("k"), "value", Some(7)));
    assert_eq!(sample.backtrace, ["here", "caller"]);
}

#[test]
fn a_resolved_group_is_new_again_with_its_next_fault() {
    let (mut table, here) = (FaultTable::default(), fault(FaultCode::GuestPanic, "here"));
    for (status, expected) in [
        (FaultStatus::Acknowledged, FaultStatus::Acknowledged),
        (FaultStatus::Resolved, FaultStatus::New),
        (FaultStatus::New, FaultStatus::New),
    ] {
        table.record(&occurrence("a", None, &here, 0), 0);
        let id = table.groups().next().unwrap().group.id.clone();
        assert!(table.set_status(&id, status) && !table.set_status("none", status));
        table.record(&occurrence("a", None, &here, 0), 0);
        assert_eq!(table.groups().next().unwrap().group.status, expected);
    }
}

#[test]
fn faults_are_found_by_the_next_process_once_they_are_flushed_or_shown() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let open = || FaultRecorder::new(dir.path().join("faults"), clock.clone());
    let count = |recorder: &FaultRecorder| recorder.groups().iter().map(|detail| detail.group.count).sum::<u64>();
    let here = fault(FaultCode::GuestPanic, "here");
    let first = open();
    assert_eq!(count(&first), 0);
    assert!(!dir.path().join("faults").exists(), "nothing is made without a fault");
    first.record(&occurrence("a", None, &here, 1));
    first.flush();
    assert_eq!(count(&open()), 1, "flushed");
    first.record(&occurrence("a", None, &here, 2));
    assert_eq!((count(&open()), count(&first), count(&open())), (1, 2, 2), "shown");
    first.record(&occurrence("a", None, &here, 3));
    first.close();
    let second = open();
    // Another process goes on with the groups of the first one.
    second.record(&occurrence("a", None, &here, 4));
    second.close();
    let groups = second.groups();
    assert_eq!((groups[0].group.count, records(&groups[0])), (4, vec![1, 2, 3, 4]));
    let id = groups[0].group.id.clone();
    assert!(second.set_status(&id, FaultStatus::Resolved).unwrap().is_some());
    assert!(second.set_status("none", FaultStatus::Resolved).unwrap().is_none());
    assert_eq!(open().groups()[0].group.status, FaultStatus::Resolved);
}

#[test]
fn damaged_files_are_left_out_and_unfinished_ones_are_removed() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let open = || FaultRecorder::new(dir.path().join("faults"), clock.clone());
    let recorder = open();
    for operator in ["a", "b"] {
        recorder.record(&occurrence(operator, None, &fault(FaultCode::GuestPanic, "here"), 1));
    }
    recorder.close();
    let damaged = recorder.groups()[0].group.id.clone();
    fs::write(dir.path().join(format!("faults/{damaged}.json")), "{").unwrap();
    fs::write(dir.path().join("faults/.tmpabc"), "{").unwrap();
    assert_eq!(open().groups().len(), 1);
    assert!(!dir.path().join("faults/.tmpabc").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The number of groups is bounded, and the files are those of the table.
    #[test]
    fn groups_are_bounded_and_files_follow(frames in prop::collection::vec(0_u32..150, 1..300), flushes in prop::collection::vec(prop::bool::weighted(0.1), 300)) {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
        let folder = dir.path().join("faults");
        let recorder = FaultRecorder::new(folder.clone(), clock.clone());
        for (step, (frame, flushes)) in frames.iter().zip(flushes).enumerate() {
            clock.set_ms(step as i64);
            recorder.record(&occurrence("a", None, &fault(FaultCode::GuestPanic, &frame.to_string()), step as u64));
            if flushes {
                recorder.flush();
            }
        }
        let groups = recorder.groups();
        let distinct = frames.iter().collect::<BTreeSet<_>>().len();
        prop_assert_eq!(groups.len(), distinct.min(GROUPS_MAX));
        prop_assert_eq!(fs::read_dir(&folder).unwrap().count(), groups.len());
        // The group that was seen last is there.
        prop_assert_eq!(groups[0].group.frame.clone(), Some(frames[frames.len() - 1].to_string()));
        prop_assert_eq!(FaultRecorder::new(folder, clock).groups(), groups);
    }
}
