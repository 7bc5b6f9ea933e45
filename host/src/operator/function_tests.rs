//! Timers of a function: the scenario of Flink's own tests, timers that fail, and timers that delete each other.

use std::sync::Arc;

use super::failure::OperatorFailure;
use super::function::FunctionOperator;
use super::testing::{
    self, DEAD_LETTER, OperatorFactory, OperatorHarness, OperatorStep, expect, function_settings, play, records,
};
use crate::model::{
    Batch, Counters, DueTimers, Fault, FaultCode, TimeDomain, group_of_key, hash_key, subtask_of_group,
};
use crate::pipeline::{FaultPolicy, StateBackendKind};
use crate::state::{StateDescription, StateKind, StateLayout};
use crate::turn::{Guest, OutputBatch, OutputId, Turn, TurnFailure, timer_states};

const EVENT: TimeDomain = TimeDomain::Event;
const PROCESSING: TimeDomain = TimeDomain::Processing;
const BACKENDS: [StateBackendKind; 2] = [StateBackendKind::Memory, StateBackendKind::RocksDb];

/// The factory and the states of an operator that runs the given guest. The first state is a value. Dead letters go to output 1.
fn operator<G: Guest + 'static>(
    guest: impl Fn() -> G + 'static,
    on_fault: FaultPolicy,
    batch_records: usize,
) -> (OperatorFactory, StateLayout) {
    let mut layout = vec![StateDescription::new("held", StateKind::Value, "raw", "text")];
    layout.extend(timer_states(&[EVENT, PROCESSING]));
    let make: OperatorFactory = Arc::new(move |turn, clock| {
        let settings = function_settings(on_fault, batch_records, clock);
        Box::new(FunctionOperator::new(Box::new(guest()), turn, settings, Counters::default()))
    });
    (make, layout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn main_output(batch: Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
    Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
}

/// For each record: if the key's state is empty, emits INPUT, sets the state, and registers a timer at the watermark + 5. Otherwise
/// clears the state, and deletes the timer at the watermark + 4. A timer emits STATE.
struct StateToggle;

impl Guest for StateToggle {
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
fn flink_scenario_a_second_record_deletes_the_timer_of_the_first() {
    let one = |key| (key, key, 0);
    let steps = [
        OperatorStep::Watermark(1),
        records(&[one("17")]),
        expect(&[("INPUT:17", 0)]),
        records(&[one("13")]),
        expect(&[("INPUT:13", 0)]),
        OperatorStep::Restore,
        OperatorStep::Watermark(2),
        expect(&[]),
        records(&[one("42")]),
        expect(&[("INPUT:42", 0)]),
        // Deletes the timer at 2 + 4 = 1 + 5.
        records(&[one("13")]),
        expect(&[]),
        OperatorStep::Watermark(6),
        expect(&[("STATE:17", 6)]),
        OperatorStep::Watermark(7),
        expect(&[("STATE:42", 7)]),
        OperatorStep::Watermark(i64::MAX),
        expect(&[]),
    ];
    for batch_records in [1, 1024] {
        let (make, layout) = operator(|| StateToggle, FaultPolicy::Fail, batch_records);
        play(&make, &layout, &steps);
    }
}

/// Executes commands. `event T` and `processing T` register a timer, `no-event T` and `no-processing T` delete one. `deletes T U`
/// makes the event timer at T delete the one at U, and `fails T` makes the timer at T fail. Timers emit themselves.
struct TimerCommands;

fn number(word: &str) -> i64 {
    word.parse().unwrap()
}

impl Guest for TimerCommands {
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
fn flink_scenario_timers_of_both_clocks_are_deleted_and_restored() {
    let order = |order| ("k", order, 0);
    let steps = [
        records(&[order("processing 3"), order("processing 5"), order("event 4"), order("event 6")]),
        records(&[order("no-processing 3"), order("no-event 4")]),
        OperatorStep::Restore,
        OperatorStep::Clock(5),
        expect(&[("k processing 5", 5)]),
        OperatorStep::Watermark(6),
        expect(&[("k event 6", 6)]),
        OperatorStep::Clock(100),
        OperatorStep::Watermark(100),
        expect(&[]),
    ];
    for batch_records in [1, 1024] {
        let (make, layout) = operator(|| TimerCommands, FaultPolicy::Fail, batch_records);
        play(&make, &layout, &steps);
    }
}

#[test]
fn a_timer_that_is_registered_repeatedly_fires_once() {
    let steps = [
        records(&[("k", "event 4", 0), ("k", "event 4", 0), ("m", "event 4", 0)]),
        OperatorStep::Restore,
        records(&[("k", "event 4", 0)]),
        OperatorStep::Watermark(4),
        expect(&[("k event 4", 4), ("m event 4", 4)]),
        OperatorStep::Watermark(5),
        expect(&[]),
        // It can be registered again. It fires with the next watermark if its time is over.
        records(&[("k", "event 4", 0)]),
        OperatorStep::Watermark(6),
        expect(&[("k event 4", 4)]),
    ];
    let (make, layout) = operator(|| TimerCommands, FaultPolicy::Fail, 1024);
    play(&make, &layout, &steps);
}

/// The timer at 3 deletes the one at 4 of the same key, in the same turn or an earlier one. The timer of the other key fires.
#[test]
fn a_timer_that_an_earlier_due_timer_deletes_does_not_fire() {
    let steps = [
        records(&[("k", "deletes 3 4", 0), ("k", "event 3", 0), ("k", "event 4", 0), ("k", "event 5", 0)]),
        records(&[("m", "event 3", 0), ("m", "event 4", 0)]),
        OperatorStep::Restore,
        OperatorStep::Watermark(10),
        expect(&[("k event 3", 3), ("k event 5", 5), ("m event 3", 3), ("m event 4", 4)]),
        OperatorStep::Watermark(11),
        expect(&[]),
    ];
    for batch_records in [1, 2, 3, 1024] {
        let (make, layout) = operator(|| TimerCommands, FaultPolicy::Fail, batch_records);
        play(&make, &layout, &steps);
    }
}

fn owned(records: &[(&str, &str)]) -> Vec<(String, String, i64)> {
    records.iter().map(|(key, order)| ((*key).into(), (*order).into(), 0)).collect()
}

/// The key `k` has timers at 1 to 8. The timer at 5 fails, and the one at 2 deletes the one at 6. The operator notices the deletion
/// only when it halves the batch that contains both.
fn harness_with_failing_timer(
    on_fault: FaultPolicy,
    batch_records: usize,
    backend: StateBackendKind,
) -> OperatorHarness {
    let (make, layout) = operator(|| TimerCommands, on_fault, batch_records);
    let mut harness = OperatorHarness::new(make, layout, backend, 1);
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
            let mut harness = harness_with_failing_timer(on_fault, batch_records, backend);
            harness.watermark(10);
            let (main, letters): (Vec<_>, Vec<_>) =
                harness.take_emitted().into_iter().partition(|(output, ..)| *output == 0);
            assert_eq!(main, good, "{on_fault:?}, {batch_records} at once, {backend:?}");
            let counters = harness.subtask(0).counters();
            if on_fault == FaultPolicy::Skip {
                assert_eq!((letters.len(), counters.records_skipped), (0, 1));
            } else {
                assert_eq!(counters.records_dead_lettered, 1);
                let [(DEAD_LETTER, letter, 5)] = &letters[..] else { panic!("{letters:?}") };
                let letter: serde_json::Value = serde_json::from_str(letter).unwrap();
                let fields = ["key", "timestamp", "code", "message"].map(|field| letter[field].to_string());
                assert_eq!(fields, ["\"k\"", "5", "\"guest-error\"", "\"a bad timer\""]);
            }
            // The failed timer is deleted, and does not fire again.
            harness.restore(backend, 1);
            harness.watermark(20);
            assert_eq!(harness.take_emitted(), []);
        }
    }
}

#[test]
fn a_timer_that_fails_ends_the_attempt_under_the_policy_fail() {
    for backend in BACKENDS {
        let mut harness = harness_with_failing_timer(FaultPolicy::Fail, 1024, backend);
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

/// Emits the current watermark for each record, and registers a timer at the time in the record. A timer emits itself.
struct WatermarkReporter;

impl Guest for WatermarkReporter {
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

/// Two keys. The first belongs to the first of two subtasks, and the second to the other.
fn two_keys() -> [String; 2] {
    let key_of = |subtask: u32| {
        let keys = (0..).map(|number| format!("k{number}"));
        let is_own = |key: &String| {
            let group = group_of_key(hash_key(key.as_bytes()), testing::GROUPS);
            subtask_of_group(group, 2, testing::GROUPS) == subtask
        };
        keys.into_iter().find(is_own).unwrap()
    };
    [key_of(0), key_of(1)]
}

#[test]
fn each_key_keeps_its_watermark_when_a_rescale_merges_subtasks() {
    for backend in BACKENDS {
        let (make, layout) = operator(|| WatermarkReporter, FaultPolicy::Fail, 1024);
        let mut harness = OperatorHarness::new(make, layout, backend, 2);
        let [slow, fast] = two_keys();
        harness.watermark_at(0, 10);
        harness.watermark_at(1, 20);
        harness.restore(backend, 1);
        let record = |key: &str, time: i64| (key.to_owned(), time.to_string(), 0);
        harness.records(0, &[record(&slow, 12), record(&fast, 22), record(&slow, 15)]);
        let seen = |key: &str, watermark: i64| (0, format!("{key} sees {watermark}"), 0);
        let mut expected = vec![seen(&slow, 10), seen(&slow, 10), seen(&fast, 20)];
        expected.sort();
        assert_eq!(harness.take_emitted(), expected);
        // Event time advances. The key that is ahead continues from its own watermark.
        harness.watermark(13);
        assert_eq!(harness.take_emitted(), [(0, format!("{slow} fires 12 at 13"), 0)]);
        // After another restore, the same key is still ahead.
        harness.restore(backend, 3);
        harness.restore(backend, 1);
        harness.records(0, &[record(&fast, 23)]);
        assert_eq!(harness.take_emitted(), [seen(&fast, 20)]);
        harness.watermark(25);
        let mut fired = harness.take_emitted();
        fired.sort();
        let mut expected = [(&slow, 15), (&fast, 22), (&fast, 23)]
            .map(|(key, time)| (0, format!("{key} fires {time} at 25"), 0))
            .to_vec();
        expected.sort();
        assert_eq!(fired, expected);
    }
}

/// No record is processed between the timers of one watermark, not even if a snapshot is taken and restored there.
#[test]
fn interrupted_timers_fire_first_after_a_restore() {
    for backend in BACKENDS {
        let (make, layout) = operator(|| WatermarkReporter, FaultPolicy::Fail, 1);
        let mut harness = OperatorHarness::new(make, layout, backend, 2);
        let [first, second] = two_keys();
        let record = |key: &str, time: i64| (key.to_owned(), time.to_string(), 0);
        harness.records(0, &[record(&first, 1), record(&first, 2), record(&second, 1)]);
        harness.take_emitted();
        let mut outputs = Vec::new();
        assert!(harness.subtask(0).advance_watermark(10, &mut outputs).unwrap(), "the other timer is due as well");
        // The timer at 3 is registered after the watermark 5, so it fires with the next watermark.
        harness.watermark_at(1, 5);
        harness.records(0, &[record(&second, 3)]);
        harness.take_emitted();
        harness.restore(backend, 1);
        harness.watermark(i64::MIN);
        assert_eq!(harness.take_emitted(), [(0, format!("{first} fires 2 at 10"), 0)]);
        harness.watermark(6);
        assert_eq!(harness.take_emitted(), [(0, format!("{second} fires 3 at 6"), 0)]);
    }
}

/// Registers a timer of the clock that the record names. The timer registers itself again every 10 ms.
struct RenewingTimer;

impl Guest for RenewingTimer {
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
fn at_the_end_of_the_input_each_timer_fires_once() {
    for backend in BACKENDS {
        let (make, layout) = operator(|| RenewingTimer, FaultPolicy::Fail, 1024);
        let mut harness = OperatorHarness::new(make, layout, backend, 1);
        let record = |key: &str, domain: &str| (key.to_owned(), domain.to_owned(), 0);
        harness.records(0, &[record("a", "event"), record("b", "processing"), record("c", "processing")]);
        harness.watermark(25);
        assert_eq!(harness.take_emitted(), [(0, "event".to_owned(), 10), (0, "event".to_owned(), 20)]);
        harness.watermark(i64::MAX);
        let processing = (0, "processing".to_owned(), 10);
        assert_eq!(harness.take_emitted(), [(0, "event".to_owned(), 30), processing.clone(), processing]);
        assert_eq!(harness.metric("numTimersDroppedAtEnd"), 3.0);
        assert_eq!(harness.metric("numProcessingTimersFiredAtEnd"), 2.0);
        harness.watermark(i64::MAX);
        assert_eq!(harness.take_emitted(), []);
    }
}
