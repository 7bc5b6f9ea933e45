//! A function with two keyed inputs: the inputs share state and timers, on both backends, at any parallelism and across restores.

use std::sync::Arc;

use super::function::FunctionOperator;
use super::testing::{
    OperatorFactory, OperatorHarness, OperatorStep, expect, function_settings, play, records_of_input,
};
use crate::model::{Batch, Counters, DueTimers, Keys, TimeDomain};
use crate::pipeline::{FaultPolicy, StateBackendKind};
use crate::state::{StateDescription, StateKind, StateLayout};
use crate::turn::{
    FIRST_INPUT, Guest, OutputBatch, OutputId, SECOND_INPUT, Turn, TurnFailure, TurnLimits, timer_states,
};

/// The first input sets the word of its key, the second asks for it. The answer is emitted at once, and again 10 ms of event time
/// later. The question `forget` clears the word.
struct WordLookup;

impl WordLookup {
    fn answer(
        turn: &mut Turn,
        keys: &Keys,
        key: u32,
        batch: &mut Batch,
        what: &str,
        time: i64,
    ) -> Result<(), TurnFailure> {
        let word = turn.value_get(0, key)?.unwrap_or_default();
        let (key, word) = (keys.distinct.value(key as usize), String::from_utf8_lossy(&word).into_owned());
        batch.push(format!("{} {what} {word}", String::from_utf8_lossy(key)).as_bytes(), time);
        Ok(())
    }
}

impl Guest for WordLookup {
    fn process(&mut self, turn: &mut Turn, input: u32, records: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let (keys, mut batch) = (records.keys.clone().unwrap_or_default(), Batch::default());
        for (at, &key) in keys.key_of.iter().enumerate() {
            let (value, time) = (records.values.value(at), records.timestamps[at]);
            match (input, value) {
                (FIRST_INPUT, word) => turn.value_set(0, key, word)?,
                (_, b"forget") => turn.value_clear(0, &[key])?,
                _ => {
                    WordLookup::answer(turn, &keys, key, &mut batch, "now", time)?;
                    turn.timer_register(TimeDomain::Event, &[key], &[time + 10])?;
                }
            }
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
    }

    fn on_timers(
        &mut self,
        turn: &mut Turn,
        _: TimeDomain,
        timers: &DueTimers,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut batch = Batch::default();
        for (&key, &time) in timers.keys.key_of.iter().zip(&timers.times) {
            WordLookup::answer(turn, &timers.keys, key, &mut batch, "then", time)?;
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
    }
}

#[test]
fn two_inputs_share_state_and_timers() {
    let mut layout: StateLayout = vec![StateDescription::new("word", StateKind::Value, "raw", "word")];
    layout.extend(timer_states(&[TimeDomain::Event]));
    let make: OperatorFactory = Arc::new(|turn, clock| {
        let settings = function_settings(FaultPolicy::Fail, 2, clock);
        Box::new(FunctionOperator::new(Box::new(WordLookup), turn, settings, Counters::default()))
    });
    let steps = [
        records_of_input(SECOND_INPUT, &[("a", "?", 0), ("b", "?", 5)]),
        expect(&[("a now ", 0), ("b now ", 5)]),
        records_of_input(FIRST_INPUT, &[("a", "red", 1), ("b", "blue", 2), ("c", "green", 3), ("b", "black", 4)]),
        records_of_input(SECOND_INPUT, &[("b", "?", 6), ("c", "?", 6), ("a", "?", 6)]),
        expect(&[("a now red", 6), ("b now black", 6), ("c now green", 6)]),
        OperatorStep::Watermark(9),
        expect(&[]),
        OperatorStep::Watermark(15),
        expect(&[("a then red", 10), ("b then black", 15)]),
        records_of_input(FIRST_INPUT, &[("a", "white", 20)]),
        records_of_input(SECOND_INPUT, &[("c", "forget", 20)]),
        OperatorStep::Watermark(16),
        expect(&[("a then white", 16), ("b then black", 16), ("c then ", 16)]),
    ];
    play(&make, &layout, &steps);
}

#[test]
fn the_write_limit_of_a_function_excludes_deletions_of_fired_timers() {
    let kind = StateBackendKind::Memory;
    let mut layout: StateLayout = vec![StateDescription::new("word", StateKind::Value, "raw", "word")];
    layout.extend(timer_states(&[TimeDomain::Event]));
    let make: OperatorFactory = Arc::new(|mut turn, clock| {
        // The limit is enough for three timers.
        turn.set_limits(TurnLimits { state_per_turn: 200, ..TurnLimits::default() });
        let settings = function_settings(FaultPolicy::Fail, 100, clock);
        Box::new(FunctionOperator::new(Box::new(WordLookup), turn, settings, Counters::default()))
    });
    let mut harness = OperatorHarness::new(make, layout, kind, 1);
    for key in 0..20 {
        harness.records(SECOND_INPUT, &[(format!("k{key}"), "?".into(), 0)]);
    }
    harness.watermark(10);
    assert_eq!(harness.take_emitted().iter().filter(|(_, text, _)| text.contains("then")).count(), 20);
    assert_eq!(harness.faults(), 0);
}
