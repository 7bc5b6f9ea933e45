//! Tests of timers within a call, of two inputs, and of calls that a function's kind does not have.

use super::{Harness, IntervalJoinHarness, Items, Pushed, column_of};
use crate::bindings::cofferdam::function::types::{Batch, Column, RecordValues, Timestamps, Windows};
use crate::bindings::exports::cofferdam::function::guest::FunctionKind;
use crate::bindings::exports::cofferdam::function::join::{Pairs, Side};
use crate::bindings::exports::cofferdam::function::timer_handler::DueTimers;
use crate::column::packed;
use crate::prelude::*;
use crate::turn_cursor::ItemStream;

/// Takes `TIME: STEP; STEP`, the steps of the timer at that time. Timers emit themselves.
#[derive(Function)]
struct Planned {
    steps: MapState<i64, String>,
}

#[function(timers(event, processing))]
impl KeyedProcessFunction for Planned {
    type Key = String;
    type In = Text;
    type Out = Text;

    fn process_element(&mut self, plan: &str, _: &mut KeyedContext<String>, _: &mut Collector<Text>) -> Result {
        let (time, steps) = plan.split_once(": ").ok_or("no plan")?;
        self.steps.insert(&time.parse()?, steps.to_owned());
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        out.emit(format!("{}@{}", ctx.key(), timer.time));
        let steps = self.steps.get(&timer.time.as_millis()).unwrap_or_default();
        for step in steps.split("; ").filter(|step| !step.is_empty()) {
            let (verb, time) = step.split_once(' ').ok_or("no step")?;
            let time = time.parse::<i64>()?.into();
            match verb {
                "register" => ctx.register_event_time_timer(time),
                "once" => {
                    ctx.register_event_time_timer(time);
                    self.steps.remove(&timer.time.as_millis());
                }
                "delete" => ctx.delete_event_time_timer(time),
                _ => ctx.register_processing_time_timer(time),
            }
        }
        Ok(())
    }
}

/// Hands the due timers over in one call, while the host has other timers as well. Returns the timers that fire, and those that the
/// host has afterwards.
fn one_call(plans: &[(&str, &str)], due: &[(i64, &str)], others: &[(i64, &str)]) -> Result<(String, String)> {
    let mut harness = Harness::<Planned>::new();
    harness.push_batch(plans.iter().map(|(key, plan)| (key, plan, 0)))?;
    let timers = others.iter().map(|(time, key)| (*time, key.as_bytes().to_vec()));
    harness.memory.with(|memory| memory.committed.event_timers.extend(timers));
    let mut keys: Vec<_> = due.iter().map(|(_, key)| key.as_bytes().to_vec()).collect();
    keys.dedup();
    let key_of = due.iter().map(|(_, key)| keys.iter().position(|other| other == key.as_bytes()).unwrap() as u32);
    let due = DueTimers {
        domain: TimeDomain::Event,
        keys: column_of(&keys),
        key_of: key_of.collect(),
        times: due.iter().map(|(time, _)| *time).collect(),
    };
    let items = Items { keys, stream: ItemStream::EventTimers, times: due.times.clone() };
    harness.emitting_turn(items, |runner| runner.on_timers(due))?;
    let left = harness.memory.with(|memory| {
        let timers = memory.committed.event_timers.iter();
        timers.map(|(time, key)| format!("{}@{time}", String::from_utf8_lossy(key))).collect::<Vec<_>>()
    });
    Ok((harness.take_output()?.join(" "), left.join(" ")))
}

fn assert_fires(plans: &[(&str, &str)], due: &[(i64, &str)], others: &[(i64, &str)], fired: &str, left: &str) {
    let (actual_fired, actual_left) = one_call(plans, due, others).unwrap();
    assert_eq!((actual_fired.as_str(), actual_left.as_str()), (fired, left), "{plans:?} over {due:?} and {others:?}");
}

#[test]
fn a_timer_registered_in_a_call_fires_in_the_order_of_times() {
    let due = [(10, "a"), (20, "b"), (30, "a")];
    assert_fires(&[("a", "10: register 15")], &due, &[], "a@10 a@15 b@20 a@30", "");
    assert_fires(&[("a", "10: register 30")], &due, &[], "a@10 b@20 a@30", "");
    assert_fires(&[("a", "10: register 31")], &due, &[], "a@10 b@20 a@30", "a@31");
    assert_fires(&[("b", "20: register 30")], &due, &[], "a@10 b@20 a@30 b@30", "");
    // Timers for a time that has passed wait until event time advances.
    assert_fires(&[("b", "20: register 3")], &due, &[], "a@10 b@20 a@30", "b@3");
    let chain = [("a", "10: register 12"), ("a", "12: register 14; register 40"), ("a", "14: register 22")];
    assert_fires(&chain, &due, &[], "a@10 a@12 a@14 b@20 a@22 a@30", "a@40");
    assert_fires(&[("a", "10: once 10")], &due, &[], "a@10 b@20 a@30", "a@10");
    assert_fires(&[("a", "10: processing 12")], &due, &[], "a@10 b@20 a@30", "");
}

#[test]
fn a_timer_deleted_in_a_call_does_not_fire() {
    let due = [(10, "a"), (20, "b"), (30, "a")];
    assert_fires(&[("a", "10: delete 30")], &due, &[], "a@10 b@20", "");
    assert_fires(&[("b", "20: delete 30")], &due, &[], "a@10 b@20 a@30", "");
    assert_fires(&[("a", "10: register 15; delete 15")], &due, &[], "a@10 b@20 a@30", "");
    assert_fires(&[("a", "10: delete 30; register 30")], &due, &[], "a@10 b@20 a@30", "");
    assert_fires(&[("a", "10: register 30; delete 30")], &due, &[], "a@10 b@20", "");
    assert_fires(&[("a", "10: register 50; delete 50")], &due, &[], "a@10 b@20 a@30", "");
}

#[test]
fn a_timer_that_the_host_has_is_not_registered_twice() {
    let due = [(10, "a"), (20, "b")];
    let others = [(20, "a"), (40, "a")];
    assert_fires(&[], &due, &others, "a@10 b@20", "a@20 a@40");
    assert_fires(&[("a", "10: register 20")], &due, &others, "a@10 b@20 a@20", "a@40");
    assert_fires(&[("a", "10: delete 20; delete 40")], &due, &others, "a@10 b@20", "");
    assert_fires(&[("a", "10: register 40")], &due, &others, "a@10 b@20", "a@20 a@40");
}

/// Emits each record with the last record of the key, from either input.
#[derive(Function)]
struct Together {
    last: ValueState<String>,
    seen: SideOutput<Text>,
}

#[function(timers(processing))]
impl CoProcessFunction for Together {
    type Key = String;
    type First = Text;
    type Second = Json<u32>;
    type Out = Text;

    fn process_first(&mut self, word: &str, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        self.next(word.to_owned(), ctx, out)
    }

    fn process_second(&mut self, number: u32, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        ctx.register_processing_time_timer(i64::from(number).into());
        self.seen.emit(number.to_string());
        self.next(number.to_string(), ctx, out)
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        self.next(format!("timer {}", timer.time), ctx, out)
    }
}

impl Together {
    fn next(&mut self, this: String, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let last = self.last.get().unwrap_or_default();
        out.emit(format!("{}: {last} {this}", ctx.key()));
        self.last.set(this);
        Ok(())
    }
}

#[test]
fn two_inputs_share_state_and_timers() -> Result {
    let mut harness = Harness::<Together>::new();
    harness.push_first("k", "tea", 0)?;
    harness.push_second("k", 5, 0)?;
    harness.push("l", "jam", 0)?;
    let mut harness = Harness::<Together>::restore(&harness.snapshot())?;
    harness.push_first("k", "bread", 0)?;
    harness.advance_processing_time(5)?;
    assert_eq!(harness.take_output()?, ["k: 5 bread", "k: bread timer 5"]);
    let five = Pushed::new::<Text, _>("k", "five", 0)?;
    let error = harness.push_input(1, vec![five]).expect_err("it is not a number");
    assert!(error.to_string().starts_with("record 0: second input is not json"), "{error}");
    harness.push_second("l", 9, 0)?;
    assert_eq!(
        (harness.take_output()?, harness.take_side_output(|function| &function.seen)?),
        (vec!["l: jam 9".into()], vec!["9".into()])
    );
    let function = harness.description();
    assert_eq!(function.kind, FunctionKind::CoProcess);
    let inputs: Vec<_> = function.inputs.iter().map(|port| (port.name.as_str(), port.codec.as_str())).collect();
    assert_eq!(inputs, [("first", "raw"), ("second", "json")]);
    Ok(())
}

/// Emits pairs with their times.
#[derive(Function)]
struct Pair {
    mark: String,
    seen: SideOutput<Text>,
}

#[function(name = "pair")]
impl IntervalJoinFunction for Pair {
    type Key = String;
    type First = Text;
    type Second = Json<u32>;
    type Out = Text;

    fn open(&mut self, ctx: &mut Context) -> Result {
        self.mark = ctx.config("mark").unwrap_or("-").to_owned();
        Ok(())
    }

    fn join(&mut self, first: &&str, second: &u32, ctx: &mut JoinContext<String>, out: &mut Collector<Text>) -> Result {
        if *first == "bad" {
            return Err("a bad one".into());
        }
        ctx.count("pairs", 1);
        self.seen.emit(first);
        let times = (ctx.first_timestamp().unwrap_or_default(), ctx.second_timestamp().unwrap_or_default());
        out.emit(format!("{}{}{first}{second} {times:?}", ctx.key(), self.mark));
        Ok(())
    }
}

#[test]
fn an_interval_join_emits_the_pairs_within_its_bounds() -> Result {
    let mut harness = IntervalJoinHarness::<Pair>::new(-2, 3).with_config("mark", "+");
    harness.push_first("k", "a", 10)?;
    for time in [7, 8, 13, 14] {
        harness.push_second("k", time as u32, time)?;
    }
    harness.push_second("other", 10, 10)?;
    let emitted: Vec<_> =
        harness.take_emitted()?.into_iter().map(|e| (e.value, e.timestamp.map(Timestamp::as_millis))).collect();
    assert_eq!(emitted, [("k+a8 (10, 8)".into(), Some(10)), ("k+a13 (10, 13)".into(), Some(13))]);
    assert_eq!((harness.counter("pairs"), harness.take_side_output(|function| &function.seen)?.len()), (2, 2));

    let mut harness = IntervalJoinHarness::<Pair>::restore(&harness.snapshot())?;
    harness.push_first("k", "b", 9)?;
    assert_eq!(harness.take_output()?, ["k-b7 (9, 7)", "k-b8 (9, 8)"]);
    harness.push_first("k", "bad", 12).expect_err("the pair fails");
    assert!(harness.take_output()?.is_empty());
    Ok(())
}

#[test]
fn an_interval_join_drops_records_that_cannot_be_joined() -> Result {
    let mut harness = IntervalJoinHarness::<Pair>::new(-2, 3).lower_exclusive().upper_exclusive();
    harness.push_first("k", "a", 10)?;
    for time in [8, 9, 12, 13] {
        harness.push_second("k", time as u32, time)?;
    }
    assert_eq!(harness.take_output()?, ["k-a9 (10, 9)", "k-a12 (10, 12)"]);
    harness.advance_watermark(11);
    assert_eq!(harness.kept(), 3, "8 and 9 + 1 and 10 + 2 are the last that each could meet: a, 12 and 13 stay");
    harness.push_first("k", "c", 11)?;
    harness.push_first("k", "late", 10)?;
    harness.push_second("k", 7, 10)?;
    harness.push_second("k", 7, i64::MIN).expect_err("it has no time");
    assert_eq!(harness.take_output()?, ["k-c12 (11, 12)", "k-c13 (11, 13)"]);
    assert_eq!((harness.take_late()?[0].value.as_str(), harness.take_late_second()?[0].value), ("late", 7));
    harness.advance_watermark(14);
    assert_eq!(harness.kept(), 0);
    Ok(())
}

fn column(values: &[&str]) -> Column {
    column_of(&values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>())
}

#[test]
fn the_first_pair_with_an_unreadable_value_is_named() {
    let harness = Harness::<Pair>::bare();
    let side = |values: &[&str], value_of| Side {
        values: RecordValues::Packed(column(values)),
        timestamps: Timestamps::Every(vec![0; values.len()]),
        value_of,
    };
    let pairs = |left: &[&str], right: &[&str]| Pairs {
        keys: column(&["k"]),
        key_of: vec![0; 3],
        left: side(left, vec![0, 1, 1]),
        right: side(right, vec![0, 0, 1]),
    };
    let failure = harness.instance().join(pairs(&["a", "b"], &["1", "two"])).unwrap_err();
    assert_eq!(failure.record, Some(2));
    assert!(failure.message.starts_with("second input is not json"), "{}", failure.message);
    let failure = harness.instance().join(pairs(&["a", "bad"], &["1", "2"])).unwrap_err();
    assert_eq!((failure.record, failure.message.as_str()), (Some(1), "a bad one"));
    let outputs = harness.instance().join(pairs(&["a", "b"], &["1", "2"])).unwrap();
    let values = outputs.into_iter().map(|output| packed(output.values).unwrap().bytes).collect::<Vec<_>>();
    assert_eq!(values[0], b"k-a1 (0, 0)k-b1 (0, 0)k-b2 (0, 0)");
}

#[test]
fn a_call_that_the_kind_does_not_have_is_an_error() {
    let (planned, pair) = (Harness::<Planned>::new(), Harness::<Pair>::bare());
    let (values, none) = (|| RecordValues::Packed(column(&[])), || Timestamps::None);
    let keys = || column(&[]);
    let batch = || Batch { values: values(), timestamps: none(), keys: keys(), key_of: vec![], attributes: None };
    let windows = || Windows { keys: keys(), key_of: vec![], bounds: None };
    let side = || Side { values: values(), timestamps: none(), value_of: vec![] };
    let of_pair = pair.instance().process(0, batch()).unwrap_err();
    assert_eq!(of_pair.message, "function `pair` is of kind interval-join, which does not handle records");
    let due = DueTimers { domain: TimeDomain::Event, keys: column(&[]), key_of: vec![], times: vec![] };
    let failures = [
        pair.instance().on_timers(due).unwrap_err(),
        planned.instance().add(column(&[]), vec![], values(), none()).unwrap_err(),
        planned.instance().merge(column(&[]), column(&[])).unwrap_err(),
        planned.instance().finish(column(&[]), windows()).unwrap_err(),
        planned.instance().process_windows(windows(), vec![]).unwrap_err(),
        planned.instance().join(Pairs { keys: column(&[]), key_of: vec![], left: side(), right: side() }).unwrap_err(),
    ];
    assert!(failures.iter().all(|failure| failure.message.contains("is of kind ")), "{failures:?}");
    let second = planned.instance().process(1, batch()).unwrap_err();
    assert_eq!(second.message, "function `planned` has no input 1");
}
