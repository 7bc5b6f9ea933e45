//! Our own scenarios: lateness, merging by late records, triggers, evictors and the ends of time. Comments derive the expected
//! results from the definitions.

use super::testing::{EVENT, SumVariant, play_sums, session, sliding, sum_operator, tumbling};
use crate::model::TimeDomain;
use crate::operator::testing::{OperatorStep, expect, play, records};
use crate::pipeline::{Evictor, RetainedElements, WindowAssigner, WindowSettings, WindowTrigger};

fn record(value: &str, at: i64) -> OperatorStep {
    records(&[("k", value, at)])
}

/// Exactly these records are emitted as late.
fn late(expected: &[(&str, i64)]) -> OperatorStep {
    OperatorStep::Expect(expected.iter().map(|(value, at)| (1, (*value).to_owned(), *at)).collect())
}

#[test]
fn a_late_record_fires_its_window_again_within_the_allowed_lateness() {
    let windows = WindowSettings { allowed_lateness_ms: 500, ..tumbling(1000) };
    let steps = [
        record("1", 100),
        OperatorStep::Watermark(999),
        expect(&[("k=1 [0,1000)", 999)]),
        // After its end, the window fires at once with all of its contents.
        record("2", 200),
        expect(&[("k=3 [0,1000)", 999)]),
        OperatorStep::Restore,
        OperatorStep::Watermark(1498),
        expect(&[]),
        // Each late record of a batch fires separately: 3 + 4 = 7, 7 + 1 = 8. The record in the other window does not interfere.
        records(&[("k", "4", 300), ("k", "9", 1500), ("k", "1", 310)]),
        expect(&[("k=7 [0,1000)", 999), ("k=8 [0,1000)", 999)]),
        // At 999 + 500 the state of the window is removed, and the next record is late.
        OperatorStep::Watermark(1499),
        expect(&[]),
        record("8", 400),
        late(&[("8", 400)]),
        OperatorStep::Watermark(2499),
        expect(&[("k=9 [1000,2000)", 1999)]),
        record("5", 1999),
        late(&[("5", 1999)]),
    ];
    play_sums(&windows, &steps);
}

#[test]
fn a_purging_trigger_removes_the_contents_when_it_fires() {
    let windows = WindowSettings { allowed_lateness_ms: 500, purge: true, ..tumbling(1000) };
    let steps = [
        record("1", 100),
        OperatorStep::Watermark(999),
        expect(&[("k=1 [0,1000)", 999)]),
        records(&[("k", "2", 200), ("k", "3", 201)]),
        expect(&[("k=2 [0,1000)", 999), ("k=3 [0,1000)", 999)]),
        OperatorStep::Watermark(5000),
        expect(&[]),
    ];
    play_sums(&windows, &steps);
}

/// Windows of 1 s every 3 s. A record in a gap belongs to no window. It is late only once the watermark reaches its timestamp.
#[test]
fn a_record_between_two_windows_is_late_by_its_own_timestamp() {
    let steps = [
        record("1", 1500),
        OperatorStep::Watermark(1499),
        expect(&[]),
        record("1", 1500),
        OperatorStep::Watermark(1500),
        record("2", 1500),
        late(&[("2", 1500)]),
        record("4", 3000),
        OperatorStep::Watermark(3999),
        expect(&[("k=4 [3000,4000)", 3999)]),
    ];
    play_sums(&sliding(1000, 3000), &steps);
}

/// A record is not added to a sliding window that is over, but it is added to its other windows.
#[test]
fn a_record_may_be_late_for_some_of_its_windows() {
    let steps = [
        record("1", 500),
        OperatorStep::Watermark(999),
        expect(&[("k=1 [-1000,1000)", 999)]),
        record("2", 600),
        expect(&[]),
        OperatorStep::Watermark(1999),
        expect(&[("k=3 [0,2000)", 1999)]),
        record("4", 600),
        late(&[("4", 600)]),
    ];
    play_sums(&sliding(2000, 1000), &steps);
}

/// The allowed lateness is 1 s. At the watermark 2500, [-1000, 1000) and [0, 2000) have fired; the first is over (999 + 1000).
#[test]
fn a_late_record_fires_every_open_sliding_window_that_contains_it() {
    let windows = WindowSettings { allowed_lateness_ms: 1000, ..sliding(2000, 1000) };
    let steps = [
        records(&[("k", "1", 500), ("k", "2", 1500)]),
        OperatorStep::Watermark(2500),
        expect(&[("k=1 [-1000,1000)", 999), ("k=3 [0,2000)", 1999)]),
        OperatorStep::Restore,
        records(&[("k", "4", 600), ("k", "8", 1600)]),
        // 1 + 2 + 4 = 7, then 15 with the second record. Its other window [1000, 3000) has not ended yet: 2 + 8 = 10.
        expect(&[("k=7 [0,2000)", 1999), ("k=15 [0,2000)", 1999)]),
        OperatorStep::Watermark(2999),
        expect(&[("k=10 [1000,3000)", 2999)]),
        record("16", 1999),
        // [0, 2000) was over at 1999 + 1000; [1000, 3000) is still open.
        expect(&[("k=26 [1000,3000)", 2999)]),
        OperatorStep::Watermark(3999),
        record("32", 1999),
        late(&[("32", 1999)]),
    ];
    play_sums(&windows, &steps);
}

/// The gap is 1 s, the allowed lateness 5 s. The late record at 800 has the window [800, 1800), which merges [0, 1000) and
/// [1500, 2500).
#[test]
fn a_late_record_merges_sessions_that_fired() {
    let windows = WindowSettings { allowed_lateness_ms: 5000, ..session(1000) };
    let steps = [
        records(&[("k", "1", 0), ("k", "2", 1500)]),
        OperatorStep::Watermark(2600),
        expect(&[("k=1 [0,1000)", 999), ("k=2 [1500,2500)", 2499)]),
        OperatorStep::Restore,
        record("4", 800),
        expect(&[("k=7 [0,2500)", 2499)]),
        // The session stays open until 2499 + 5000, and grows until then.
        OperatorStep::Watermark(7498),
        record("1", 2400),
        expect(&[("k=8 [0,3400)", 3399)]),
        // Now it stays open until 3399 + 5000.
        OperatorStep::Watermark(8398),
        record("1", 3399),
        expect(&[("k=9 [0,4399)", 4398)]),
        OperatorStep::Watermark(9398),
        expect(&[]),
        // The next record starts a new session. The one after it is late: its window was over at 3999 + 5000.
        record("1", 4398),
        expect(&[("k=1 [4398,5398)", 5397)]),
        record("3", 3000),
        late(&[("3", 3000)]),
    ];
    play_sums(&windows, &steps);
}

/// Records of one batch merge sessions in any order: those at 0, 1998 and 3996 are separate until 999 and 2997 are added. The record
/// at 4996, exactly one gap after the last, starts another session.
#[test]
fn sessions_of_one_batch_merge() {
    let steps = [
        records(&[("k", "1", 0), ("k", "2", 1998), ("k", "4", 3996), ("k", "8", 999), ("k", "16", 2997)]),
        records(&[("k", "32", 4996)]),
        OperatorStep::Watermark(5995),
        expect(&[("k=31 [0,4996)", 4995), ("k=32 [4996,5996)", 5995)]),
    ];
    play_sums(&session(1000), &steps);
}

fn global(trigger: WindowTrigger, purge: bool) -> WindowSettings {
    WindowSettings { trigger, purge, ..WindowSettings::new(WindowAssigner::Global, EVENT) }
}

fn global_result(sum: i64) -> (String, i64) {
    (format!("k={sum} [{},{})", i64::MIN, i64::MAX), i64::MAX)
}

fn globals(sums: &[i64]) -> OperatorStep {
    OperatorStep::Expect(sums.iter().map(|&sum| global_result(sum)).map(|(text, at)| (0, text, at)).collect())
}

#[test]
fn a_count_trigger_fires_after_every_n_records() {
    let batch = |values: &[&str]| records(&values.iter().map(|value| ("k", *value, 0)).collect::<Vec<_>>());
    // Fires after 1 2 | 3 4 | 5 6: with all records so far, or if it purges, with the last two.
    let play = |purge, first: &[i64], second: &[i64]| {
        let (first, second) = (globals(first), globals(second));
        let steps = [batch(&["1", "2", "3"]), first, OperatorStep::Restore, batch(&["4", "5", "6"]), second];
        play_sums(&global(WindowTrigger::Count { records: 2 }, purge), &steps);
    };
    play(false, &[3], &[10, 21]);
    play(true, &[3], &[7, 11]);
}

/// Two sessions of two records each, which the fifth record merges. The trigger fires at 4 or more records, and 2 + 2 + 1 is 5.
#[test]
fn the_counts_of_merged_sessions_are_added() {
    let windows = WindowSettings { trigger: WindowTrigger::Count { records: 4 }, ..session(1000) };
    let steps = [
        records(&[("k", "1", 0), ("k", "1", 1), ("k", "1", 1900), ("k", "1", 1901)]),
        expect(&[]),
        OperatorStep::Restore,
        record("1", 950),
        expect(&[("k=5 [0,2901)", 2900)]),
        OperatorStep::Watermark(10_000),
        expect(&[]),
    ];
    play_sums(&windows, &steps);
}

/// The interval is 300 ms and the window [0, 1000). After the record at 350, the trigger fires at 600, at 900 and at the end.
#[test]
fn a_continuous_trigger_fires_at_each_interval_and_at_the_end() {
    let windows = WindowSettings { trigger: WindowTrigger::Continuous { interval_ms: 300 }, ..tumbling(1000) };
    let steps = [
        record("1", 350),
        OperatorStep::Watermark(599),
        expect(&[]),
        OperatorStep::Watermark(600),
        expect(&[("k=1 [0,1000)", 999)]),
        OperatorStep::Restore,
        record("2", 700),
        OperatorStep::Watermark(998),
        expect(&[("k=3 [0,1000)", 999)]),
        OperatorStep::Watermark(999),
        expect(&[("k=3 [0,1000)", 999)]),
        // The watermark jumps. The firings at 1500 and 1800 become one, because no record was added in between. Then comes 1999.
        record("1", 1350),
        OperatorStep::Watermark(9999),
        expect(&[("k=1 [1000,2000)", 1999); 2]),
    ];
    play_sums(&windows, &steps);
}

#[test]
fn a_continuous_trigger_in_processing_time_fires_by_the_clock() {
    let windows = WindowSettings {
        trigger: WindowTrigger::Continuous { interval_ms: 300 },
        ..WindowSettings::new(WindowAssigner::Tumbling { size_ms: 1000, offset_ms: 0 }, TimeDomain::Processing)
    };
    let steps = [
        OperatorStep::Clock(350),
        record("1", 0),
        OperatorStep::Clock(600),
        expect(&[("k=1 [0,1000)", 999)]),
        OperatorStep::Clock(2000),
        expect(&[("k=1 [0,1000)", 999); 2]),
    ];
    play_sums(&windows, &steps);
}

/// The trigger fires after every three records, and the evictor retains two. Before the function: 2 + 3 = 5, then 5 + 6 = 11. After
/// the function: 1 + 2 + 3 = 6, then 2 + 3 + 4 + 5 + 6 = 20.
#[test]
fn an_evictor_by_count_retains_the_last_records() {
    let batch = |values: &[&str]| records(&values.iter().map(|value| ("k", *value, 0)).collect::<Vec<_>>());
    for (after, sums) in [(false, [5, 11]), (true, [6, 20])] {
        let windows = WindowSettings {
            evictor: Some(Evictor { keeps: RetainedElements::Count(2), after }),
            ..global(WindowTrigger::Count { records: 3 }, false)
        };
        let steps = [
            batch(&["1", "2", "3", "4"]),
            globals(&sums[..1]),
            OperatorStep::Restore,
            batch(&["5", "6"]),
            globals(&sums[1..]),
        ];
        play_sums(&windows, &steps);
    }
}

/// The latest timestamp is 900. An evictor of 500 ms removes the record at 400 and retains the one at 401.
#[test]
fn an_evictor_by_time_retains_the_latest_records() {
    let windows = WindowSettings {
        evictor: Some(Evictor { keeps: RetainedElements::TimeMs(500), after: false }),
        ..tumbling(1000)
    };
    let steps = [
        records(&[("k", "1", 400), ("k", "2", 900), ("k", "4", 401)]),
        OperatorStep::Watermark(999),
        expect(&[("k=6 [0,1000)", 999)]),
    ];
    play_sums(&windows, &steps);
}

/// A window that would end after the largest timestamp ends there. It fires when the watermark reaches the end of time.
#[test]
fn windows_at_the_first_and_the_last_timestamp_fire() {
    let (first, last) = (i64::MIN + 1, i64::MAX - 5);
    let start = last - last % 1000;
    for lateness in [0, 1, i64::MAX] {
        let windows = WindowSettings { allowed_lateness_ms: lateness, ..tumbling(1000) };
        // The window of i64::MIN + 1 would start before the smallest timestamp. It ends at -9223372036854775000.
        let (near_min, near_max) =
            (format!("k=1 [{},-9223372036854775000)", i64::MIN), format!("k=2 [{start},{})", i64::MAX));
        let steps = [
            records(&[("k", "1", first), ("k", "2", last)]),
            OperatorStep::Watermark(-9_223_372_036_854_775_001),
            expect(&[(&near_min, -9_223_372_036_854_775_001)]),
            OperatorStep::Watermark(i64::MAX - 1),
            expect(&[]),
            OperatorStep::Watermark(i64::MAX),
            expect(&[(&near_max, i64::MAX)]),
        ];
        play_sums(&windows, &steps);
    }
    let steps = [
        record("1", i64::MAX - 1),
        record("2", i64::MAX),
        OperatorStep::Watermark(i64::MAX - 1),
        expect(&[]),
        OperatorStep::Watermark(i64::MAX),
        expect(&[(&format!("k=3 [{},{})", i64::MAX - 1, i64::MAX), i64::MAX)]),
    ];
    play_sums(&session(1000), &steps);
    // Three windows contain the record, and all would end after the largest timestamp.
    let slides = [start - 2000, start - 1000, start].map(|start| format!("k=1 [{start},{})", i64::MAX));
    let slides = slides.each_ref().map(|text| (&text[..], i64::MAX));
    play_sums(&sliding(3000, 1000), &[record("1", last), OperatorStep::Watermark(i64::MAX), expect(&slides)]);
}

/// With an offset of 500, the windows are [-2500, 500) and [500, 3500).
#[test]
fn windows_start_at_their_offset() {
    let windows = WindowSettings::new(WindowAssigner::Tumbling { size_ms: 3000, offset_ms: 500 }, EVENT);
    let steps = [
        records(&[("k", "1", 499), ("k", "2", 500), ("k", "4", -2500)]),
        OperatorStep::Watermark(499),
        expect(&[("k=5 [-2500,500)", 499)]),
        OperatorStep::Watermark(3499),
        expect(&[("k=2 [500,3500)", 3499)]),
    ];
    play_sums(&windows, &steps);
}

/// A watermark never decreases, so a late record stays late, including after a restore.
#[test]
fn a_smaller_watermark_changes_nothing() {
    let steps = [
        OperatorStep::Watermark(999),
        OperatorStep::Watermark(5),
        record("1", 10),
        late(&[("1", 10)]),
        OperatorStep::Restore,
        OperatorStep::Watermark(5),
        record("1", 10),
        late(&[("1", 10)]),
    ];
    play_sums(&tumbling(1000), &steps);
}

/// A processing-time trigger over event-time windows: the clock fires the windows, the watermark removes them.
#[test]
fn a_trigger_may_use_the_other_clock() {
    let windows = WindowSettings { trigger: WindowTrigger::ProcessingTime, ..tumbling(1000) };
    let (make, layout) = sum_operator(&windows, SumVariant::Native);
    let steps = [
        record("1", 100),
        OperatorStep::Clock(999),
        expect(&[("k=1 [0,1000)", 999)]),
        OperatorStep::Watermark(998),
        record("2", 200),
        OperatorStep::Clock(1000),
        expect(&[("k=3 [0,1000)", 999)]),
        OperatorStep::Watermark(999),
        expect(&[]),
    ];
    play(&make, &layout, &steps);
}
