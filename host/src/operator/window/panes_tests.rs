//! Panes against windows that each hold their own records: whatever comes, both fire the same.

use std::sync::Arc;

use proptest::prelude::*;

use super::scenario_tests::*;
use super::*;
use crate::model::{WindowElements, Windows};
use crate::operator::Operator;
use crate::operator::testing::{Emitted, Harness, settings};
use crate::pipeline::{StateBackendKind, WindowAssigner, WindowTrigger};
use crate::turn::{OutputBatch, TurnFailure};

/// Puts one behind the other all elements that it sees.
pub(super) struct Listing;

impl Guest for Listing {
    fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        panic!("no window function")
    }

    fn process_windows(
        &mut self,
        _: &mut Turn,
        windows: &Windows,
        inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let (mut batch, mut start) = (Batch::default(), 0);
        for index in 0..windows.len() {
            let end = inputs[0].ends[index] as usize;
            let values = (start..end).map(|at| String::from_utf8_lossy(inputs[0].values.value(at)).into_owned());
            let all = values.collect::<Vec<_>>().join(" ");
            batch.push(result(windows, index, all).as_bytes(), last_of(windows, index));
            start = end;
        }
        Ok(vec![OutputBatch { index: 0, batch }])
    }
}

#[derive(Clone, Debug)]
enum Happens {
    /// Keys and timestamps.
    Batch(Vec<(u8, i64)>),
    Watermark(i64),
    Restore,
}

fn happens() -> impl Strategy<Value = Happens> {
    let record = (0u8..3, -30i64..120);
    prop_oneof![
        4 => prop::collection::vec(record, 1..20).prop_map(Happens::Batch),
        3 => (-30i64..130).prop_map(Happens::Watermark),
        1 => Just(Happens::Restore),
    ]
}

/// Everything that comes out, step by step, sorted within one.
fn follow(windows: &WindowSettings, lists: bool, shares: bool, all: &[Happens]) -> Vec<Vec<Emitted>> {
    let accumulator = StateDescription::new("accumulator", StateKind::Aggregating, "raw", "sum");
    let (function, declared) = match lists {
        true => (WindowFunction::ProcessWindow, vec![]),
        false => (WindowFunction::Aggregate, vec![accumulator]),
    };
    let mut layout = declared;
    layout.extend(window_states(windows, !lists));
    let windows = windows.clone();
    let make = move |turn, clock| {
        let guest: Box<dyn Guest> = if lists { Box::new(Listing) } else { guest_of(Sums::Guest) };
        let settings = settings(crate::pipeline::FaultPolicy::Fail, 2, 7, clock);
        let options = WindowOptions { windows: windows.clone(), function, emits_late_records: true };
        let operator = WindowOperator::new(guest, turn, settings, options, Counters::default()).unwrap();
        assert!(operator.windows.cut.is_some());
        Box::new(if shares { operator } else { operator.without_panes() }) as Box<dyn Operator>
    };
    let mut harness = Harness::new(Arc::new(make), layout, StateBackendKind::Memory, 2);
    let (mut steps, mut number) = (Vec::new(), 0);
    for one in all {
        match one {
            Happens::Batch(records) => {
                let records: Vec<_> = records
                    .iter()
                    .map(|(key, at)| {
                        number += 1;
                        (format!("k{key}"), number.to_string(), *at)
                    })
                    .collect();
                harness.records(0, &records);
            }
            Happens::Watermark(watermark) => harness.watermark(*watermark),
            Happens::Restore => harness.restore(StateBackendKind::Memory, 2),
        }
        steps.push(harness.take());
    }
    harness.watermark(i64::MAX);
    steps.push(harness.take());
    // A snapshot puts down the watermark for each of the groups, and that is all that is left.
    let first = all.iter().position(|one| matches!(one, Happens::Watermark(_))).unwrap_or(all.len());
    let is_kept = all[first..].iter().any(|one| matches!(one, Happens::Restore));
    // What would have to go behind the end of time stays.
    let is_near_the_end = |one: &Happens| matches!(one, Happens::Batch(records) if records[0].1 > i64::MAX / 2);
    if !all.iter().any(is_near_the_end) {
        assert_eq!(harness.entries(), if is_kept { 16 } else { 0 }, "{all:?}");
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn panes_fire_what_windows_alone_would(
        size in 1i64..40,
        slide in 1i64..40,
        offset in -5i64..5,
        lateness in prop_oneof![Just(0i64), 1i64..60],
        lists in any::<bool>(),
        all in prop::collection::vec(happens(), 1..25),
        // Windows that would end behind all time end with it, several at once.
        base in prop_oneof![3 => Just(0i64), 1 => Just(i64::MAX - 110)],
    ) {
        let later = |at: i64| at.saturating_add(base).min(i64::MAX - 1);
        let all: Vec<Happens> = all
            .into_iter()
            .map(|one| match one {
                Happens::Batch(records) => {
                    Happens::Batch(records.into_iter().map(|(key, at)| (key, later(at))).collect())
                }
                Happens::Watermark(watermark) => Happens::Watermark(later(watermark)),
                Happens::Restore => Happens::Restore,
            })
            .collect();
        let assigner = WindowAssigner::Sliding { size_ms: size, slide_ms: slide, offset_ms: offset % slide };
        let windows =
            WindowSettings { allowed_lateness_ms: lateness, ..WindowSettings::new(assigner, TimeDomain::Event) };
        prop_assert_eq!(follow(&windows, lists, true, &all), follow(&windows, lists, false, &all));
    }
}

#[test]
fn windows_share_panes_where_each_record_counts_for_all_of_them_alike() {
    let cut = |settings: &WindowSettings| Cut::of(settings, true).map(|cut| cut.pane(0));
    let pane = |end| Some(span::Window { start: 0, end });
    assert_eq!(cut(&sliding(60_000, 1000)), pane(1000));
    assert_eq!(cut(&sliding(5000, 2000)), pane(1000));
    assert_eq!(cut(&tumbling(1000)), None);
    assert_eq!(cut(&sliding(86_400_000, 1000)), pane(1000));
    assert_eq!(cut(&sliding(60_000, 1010)), pane(10));
    // 86,486,400 panes in a window of one day.
    assert_eq!(cut(&sliding(86_400_000, 999)), None);
    // A late record would have an hour's windows fire with a day's panes each.
    assert_eq!(cut(&WindowSettings { allowed_lateness_ms: 3_600_000, ..sliding(86_400_000, 1000) }), None);
    assert!(Cut::of(&sliding(60_000, 1010), false).is_none(), "a function sees all elements of 6000 panes");
    assert_eq!(cut(&WindowSettings { purge: true, ..sliding(5000, 1000) }), None);
    assert_eq!(cut(&WindowSettings { trigger: WindowTrigger::Count { records: 1 }, ..sliding(5000, 1000) }), None);
}

#[test]
fn the_panes_of_a_key_come_back_as_they_were_stored() {
    let front = Some(panes::Front { boundary: 5, run_end: 9 });
    let panes = panes::Panes { timer: Some(-5), front, elements: 7, starts: vec![-1000, 0, i64::MAX] };
    assert_eq!(panes::Panes::decode(&panes.encode()).unwrap(), panes);
    assert_eq!(panes::Panes::decode(&panes.encode()[1..]).unwrap_err().code, "state-failed");
    assert_eq!(panes::Panes::decode(&[]).unwrap(), panes::Panes::default());
}
