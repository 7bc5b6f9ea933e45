//! Lateness, merging by late records, triggers, evictors, the ends of time: scenarios of our own. What is expected is derived
//! from the definitions, beside each.

use super::scenario_tests::*;
use super::*;
use crate::operator::testing::{Step, expect, play, records};
use crate::pipeline::{Evictor, RetainedElements, WindowAssigner, WindowTrigger};

fn one(value: &str, at: i64) -> Step {
    records(&[("k", value, at)])
}

/// What comes out as late.
fn late(expected: &[(&str, i64)]) -> Step {
    Step::Expect(expected.iter().map(|(value, at)| (1, (*value).to_owned(), *at)).collect())
}

#[test]
fn a_late_record_fires_again_until_the_lateness_is_over() {
    let windows = WindowSettings { allowed_lateness_ms: 500, ..tumbling(1000) };
    let steps = [
        one("1", 100),
        Step::Watermark(999),
        expect(&[("k=1 [0,1000)", 999)]),
        // Behind the end: at once, with all that the window holds.
        one("2", 200),
        expect(&[("k=3 [0,1000)", 999)]),
        Step::Restore,
        Step::Watermark(1498),
        expect(&[]),
        // Each of a batch for itself: 3 + 4 = 7, 7 + 1 = 8. The other window does not wait for it, nor it for the other.
        records(&[("k", "4", 300), ("k", "9", 1500), ("k", "1", 310)]),
        expect(&[("k=7 [0,1000)", 999), ("k=8 [0,1000)", 999)]),
        // 999 + 500: what is kept of the window goes, and the next record is late.
        Step::Watermark(1499),
        expect(&[]),
        one("8", 400),
        late(&[("8", 400)]),
        Step::Watermark(2499),
        expect(&[("k=9 [1000,2000)", 1999)]),
        one("5", 1999),
        late(&[("5", 1999)]),
    ];
    play_sums(&windows, &steps);
}

#[test]
fn a_purging_trigger_forgets_what_it_fired() {
    let windows = WindowSettings { allowed_lateness_ms: 500, purge: true, ..tumbling(1000) };
    let steps = [
        one("1", 100),
        Step::Watermark(999),
        expect(&[("k=1 [0,1000)", 999)]),
        records(&[("k", "2", 200), ("k", "3", 201)]),
        expect(&[("k=2 [0,1000)", 999), ("k=3 [0,1000)", 999)]),
        Step::Watermark(5000),
        expect(&[]),
    ];
    play_sums(&windows, &steps);
}

/// Windows of 1 s every 3 s. What falls between two of them is nobody's; it is late only once its own time is over.
#[test]
fn a_record_between_two_windows_is_late_by_its_own_time() {
    let steps = [
        one("1", 1500),
        Step::Watermark(1499),
        expect(&[]),
        one("1", 1500),
        Step::Watermark(1500),
        one("2", 1500),
        late(&[("2", 1500)]),
        one("4", 3000),
        Step::Watermark(3999),
        expect(&[("k=4 [3000,4000)", 3999)]),
    ];
    play_sums(&sliding(1000, 3000), &steps);
}

/// A sliding window that is over takes no record, the others that it falls into do.
#[test]
fn a_record_may_be_late_for_some_of_its_windows() {
    let steps = [
        one("1", 500),
        Step::Watermark(999),
        expect(&[("k=1 [-1000,1000)", 999)]),
        one("2", 600),
        expect(&[]),
        Step::Watermark(1999),
        expect(&[("k=3 [0,2000)", 1999)]),
        one("4", 600),
        late(&[("4", 600)]),
    ];
    play_sums(&sliding(2000, 1000), &steps);
}

/// With a lateness of 1 s: the watermark 2500 has fired [-1000, 1000) and [0, 2000), of which the first is over (999 + 1000).
#[test]
fn a_late_record_fires_every_sliding_window_that_it_still_counts_in() {
    let windows = WindowSettings { allowed_lateness_ms: 1000, ..sliding(2000, 1000) };
    let steps = [
        records(&[("k", "1", 500), ("k", "2", 1500)]),
        Step::Watermark(2500),
        expect(&[("k=1 [-1000,1000)", 999), ("k=3 [0,2000)", 1999)]),
        Step::Restore,
        records(&[("k", "4", 600), ("k", "8", 1600)]),
        // 1 + 2 + 4 = 7, then 15 with the second record, whose other window [1000, 3000) is still to come: 2 + 8 = 10.
        expect(&[("k=7 [0,2000)", 1999), ("k=15 [0,2000)", 1999)]),
        Step::Watermark(2999),
        expect(&[("k=10 [1000,3000)", 2999)]),
        one("16", 1999),
        // [0, 2000) is over since 1999 + 1000; [1000, 3000) is not.
        expect(&[("k=26 [1000,3000)", 2999)]),
        Step::Watermark(3999),
        one("32", 1999),
        late(&[("32", 1999)]),
    ];
    play_sums(&windows, &steps);
}

/// Gap 1 s, lateness 5 s. The late 4@800 reaches from 800 to 1800, and so makes one of [0, 1000) and [1500, 2500).
#[test]
fn a_late_record_merges_sessions_that_fired() {
    let windows = WindowSettings { allowed_lateness_ms: 5000, ..session(1000) };
    let steps = [
        records(&[("k", "1", 0), ("k", "2", 1500)]),
        Step::Watermark(2600),
        expect(&[("k=1 [0,1000)", 999), ("k=2 [1500,2500)", 2499)]),
        Step::Restore,
        one("4", 800),
        expect(&[("k=7 [0,2500)", 2499)]),
        // It goes at 2499 + 5000, until then it grows.
        Step::Watermark(7498),
        one("1", 2400),
        expect(&[("k=8 [0,3400)", 3399)]),
        // And then at 3399 + 5000.
        Step::Watermark(8398),
        one("1", 3399),
        expect(&[("k=9 [0,4399)", 4398)]),
        Step::Watermark(9398),
        expect(&[]),
        // A session of its own, late from 3999 + 5000 on.
        one("1", 4398),
        expect(&[("k=1 [4398,5398)", 5397)]),
        one("3", 3000),
        late(&[("3", 3000)]),
    ];
    play_sums(&windows, &steps);
}

/// Records of a batch that make one session of several, in whatever order: 0, 1998 and 3996 stand alone until 999 and 2997 come.
/// What is just a gap behind the last of them, 4996, is another session.
#[test]
fn sessions_of_one_batch_merge() {
    let steps = [
        records(&[("k", "1", 0), ("k", "2", 1998), ("k", "4", 3996), ("k", "8", 999), ("k", "16", 2997)]),
        records(&[("k", "32", 4996)]),
        Step::Watermark(5995),
        expect(&[("k=31 [0,4996)", 4995), ("k=32 [4996,5996)", 5995)]),
    ];
    play_sums(&session(1000), &steps);
}

fn global(trigger: WindowTrigger, purge: bool) -> WindowSettings {
    WindowSettings { trigger, purge, ..WindowSettings::new(WindowAssigner::Global, EVENT) }
}

fn of_global(sum: i64) -> (String, i64) {
    (format!("k={sum} [{},{})", i64::MIN, i64::MAX), i64::MAX)
}

fn globals(sums: &[i64]) -> Step {
    Step::Expect(sums.iter().map(|&sum| of_global(sum)).map(|(text, at)| (0, text, at)).collect())
}

#[test]
fn a_count_fires_with_every_so_many_records() {
    let batch = |values: &[&str]| records(&values.iter().map(|value| ("k", *value, 0)).collect::<Vec<_>>());
    // 1 2 | 3 4 | 5 6: with all that came before, or without.
    let play = |purge, first: &[i64], second: &[i64]| {
        let (first, second) = (globals(first), globals(second));
        let steps = [batch(&["1", "2", "3"]), first, Step::Restore, batch(&["4", "5", "6"]), second];
        play_sums(&global(WindowTrigger::Count { records: 2 }, purge), &steps);
    };
    play(false, &[3], &[10, 21]);
    play(true, &[3], &[7, 11]);
}

/// Two sessions of two records each; the fifth makes one of them: 2 + 2 + 1 are 5 records, and the trigger fires at 4 or more.
#[test]
fn the_counts_of_merged_sessions_are_added() {
    let windows = WindowSettings { trigger: WindowTrigger::Count { records: 4 }, ..session(1000) };
    let steps = [
        records(&[("k", "1", 0), ("k", "1", 1), ("k", "1", 1900), ("k", "1", 1901)]),
        expect(&[]),
        Step::Restore,
        one("1", 950),
        expect(&[("k=5 [0,2901)", 2900)]),
        Step::Watermark(10_000),
        expect(&[]),
    ];
    play_sums(&windows, &steps);
}

/// Interval 300 in [0, 1000): the record at 350 makes the next firing 600, then come 900 and the end.
#[test]
fn a_continuous_trigger_fires_on_the_way() {
    let windows = WindowSettings { trigger: WindowTrigger::Continuous { interval_ms: 300 }, ..tumbling(1000) };
    let steps = [
        one("1", 350),
        Step::Watermark(599),
        expect(&[]),
        Step::Watermark(600),
        expect(&[("k=1 [0,1000)", 999)]),
        Step::Restore,
        one("2", 700),
        Step::Watermark(998),
        expect(&[("k=3 [0,1000)", 999)]),
        Step::Watermark(999),
        expect(&[("k=3 [0,1000)", 999)]),
        // The same in one leap: 1500 (from 1350 on) and 1800 as one, for no record came in between; then 1999.
        one("1", 1350),
        Step::Watermark(9999),
        expect(&[("k=1 [1000,2000)", 1999); 2]),
    ];
    play_sums(&windows, &steps);
}

#[test]
fn a_continuous_trigger_in_processing_time_goes_by_the_clock() {
    let windows = WindowSettings {
        trigger: WindowTrigger::Continuous { interval_ms: 300 },
        ..WindowSettings::new(WindowAssigner::Tumbling { size_ms: 1000, offset_ms: 0 }, TimeDomain::Processing)
    };
    let steps = [
        Step::Clock(350),
        one("1", 0),
        Step::Clock(600),
        expect(&[("k=1 [0,1000)", 999)]),
        Step::Clock(2000),
        expect(&[("k=1 [0,1000)", 999); 2]),
    ];
    play_sums(&windows, &steps);
}

/// Of three: the last two make 5. Then stand 2 3 4 5 6, of which the last two make 11; or, evicted behind the function, 6 and 20.
#[test]
fn an_evictor_leaves_the_last_records() {
    let batch = |values: &[&str]| records(&values.iter().map(|value| ("k", *value, 0)).collect::<Vec<_>>());
    for (after, sums) in [(false, [5, 11]), (true, [6, 20])] {
        let windows = WindowSettings {
            evictor: Some(Evictor { keeps: RetainedElements::Count(2), after }),
            ..global(WindowTrigger::Count { records: 3 }, false)
        };
        let steps =
            [batch(&["1", "2", "3", "4"]), globals(&sums[..1]), Step::Restore, batch(&["5", "6"]), globals(&sums[1..])];
        play_sums(&windows, &steps);
    }
}

/// 500 ms before the latest timestamp, which is 900: 400 goes, 401 stays.
#[test]
fn an_evictor_by_time_leaves_the_young_ones() {
    let windows = WindowSettings {
        evictor: Some(Evictor { keeps: RetainedElements::TimeMs(500), after: false }),
        ..tumbling(1000)
    };
    let steps = [
        records(&[("k", "1", 400), ("k", "2", 900), ("k", "4", 401)]),
        Step::Watermark(999),
        expect(&[("k=6 [0,1000)", 999)]),
    ];
    play_sums(&windows, &steps);
}

/// A window that would end behind the largest timestamp ends with it, and fires when the watermark says that time is over.
#[test]
fn windows_at_the_ends_of_time() {
    let (first, last) = (i64::MIN + 1, i64::MAX - 5);
    let start = last - last % 1000;
    for lateness in [0, 1, i64::MAX] {
        let windows = WindowSettings { allowed_lateness_ms: lateness, ..tumbling(1000) };
        // The window of i64::MIN + 1 begins before all time and ends at -9223372036854775000.
        let (near_min, near_max) =
            (format!("k=1 [{},-9223372036854775000)", i64::MIN), format!("k=2 [{start},{})", i64::MAX));
        let steps = [
            records(&[("k", "1", first), ("k", "2", last)]),
            Step::Watermark(-9_223_372_036_854_775_001),
            expect(&[(&near_min, -9_223_372_036_854_775_001)]),
            Step::Watermark(i64::MAX - 1),
            expect(&[]),
            Step::Watermark(i64::MAX),
            expect(&[(&near_max, i64::MAX)]),
        ];
        play_sums(&windows, &steps);
    }
    let steps = [
        one("1", i64::MAX - 1),
        one("2", i64::MAX),
        Step::Watermark(i64::MAX - 1),
        expect(&[]),
        Step::Watermark(i64::MAX),
        expect(&[(&format!("k=3 [{},{})", i64::MAX - 1, i64::MAX), i64::MAX)]),
    ];
    play_sums(&session(1000), &steps);
    // Three windows hold it, and all would end behind all time.
    let slides = [start - 2000, start - 1000, start].map(|start| format!("k=1 [{start},{})", i64::MAX));
    let slides = slides.each_ref().map(|text| (&text[..], i64::MAX));
    play_sums(&sliding(3000, 1000), &[one("1", last), Step::Watermark(i64::MAX), expect(&slides)]);
}

/// Offsets: [-2500, 500) and [500, 3500).
#[test]
fn windows_begin_at_their_offset() {
    let windows = WindowSettings::new(WindowAssigner::Tumbling { size_ms: 3000, offset_ms: 500 }, EVENT);
    let steps = [
        records(&[("k", "1", 499), ("k", "2", 500), ("k", "4", -2500)]),
        Step::Watermark(499),
        expect(&[("k=5 [-2500,500)", 499)]),
        Step::Watermark(3499),
        expect(&[("k=2 [500,3500)", 3499)]),
    ];
    play_sums(&windows, &steps);
}

/// A watermark never goes back, nor does what it made late come in again: after a restore neither.
#[test]
fn a_watermark_that_goes_back_changes_nothing() {
    let steps = [
        Step::Watermark(999),
        Step::Watermark(5),
        one("1", 10),
        late(&[("1", 10)]),
        Step::Restore,
        Step::Watermark(5),
        one("1", 10),
        late(&[("1", 10)]),
    ];
    play_sums(&tumbling(1000), &steps);
}

/// The end of a processing-time trigger over windows of event time: the clock fires, the watermark cleans up.
#[test]
fn a_trigger_may_go_by_the_other_clock() {
    let windows = WindowSettings { trigger: WindowTrigger::ProcessingTime, ..tumbling(1000) };
    let (make, layout) = summing(&windows, Sums::Native);
    let steps = [
        one("1", 100),
        Step::Clock(999),
        expect(&[("k=1 [0,1000)", 999)]),
        Step::Watermark(998),
        one("2", 200),
        Step::Clock(1000),
        expect(&[("k=3 [0,1000)", 999)]),
        Step::Watermark(999),
        expect(&[]),
    ];
    play(&make, &layout, &steps);
}
