//! Tests of functions that windows call: in a harness, and called like a host does, with several windows at once.

use super::{Harness, WindowHarness, Windows, column_of, window_key};
use crate::bindings::cofferdam::function::types::{
    Column, Failure, RecordValues, Timestamps, WindowBounds, Windows as WindowColumns,
};
use crate::bindings::exports::cofferdam::function::guest::{FunctionKind, StateKind};
use crate::bindings::exports::cofferdam::function::window::Elements as ElementColumns;
use crate::function::{Function, Kind};
use crate::prelude::*;
use crate::runner::Run;
use crate::{column, declaration};
use std::rc::Rc;

/// Concatenates the texts of a window. A bracket marks the beginning of each accumulator, so that merges are visible.
#[derive(Function)]
struct Brackets {
    open: String,
}

#[function(name = "brackets")]
impl AggregateFunction for Brackets {
    type Key = String;
    type In = Text;
    type Accumulator = String;
    type Out = Text;

    fn open(&mut self, ctx: &mut Context) -> Result {
        self.open = ctx.config("open").unwrap_or("(").to_owned();
        Ok(())
    }

    fn create(&mut self) -> String {
        self.open.clone()
    }

    fn add(&mut self, text: &mut String, value: &str, ctx: &mut Context) -> Result {
        ctx.count("added", 1);
        if value == "bad" {
            return Err(format!("at {:?}", ctx.timestamp()).into());
        }
        text.push_str(value);
        Ok(())
    }

    fn merge(&mut self, text: &mut String, other: String) -> Result {
        if other.contains("rotten") {
            return Err("not with that".into());
        }
        text.push_str(&other);
        Ok(())
    }

    fn result(&mut self, text: &String, window: &Window<String>) -> Result<String> {
        if text.contains("sour") {
            return Err("no".into());
        }
        Ok(format!("{} {text} {}", window.key(), window.end))
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn brackets(windows: Windows) -> WindowHarness<Brackets> {
    WindowHarness::new(windows)
}

/// Pushes `TEXT@TIME TEXT@TIME` of key k.
fn push(harness: &mut WindowHarness<Brackets>, records: &str) -> Result {
    for record in records.split(' ') {
        let (text, time) = record.split_once('@').ok_or("no record")?;
        harness.push("k", text, time.parse::<i64>()?)?;
    }
    Ok(())
}

fn late(harness: &mut WindowHarness<Brackets>) -> Result<Vec<String>> {
    Ok(harness.take_late()?.into_iter().map(|late| late.value).collect())
}

#[test]
fn an_aggregate_describes_its_accumulator() {
    let function = declaration::describe::<Brackets>();
    assert_eq!((function.kind, function.inputs.len()), (FunctionKind::Aggregate, 1));
    let [accumulator] = &function.states[..] else { panic!("one state") };
    assert_eq!((accumulator.name.as_str(), accumulator.kind), ("accumulator", StateKind::Aggregating));
    assert_eq!((accumulator.form.codec.as_str(), accumulator.form.schema.as_str()), ("postcard", "postcard:string"));
}

#[test]
fn overlapping_windows_share_panes() -> Result {
    let mut harness = brackets(Windows::sliding(ms(20), ms(10))).with_config("open", "<");
    push(&mut harness, "a@1 b@2 c@11 d@12")?;
    harness.advance_watermark(100)?;
    assert_eq!(harness.take_output()?, ["k <ab 10", "k <ab<cd 20", "k <cd 30"]);
    assert_eq!(harness.counter("added"), 8);
    Ok(())
}

#[test]
fn late_records_fire_again_until_the_lateness_is_over() -> Result {
    let mut harness = brackets(Windows::tumbling(ms(10)).allowed_lateness(ms(5)));
    push(&mut harness, "a@1")?;
    harness.advance_watermark(8)?;
    assert!(harness.take_output()?.is_empty());
    harness.advance_watermark(9)?;
    push(&mut harness, "b@2 c@10")?;
    harness.advance_watermark(13)?;
    push(&mut harness, "d@3")?;
    assert_eq!(harness.take_output()?, ["k (a 10", "k (ab 10", "k (abd 10"]);
    harness.advance_watermark(14)?;
    push(&mut harness, "e@4")?;
    assert_eq!((late(&mut harness)?, harness.open_windows()), (vec!["e".to_owned()], 1));
    harness.advance_watermark(19)?;
    assert_eq!(harness.take_output()?, ["k (c 20"]);
    Ok(())
}

#[test]
fn a_record_is_late_only_if_all_its_windows_are_cleaned_up() -> Result {
    let mut harness = brackets(Windows::sliding(ms(20), ms(10)));
    harness.advance_watermark(9)?;
    push(&mut harness, "a@5")?;
    harness.advance_watermark(19)?;
    assert_eq!((harness.take_output()?, late(&mut harness)?.len()), (vec!["k (a 20".to_owned()], 0));
    let mut harness = brackets(Windows::sliding(ms(10), ms(30)));
    push(&mut harness, "between@15")?;
    assert_eq!((late(&mut harness)?.len(), harness.open_windows()), (0, 0), "it is in no window, and is not late");
    harness.advance_watermark(15)?;
    push(&mut harness, "between@15")?;
    assert_eq!(late(&mut harness)?.len(), 1);
    Ok(())
}

#[test]
fn a_late_record_merges_two_sessions() -> Result {
    let windows = Windows::session(ms(10)).allowed_lateness(ms(10));
    let mut harness = brackets(windows.clone());
    push(&mut harness, "a@0 b@9 c@25")?;
    assert_eq!(harness.open_windows(), 2, "[0, 19) and [25, 35)");
    harness.advance_watermark(22)?;
    assert_eq!(harness.take_output()?, ["k (ab 19"]);
    let mut harness = WindowHarness::<Brackets>::restore(windows, &harness.snapshot())?;
    push(&mut harness, "d@17")?;
    assert_eq!((harness.open_windows(), harness.take_output()?.len()), (1, 0));
    harness.advance_watermark(34)?;
    assert_eq!(harness.take_output()?, ["k (ab(cd 35"]);
    harness.advance_watermark(44)?;
    push(&mut harness, "late@24 alone@26")?;
    assert_eq!(late(&mut harness)?, ["late"]);
    assert_eq!(harness.take_output()?, ["k (alone 36"], "its own window is not over yet");
    let mut harness = brackets(Windows::session(ms(10)));
    push(&mut harness, "a@0 b@10")?;
    assert_eq!(harness.open_windows(), 2, "[0, 10) ends where [10, 20) begins");
    Ok(())
}

#[test]
fn a_count_fires_with_and_without_purging() -> Result {
    let mut harness = brackets(Windows::global(2));
    push(&mut harness, "a@5 b@1 c@7 d@9 e@9")?;
    harness.advance_watermark(i64::MAX)?;
    let end = i64::MAX;
    assert_eq!(harness.take_output()?, [format!("k (ab {end}"), format!("k (abcd {end}")]);
    let mut harness = brackets(Windows::global(2).purging());
    push(&mut harness, "a@5 b@1 c@7")?;
    let mut harness = WindowHarness::<Brackets>::restore(Windows::global(2).purging(), &harness.snapshot())?;
    push(&mut harness, "d@9 e@9")?;
    assert_eq!(harness.take_output()?, [format!("k (cd {end}")]);
    let mut harness = brackets(Windows::tumbling(ms(10)).count_trigger(2));
    push(&mut harness, "a@1 b@2 c@3")?;
    harness.advance_watermark(9)?;
    assert_eq!((harness.take_output()?, harness.open_windows()), (vec!["k (ab 10".to_owned()], 0));
    Ok(())
}

#[test]
fn a_purged_window_fires_only_newer_records() -> Result {
    let mut harness = brackets(Windows::tumbling(ms(10)).allowed_lateness(ms(10)).purging());
    push(&mut harness, "a@1 b@2")?;
    harness.advance_watermark(9)?;
    push(&mut harness, "c@3")?;
    assert_eq!(harness.take_output()?, ["k (ab 10", "k (c 10"]);
    Ok(())
}

#[test]
fn windows_work_at_both_ends_of_time() -> Result {
    let mut harness = brackets(Windows::tumbling(ms(1000)).allowed_lateness(ms(50)));
    harness.push("k", "last", i64::MAX - 3)?;
    harness.push("k", "first", i64::MIN + 1)?;
    harness.advance_watermark(i64::MAX - 2)?;
    assert_eq!(harness.take_output()?.len(), 1);
    harness.advance_watermark(i64::MAX)?;
    assert_eq!(harness.take_output()?, [format!("k (last {}", i64::MAX)]);
    Ok(())
}

#[test]
fn a_failing_record_changes_nothing() -> Result {
    let mut harness = brackets(Windows::sliding(ms(20), ms(10)).count_trigger(2));
    push(&mut harness, "a@1")?;
    let before = harness.snapshot();
    assert_eq!(push(&mut harness, "bad@2").unwrap_err().to_string(), "record 0: at Some(2)");
    push(&mut harness, "sour@3").unwrap_err();
    assert_eq!(harness.take_output()?.len() + harness.counter("added") as usize, 2);
    let mut harness = brackets(Windows::tumbling(ms(10)));
    push(&mut harness, "sour@3 b@13")?;
    let error = harness.advance_watermark(30).unwrap_err();
    assert_eq!(error.to_string(), "record 0: window [0, 10) of `k`: no");
    assert_eq!((harness.take_output()?.len(), harness.open_windows()), (0, 2));
    assert!(WindowHarness::<Brackets>::restore(Windows::global(1), &before[..9]).is_err());
    Ok(())
}

/// Functions with an older and the current form of an accumulator.
mod forms {
    use super::*;

    #[derive(Default)]
    pub struct Old;

    #[function(name = "sum")]
    impl ReduceFunction for Old {
        type In = Json<u32>;

        fn reduce(&mut self, sum: u32, value: u32) -> Result<u32> {
            Ok(sum + value)
        }
    }

    #[derive(Default)]
    pub struct New;

    #[function(name = "sum")]
    impl AggregateFunction for New {
        type Key = String;
        type In = Json<u32>;
        type Accumulator = i64;
        type Out = Json<i64>;
        const ACCUMULATOR: AccumulatorState<i64> = AccumulatorState::new().migrate_from::<u32>();

        fn create(&mut self) -> i64 {
            0
        }

        fn add(&mut self, sum: &mut i64, value: u32, _: &mut Context) -> Result {
            *sum += i64::from(value);
            Ok(())
        }

        fn merge(&mut self, sum: &mut i64, other: i64) -> Result {
            *sum += other;
            Ok(())
        }

        fn result(&mut self, sum: &i64, _: &Window<String>) -> Result<i64> {
            Ok(-sum)
        }
    }
}

#[test]
fn an_accumulator_of_an_older_form_is_migrated() -> Result {
    let mut harness = WindowHarness::<forms::Old>::new(Windows::sliding(ms(20), ms(10)));
    harness.push("k", 300, 5)?;
    harness.push("k", 40, 15)?;
    let mut harness = WindowHarness::<forms::New>::restore(Windows::sliding(ms(20), ms(10)), &harness.snapshot())?;
    harness.push("k", 2, 16)?;
    harness.advance_watermark(19)?;
    assert_eq!(harness.take_output()?, [-300, -342]);
    assert!(WindowHarness::<forms::Old>::restore(Windows::sliding(ms(20), ms(10)), &harness.snapshot()).is_err());
    Ok(())
}

/// Emits the numbers of a window, and how often it has fired.
#[derive(Function)]
struct Numbers {
    fired: ValueState<u32>,
    large: SideOutput<Text>,
}

#[function(name = "numbers")]
impl ProcessWindowFunction for Numbers {
    type Key = String;
    type In = Json<u32>;
    type Out = Text;

    fn process(
        &mut self,
        window: &Window<String>,
        elements: Elements<Json<u32>>,
        ctx: &mut Context,
        out: &mut Collector<Text>,
    ) -> Result {
        let fired = self.fired.update(|fired| (*fired += 1, *fired).1);
        let listed = elements.as_slice().iter().map(|e| format!("{}@{:?}", e.value, e.timestamp));
        let listed: Vec<_> = listed.collect();
        assert_eq!((listed.len(), listed.is_empty()), (elements.len(), elements.is_empty()));
        out.emit(format!("{window} {fired} at {:?}: {}", ctx.timestamp(), listed.join(" ")));
        if elements.values().sum::<u32>() > 100 {
            self.large.emit(window.key());
        }
        Ok(())
    }
}

#[test]
fn a_window_has_its_own_state_until_it_is_cleaned_up() -> Result {
    let mut harness = WindowHarness::<Numbers>::new(Windows::tumbling(ms(10)).allowed_lateness(ms(10)));
    harness.push("a", 1, 0)?;
    harness.push("b", 200, 5)?;
    harness.advance_watermark(9)?;
    harness.push("a", 2, i64::MIN).expect_err("a record without a timestamp is not in a window of event time");
    harness.push("a", 3, 6)?;
    let emitted: Vec<_> =
        harness.take_emitted()?.into_iter().map(|e| (e.value, e.timestamp.map(Timestamp::as_millis))).collect();
    let lines = [
        "window [0, 10) of `a` 1 at Some(9): 1@Some(0)",
        "window [0, 10) of `b` 1 at Some(9): 200@Some(5)",
        "window [0, 10) of `a` 2 at Some(9): 1@Some(0) 3@Some(6)",
    ];
    assert_eq!(emitted, lines.map(|line| (line.to_owned(), Some(9))));
    assert_eq!(harness.take_side_output(|function| &function.large)?, ["b"]);
    assert_eq!(harness.read_state(window_key("a", 0, 10), |numbers| numbers.fired.get()), Some(2));
    harness.advance_watermark(19)?;
    assert_eq!(harness.read_state(window_key("a", 0, 10), |numbers| numbers.fired.get()), None, "it is over");
    assert!(harness.take_late()?.is_empty());
    Ok(())
}

#[test]
fn an_element_without_a_timestamp_has_none() -> Result {
    let mut harness = WindowHarness::<Numbers>::new(Windows::tumbling(ms(10)).processing_time());
    harness.push("a", 7, i64::MIN)?;
    harness.advance_watermark(50)?;
    assert!(harness.take_output()?.is_empty());
    harness.advance_processing_time(9)?;
    assert_eq!(harness.take_output()?, ["window [0, 10) of `a` 1 at Some(9): 7@None"]);
    Ok(())
}

#[test]
#[should_panic(expected = "session windows are merged")]
fn sessions_have_no_states() {
    WindowHarness::<Numbers>::new(Windows::session(ms(5)));
}

fn packed(values: &[&str]) -> RecordValues {
    RecordValues::Packed(column(values))
}

fn column(values: &[&str]) -> Column {
    column_of(&values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>())
}

/// Windows [0, 10), [10, 20) ... of these keys.
fn windows_of(keys: &[&str]) -> WindowColumns {
    let starts: Vec<i64> = (0..keys.len() as i64).map(|n| n * 10).collect();
    let ends = starts.iter().map(|start| start + 10).collect();
    let bounds = Some(WindowBounds { starts, ends });
    WindowColumns { keys: column(keys), key_of: (0..keys.len() as u32).collect(), bounds }
}

fn run<F: Function>(harness: &Harness<F>) -> Box<dyn Run> {
    F::Kind::run(Rc::new(harness.memory.clone()))
}

#[test]
fn several_windows_of_a_call_keep_their_states_apart() -> Result {
    let harness = Harness::<Numbers>::bare();
    let fire = |values: &[&str], ends: Vec<u32>| -> Result<Vec<String>, Failure> {
        harness.memory.with(|memory| memory.keys = vec![b"x".to_vec(), b"y".to_vec(), b"z".to_vec()]);
        let timestamps = Timestamps::Every((0..values.len() as i64).collect());
        let elements = ElementColumns { values: packed(values), timestamps, ends };
        let outputs = run(&harness).process_windows(windows_of(&["a", "b", "a"]), vec![elements])?;
        let main = &outputs[0];
        assert!(matches!(main.timestamps, Timestamps::Inherited));
        assert_eq!(main.origins, [0, 1, 2]);
        let RecordValues::Packed(values) = &main.values else { panic!("another layout") };
        Ok((0..3).map(|n| String::from_utf8_lossy(column::value(values, n)).into_owned()).collect())
    };
    let lines = fire(&["1", "2", "3"], vec![1, 1, 3]).unwrap();
    assert_eq!(lines[0], "window [0, 10) of `a` 1 at Some(9): 1@Some(0)");
    assert_eq!(lines[1], "window [10, 20) of `b` 1 at Some(19): ");
    assert_eq!(lines[2], "window [20, 30) of `a` 1 at Some(29): 2@Some(1) 3@Some(2)");
    harness.memory.with(|memory| memory.committed.states.clear(&(0, b"y".to_vec())));
    let lines = fire(&["1", "2", "3"], vec![1, 1, 3]).unwrap();
    assert!(lines[0].contains("`a` 2 ") && lines[1].contains("`b` 1 ") && lines[2].contains("`a` 2 "), "{lines:?}");
    let failure = fire(&["1", "2", "three"], vec![1, 2, 3]).unwrap_err();
    assert_eq!(failure.record, Some(2));
    assert!(failure.message.starts_with("window [20, 30) of `a`: element 0: input is not json"), "{}", failure.message);
    let failure = run(&harness).process_windows(windows_of(&[]), vec![]).unwrap_err();
    assert_eq!(failure.message, "function `numbers` has 1 inputs, not 0");
    Ok(())
}

#[test]
fn accumulators_of_a_call_are_folded_side_by_side() {
    let harness = Harness::<Brackets>::bare();
    let held = |texts: &[&str]| {
        let texts = texts.iter().map(|text| if text.is_empty() { vec![] } else { postcard::to_stdvec(text).unwrap() });
        column_of(&texts.collect::<Vec<_>>())
    };
    let texts = |column: &Column| -> Vec<String> {
        let text = |n| column::value(column, n);
        let text = |n| if text(n).is_empty() { String::new() } else { postcard::from_bytes(text(n)).unwrap() };
        (0..column::len(column)).map(text).collect()
    };
    let mut runner = run(&harness);
    let every = Timestamps::Every;
    let added = runner.add(held(&["old", "", ""]), vec![1, 0, 1], packed(&["a", "b", "c"]), every(vec![0; 3])).unwrap();
    assert_eq!(texts(&added), ["oldb", "(ac", ""], "an accumulator without a new record stays the same");
    assert_eq!(harness.counter("added"), 3);
    let failure = runner.add(held(&[""]), vec![0, 0], packed(&["a", "bad"]), every(vec![0, 7])).unwrap_err();
    assert_eq!((failure.record, failure.message.as_str()), (Some(1), "at Some(7)"));
    let failure = runner.add(column(&["\u{5}x"]), vec![], packed(&[]), Timestamps::None).unwrap_err();
    assert!(failure.message.starts_with("the accumulator is not postcard: "), "{}", failure.message);

    let merged = runner.merge(held(&["a", "", "c", ""]), held(&["x", "y", "", ""])).unwrap();
    assert_eq!(texts(&merged), ["ax", "y", "c", ""]);
    assert_eq!(runner.merge(held(&["a", "b"]), held(&["x", "rotten"])).unwrap_err().record, Some(1));

    let results = column::packed(runner.finish(held(&["a", ""]), windows_of(&["k", "l"])).unwrap()).unwrap();
    assert_eq!([column::value(&results, 0), column::value(&results, 1)], [&b"k a 10"[..], b"l ( 20"]);
    let failure = runner.finish(held(&["a", "sour"]), windows_of(&["k", "l"])).unwrap_err();
    assert_eq!((failure.record, failure.message.as_str()), (Some(1), "window [10, 20) of `l`: no"));
}

#[test]
fn an_empty_text_is_reduced_like_any_other() -> Result {
    #[derive(Default)]
    struct Joined;

    #[function]
    impl ReduceFunction for Joined {
        type In = Text;

        fn reduce(&mut self, joined: String, text: String) -> Result<String> {
            Ok(format!("{joined},{text}"))
        }
    }

    let mut harness = WindowHarness::<Joined>::new(Windows::tumbling(ms(10)));
    for text in ["", "", "x"] {
        harness.push("k", text, 0)?;
    }
    harness.advance_watermark(9)?;
    assert_eq!(harness.take_output()?, [",,x"]);
    Ok(())
}

#[derive(Function)]
struct Pairs {
    large: SideOutput<Text>,
}

#[function]
impl JoinFunction for Pairs {
    type Key = String;
    type First = Text;
    type Second = Json<u32>;
    type Out = Text;

    fn join(&mut self, first: &&str, second: &u32, ctx: &mut JoinContext<String>, out: &mut Collector<Text>) -> Result {
        if *second == 13 {
            return Err("unlucky".into());
        }
        let times = (ctx.first_timestamp(), ctx.second_timestamp());
        out.emit(format!("{}: {first}{second} {times:?} {:?}", ctx.key(), ctx.timestamp()));
        self.large.emit(first);
        Ok(())
    }
}

#[test]
fn a_window_join_emits_every_pair_of_its_window() -> Result {
    let mut harness = WindowHarness::<Pairs>::new(Windows::tumbling(ms(10)));
    harness.push_second("k", 1, 3)?;
    harness.push_first("k", "a", 2)?;
    harness.push_first("k", "b", 1)?;
    harness.push_first("l", "c", 1)?;
    let mut harness = WindowHarness::<Pairs>::restore(Windows::tumbling(ms(10)), &harness.snapshot())?;
    harness.advance_watermark(9)?;
    let pairs = ["k: a1 (Some(2), Some(3)) Some(9)", "k: b1 (Some(1), Some(3)) Some(9)"];
    assert_eq!(
        (harness.take_output()?, harness.take_side_output(|function| &function.large)?.len()),
        (pairs.map(str::to_owned).to_vec(), 2)
    );
    harness.push_first("k", "late", 1)?;
    harness.push_second("k", 5, 9)?;
    assert_eq!((harness.take_late()?[0].value.as_str(), harness.take_late_second()?[0].value), ("late", 5));
    harness.push_first("k", "d", 12)?;
    harness.push_second("k", 13, 12)?;
    let error = harness.advance_watermark(19).unwrap_err();
    assert_eq!(error.to_string(), "record 0: window [10, 20) of `k`: unlucky");
    assert_eq!(harness.description().kind, FunctionKind::CoGroup);
    Ok(())
}
