//! Windows that share panes, compared with the same windows that store their own records: both must fire the same.

use std::sync::Arc;

use proptest::prelude::*;

use super::definition::{WindowFunction, WindowOptions, window_states};
use super::panes::key_panes::{DerivedAccumulators, KeyPanes};
use super::panes::pane_layout::PaneLayout;
use super::testing::{ListFunction, SumVariant, accumulator_state, sliding, sum_guest, tumbling};
use super::time_window::TimeWindow;
use super::window_operator::WindowOperator;
use crate::model::{Counters, TimeDomain};
use crate::operator::interface::Operator;
use crate::operator::testing::{EmittedRecord, OperatorHarness, function_settings};
use crate::pipeline::{FaultPolicy, StateBackendKind, WindowAssigner, WindowSettings, WindowTrigger};
use crate::turn::Guest;

#[derive(Clone, Debug)]
enum PaneTestStep {
    /// Keys and timestamps.
    Batch(Vec<(u8, i64)>),
    Watermark(i64),
    Restore,
}

fn pane_test_step() -> impl Strategy<Value = PaneTestStep> {
    let record = (0u8..3, -30i64..120);
    prop_oneof![
        4 => prop::collection::vec(record, 1..20).prop_map(PaneTestStep::Batch),
        3 => (-30i64..130).prop_map(PaneTestStep::Watermark),
        1 => Just(PaneTestStep::Restore),
    ]
}

/// The records emitted in each step, sorted within a step.
fn follow(windows: &WindowSettings, lists: bool, shares: bool, all: &[PaneTestStep]) -> Vec<Vec<EmittedRecord>> {
    let (function, declared) = match lists {
        true => (WindowFunction::ProcessWindow, vec![]),
        false => (WindowFunction::Aggregate, vec![accumulator_state()]),
    };
    let mut layout = declared;
    layout.extend(window_states(windows, !lists, &[]));
    let windows = windows.clone();
    let make = move |turn, clock| {
        let guest: Box<dyn Guest> = if lists { Box::new(ListFunction) } else { sum_guest(SumVariant::Aggregate) };
        let settings = function_settings(FaultPolicy::Fail, 7, clock);
        let options = WindowOptions { windows: windows.clone(), function, emits_late_records: true, results: None };
        let operator = WindowOperator::new(guest, turn, settings, options, Counters::default()).unwrap();
        assert!(operator.shares_panes());
        Box::new(if shares { operator } else { operator.without_panes() }) as Box<dyn Operator>
    };
    let mut harness = OperatorHarness::new(Arc::new(make), layout, StateBackendKind::Memory, 2);
    let (mut steps, mut number) = (Vec::new(), 0);
    for one in all {
        match one {
            PaneTestStep::Batch(records) => {
                let records: Vec<_> = records
                    .iter()
                    .map(|(key, at)| {
                        number += 1;
                        (format!("k{key}"), number.to_string(), *at)
                    })
                    .collect();
                harness.records(0, &records);
            }
            PaneTestStep::Watermark(watermark) => harness.watermark(*watermark),
            PaneTestStep::Restore => harness.restore(StateBackendKind::Memory, 2),
        }
        steps.push(harness.take_emitted());
    }
    harness.watermark(i64::MAX);
    steps.push(harness.take_emitted());
    // A snapshot stores the watermark of each key group. Nothing else may be left.
    let first = all.iter().position(|one| matches!(one, PaneTestStep::Watermark(_))).unwrap_or(all.len());
    let is_kept = all[first..].iter().any(|one| matches!(one, PaneTestStep::Restore));
    // State that would be removed after the end of time stays.
    let is_near_the_end =
        |one: &PaneTestStep| matches!(one, PaneTestStep::Batch(records) if records[0].1 > i64::MAX / 2);
    if !all.iter().any(is_near_the_end) {
        assert_eq!(harness.entries(), if is_kept { 16 } else { 0 }, "{all:?}");
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn windows_with_panes_fire_what_separate_windows_fire(
        size in 1i64..40,
        slide in 1i64..40,
        offset in -5i64..5,
        lateness in prop_oneof![Just(0i64), 1i64..60],
        lists in any::<bool>(),
        all in prop::collection::vec(pane_test_step(), 1..25),
        // Windows that would end after the largest timestamp all end there, several at once.
        base in prop_oneof![3 => Just(0i64), 1 => Just(i64::MAX - 110)],
    ) {
        let later = |at: i64| at.saturating_add(base).min(i64::MAX - 1);
        let all: Vec<PaneTestStep> = all
            .into_iter()
            .map(|one| match one {
                PaneTestStep::Batch(records) => {
                    PaneTestStep::Batch(records.into_iter().map(|(key, at)| (key, later(at))).collect())
                }
                PaneTestStep::Watermark(watermark) => PaneTestStep::Watermark(later(watermark)),
                PaneTestStep::Restore => PaneTestStep::Restore,
            })
            .collect();
        let assigner = WindowAssigner::Sliding { size_ms: size, slide_ms: slide, offset_ms: offset % slide };
        let windows =
            WindowSettings { allowed_lateness_ms: lateness, ..WindowSettings::new(assigner, TimeDomain::Event) };
        prop_assert_eq!(follow(&windows, lists, true, &all), follow(&windows, lists, false, &all));
    }
}

#[test]
fn windows_share_panes_if_they_are_few_and_treat_all_records_alike() {
    let first_pane = |settings: &WindowSettings| PaneLayout::of(settings, true).map(|layout| layout.pane(0));
    let pane = |end| Some(TimeWindow { start: 0, end });
    assert_eq!(first_pane(&sliding(60_000, 1000)), pane(1000));
    assert_eq!(first_pane(&sliding(5000, 2000)), pane(1000));
    assert_eq!(first_pane(&tumbling(1000)), None);
    assert_eq!(first_pane(&sliding(86_400_000, 1000)), pane(1000));
    assert_eq!(first_pane(&sliding(60_000, 1010)), pane(10));
    // A window of one day would have 3,200,000 panes of 27 ms.
    assert_eq!(first_pane(&sliding(86_400_000, 999)), None);
    // A late record would make all windows of an hour fire, each with the panes of a day.
    assert_eq!(first_pane(&WindowSettings { allowed_lateness_ms: 3_600_000, ..sliding(86_400_000, 1000) }), None);
    assert!(
        PaneLayout::of(&sliding(60_000, 1010), false).is_none(),
        "a function that sees all elements would list 6000 panes"
    );
    assert_eq!(first_pane(&WindowSettings { purge: true, ..sliding(5000, 1000) }), None);
    assert_eq!(
        first_pane(&WindowSettings { trigger: WindowTrigger::Count { records: 1 }, ..sliding(5000, 1000) }),
        None
    );
}

#[test]
fn the_panes_of_a_key_round_trip_through_their_stored_form() {
    let derived = Some(DerivedAccumulators { suffixes_end: 5, total_end: 9 });
    let panes = KeyPanes { timer: Some(-5), derived, elements: 7, starts: vec![-1000, 0, i64::MAX] };
    assert_eq!(KeyPanes::decode(&panes.encode()).unwrap(), panes);
    assert_eq!(KeyPanes::decode(&panes.encode()[1..]).unwrap_err().code, "state-failed");
    assert_eq!(KeyPanes::decode(&[]).unwrap(), KeyPanes::default());
}
