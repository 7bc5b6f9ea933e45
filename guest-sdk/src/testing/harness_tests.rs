//! Tests of functions that handle records one by one: state, timers, outputs, keys, and what a harness reports.

use super::Harness;
use crate::prelude::*;

/// Executes the steps that each record names, so that every test reads as a script.
#[derive(Function)]
struct Script {
    count: ValueState<u64>,
    last: ListState<i32>,
    late: SideOutput<Text>,
}

#[function(name = "script", timers(event, processing))]
impl KeyedProcessFunction for Script {
    type Key = String;
    type In = Text;
    type Out = Text;
    type OutKey = String;

    fn process_element(
        &mut self,
        line: &str,
        ctx: &mut KeyedContext<String>,
        out: &mut Collector<Text, String>,
    ) -> Result {
        for step in line.split("; ") {
            let (verb, argument) = step.split_once(' ').unwrap_or((step, "0"));
            match verb {
                "count" => {
                    let count = self.count.update(|count| {
                        *count += 1;
                        *count
                    });
                    out.emit(format!("{}={count}", ctx.key()));
                }
                "set" => self.count.set(argument.parse()?),
                "unset" => self.count.clear(),
                "add" => self.last.add(argument.parse()?),
                "list" => out.emit(format!("{:?}", self.last.get())),
                "empty" => self.last.clear(),
                "replace" => self.last.set([argument.parse()?]),
                "drop-first" => drop(self.last.update(|list| list.remove(0))),
                "late" => self.late.emit(argument),
                "event" => ctx.register_event_time_timer(argument.parse::<i64>()?.into()),
                "no-event" => ctx.delete_event_time_timer(argument.parse::<i64>()?.into()),
                "processing" => ctx.register_processing_time_timer(argument.parse::<i64>()?.into()),
                "fail" => Err(format!("failed on request: {argument}"))?,
                "panic" => panic!("panicked on request"),
                "log" => ctx.info(argument),
                "metric" => {
                    ctx.count("seen", argument.parse()?);
                    ctx.gauge("level", argument.parse()?);
                }
                "now" => out.emit(format!("{:?} {} {}", ctx.timestamp(), ctx.watermark(), ctx.processing_time())),
                "config" => out.emit(format!("{:?} {:?}", ctx.config(argument), ctx.config_as::<u8>("limit")?)),
                "keyed" => out.emit_keyed(argument, argument),
                "emit" => out.emit(argument),
                "emit-at" => out.emit_with_timestamp(argument, argument.parse::<i64>()?.into()),
                _ => return Err("no such step".into()),
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut KeyedContext<String>, out: &mut Collector<Text, String>) -> Result {
        out.emit(format!("{}@{} {:?}", ctx.key(), timer.time, ctx.timestamp()));
        match timer.time.as_millis() {
            10 => ctx.delete_event_time_timer(20.into()),
            11 => ctx.register_event_time_timer(12.into()),
            13 => Err("unlucky")?,
            _ => {}
        }
        Ok(())
    }
}

fn script() -> Harness<Script> {
    Harness::new()
}

fn count(harness: &Harness<Script>, key: &str) -> Option<u64> {
    harness.read_state(key, |script| script.count.get())
}

fn last(harness: &Harness<Script>, key: &str) -> Vec<i32> {
    harness.read_state(key, |script| script.last.get().to_vec())
}

#[test]
fn a_value_is_kept_per_key() -> Result {
    let mut harness = script();
    harness.push_batch([("a", "count", 0), ("b", "count", 0), ("a", "count", 0)])?;
    harness.push("a", "count; set 7; count; unset; count", 0)?;
    assert_eq!(harness.take_output()?, ["a=1", "b=1", "a=2", "a=3", "a=8", "a=1"]);
    assert_eq!(count(&harness, "a"), Some(1));
    harness.push("a", "unset", 0)?;
    assert_eq!((count(&harness, "a"), count(&harness, "b")), (None, Some(1)));
    Ok(())
}

#[test]
fn a_batch_loads_and_stores_each_state_once() -> Result {
    let mut harness = script();
    harness.push_batch((0..1000).map(|i| (format!("k{}", i % 10), "count; count", 0)))?;
    assert_eq!((harness.calls("value-load"), harness.calls("value-store"), harness.calls("value-clear")), (1, 1, 0));
    harness.push_batch((0..1000).map(|i| (format!("k{}", i % 10), "set 3; add 1", 0)))?;
    assert_eq!((harness.calls("value-load"), harness.calls("value-store")), (1, 2), "set reads nothing");
    assert_eq!((harness.calls("list-load"), harness.calls("list-append")), (0, 1), "add reads nothing");
    harness.push_batch((0..1000).map(|i| (format!("k{}", i % 10), "emit", 0)))?;
    assert_eq!(
        harness.calls("value-store") + harness.calls("list-append"),
        3,
        "a state that is not used costs nothing"
    );
    Ok(())
}

#[test]
fn a_list_is_kept_per_key() -> Result {
    let mut harness = script();
    harness.push_batch([
        ("a", "add 1; add 2", 0),
        ("b", "add 9", 0),
        ("a", "add 3; list; add 4", 0),
        ("b", "list", 0),
    ])?;
    harness.push_batch([("b", "list; add 10", 0), ("a", "drop-first; add 5; list", 0), ("b", "list", 0)])?;
    assert_eq!(harness.take_output()?, ["[1, 2, 3]", "[9]", "[9]", "[2, 3, 4, 5]", "[9, 10]"]);
    harness.push_batch([("a", "add 6; replace 1; add 2; list", 0), ("b", "list; empty; list; add 3", 0)])?;
    assert_eq!(harness.take_output()?, ["[1, 2]", "[9, 10]", "[]"]);
    assert_eq!((last(&harness, "a"), last(&harness, "b")), (vec![1, 2], vec![3]));
    harness.push("a", "add 3; empty", 0)?;
    assert!(last(&harness, "a").is_empty());
    Ok(())
}

#[test]
fn an_element_is_added_to_a_list_that_was_loaded_for_another_key() -> Result {
    let mut harness = script();
    harness.push_batch([("a", "add 1", 0), ("b", "add 2", 0)])?;
    harness.push_batch([("a", "list", 0), ("b", "add 3", 0), ("b", "list", 0)])?;
    assert_eq!(harness.take_output()?, ["[1]", "[2, 3]"]);
    assert_eq!(last(&harness, "b"), [2, 3]);
    Ok(())
}

#[test]
fn a_failing_record_rolls_its_batch_back() -> Result {
    let mut harness = script();
    harness.push("a", "count; add 1", 0)?;
    let batch =
        [("a", "count; add 2; late x; event 5; metric 1", 0), ("b", "log before; fail now", 0), ("c", "count", 0)];
    let error = harness.push_batch(batch).expect_err("the second record fails");
    assert_eq!(error.to_string(), "record 1: failed on request: now");
    assert_eq!(harness.take_output()?, ["a=1"]);
    assert!(harness.take_side_output(|script| &script.late)?.is_empty());
    assert_eq!((count(&harness, "a"), last(&harness, "a")), (Some(1), vec![1]));
    assert_eq!((harness.timers(TimeDomain::Event), harness.counter("seen")), (0, 0));
    assert_eq!((harness.logs()[0].message.as_str(), harness.logs()[0].record), ("before", Some(1)));
    Ok(())
}

#[test]
fn a_record_that_is_not_of_the_codec_is_named() {
    let error = script().push_bytes("a", b"\xff", 0).expect_err("it is not UTF-8");
    assert_eq!(error.to_string(), "record 0: input is not text: not UTF-8 at byte 0");
}

#[test]
fn outputs_carry_timestamps_and_keys() -> Result {
    let mut harness = script();
    harness.push_batch([("a", "emit x; late y; emit-at 3", 7), ("a", "keyed k; emit z", 8)])?;
    let emitted = harness.take_emitted()?;
    let seen: Vec<_> =
        emitted.iter().map(|e| (e.value.as_str(), e.timestamp.map(Timestamp::as_millis), e.key.as_deref())).collect();
    let (none, key): (Option<&[u8]>, Option<&[u8]>) = (Some(b""), Some(b"k"));
    assert_eq!(seen, [("x", Some(7), none), ("3", Some(3), none), ("k", Some(8), key), ("z", Some(8), none)]);
    assert_eq!(harness.take_side_output(|script| &script.late)?, ["y"]);
    Ok(())
}

#[test]
fn timers_fire_once_per_key_and_time_in_order() -> Result {
    let mut harness = script();
    harness.push_batch([("b", "event 30; event 5; event 5", 0), ("a", "event 5; event 40; processing 6", 0)])?;
    harness.advance_watermark(30)?;
    assert_eq!(harness.take_output()?, ["a@5 Some(5)", "b@5 Some(5)", "b@30 Some(30)"]);
    harness.advance_processing_time(6)?;
    assert_eq!(harness.take_output()?, ["a@6 None"]);
    harness.push("a", "no-event 40; now", 2)?;
    harness.advance_watermark(i64::MAX)?;
    assert_eq!(harness.take_output()?, ["Some(2) 30 6"]);
    Ok(())
}

#[test]
fn a_timer_may_delete_and_register_others() -> Result {
    let mut harness = script();
    harness.push_batch([("a", "event 10; event 20", 0), ("b", "event 20; event 11; event 15", 0)])?;
    harness.advance_watermark(20)?;
    let fired = ["a@10 Some(10)", "b@11 Some(11)", "b@12 Some(12)", "b@15 Some(15)", "b@20 Some(20)"];
    assert_eq!(harness.take_output()?, fired);
    Ok(())
}

#[test]
fn a_failing_timer_stays_registered() -> Result {
    let mut harness = script();
    harness.push("a", "event 13; event 4", 0)?;
    let error = harness.advance_watermark(20).expect_err("13 fails");
    assert_eq!(error.to_string(), "timer at 13: unlucky");
    assert_eq!(harness.take_output()?, ["a@4 Some(4)"]);
    assert_eq!(harness.timers(TimeDomain::Event), 1);
    Ok(())
}

#[test]
fn one_call_may_have_timers_of_several_times() {
    use crate::bindings::cofferdam::function::types::Column;
    use crate::bindings::exports::cofferdam::function::timer_handler::DueTimers;
    let harness = script();
    harness.memory.with(|memory| memory.keys = vec![b"a".to_vec()]);
    let mut runner = harness.instance();
    let keys = Column { bytes: b"a".to_vec(), offsets: vec![0, 1] };
    let due = DueTimers { domain: TimeDomain::Event, keys, key_of: vec![0; 3], times: vec![10, 20, 21] };
    let outputs = runner.on_timers(due).expect("no timer fails");
    let values = crate::column::packed(outputs.into_iter().next().unwrap().values).unwrap();
    assert_eq!(values.bytes, b"a@10 Some(10)a@21 Some(21)", "10 deletes 20");
}

#[test]
fn a_restored_harness_continues_from_the_snapshot() -> Result {
    let mut harness = script();
    harness.push_batch([("a", "count; add 1; event 50", 0), ("b", "count; processing 60", 0)])?;
    harness.advance_watermark(3)?;
    let bytes = harness.snapshot();
    harness.push("a", "count", 0)?;

    let mut restored = Harness::<Script>::restore(&bytes)?;
    assert_eq!(restored.snapshot(), bytes);
    restored.push("a", "count; add 2; list; now", 1)?;
    restored.advance_watermark(50)?;
    assert_eq!(restored.take_output()?, ["a=2", "[1, 2]", "Some(1) 3 0", "a@50 Some(50)"]);
    assert!(Harness::<Script>::restore(&bytes[..5]).is_err());
    Ok(())
}

#[derive(Function)]
struct Other {
    last: ListState<i32>,
    count: ValueState<String>,
}

#[function]
impl KeyedProcessFunction for Other {
    type Key = String;
    type In = Text;
    type Out = Bytes;

    fn process_element(&mut self, _: &str, ctx: &mut KeyedContext<String>, _: &mut Collector<Bytes>) -> Result {
        // Two states are held at once.
        let (count, last) = (&mut self.count, &mut self.last);
        count.set(last.len().to_string());
        ctx.register_event_time_timer(1.into());
        Ok(())
    }
}

#[test]
fn a_state_that_changed_its_type_is_not_restored() -> Result {
    let mut harness = script();
    harness.push("a", "count", 0)?;
    let error = Harness::<Other>::restore(&harness.snapshot()).map(drop).expect_err("the type changed");
    let words =
        "state `count` is stored as `postcard:u64`, and the function reads `postcard:string`: keep the older type";
    assert!(error.to_string().starts_with(words), "{error}");
    Ok(())
}

#[test]
#[should_panic(expected = "event-time timers without declaring them: write `#[function(timers(event))]`")]
fn undeclared_timers_are_named() {
    let _ = Harness::<Other>::new().push("a", "timer", 0);
}

#[test]
fn metrics_and_config_reach_the_function() -> Result {
    let mut harness = script().with_config("limit", "7").with_config("name", "x");
    harness.push_batch([("a", "metric 2; config name", 0), ("b", "metric 3; config other", 0)])?;
    assert_eq!((harness.counter("seen"), harness.gauge("level")), (5, Some(3.0)));
    assert_eq!(harness.take_output()?, ["Some(\"x\") Some(7)", "None Some(7)"]);
    let error = script().with_config("limit", "many").push("a", "config x", 0).expect_err("many is no number");
    assert_eq!(error.to_string(), "record 0: config `limit`: `many` is not a valid value");
    Ok(())
}

#[derive(Record)]
struct Length {
    letters: u32,
}

#[derive(Function)]
struct CountLetters;

#[function]
impl MapFunction for CountLetters {
    type In = Json<(String, u8)>;
    type Out = Length;

    fn map(&mut self, (word, _): (String, u8), _ctx: &mut Context) -> Result<Length> {
        Ok(Length { letters: word.len() as u32 })
    }
}

crate::export!(Script, CountLetters, Other);

#[test]
fn a_map_keeps_the_timestamp() -> Result {
    let mut harness = Harness::<CountLetters>::new();
    harness.push_batch([("", ("tea".into(), 1), 4), ("", ("coffee".into(), 1), i64::MIN)])?;
    let emitted: Vec<_> = harness
        .take_emitted()?
        .into_iter()
        .map(|e| (e.value.letters, e.timestamp.map(Timestamp::as_millis), e.key))
        .collect();
    assert_eq!(emitted, [(3, Some(4), None), (6, None, None)]);
    Ok(())
}

#[test]
fn a_component_describes_its_functions() {
    let component = crate::describe(COFFERDAM_FUNCTIONS);
    assert!(component.sdk.starts_with("cofferdam-sdk "));
    let [script, letters, other] = &component.functions[..] else { panic!("three functions") };
    assert_eq!([&script.name, &letters.name, &other.name], ["script", "count-letters", "other"]);
    let states: Vec<_> =
        script.states.iter().map(|s| (s.name.as_str(), s.form.codec.as_str(), s.form.schema.as_str())).collect();
    assert_eq!(states, [("count", "postcard", "postcard:u64"), ("last", "postcard", "postcard:i32")]);
    let outputs: Vec<_> = script.outputs.iter().map(|port| (port.name.as_str(), port.codec.as_str())).collect();
    assert_eq!(outputs, [("main", "raw"), ("late", "raw")]);
    assert_eq!(script.timers, [TimeDomain::Event, TimeDomain::Processing]);
    assert_eq!((letters.inputs[0].codec.as_str(), letters.outputs[0].codec.as_str()), ("json", "row"));
    assert!(letters.inputs[0].schema.is_empty());
    let field = &letters.outputs[0].schema[0];
    assert_eq!((field.name.as_str(), field.field_type.as_str(), field.nullable), ("letters", "u32", false));
    let key_types = [&script.inputs[0], &script.outputs[0], &script.outputs[1], &letters.inputs[0], &other.outputs[0]];
    assert_eq!(key_types.map(|port| port.key_type.as_str()), ["string", "string", "", "", ""]);
    assert!(other.timers.is_empty() && letters.states.is_empty());
}

#[test]
fn a_derived_shape_names_fields_and_variants() {
    #[derive(StateType)]
    #[allow(dead_code)]
    struct Stats {
        count: u64,
        mode: Mode,
    }
    #[derive(StateType)]
    #[allow(dead_code)]
    enum Mode {
        Off,
        On(u8),
        At { hour: i32 },
    }
    #[derive(StateType)]
    struct Seen;
    assert_eq!(crate::Shape::fingerprint::<Vec<Seen>>("postcard"), "postcard:list<(),>");
    assert_eq!(crate::Shape::fingerprint::<Timestamp>("postcard"), "postcard:i64");
    assert_eq!(
        crate::Shape::fingerprint::<Stats>("postcard"),
        "postcard:{count:u64,mode:enum<Off|On(u8,)|At{hour:i32,}|>,}"
    );
}

#[derive(Default)]
struct Remembers(u32);

#[function]
impl FlatMapFunction for Remembers {
    type In = Bytes;
    type Out = Bytes;

    fn open(&mut self, ctx: &mut Context) -> Result {
        self.0 = ctx.config_as("start")?.ok_or("config `start` is missing")?;
        Ok(())
    }

    fn flat_map(&mut self, value: &[u8], _ctx: &mut Context, out: &mut Collector<Bytes>) -> Result {
        self.0 += 1;
        out.emit([value, self.0.to_string().as_bytes()].concat());
        Ok(())
    }
}

#[test]
fn every_call_gets_a_new_instance() -> Result {
    let mut harness = Harness::<Remembers>::new().with_config("start", "5");
    harness.push_batch([("", b"a", 0), ("", b"b", 0)])?;
    harness.push("", b"c", 0)?;
    assert_eq!(harness.take_text()?, ["a6", "b7", "c6"]);
    let error = Harness::<Remembers>::new().push("", b"a", 0).expect_err("open fails");
    assert_eq!(error.to_string(), "config `start` is missing");
    Ok(())
}

#[test]
fn a_keyed_function_refuses_records_without_keys() {
    use crate::bindings::cofferdam::function::types::{Batch, Column, RecordValues, Timestamps};
    let mut runner = script().instance();
    let column = |bytes: &[u8], offsets| Column { bytes: bytes.to_vec(), offsets };
    let values = column(b"emit", vec![0, 4]);
    let values = RecordValues::Packed(values);
    let keys = column(b"", vec![]);
    let batch = Batch { values, timestamps: Timestamps::None, keys, key_of: vec![], attributes: None };
    let failure = runner.process(0, batch).expect_err("there is no key");
    assert_eq!(failure.message, "function `script` needs keys: give its operator a `key` in the pipeline");
}

/// Emits the number after its key.
#[derive(Function)]
struct Numbered {
    seen: MapState<Timestamp, u32>,
}

#[function]
impl KeyedProcessFunction for Numbered {
    type Key = i32;
    type In = Bytes;
    type Out = Text;
    type OutKey = (i32, String);

    fn process_element(
        &mut self,
        _: &[u8],
        ctx: &mut KeyedContext<i32>,
        out: &mut Collector<Text, (i32, String)>,
    ) -> Result {
        self.seen.update(&ctx.require_timestamp()?, |seen| *seen += 1);
        out.emit_keyed((ctx.key(), "x"), (ctx.key() + 1).to_string());
        Ok(())
    }
}

#[test]
fn a_key_has_the_type_that_the_function_declares() -> Result {
    let mut harness = Harness::<Numbered>::new();
    harness.push_batch([(-7, "", 5), (-7, "", 5), (41, "", 6)])?;
    let emitted = harness.take_emitted()?;
    assert_eq!(emitted.iter().map(|e| e.value.as_str()).collect::<Vec<_>>(), ["-6", "-6", "42"]);
    assert_eq!(emitted[0].key.as_deref(), Some(&b"2:-71:x"[..]));
    assert_eq!(harness.read_state(-7, |numbered| numbered.seen.get(&Timestamp::from(5))), Some(2));
    assert_eq!(harness.description().states[0].map_key, "ordered:i64");
    Ok(())
}

#[test]
fn a_key_of_another_form_fails_the_first_record_that_has_it() -> Result {
    let mut harness = Harness::<Numbered>::new();
    let error = harness.push_batch([("1", "", 0), ("007", "", 0), ("007", "", 0)]).expect_err("007 is not canonical");
    assert_eq!(
        error.to_string(),
        "record 1: the key `007` is not a `i32`, the key type of function `numbered`: a number has neither leading zeros nor a plus sign"
    );
    let error = script().push_batch([("a", "emit", 0), ("\u{fc}", "emit", 0)]);
    assert!(error.is_ok(), "text need not be ASCII");
    let error = script().push(b"\xff", "emit", 0).expect_err("the key is not UTF-8");
    assert!(error.to_string().starts_with("record 0: the key `0xff` is not a `string`"), "{error}");
    Ok(())
}

#[test]
fn a_missing_timestamp_says_what_to_do() {
    let error = Harness::<Numbered>::new().push(1, "", i64::MIN).expect_err("there is no timestamp");
    assert!(error.to_string().ends_with("give its source a `timestamp` in the pipeline"), "{error}");
}

#[test]
fn reading_state_changes_nothing() -> Result {
    let mut harness = script();
    harness.push("a", "count", 0)?;
    let (before, calls) = (harness.snapshot(), harness.calls("value-load"));
    harness.read_state("a", |script| script.count.set(9));
    assert_eq!((count(&harness, "a"), harness.snapshot(), harness.calls("value-load")), (Some(1), before, calls));
    Ok(())
}
