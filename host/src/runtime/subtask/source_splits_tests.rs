//! A source with several splits: no record is late because the splits are read unevenly, and no silent split holds time back.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::testing::{SentItem, SourceHarness};
use crate::connector::split_log::{SplitLog, SplitLogSource};
use crate::connector::testing::context;
use crate::connector::{Poll, Source};
use crate::model::Batch;
use crate::pipeline::{AlignmentSettings, WatermarkSettings};
use crate::runtime::barrier::BarrierKind;
use crate::runtime::source::watermark_alignment::AlignmentGroups;
use crate::runtime::source_control::SourceControl;
use crate::runtime::subtask_event::SubtaskEvent;
use crate::runtime::testing::{barrier, checkpoint_barrier};

fn open(log: &SplitLog, watermarks: WatermarkSettings, groups: &mut AlignmentGroups) -> SourceHarness {
    let source = SplitLogSource::open(log, &context(Path::new("")), &[]).unwrap();
    SourceHarness::of(Box::new(source), watermarks, groups)
}

fn harness_of(log: &SplitLog, watermarks: WatermarkSettings) -> SourceHarness {
    open(log, watermarks, &mut AlignmentGroups::default())
}

/// Reads once, and returns what was sent. Several batches of records count as one.
fn read(harness: &mut SourceHarness, at_ms: i64) -> Vec<String> {
    let mut sent = harness.read_at(at_ms);
    sent.dedup();
    sent
}

fn idle_after(ms: u64) -> WatermarkSettings {
    WatermarkSettings { idle_after: Some(Duration::from_millis(ms)), ..WatermarkSettings::default() }
}

/// Appends records with these timestamps.
fn append(log: &SplitLog, split: usize, timestamps: impl IntoIterator<Item = i64>) {
    log.append(split, timestamps.into_iter().map(|timestamp| timestamp.to_string()));
}

/// Returns a log with one split for each list of timestamps.
fn log_of(splits: &[&[i64]]) -> SplitLog {
    let log = SplitLog::default();
    splits.iter().enumerate().for_each(|(split, timestamps)| append(&log, split, timestamps.iter().copied()));
    log
}

/// Returns the ascending timestamps that the steps between them give.
fn ascending(steps: &[i64]) -> Vec<i64> {
    let sums = steps.iter().scan(1000, |at, step| {
        *at += step;
        Some(*at)
    });
    sums.collect()
}

proptest! {
    /// In Flink, too, no record of ascending partitions is late while none is idle.
    #[test]
    fn ascending_splits_that_are_read_unevenly_have_no_late_records(
        splits in prop::collection::vec(prop::collection::vec(0i64..5000, 1..40), 1..4),
        turns in prop::collection::vec(prop::collection::vec(0usize..9, 4), 1..12),
        out_of_orderness in 0u64..3,
    ) {
        let log = SplitLog::default();
        let splits: Vec<Vec<i64>> = splits.iter().map(|steps| ascending(steps)).collect();
        splits.iter().enumerate().for_each(|(split, timestamps)| append(&log, split, timestamps.iter().copied()));
        log.complete();
        let out_of_orderness = Duration::from_millis(out_of_orderness);
        let mut harness = harness_of(&log, WatermarkSettings { out_of_orderness, ..WatermarkSettings::default() });
        let (mut watermark, mut read, mut at) = (i64::MIN, 0, 0);
        let polls = turns.iter().cloned().chain(std::iter::repeat(vec![3; 4]));
        for records_per_poll in polls {
            if harness.has_ended() {
                break;
            }
            log.read_unevenly(&records_per_poll);
            at += 100;
            for sent in harness.sent_at(at) {
                match sent {
                    SentItem::Records(timestamps) => {
                        read += timestamps.len();
                        let is_late = timestamps.iter().any(|timestamp| *timestamp <= watermark);
                        prop_assert!(!is_late, "{:?} behind {}", timestamps, watermark);
                    }
                    SentItem::Watermark(next) => watermark = next,
                    SentItem::Idle(_) | SentItem::Barrier(_) => {}
                }
            }
        }
        prop_assert_eq!(read, splits.iter().map(Vec::len).sum::<usize>());
        prop_assert_eq!(watermark, i64::MAX);
    }
}

/// What Flink would call the watermark at most: the smallest of the splits that are not idle. A split is idle if no record of it has been
/// read for `idle_after`, whether it has some or not. If several become idle at the same time, any of them may be the last one that counts.
struct FlinkModel {
    idle_after_ms: i64,
    max_timestamps: Vec<i64>,
    read_ms: Vec<i64>,
    watermark: i64,
}

impl FlinkModel {
    fn new(splits: usize, idle_after_ms: i64) -> FlinkModel {
        FlinkModel {
            idle_after_ms,
            max_timestamps: vec![i64::MIN; splits],
            read_ms: vec![0; splits],
            watermark: i64::MIN,
        }
    }

    fn advance(&mut self, now_ms: i64) {
        let active = self.max_timestamps.iter().zip(&self.read_ms);
        let active = active.filter(|(_, read_ms)| now_ms - **read_ms < self.idle_after_ms);
        let smallest = active.map(|(timestamp, _)| *timestamp).min();
        let smallest = smallest.or_else(|| self.max_timestamps.iter().copied().max()).unwrap_or(i64::MIN);
        self.watermark = self.watermark.max(smallest.saturating_sub(1));
    }

    fn read(&mut self, split: usize, timestamps: &[i64], now_ms: i64) {
        let max = timestamps.iter().copied().max().unwrap_or(i64::MIN);
        self.max_timestamps[split] = self.max_timestamps[split].max(max);
        self.read_ms[split] = now_ms;
        self.advance(now_ms);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Records with these steps of time arrive at a split.
    Arrive(usize, Vec<i64>),
    /// Time passes.
    Wait(i64),
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..3, prop::collection::vec(-300i64..2000, 1..6)).prop_map(|(split, times)| Step::Arrive(split, times)),
        (0i64..1500).prop_map(Step::Wait),
        (1usize..4).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn no_record_is_late_that_flink_would_not_call_late_and_no_idle_split_holds_time(steps in steps()) {
        let log = log_of(&[&[], &[], &[]]);
        let mut harness = harness_of(&log, idle_after(1000));
        let mut model = FlinkModel::new(3, 1000);
        let (mut now, mut times) = (0, [1000_i64; 3]);
        for step in steps {
            match step {
                Step::Arrive(split, gaps) => {
                    for gap in gaps {
                        // Timestamps tell their splits.
                        times[split] = (times[split] + gap).div_euclid(3) * 3 + split as i64;
                        append(&log, split, [times[split]]);
                    }
                }
                Step::Wait(ms) => now += ms,
                Step::Read(records) => {
                    log.read_unevenly(&[records; 3]);
                    model.advance(now);
                    for sent in harness.sent_at(now) {
                        match sent {
                            SentItem::Records(timestamps) => {
                                model.read(timestamps[0].rem_euclid(3) as usize, &timestamps, now);
                            }
                            SentItem::Watermark(watermark) => {
                                let flink = model.watermark;
                                prop_assert!(watermark <= flink, "{} is ahead of Flink's {}", watermark, flink);
                            }
                            SentItem::Idle(_) | SentItem::Barrier(_) => {}
                        }
                    }
                }
            }
        }
        // Read everything; then only split 0 goes on.
        log.read_unevenly(&[100; 3]);
        for _ in 0..10 {
            now += 10;
            harness.sent_at(now);
        }
        let start = times.into_iter().max().unwrap().div_euclid(3) * 3 + 3000;
        let mut last = i64::MIN;
        for number in 0..80 {
            now += 50;
            append(&log, 0, [start + number * 3]);
            for sent in harness.sent_at(now) {
                if let SentItem::Watermark(watermark) = sent {
                    last = watermark;
                }
            }
        }
        prop_assert!(last >= start + 70 * 3, "the silent splits hold time back at {}", last);
    }
}

#[test]
fn a_split_that_has_never_had_a_record_holds_time_until_it_is_idle() {
    let log = log_of(&[&[1000, 2000, 3000, 4000, 5000], &[]]);
    log.read_unevenly(&[1, 1]);
    let mut harness = harness_of(&log, idle_after(500));
    assert_eq!(read(&mut harness, 0), ["records"], "split 1 may still have older records");
    assert_eq!(read(&mut harness, 100), ["records"]);
    assert_eq!(read(&mut harness, 200), ["records"], "its quiet time began at 100, when split 0 was read twice");
    assert_eq!(read(&mut harness, 600), ["records"]);
    append(&log, 1, [4500]);
    assert_eq!(read(&mut harness, 610), ["records", "3999"], "the record of split 1 ends the quiet time");
    assert_eq!(read(&mut harness, 710), ["records", "4499"]);
    assert_eq!(read(&mut harness, 720), [""; 0]);
    append(&log, 0, [6000, 7000]);
    assert_eq!(read(&mut harness, 1219), ["records"]);
    assert_eq!(read(&mut harness, 1220), ["records", "6999"], "split 1 is idle");
}

#[test]
fn all_splits_without_records_make_the_source_idle_and_one_record_ends_that() {
    let log = log_of(&[&[1000], &[3000]]);
    let mut harness = harness_of(&log, idle_after(500));
    assert_eq!(read(&mut harness, 0), ["records"]);
    assert_eq!(read(&mut harness, 100), ["records", "999"]);
    assert_eq!(read(&mut harness, 200), [""; 0]);
    assert_eq!(read(&mut harness, 700), ["idle"], "the records of split 1 are no reason to go on to 2999");
    append(&log, 1, [3500]);
    assert_eq!(read(&mut harness, 800), ["active", "records", "3499"]);
}

#[test]
fn a_subtask_without_splits_is_idle_at_once_and_takes_a_new_split_from_its_beginning() {
    let log = SplitLog::default();
    let mut harness = harness_of(&log, WatermarkSettings::default());
    assert_eq!(read(&mut harness, 0), ["idle"]);
    append(&log, 0, [10, 20]);
    append(&log, 1, []);
    assert_eq!(read(&mut harness, 100), ["active", "records"], "split 1 holds time back");
    append(&log, 1, [15]);
    assert_eq!(read(&mut harness, 200), ["records", "14"]);
    log.close(1);
    assert_eq!(read(&mut harness, 300), ["19"], "a closed split holds nothing back");
    log.close(0);
    assert_eq!(read(&mut harness, 400), ["idle"]);
}

#[test]
fn a_new_split_holds_time_and_does_not_move_it_back() {
    let log = log_of(&[&[5000]]);
    let mut harness = harness_of(&log, WatermarkSettings::default());
    assert_eq!(read(&mut harness, 0), ["records"]);
    assert_eq!(read(&mut harness, 100), ["4999"]);
    append(&log, 1, [10, 6000]);
    append(&log, 0, [7000]);
    log.read_unevenly(&[1, 1]);
    assert_eq!([200, 300, 400].map(|at| read(&mut harness, at)).concat(), ["records", "records", "records", "5999"]);
}

/// A wait for receivers is no time without records: the splits were not asked.
#[test]
fn backpressure_makes_no_split_idle() {
    let log = log_of(&[&[1000, 2000, 3000, 4000, 5000], &[]]);
    log.read_unevenly(&[1, 1]);
    let mut harness = harness_of(&log, idle_after(500));
    assert_eq!(read(&mut harness, 0), ["records"]);
    assert_eq!(read(&mut harness, 10), ["records"]);
    assert_eq!(read(&mut harness, 60_000), ["records"], "60 s of which 100 ms count");
    assert_eq!(read(&mut harness, 60_100), ["records"]);
    append(&log, 1, [4000]);
    assert_eq!(read(&mut harness, 60_200), ["records", "3999"]);
    assert_eq!(read(&mut harness, 60_300), ["records"]);
}

fn aligned(group: &str, max_drift_ms: u64) -> WatermarkSettings {
    let max_drift = Duration::from_millis(max_drift_ms);
    let alignment = Some(AlignmentSettings { group: group.into(), max_drift });
    WatermarkSettings { alignment, ..idle_after(60_000) }
}

proptest! {
    #[test]
    fn no_split_is_further_ahead_of_its_group_than_the_drift_and_one_batch(
        order in prop::collection::vec((0usize..2, 1usize..3), 1..150),
        max_drift in 0i64..7000,
    ) {
        let mut groups = AlignmentGroups::default();
        let logs = [SplitLog::default(), SplitLog::default()];
        // The timestamps tell their splits.
        append(&logs[0], 0, (1..=40).map(|number| number * 999));
        append(&logs[0], 1, (1..=20).map(|number| number * 1998 + 1));
        append(&logs[1], 0, (1..=80).map(|number| number * 498 + 2));
        let mut harnesses = logs.each_ref().map(|log| open(log, aligned("g", max_drift as u64), &mut groups));
        let mut reached = [0_i64; 3];
        let read_all = (0..400).map(|number| (number % 2, 2));
        for (which, records) in order.into_iter().chain(read_all) {
            logs[which].read_unevenly(&[records, records]);
            let before = reached;
            for sent in harnesses[which].sent_at(0) {
                if let SentItem::Records(timestamps) = sent {
                    let split = timestamps[0] as usize % 3;
                    let ahead = before[split] - before.iter().min().unwrap();
                    prop_assert!(ahead <= max_drift || before[split] == 0, "split {} was {} ms ahead", split, ahead);
                    reached[split] = reached[split].max(timestamps[timestamps.len() - 1]);
                }
            }
        }
        prop_assert_eq!(reached, [40 * 999, 20 * 1998 + 1, 80 * 498 + 2], "in every order all splits reach their ends");
    }
}

#[test]
fn the_source_is_told_of_durable_checkpoints_in_order_and_once() {
    let log = log_of(&[&[1]]);
    let mut harness = harness_of(&log, WatermarkSettings::default());
    let told = [
        SourceControl::Complete(4),
        SourceControl::Barrier(checkpoint_barrier(5)),
        SourceControl::Complete(4),
        SourceControl::Complete(5),
        SourceControl::Released(5),
        SourceControl::Barrier(barrier(6, BarrierKind::Stop)),
    ];
    told.iter().for_each(|message| harness.control.send(*message).unwrap());
    harness.run(&[]);
    assert_eq!(log.take_told(), ["complete 4", "complete 5", "released 5"]);
}

#[test]
fn a_source_that_acknowledges_hears_of_its_last_checkpoint_before_it_ends() {
    let log = log_of(&[&[1]]);
    log.await_completion();
    let is_answer = |event: &SubtaskEvent| matches!(event, SubtaskEvent::Acknowledged { checkpoint: 3, .. });
    let mut harness = harness_of(&log, WatermarkSettings::default());
    let (control, wakeup) = (harness.control.clone(), harness.subtask.core.wakeup.clone());
    let events = harness.events.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !is_answer(&events.recv_timeout(Duration::from_secs(60)).expect("the barrier is answered")) {}
            control.send(SourceControl::Complete(3)).unwrap();
            wakeup.wake();
        });
        harness.run(&[barrier(3, BarrierKind::Stop)]);
    });
    assert_eq!(log.take_told(), ["complete 3"]);

    // If the checkpoint fails, the attempt is cancelled.
    let mut harness = harness_of(&log, WatermarkSettings::default());
    let (signals, wakeup, events) =
        (harness.subtask.core.signals.clone(), harness.subtask.core.wakeup.clone(), harness.events.clone());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !is_answer(&events.recv_timeout(Duration::from_secs(60)).expect("the barrier is answered")) {}
            signals.cancel();
            wakeup.wake();
        });
        harness.run(&[barrier(3, BarrierKind::Final)]);
    });
    assert_eq!(log.take_told(), [""; 0]);
}

#[test]
fn records_before_a_failure_are_sent_and_the_position_is_behind_them() {
    let log = log_of(&[&[1, 2], &[3]]);
    log.fail_after(Some(2));
    let mut harness = harness_of(&log, WatermarkSettings::default());
    assert_eq!(read(&mut harness, 0), ["records"]);
    assert_eq!(read(&mut harness, 1), [""; 0]);
    assert!(harness.events.try_iter().any(|event| matches!(event, SubtaskEvent::SourceFailed(_))));
    let position = harness.subtask.reader.source.snapshot(1).unwrap();
    log.fail_after(None);
    let mut rest = SplitLogSource::open(&log, &context(Path::new("")), &[&position]).unwrap();
    let mut batch = Batch::default();
    assert!(matches!(rest.poll(&mut batch, 10), Ok(Poll::Records(_))));
    assert_eq!(batch.values.iter().collect::<Vec<_>>(), [b"3"]);
}
