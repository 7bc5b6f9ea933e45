//! The loop of a source subtask: what it sends, and when it reads. The clock is set by the test.

use std::time::Duration;

use proptest::prelude::*;

use super::testing::SourceHarness;
use crate::pipeline::{AlignmentSettings, WatermarkSettings};
use crate::runtime::barrier::{Barrier, BarrierKind};
use crate::runtime::source::rate_limiter::RateLimiter;
use crate::runtime::source::watermark_alignment::AlignmentGroups;
use crate::runtime::source::watermark_generator::WatermarkGenerator;
use crate::runtime::subtask_event::SubtaskEvent;
use crate::runtime::testing::barrier;
use crate::wakeup::Wakeup;

fn idle_after(seconds: u64) -> WatermarkSettings {
    WatermarkSettings { idle_after: Some(Duration::from_secs(seconds)), ..WatermarkSettings::default() }
}

#[test]
fn a_drain_sends_the_largest_watermark_before_its_barrier_and_a_stop_does_not() {
    let run = |barriers: &[Barrier]| {
        let mut harness =
            SourceHarness::new([vec![], vec![], vec![]], WatermarkSettings::default(), &mut AlignmentGroups::default());
        let seen = harness.run(barriers);
        let answers =
            harness.events.try_iter().filter(|event| matches!(event, SubtaskEvent::Acknowledged { .. })).count();
        assert_eq!(answers, barriers.len());
        seen
    };
    assert_eq!(run(&[barrier(1, BarrierKind::Stop)]), ["Stop"]);
    let both = [barrier(1, BarrierKind::Checkpoint), barrier(2, BarrierKind::Drain)];
    assert_eq!(run(&both), ["Checkpoint", "end", "Drain"]);
}

#[test]
fn a_drain_sends_the_watermark_of_the_last_record_first() {
    let mut harness = SourceHarness::new(
        [vec![100], vec![250], vec![]],
        WatermarkSettings::default(),
        &mut AlignmentGroups::default(),
    );
    assert_eq!(harness.read_at(1000), ["records", "99"]);
    // The next watermark is not due yet.
    assert_eq!(harness.read_at(1001), ["records"]);
    assert_eq!(harness.run(&[barrier(1, BarrierKind::Drain)]), ["249", "end", "Drain"]);
}

#[test]
fn a_source_that_is_restored_at_its_end_sends_the_watermark_of_its_checkpoint_before_the_end() {
    let mut harness = SourceHarness::new([vec![100]], WatermarkSettings::default(), &mut AlignmentGroups::default());
    assert_eq!(harness.subtask.reader.watermarks.checkpointed_watermark(), None);
    harness.read_at(1000);
    let checkpointed = harness.subtask.reader.watermarks.checkpointed_watermark();
    assert_eq!(checkpointed, Some(99));

    let mut restored = SourceHarness::new([], WatermarkSettings::default(), &mut AlignmentGroups::default());
    let settings = Some(WatermarkSettings::default());
    let watermarks = WatermarkGenerator::new(settings, checkpointed.unwrap(), restored.clock.clone());
    restored.subtask.reader.watermarks = watermarks;
    let kept = restored.subtask.reader.watermarks.checkpointed_watermark();
    assert_eq!(kept, Some(99), "the next checkpoint keeps the watermark");
    assert_eq!(restored.read_at(2000), ["99", "end"]);
}

#[test]
fn a_source_without_records_becomes_idle_and_is_active_from_its_next_record() {
    let script = [vec![1000], vec![1500], vec![], vec![], vec![], vec![], vec![], vec![1200], vec![], vec![]];
    let mut harness = SourceHarness::new(script, idle_after(10), &mut AlignmentGroups::default());
    assert_eq!(harness.read_at(200), ["records", "999"]);
    assert_eq!(harness.read_at(250), ["records"], "the next watermark is not due");
    assert_eq!(harness.read_at(260), [""; 0], "the quiet time starts here");
    assert_eq!(harness.read_at(300), ["1499"], "the watermark needs no further record");
    assert_eq!(harness.read_at(10_259), [""; 0]);
    assert!(
        !harness.subtask.triggers.advance_watermark(1, 1_100) && !harness.subtask.triggers.advance_watermark(1, 2_500),
        "this source is at 1499"
    );
    assert_eq!(harness.read_at(10_260), ["idle"]);
    assert!(
        harness.subtask.triggers.advance_watermark(1, 3_000),
        "an idle source does not hold up event-time checkpoints"
    );
    assert_eq!(harness.read_at(30_000), [""; 0]);
    assert_eq!(harness.read_at(30_001), ["active", "records"], "the source is active although its record is late");
    assert_eq!(harness.read_at(40_000), [""; 0], "the quiet time starts at this poll");
    assert_eq!(harness.read_at(50_000), ["idle"]);
    assert_eq!(harness.read_at(50_001), ["active", "end"]);
    assert!(harness.has_ended());
}

/// With one record per second, the source is not polled in between, so it is not known to have no records.
#[test]
fn a_source_that_waits_for_its_rate_is_not_idle() {
    let settings = WatermarkSettings { idle_after: Some(Duration::from_millis(100)), ..WatermarkSettings::default() };
    let mut harness =
        SourceHarness::new([vec![1000], vec![2000], vec![], vec![]], settings, &mut AlignmentGroups::default());
    harness.subtask.reader.rate = Some(RateLimiter::new(1000).join(&Wakeup::default()));
    assert_eq!(harness.read_at(0), [""; 0]);
    assert_eq!(harness.read_at(1000), ["records", "999"]);
    assert_eq!([1100, 1300, 1900].map(|at| harness.read_at(at)).concat(), [""; 0]);
    assert_eq!(harness.read_at(2000), ["records", "1999"]);
    assert_eq!([3000, 3100].map(|at| harness.read_at(at)).concat(), ["idle"], "the source was polled at 3000");
}

#[test]
fn a_source_sends_its_watermark_before_it_becomes_idle() {
    let settings = WatermarkSettings { idle_after: Some(Duration::from_millis(1)), ..WatermarkSettings::default() };
    let mut harness = SourceHarness::new([vec![1000], vec![], vec![]], settings, &mut AlignmentGroups::default());
    assert_eq!(harness.read_at(10), ["records"]);
    assert_eq!(harness.read_at(11), [""; 0]);
    assert_eq!(harness.read_at(12), ["999", "idle"]);
}

#[test]
fn without_idle_after_a_source_is_never_idle_and_a_drain_ends_an_idle_one() {
    let script = || [vec![], vec![], vec![], vec![]];
    let mut harness = SourceHarness::new(script(), WatermarkSettings::default(), &mut AlignmentGroups::default());
    assert_eq!([harness.read_at(0), harness.read_at(i64::MAX / 2_000_000)].concat(), [""; 0]);

    let mut harness = SourceHarness::new(script(), idle_after(1), &mut AlignmentGroups::default());
    assert_eq!([harness.read_at(0), harness.read_at(1000)].concat(), ["idle"]);
    assert_eq!(harness.run(&[barrier(1, BarrierKind::Drain)]), ["active", "end", "Drain"]);
}

/// Returns two sources of one alignment group, whose batches span one and two seconds.
fn pair(max_drift_ms: u64) -> [SourceHarness; 2] {
    let alignment = AlignmentSettings { group: "g".into(), max_drift: Duration::from_millis(max_drift_ms) };
    let settings = WatermarkSettings { alignment: Some(alignment), ..idle_after(60) };
    let mut groups = AlignmentGroups::default();
    let mut of = |batch_ms: i64| {
        let batches = (0..50).map(|number| vec![number * batch_ms + 1, (number + 1) * batch_ms]);
        SourceHarness::new(batches.collect::<Vec<_>>(), settings.clone(), &mut groups)
    };
    [of(1000), of(2000)]
}

proptest! {
    #[test]
    fn no_source_is_further_ahead_than_the_drift_and_one_batch(
        order in prop::collection::vec(0usize..2, 1..150),
        max_drift in 0i64..7000,
    ) {
        let mut pair = pair(max_drift as u64);
        for at in order {
            let ahead = pair[at].max_timestamp() - pair[1 - at].max_timestamp();
            let (before, waits) = (pair[at].records_read(), ahead > max_drift || (pair[1 - at].max_timestamp() == 0 && ahead > 0));
            pair[at].read_at(0);
            // A source that has ended does not hold up the other one.
            if pair.iter().all(|harness| !harness.has_ended()) {
                prop_assert_eq!(pair[at].records_read() == before, waits);
                let ahead = pair[at].max_timestamp() - pair[1 - at].max_timestamp();
                prop_assert!(ahead <= max_drift + 2000, "{} ms ahead", ahead);
            }
        }
        // In every order both sources reach their ends.
        while pair.iter().any(|harness| !harness.has_ended()) {
            for harness in pair.iter_mut().filter(|harness| !harness.has_ended()) {
                harness.read_at(0);
            }
        }
        prop_assert_eq!([pair[0].records_read(), pair[1].records_read()], [100, 100]);
    }
}

#[test]
fn a_source_that_waits_for_its_group_is_woken_answers_barriers_and_is_not_idle() {
    let [mut slow, mut fast] = pair(3000);
    slow.read_at(0);
    (0..3).for_each(|_| drop(fast.read_at(0)));
    assert_eq!((fast.records_read(), slow.max_timestamp(), fast.max_timestamp()), (6, 1000, 6000));
    fast.read_at(0);
    assert_eq!(fast.records_read(), 6, "the source waits");
    assert_eq!(fast.read_at(500_000), ["5999"], "the watermark of what was read is sent");
    assert!(!fast.subtask.core.chain.event_time.idle, "a source that waits is not idle");
    let wakeup = fast.subtask.core.wakeup.clone();
    wakeup.wait(Duration::ZERO);
    slow.read_at(0);
    assert!(!wakeup.is_woken(), "2000 against 6000");
    slow.read_at(0);
    assert!(wakeup.is_woken(), "3000 against 6000");
    fast.read_at(0);
    assert_eq!(fast.records_read(), 8);
    fast.output();
    assert_eq!(fast.run(&[barrier(1, BarrierKind::Checkpoint), barrier(2, BarrierKind::Stop)]), ["Checkpoint", "Stop"]);
}

#[test]
fn an_idle_source_does_not_hold_up_its_group_until_it_returns() {
    let [mut slow, mut fast] = pair(0);
    slow.set_script([vec![], vec![], vec![10], vec![9000]]);
    fast.read_at(0);
    fast.read_at(0);
    slow.read_at(0);
    assert_eq!(fast.records_read(), 2);
    slow.read_at(60_000);
    fast.read_at(0);
    fast.read_at(0);
    assert_eq!(fast.records_read(), 6);
    slow.read_at(60_001);
    fast.read_at(0);
    assert_eq!(fast.records_read(), 6, "the idle source has returned, at 10");
    slow.read_at(60_001);
    fast.read_at(0);
    assert_eq!(fast.records_read(), 8);
}

#[test]
fn time_spent_waiting_for_the_group_is_not_quiet_time() {
    let [mut slow, mut fast] = pair(0);
    slow.set_script([vec![], vec![], vec![10], vec![9000]]);
    fast.set_script([vec![5000], vec![], vec![], vec![], vec![]]);
    slow.read_at(0);
    slow.read_at(60_000);
    fast.read_at(60_000);
    fast.read_at(60_001);
    slow.read_at(60_002);
    fast.read_at(130_000);
    assert!(!fast.subtask.core.chain.event_time.idle, "the other source has returned, and is behind");
    slow.read_at(130_000);
    assert_eq!(fast.read_at(130_000), [""; 0], "the first poll after the wait starts the quiet time");
    assert_eq!(fast.read_at(189_999), [""; 0]);
    assert_eq!(fast.read_at(190_000), ["idle"]);
}
