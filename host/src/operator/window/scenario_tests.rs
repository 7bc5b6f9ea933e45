//! The scenarios of Flink's own window tests, and more. Each runs with three functions: a native sum, an aggregate that declares
//! its accumulator, and a function that sees all elements. All must produce the same results.

use super::testing::{SUM_VARIANTS, play_sums, session, sliding, sum_operator, tumbling};
use crate::model::TimeDomain;
use crate::operator::testing::{OperatorHarness, OperatorStep, expect, records};
use crate::pipeline::{StateBackendKind, WindowAssigner, WindowSettings};

fn two_keys() -> OperatorStep {
    records(&[
        ("key2", "1", 3999),
        ("key2", "1", 3000),
        ("key1", "1", 20),
        ("key1", "1", 0),
        ("key1", "1", 999),
        ("key2", "1", 1998),
        ("key2", "1", 1999),
        ("key2", "1", 1000),
    ])
}

#[test]
fn flink_scenario_tumbling_windows() {
    let steps = [
        two_keys(),
        OperatorStep::Watermark(999),
        expect(&[]),
        OperatorStep::Watermark(1999),
        expect(&[]),
        OperatorStep::Restore,
        OperatorStep::Watermark(2999),
        expect(&[("key1=3 [0,3000)", 2999), ("key2=3 [0,3000)", 2999)]),
        OperatorStep::Watermark(3999),
        expect(&[]),
        OperatorStep::Watermark(5999),
        expect(&[("key2=2 [3000,6000)", 5999)]),
        OperatorStep::Watermark(6999),
        expect(&[]),
        OperatorStep::Watermark(7999),
        expect(&[]),
    ];
    play_sums(&tumbling(3000), &steps);
}

#[test]
fn flink_scenario_sliding_windows() {
    let steps = [
        two_keys(),
        OperatorStep::Watermark(999),
        expect(&[("key1=3 [-2000,1000)", 999)]),
        OperatorStep::Watermark(1999),
        expect(&[("key1=3 [-1000,2000)", 1999), ("key2=3 [-1000,2000)", 1999)]),
        OperatorStep::Watermark(2999),
        expect(&[("key1=3 [0,3000)", 2999), ("key2=3 [0,3000)", 2999)]),
        OperatorStep::Restore,
        OperatorStep::Watermark(3999),
        expect(&[("key2=5 [1000,4000)", 3999)]),
        OperatorStep::Watermark(4999),
        expect(&[("key2=2 [2000,5000)", 4999)]),
        OperatorStep::Watermark(5999),
        expect(&[("key2=2 [3000,6000)", 5999)]),
        OperatorStep::Watermark(7999),
        expect(&[]),
    ];
    play_sums(&sliding(3000, 1000), &steps);
}

#[test]
fn flink_scenario_session_windows() {
    let steps = [
        records(&[("key2", "1", 0), ("key2", "2", 1000), ("key2", "3", 2500), ("key1", "1", 10), ("key1", "2", 1000)]),
        OperatorStep::Restore,
        records(&[
            ("key1", "3", 2500),
            ("key2", "4", 5501),
            ("key2", "5", 6000),
            ("key2", "5", 6000),
            ("key2", "6", 6050),
        ]),
        OperatorStep::Watermark(12_000),
        expect(&[("key1=6 [10,5500)", 5499), ("key2=6 [0,5500)", 5499), ("key2=20 [5501,9050)", 9049)]),
        records(&[("key2", "10", 15_000), ("key2", "20", 15_000)]),
        OperatorStep::Watermark(17_999),
        expect(&[("key2=30 [15000,18000)", 17_999)]),
    ];
    play_sums(&session(3000), &steps);
}

#[test]
fn flink_scenario_processing_time_windows() {
    let one = |key| (key, "1", i64::MAX);
    let windows = WindowSettings::new(WindowAssigner::Tumbling { size_ms: 3000, offset_ms: 0 }, TimeDomain::Processing);
    let steps = [
        OperatorStep::Clock(3),
        records(&[one("key2"), one("key2"), one("key2"), one("key1"), one("key1")]),
        OperatorStep::Clock(5000),
        expect(&[("key1=2 [0,3000)", 2999), ("key2=3 [0,3000)", 2999)]),
        records(&[one("key1"), one("key1"), one("key1")]),
        OperatorStep::Clock(7000),
        expect(&[("key1=3 [3000,6000)", 5999)]),
    ];
    play_sums(&windows, &steps);
}

/// After the last clean-up, the backend holds nothing.
#[test]
fn windows_that_are_over_leave_no_state() {
    for windows in [tumbling(3000), sliding(3000, 1000), session(3000)] {
        for variant in SUM_VARIANTS {
            let (make, layout) = sum_operator(&windows, variant);
            let mut harness = OperatorHarness::new(make, layout, StateBackendKind::Memory, 1);
            let OperatorStep::Records(_, all) = two_keys() else { unreachable!() };
            harness.records(0, &all);
            assert!(harness.entries() > 0);
            harness.watermark(100_000);
            assert_eq!(harness.entries(), 0, "{windows:?} {variant:?}");
        }
    }
}
