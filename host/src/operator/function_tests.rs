//! Timers of a function: the scenario of Flink's own tests, what becomes of a timer that fails, and of one that another deletes.

use std::sync::Arc;

use super::testing::{self, Harness, MakeOperator, Step, expect, play, records, settings};
use super::*;
use crate::model::{DueTimers, Fault, FaultCode, TimeDomain, group_of_key, hash_key, subtask_of_group};
use crate::pipeline::{FaultPolicy, StateBackendKind};
use crate::state::{StateDescription, StateKind, StateLayout};
use crate::turn::{Guest, OutputBatch, TurnFailure, timer_states};

const EVENT: TimeDomain = TimeDomain::Event;
const PROCESSING: TimeDomain = TimeDomain::Processing;
const BACKENDS: [StateBackendKind; 2] = [StateBackendKind::Memory, StateBackendKind::RocksDb];

/// An operator with a guest of the test's: how to make it, and its states, of which the first is a value. Dead letters go to
/// output 1.
fn operator<G: Guest + 'static>(
    guest: impl Fn() -> G + 'static,
    on_fault: FaultPolicy,
    batch_records: usize,
) -> (MakeOperator, StateLayout) {
    let mut layout = vec![StateDescription::new("held", StateKind::Value, "raw", "text")];
    layout.extend(timer_states(&[EVENT, PROCESSING]));
    let make: MakeOperator = Arc::new(move |turn, clock| {
        let settings = settings(on_fault, 1, batch_records, clock);
        Box::new(FunctionOperator::new(Box::new(guest()), turn, settings, Counters::default()))
    });
    (make, layout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn main_output(batch: Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
    Ok(vec![OutputBatch { index: 0, batch }])
}

/// Where its key's state is empty it emits INPUT, sets the state and a timer at the watermark + 5; else it clears the state and
/// deletes the timer at the watermark + 4. A timer emits STATE.
struct Conditional;

impl Guest for Conditional {
    fn process(&mut self, turn: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let (mut out, watermark) = (Batch::default(), turn.context.watermark);
        for (at, &key) in batch.keys.as_ref().unwrap().key_of.iter().enumerate() {
            let value = batch.values.value(at);
            if turn.value_get(0, key)?.is_some() {
                turn.value_clear(0, &[key])?;
                turn.timer_delete(EVENT, &[key], &[watermark + 4])?;
            } else {
                out.push(format!("INPUT:{}", text(value)).as_bytes(), batch.timestamps[at]);
                turn.value_set(0, key, value)?;
                turn.timer_register(EVENT, &[key], &[watermark + 5])?;
            }
        }
        main_output(out)
    }

    fn on_timers(
        &mut self,
        turn: &mut Turn,
        _: TimeDomain,
        timers: &DueTimers,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut out = Batch::default();
        for (&key, &time) in timers.keys.key_of.iter().zip(&timers.times) {
            let held = turn.value_get(0, key)?.unwrap_or_default();
            out.push(format!("STATE:{}", text(&held)).as_bytes(), time);
        }
        main_output(out)
    }
}

#[test]
fn scenario_5_a_timer_that_a_second_record_deletes() {
    let one = |key| (key, key, 0);
    let steps = [
        Step::Watermark(1),
        records(&[one("17")]),
        expect(&[("INPUT:17", 0)]),
        records(&[one("13")]),
        expect(&[("INPUT:13", 0)]),
        Step::Restore,
        Step::Watermark(2),
        expect(&[]),
        records(&[one("42")]),
        expect(&[("INPUT:42", 0)]),
        // 2 + 4 is 1 + 5.
        records(&[one("13")]),
        expect(&[]),
        Step::Watermark(6),
        expect(&[("STATE:17", 6)]),
        Step::Watermark(7),
        expect(&[("STATE:42", 7)]),
        Step::Watermark(i64::MAX),
        expect(&[]),
    ];
    for batch_records in [1, 1024] {
        let (make, layout) = operator(|| Conditional, FaultPolicy::Fail, batch_records);
        play(&make, &layout, &steps);
    }
}

/// Does what each record says: `event T`, `processing T`, `no-event T` and `no-processing T`. `deletes T U` has the event timer
/// at T delete that at U, `fails T` has that at T fail. Timers emit themselves.
struct Orders;

fn number(word: &str) -> i64 {
    word.parse().unwrap()
}

impl Guest for Orders {
    fn process(&mut self, turn: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        for (at, &key) in batch.keys.as_ref().unwrap().key_of.iter().enumerate() {
            let order = text(batch.values.value(at));
            match order.split(' ').collect::<Vec<_>>()[..] {
                ["event", time] => turn.timer_register(EVENT, &[key], &[number(time)])?,
                ["processing", time] => turn.timer_register(PROCESSING, &[key], &[number(time)])?,
                ["no-event", time] => turn.timer_delete(EVENT, &[key], &[number(time)])?,
                ["no-processing", time] => turn.timer_delete(PROCESSING, &[key], &[number(time)])?,
                _ => {
                    let held = text(&turn.value_get(0, key)?.unwrap_or_default());
                    turn.value_set(0, key, format!("{held}{order}\n").as_bytes())?;
                }
            }
        }
        main_output(Batch::default())
    }

    fn on_timers(
        &mut self,
        turn: &mut Turn,
        domain: TimeDomain,
        timers: &DueTimers,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let (mut out, mut deleted) = (Batch::default(), Vec::new());
        for (&key, &time) in timers.keys.key_of.iter().zip(&timers.times) {
            if deleted.contains(&(key, time)) {
                continue;
            }
            let name = text(timers.keys.distinct.value(key as usize));
            for order in text(&turn.value_get(0, key)?.unwrap_or_default()).lines() {
                match order.split(' ').collect::<Vec<_>>()[..] {
                    ["deletes", at, other] if number(at) == time => {
                        turn.timer_delete(EVENT, &[key], &[number(other)])?;
                        deleted.push((key, number(other)));
                    }
                    ["fails", at] if number(at) == time => {
                        return Err(Fault::new(FaultCode::GuestError, "a bad timer").into());
                    }
                    _ => {}
                }
            }
            out.push(format!("{name} {} {time}", domain.as_str()).as_bytes(), time);
        }
        main_output(out)
    }
}

#[test]
fn scenario_5_timers_of_both_clocks_are_deleted_and_restored() {
    let order = |order| ("k", order, 0);
    let steps = [
        records(&[order("processing 3"), order("processing 5"), order("event 4"), order("event 6")]),
        records(&[order("no-processing 3"), order("no-event 4")]),
        Step::Restore,
        Step::Clock(5),
        expect(&[("k processing 5", 5)]),
        Step::Watermark(6),
        expect(&[("k event 6", 6)]),
        Step::Clock(100),
        Step::Watermark(100),
        expect(&[]),
    ];
    for batch_records in [1, 1024] {
        let (make, layout) = operator(|| Orders, FaultPolicy::Fail, batch_records);
        play(&make, &layout, &steps);
    }
}

#[test]
fn a_timer_is_one_however_often_it_is_registered() {
    let steps = [
        records(&[("k", "event 4", 0), ("k", "event 4", 0), ("m", "event 4", 0)]),
        Step::Restore,
        records(&[("k", "event 4", 0)]),
        Step::Watermark(4),
        expect(&[("k event 4", 4), ("m event 4", 4)]),
        Step::Watermark(5),
        expect(&[]),
        // It may be there again: at once where its time is over.
        records(&[("k", "event 4", 0)]),
        Step::Watermark(6),
        expect(&[("k event 4", 4)]),
    ];
    let (make, layout) = operator(|| Orders, FaultPolicy::Fail, 1024);
    play(&make, &layout, &steps);
}

/// The timer at 3 deletes that at 4 of its key, in the same turn or one before; another key's at 4 fires.
#[test]
fn what_an_earlier_timer_of_the_same_advance_deletes_does_not_fire() {
    let steps = [
        records(&[("k", "deletes 3 4", 0), ("k", "event 3", 0), ("k", "event 4", 0), ("k", "event 5", 0)]),
        records(&[("m", "event 3", 0), ("m", "event 4", 0)]),
        Step::Restore,
        Step::Watermark(10),
        expect(&[("k event 3", 3), ("k event 5", 5), ("m event 3", 3), ("m event 4", 4)]),
        Step::Watermark(11),
        expect(&[]),
    ];
    for batch_records in [1, 2, 3, 1024] {
        let (make, layout) = operator(|| Orders, FaultPolicy::Fail, batch_records);
        play(&make, &layout, &steps);
    }
}

fn owned(records: &[(&str, &str)]) -> Vec<(String, String, i64)> {
    records.iter().map(|(key, order)| ((*key).into(), (*order).into(), 0)).collect()
}

/// Of the timers 1 to 8 of `k` the one at 5 fails. The one at 2 has deleted that at 6, which is found out when the batch is
/// halved: 6 was taken together with 2.
fn with_a_bad_timer(on_fault: FaultPolicy, batch_records: usize, backend: StateBackendKind) -> Harness {
    let (make, layout) = operator(|| Orders, on_fault, batch_records);
    let mut harness = Harness::new(make, layout, backend, 1);
    harness.records(0, &owned(&[("k", "fails 5"), ("k", "deletes 2 6"), ("m", "event 5")]));
    let timers: Vec<String> = (1..=8).map(|time| format!("event {time}")).collect();
    harness.records(0, &owned(&timers.iter().map(|timer| ("k", &timer[..])).collect::<Vec<_>>()));
    harness
}

#[test]
fn a_timer_that_fails_costs_one_timer() {
    let good = [("k", 1), ("k", 2), ("k", 3), ("k", 4), ("k", 7), ("k", 8), ("m", 5)];
    let mut good = good.map(|(key, time)| (0, format!("{key} event {time}"), time)).to_vec();
    good.sort();
    for on_fault in [FaultPolicy::Skip, FaultPolicy::DeadLetter] {
        for (batch_records, backend) in [1, 2, 3, 1024].into_iter().flat_map(|n| BACKENDS.map(|backend| (n, backend))) {
            let mut harness = with_a_bad_timer(on_fault, batch_records, backend);
            harness.watermark(10);
            let (main, letters): (Vec<_>, Vec<_>) = harness.take().into_iter().partition(|(output, ..)| *output == 0);
            assert_eq!(main, good, "{on_fault:?}, {batch_records} at once, {backend:?}");
            let counters = harness.subtask(0).counters();
            if on_fault == FaultPolicy::Skip {
                assert_eq!((letters.len(), counters.records_skipped), (0, 1));
            } else {
                assert_eq!(counters.records_dead_lettered, 1);
                let [(1, letter, 5)] = &letters[..] else { panic!("{letters:?}") };
                let letter: serde_json::Value = serde_json::from_str(letter).unwrap();
                let told = ["key", "timestamp", "code", "message"].map(|field| letter[field].to_string());
                assert_eq!(told, ["\"k\"", "5", "\"guest-error\"", "\"a bad timer\""]);
            }
            // It is gone, and does not come back.
            harness.restore(backend, 1);
            harness.watermark(20);
            assert_eq!(harness.take(), []);
        }
    }
}

#[test]
fn a_timer_that_fails_ends_the_attempt_where_that_is_asked_for() {
    for backend in BACKENDS {
        let mut harness = with_a_bad_timer(FaultPolicy::Fail, 1024, backend);
        let mut outputs = Vec::new();
        let ended = harness.subtask(0).advance_watermark(10, &mut outputs);
        assert!(
            matches!(&ended, Err(OperatorFailure::Fault { fault, .. }) if fault.message == "a bad timer"),
            "{ended:?}"
        );
        let values = outputs.iter().flat_map(|output| output.batch.values.iter().map(text)).collect::<Vec<_>>();
        assert!(values.starts_with(&["k event 1".to_owned(), "k event 2".to_owned()]), "{values:?}");
        assert!(values.iter().all(|value| !["k event 5", "k event 6"].contains(&&value[..])), "{values:?}");
    }
}

/// Emits the watermark that it sees with each record, and sets a timer at the time that the record says. A timer emits itself.
struct Seeing;

impl Guest for Seeing {
    fn process(&mut self, turn: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut out = Batch::default();
        let keys = batch.keys.as_ref().unwrap();
        for (at, &key) in keys.key_of.iter().enumerate() {
            let (name, watermark) = (text(keys.distinct.value(key as usize)), turn.context.watermark);
            out.push(format!("{name} sees {watermark}").as_bytes(), 0);
            turn.timer_register(EVENT, &[key], &[number(&text(batch.values.value(at)))])?;
        }
        main_output(out)
    }

    fn on_timers(
        &mut self,
        turn: &mut Turn,
        _: TimeDomain,
        timers: &DueTimers,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut out = Batch::default();
        for (&key, &time) in timers.keys.key_of.iter().zip(&timers.times) {
            let name = text(timers.keys.distinct.value(key as usize));
            out.push(format!("{name} fires {time} at {}", turn.context.watermark).as_bytes(), 0);
        }
        main_output(out)
    }
}

/// Two keys, of which the first belongs to the first of two subtasks, and the second to the other.
fn two_keys() -> [String; 2] {
    let of = |subtask: u32| {
        let keys = (0..).map(|number| format!("k{number}"));
        let is_own = |key: &String| {
            let group = group_of_key(hash_key(key.as_bytes()), testing::GROUPS);
            subtask_of_group(group, 2, testing::GROUPS) == subtask
        };
        keys.into_iter().find(is_own).unwrap()
    };
    [of(0), of(1)]
}

#[test]
fn each_key_keeps_its_watermark_when_subtasks_of_different_ones_become_one() {
    for backend in BACKENDS {
        let (make, layout) = operator(|| Seeing, FaultPolicy::Fail, 1024);
        let mut harness = Harness::new(make, layout, backend, 2);
        let [slow, fast] = two_keys();
        harness.watermark_at(0, 10);
        harness.watermark_at(1, 20);
        harness.restore(backend, 1);
        let record = |key: &str, time: i64| (key.to_owned(), time.to_string(), 0);
        harness.records(0, &[record(&slow, 12), record(&fast, 22), record(&slow, 15)]);
        let seen = |key: &str, watermark: i64| (0, format!("{key} sees {watermark}"), 0);
        let mut expected = vec![seen(&slow, 10), seen(&slow, 10), seen(&fast, 20)];
        expected.sort();
        assert_eq!(harness.take(), expected);
        // Event time goes on: for the key that is ahead from its own watermark.
        harness.watermark(13);
        assert_eq!(harness.take(), [(0, format!("{slow} fires 12 at 13"), 0)]);
        // What has not caught up is ahead after another restore, too.
        harness.restore(backend, 3);
        harness.restore(backend, 1);
        harness.records(0, &[record(&fast, 23)]);
        assert_eq!(harness.take(), [seen(&fast, 20)]);
        harness.watermark(25);
        let mut fired = harness.take();
        fired.sort();
        let mut expected = [(&slow, 15), (&fast, 22), (&fast, 23)]
            .map(|(key, time)| (0, format!("{key} fires {time} at 25"), 0))
            .to_vec();
        expected.sort();
        assert_eq!(fired, expected);
    }
}

/// Nothing is delivered between the timers of one watermark, and a snapshot taken there is no exception.
#[test]
fn timers_that_were_being_fired_at_a_snapshot_are_fired_before_anything_else() {
    for backend in BACKENDS {
        let (make, layout) = operator(|| Seeing, FaultPolicy::Fail, 1);
        let mut harness = Harness::new(make, layout, backend, 2);
        let [first, second] = two_keys();
        let record = |key: &str, time: i64| (key.to_owned(), time.to_string(), 0);
        harness.records(0, &[record(&first, 1), record(&first, 2), record(&second, 1)]);
        harness.take();
        let mut outputs = Vec::new();
        assert!(harness.subtask(0).advance_watermark(10, &mut outputs).unwrap(), "the other timer is due, too");
        // Set for a time that is over, behind the watermark of 5: it waits for the next one.
        harness.watermark_at(1, 5);
        harness.records(0, &[record(&second, 3)]);
        harness.take();
        harness.restore(backend, 1);
        harness.watermark(i64::MIN);
        assert_eq!(harness.take(), [(0, format!("{first} fires 2 at 10"), 0)]);
        harness.watermark(6);
        assert_eq!(harness.take(), [(0, format!("{second} fires 3 at 6"), 0)]);
    }
}

/// A timer renews itself every 10 ms, of the clock that the record names.
struct Renewing;

impl Guest for Renewing {
    fn process(&mut self, turn: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        for (at, &key) in batch.keys.as_ref().unwrap().key_of.iter().enumerate() {
            let domain = if batch.values.value(at) == b"event" { EVENT } else { PROCESSING };
            turn.timer_register(domain, &[key], &[10])?;
        }
        main_output(Batch::default())
    }

    fn on_timers(
        &mut self,
        turn: &mut Turn,
        domain: TimeDomain,
        timers: &DueTimers,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut out = Batch::default();
        for (&key, &time) in timers.keys.key_of.iter().zip(&timers.times) {
            out.push(domain.as_str().as_bytes(), time);
            turn.timer_register(domain, &[key], &[time + 10])?;
        }
        main_output(out)
    }
}

#[test]
fn at_the_end_of_the_input_each_timer_fires_and_none_renews_itself() {
    for backend in BACKENDS {
        let (make, layout) = operator(|| Renewing, FaultPolicy::Fail, 1024);
        let mut harness = Harness::new(make, layout, backend, 1);
        let record = |key: &str, domain: &str| (key.to_owned(), domain.to_owned(), 0);
        harness.records(0, &[record("a", "event"), record("b", "processing"), record("c", "processing")]);
        harness.watermark(25);
        assert_eq!(harness.take(), [(0, "event".to_owned(), 10), (0, "event".to_owned(), 20)]);
        harness.watermark(i64::MAX);
        let processing = (0, "processing".to_owned(), 10);
        assert_eq!(harness.take(), [(0, "event".to_owned(), 30), processing.clone(), processing]);
        assert_eq!(harness.metric("numTimersDroppedAtEnd"), 3.0);
        assert_eq!(harness.metric("numProcessingTimersFiredAtEnd"), 2.0);
        harness.watermark(i64::MAX);
        assert_eq!(harness.take(), []);
    }
}
