//! Windows, compared with a plain model: for random definitions, orders of arrival, batches, watermarks, restores and parallelism.
//!
//! The model sees all records at once. For each key and window, it applies the definition to the records in the window. It shares
//! no code with the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::definition::{WindowFunction, WindowOptions, window_states};
use super::testing::{EVENT, JsonResults, ListFunction, SumVariant, accumulator_state, sum_guest};
use super::window_operator::WindowOperator;
use crate::model::{Counters, TimeDomain};
use crate::operator::interface::Operator;
use crate::operator::testing::{EmittedRecord, GroupWatermarkModel, OperatorHarness, function_settings};
use crate::pipeline::{
    Aggregate, Evictor, FaultPolicy, KeySelector, NumericAggregate, RetainedElements, StateBackendKind, WindowAssigner,
    WindowSettings, WindowTrigger,
};
use crate::state::StateLayout;
use crate::turn::Guest;

const PROCESSING: TimeDomain = TimeDomain::Processing;

#[derive(Clone, Copy, Debug, PartialEq)]
enum TestedFunction {
    /// A function that sees all elements and lists them.
    List,
    /// An aggregate that declares its accumulator.
    Sum,
    /// A native aggregate.
    Count,
    Native(NumericAggregate),
}

#[derive(Clone, Debug)]
struct SentRecord {
    key: u8,
    at: i64,
    /// How much later it arrives, in event time.
    delay: i64,
}

/// A batch, and what happens after it.
#[derive(Clone, Copy, Debug)]
struct BatchStep {
    /// Number of records in the batch.
    records: usize,
    /// The subtasks that receive the watermark. In the others, an unaligned barrier overtakes it.
    advances: [bool; 4],
    /// Whether RocksDB is used, and the parallelism.
    restore: Option<(bool, u32)>,
    /// How far the clock advances, in milliseconds.
    clock: i64,
}

#[derive(Clone, Debug)]
struct WindowCase {
    windows: WindowSettings,
    function: TestedFunction,
    arriving: Vec<SentRecord>,
    /// Distance of the watermark from the largest timestamp.
    behind: i64,
    batches: Vec<BatchStep>,
    batch_records: usize,
    parallelism: u32,
}

/// A record that has arrived.
#[derive(Clone, Debug)]
struct ArrivedRecord {
    key: String,
    value: i64,
    timestamp: i64,
    /// The time that assigns it to windows: its timestamp, or the clock.
    window_time: i64,
    /// The watermark of its key when it arrived.
    watermark: i64,
}

fn assigner() -> impl Strategy<Value = WindowAssigner> {
    let sliding = |size_ms, slide_ms, offset_ms| WindowAssigner::Sliding { size_ms, slide_ms, offset_ms };
    prop_oneof![
        2 => (1i64..60, -30i64..30)
            .prop_map(|(size_ms, offset_ms)| WindowAssigner::Tumbling { size_ms, offset_ms }),
        2 => (1i64..20, 1i64..8, -10i64..10).prop_map(move |(slide, times, at)| sliding(slide * times, slide, at)),
        2 => (1i64..60, 1i64..40, -10i64..10).prop_map(move |(size, slide, at)| sliding(size, slide, at)),
        3 => (1i64..60).prop_map(|gap_ms| WindowAssigner::Session { gap_ms }),
        1 => Just(WindowAssigner::Global),
    ]
}

fn tested_function() -> impl Strategy<Value = TestedFunction> {
    prop_oneof![
        3 => Just(TestedFunction::List),
        2 => Just(TestedFunction::Sum),
        1 => Just(TestedFunction::Count),
        1 => Just(TestedFunction::Native(NumericAggregate::Sum)),
        1 => Just(TestedFunction::Native(NumericAggregate::Min)),
        1 => Just(TestedFunction::Native(NumericAggregate::Max)),
        1 => Just(TestedFunction::Native(NumericAggregate::Average)),
        1 => (1u32..4).prop_map(|most| TestedFunction::Native(NumericAggregate::Top(most))),
    ]
}

/// Definitions whose final results do not depend on when windows fire: a window that fires repeatedly must end with the same result.
fn definition() -> impl Strategy<Value = (WindowSettings, TestedFunction)> {
    let lateness = prop_oneof![2 => Just(0i64), 1 => 1i64..60];
    let count = prop_oneof![2 => Just(None), 1 => (1u64..5).prop_map(Some)];
    let keeps = prop_oneof![(1u64..5).prop_map(RetainedElements::Count), (1i64..40).prop_map(RetainedElements::TimeMs)];
    let evictor = prop_oneof![2 => Just(None), 1 => (keeps, any::<bool>()).prop_map(Some)];
    let time = prop_oneof![3 => Just(EVENT), 1 => Just(PROCESSING)];
    let all = (assigner(), tested_function(), time, lateness, count, any::<bool>(), evictor);
    all.prop_map(|(assigner, function, time, lateness, count, purge, evictor)| {
        let (is_global, is_session) =
            (assigner == WindowAssigner::Global, matches!(assigner, WindowAssigner::Session { .. }));
        let time = if is_global { EVENT } else { time };
        let mut windows = WindowSettings::new(assigner, time);
        // When a session with a count trigger fires depends on when it merged.
        if let Some(records) = count.or(is_global.then_some(3)).filter(|_| !is_session) {
            (windows.trigger, windows.purge) = (WindowTrigger::Count { records }, purge);
        } else if time == EVENT {
            windows.allowed_lateness_ms = lateness;
        }
        // The elements of merged sessions have no order, and those of processing-time windows no timestamps.
        windows.evictor = evictor.map(|(keeps, after)| Evictor { keeps, after }).filter(|evictor| {
            let has_order = matches!(evictor.keeps, RetainedElements::Count(_)) && !is_session;
            let has_time = matches!(evictor.keeps, RetainedElements::TimeMs(_)) && time == EVENT;
            (has_order || has_time) && (!evictor.after || windows.allowed_lateness_ms == 0)
        });
        (windows, function)
    })
}

fn case(is_on_rocksdb: bool) -> impl Strategy<Value = WindowCase> {
    let record = (0u8..6, 0i64..100, 0i64..25).prop_map(|(key, at, delay)| SentRecord { key, at, delay });
    let restore = prop_oneof![3 => Just(None), 1 => (any::<bool>(), 1u32..5).prop_map(Some)];
    let restore = restore.prop_map(move |to| to.map(|(rocksdb, parallelism)| (rocksdb && is_on_rocksdb, parallelism)));
    let advances = prop_oneof![1 => Just([false; 4]), 1 => Just([true; 4]), 2 => any::<[bool; 4]>()];
    let step = (1usize..12, advances, restore, 0i64..15).prop_map(|(records, advances, restore, clock)| BatchStep {
        records,
        advances,
        restore,
        clock,
    });
    (
        definition(),
        prop::collection::vec(record, 1..80),
        0i64..50,
        prop::collection::vec(step, 1..30),
        1usize..20,
        1u32..5,
    )
        .prop_map(|((windows, function), arriving, behind, batches, batch_records, parallelism)| WindowCase {
            windows,
            function,
            arriving,
            behind,
            batches,
            batch_records,
            parallelism,
        })
}

impl TestedFunction {
    fn aggregate(self) -> Option<Aggregate> {
        match self {
            TestedFunction::List | TestedFunction::Sum => None,
            TestedFunction::Count => Some(Aggregate::Count),
            TestedFunction::Native(function) => Some(Aggregate::Numeric { function, field: KeySelector::Value }),
        }
    }

    fn guest(self) -> Box<dyn Guest> {
        match (self, self.aggregate()) {
            (_, Some(aggregate)) => JsonResults::of_values(&aggregate),
            (TestedFunction::List, None) => Box::new(ListFunction),
            _ => sum_guest(SumVariant::Aggregate),
        }
    }

    /// The result by definition, for these elements in order of arrival.
    fn expected_result(self, key: &str, (start, end): (i64, i64), elements: &[&ArrivedRecord]) -> String {
        let values = || elements.iter().map(|element| element.value);
        let (name, value): (&str, Value) = match self {
            TestedFunction::List => {
                let all = values().map(|value| value.to_string()).collect::<Vec<_>>().join(" ");
                return format!("{key}={all} [{start},{end})");
            }
            TestedFunction::Sum => return format!("{key}={} [{start},{end})", values().sum::<i64>()),
            TestedFunction::Count => ("count", elements.len().into()),
            TestedFunction::Native(NumericAggregate::Sum) => ("sum", sum_of(values())),
            TestedFunction::Native(NumericAggregate::Min) => ("min", values().min().into()),
            TestedFunction::Native(NumericAggregate::Max) => ("max", values().max().into()),
            TestedFunction::Native(NumericAggregate::Average) => {
                ("average", (values().sum::<i64>() as f64 / elements.len() as f64).into())
            }
            TestedFunction::Native(NumericAggregate::Top(most)) => {
                let mut all: Vec<i64> = values().collect();
                all.sort_unstable_by(|a, b| b.cmp(a));
                ("top", all.iter().take(most as usize).map(|value| Value::from(value.to_string())).collect())
            }
        };
        let mut object = json!({ "key": key });
        if (start, end) != (i64::MIN, i64::MAX) {
            (object["start"], object["end"]) = (start.into(), end.into());
        }
        object[name] = value;
        object.to_string()
    }
}

/// The key of a result.
fn key_of(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(json) => json["key"].as_str().unwrap().to_owned(),
        Err(_) => text.split('=').next().unwrap().to_owned(),
    }
}

fn sum_of(values: impl Iterator<Item = i64>) -> Value {
    values.reduce(|a, b| a + b).into()
}

/// The windows that contain a time.
fn windows_containing(assigner: WindowAssigner, time: i64) -> Vec<(i64, i64)> {
    let (size, slide, offset) = match assigner {
        WindowAssigner::Tumbling { size_ms, offset_ms } => (size_ms, size_ms, offset_ms),
        WindowAssigner::Sliding { size_ms, slide_ms, offset_ms } => (size_ms, slide_ms, offset_ms),
        WindowAssigner::Global => return vec![(i64::MIN, i64::MAX)],
        WindowAssigner::Session { .. } => unreachable!("a session depends on other records"),
    };
    let starts = (time - size + 1..=time).filter(|start| (start - offset).rem_euclid(slide) == 0);
    starts.map(|start| (start, start + size)).collect()
}

/// The last millisecond of a window.
fn last(end: i64) -> i64 {
    if end == i64::MAX { end } else { end - 1 }
}

/// Removes the elements that an evictor removes.
fn evict(elements: &mut Vec<&ArrivedRecord>, keeps: RetainedElements) {
    match keeps {
        RetainedElements::Count(most) => drop(elements.drain(..elements.len().saturating_sub(most as usize))),
        RetainedElements::TimeMs(ms) => {
            let latest = elements.iter().map(|element| element.timestamp).max().unwrap_or(0);
            elements.retain(|element| element.timestamp > latest - ms);
        }
    }
}

/// The results and the late records that must be emitted in total.
struct ExpectedOutput {
    results: Vec<EmittedRecord>,
    late: Vec<EmittedRecord>,
}

/// The elements of each window, by key, start and end.
type ElementsByWindow<'a> = BTreeMap<(&'a str, i64, i64), Vec<&'a ArrivedRecord>>;

impl WindowCase {
    /// The elements of each window in order of arrival, and the late records.
    fn elements<'a>(&self, arrived: &'a [ArrivedRecord]) -> (ElementsByWindow<'a>, Vec<EmittedRecord>) {
        let (mut windows, mut late) = (BTreeMap::<_, Vec<&ArrivedRecord>>::new(), Vec::new());
        if let WindowAssigner::Session { gap_ms } = self.windows.assigner {
            let mut of_key = BTreeMap::<&str, Vec<&ArrivedRecord>>::new();
            arrived.iter().for_each(|record| of_key.entry(&record.key).or_default().push(record));
            for (key, mut records) in of_key {
                records.sort_by_key(|record| record.window_time);
                for session in records.chunk_by(|one, next| next.window_time - one.window_time < gap_ms) {
                    let window = (key, session[0].window_time, session[session.len() - 1].window_time + gap_ms);
                    windows.insert(window, session.to_vec());
                }
            }
            return (windows, late);
        }
        let lateness = self.windows.allowed_lateness_ms;
        for record in arrived {
            let mut is_in = false;
            for (start, end) in windows_containing(self.windows.assigner, record.window_time) {
                if self.windows.time == PROCESSING || last(end).saturating_add(lateness) > record.watermark {
                    windows.entry((&record.key, start, end)).or_default().push(record);
                    is_in = true;
                }
            }
            if !is_in && self.windows.time == EVENT && record.window_time + lateness <= record.watermark {
                late.push((1, record.value.to_string(), record.timestamp));
            }
        }
        (windows, late)
    }

    fn expected(&self, arrived: &[ArrivedRecord]) -> ExpectedOutput {
        let (windows, late) = self.elements(arrived);
        let mut results = Vec::new();
        for ((key, start, end), elements) in windows {
            let mut held: Vec<&ArrivedRecord> = Vec::new();
            for (at, element) in elements.iter().enumerate() {
                held.push(element);
                let fires = match self.windows.trigger {
                    WindowTrigger::Count { records } => (at as u64 + 1).is_multiple_of(records),
                    _ => at + 1 == elements.len(),
                };
                if !fires {
                    continue;
                }
                let evictor = self.windows.evictor;
                evictor.filter(|evictor| !evictor.after).inspect(|evictor| evict(&mut held, evictor.keeps));
                results.push(self.normalized((0, self.function.expected_result(key, (start, end), &held), last(end))));
                evictor.filter(|evictor| evictor.after).inspect(|evictor| evict(&mut held, evictor.keeps));
                if self.windows.purge {
                    held.clear();
                }
            }
        }
        results.sort();
        ExpectedOutput { results, late }
    }

    fn harness(&self) -> OperatorHarness {
        let function = if self.function == TestedFunction::List {
            WindowFunction::ProcessWindow
        } else {
            WindowFunction::Aggregate
        };
        let windows = WindowSettings { aggregate: self.function.aggregate(), ..self.windows.clone() };
        let mut layout: StateLayout =
            (self.function == TestedFunction::Sum).then_some(accumulator_state()).into_iter().collect();
        layout.extend(window_states(&windows, function == WindowFunction::Aggregate, &[]));
        let options = WindowOptions { windows, function, emits_late_records: true, results: None };
        let (function, batch_records) = (self.function, self.batch_records);
        let make = move |turn, clock| {
            let settings = function_settings(FaultPolicy::Fail, batch_records, clock);
            let operator = WindowOperator::new(function.guest(), turn, settings, options.clone(), Counters::default());
            Box::new(operator.unwrap()) as Box<dyn Operator>
        };
        OperatorHarness::new(Arc::new(make), layout, StateBackendKind::Memory, self.parallelism)
    }

    /// Sorts the elements of a session, which have no order after a merge, and normalizes JSON.
    fn normalized(&self, (output, text, at): EmittedRecord) -> EmittedRecord {
        match text.split_once('=').zip(text.find(" [")) {
            Some(((key, rest), bounds)) if self.function == TestedFunction::List && output == 0 => {
                let mut all: Vec<i64> =
                    rest[..bounds - key.len() - 1].split(' ').filter_map(|value| value.parse().ok()).collect();
                if matches!(self.windows.assigner, WindowAssigner::Session { .. }) {
                    all.sort_unstable();
                }
                let all: Vec<String> = all.iter().map(i64::to_string).collect();
                (output, format!("{key}={}{}", all.join(" "), &text[bounds..]), at)
            }
            _ if text.starts_with('{') => (output, serde_json::from_str::<Value>(&text).unwrap().to_string(), at),
            _ => (output, text, at),
        }
    }

    /// Runs the case, and compares the operator with the model.
    fn check(&self) {
        let mut harness = self.harness();
        let is_session = matches!(self.windows.assigner, WindowAssigner::Session { .. });
        let mut arriving: Vec<SentRecord> = self.arriving.clone();
        // A record arrives after those with later timestamps by at most the longest delay, `bound`.
        arriving.sort_by_key(|record| record.at + record.delay);
        let bound = 24;
        let lateness = self.windows.allowed_lateness_ms;
        // Which sessions a late record merges depends on when they were removed, so sessions get no late records.
        let behind = if is_session { self.behind.max(bound - lateness) } else { self.behind };
        let (mut arrived, mut emitted) = (Vec::<ArrivedRecord>::new(), Vec::<EmittedRecord>::new());
        let (mut watermark, mut clock) = (i64::MIN, 0);
        let mut reached = GroupWatermarkModel::new();
        let mut rest = &arriving[..];
        for step in self.batches.iter().cycle() {
            let (batch, others) = rest.split_at(step.records.min(rest.len()));
            rest = others;
            let first = arrived.len();
            arrived.extend(batch.iter().enumerate().map(|(at, record)| {
                let key = format!("k{}", record.key);
                ArrivedRecord {
                    watermark: reached.of(&key),
                    key,
                    value: ((first + at) as i64 * 389) % 1009,
                    timestamp: record.at,
                    window_time: if self.windows.time == EVENT { record.at } else { clock },
                }
            }));
            let record = |record: &ArrivedRecord| (record.key.clone(), record.value.to_string(), record.timestamp);
            harness.records(0, &arrived[first..].iter().map(record).collect::<Vec<_>>());
            let is_last = rest.is_empty();
            let mut advances = step.advances;
            if is_last {
                (watermark, clock, advances) = (i64::MAX, 1_000_000, [true; 4]);
            } else {
                let largest = arrived.iter().map(|record| record.timestamp).max().unwrap_or(0);
                watermark = watermark.max(largest - behind - 1);
                clock += step.clock;
            }
            for subtask in (0..harness.parallelism()).filter(|subtask| advances[*subtask]) {
                harness.watermark_at(subtask, watermark);
                reached.advance(subtask, harness.parallelism(), watermark);
            }
            // A millisecond is over when the next one starts.
            harness.clock(clock - 1);
            harness.clock.set_ms(clock);
            emitted.extend(harness.take_emitted_in_order().into_iter().map(|emitted| self.normalized(emitted)));
            if !is_last {
                let by_clock = self.windows.time == PROCESSING;
                self.check_fired_so_far(&arrived, &emitted, |key| if by_clock { clock - 1 } else { reached.of(key) });
            } else {
                break;
            }
            if let Some((rocksdb, parallelism)) = step.restore {
                let backend = if rocksdb { StateBackendKind::RocksDb } else { StateBackendKind::Memory };
                harness.restore(backend, parallelism);
            }
        }
        self.check_all(&arrived, emitted);
        // Windows that are over leave nothing but the watermark of each key group. RocksDB only estimates the number of entries.
        harness.restore(StateBackendKind::Memory, 1);
        let left = harness.entries();
        assert!(self.windows.assigner == WindowAssigner::Global || [0, 16].contains(&left), "{left} entries are left");
    }

    /// Whether each window fires exactly once, at its end.
    fn fires_once(&self) -> bool {
        !matches!(self.windows.trigger, WindowTrigger::Count { .. }) && self.windows.allowed_lateness_ms == 0
    }

    /// Checks that exactly the windows that are over for their key have fired.
    fn check_fired_so_far(&self, arrived: &[ArrivedRecord], emitted: &[EmittedRecord], now: impl Fn(&str) -> i64) {
        if self.fires_once() {
            let mut expected = self.expected(arrived).results;
            expected.retain(|(_, text, last)| *last <= now(&key_of(text)));
            let mut emitted: Vec<_> = emitted.iter().filter(|(output, ..)| *output == 0).cloned().collect();
            emitted.sort();
            assert_eq!(emitted, expected);
        }
    }

    /// Checks everything that was emitted.
    fn check_all(&self, arrived: &[ArrivedRecord], emitted: Vec<EmittedRecord>) {
        let ExpectedOutput { results, mut late } = self.expected(arrived);
        let (mut fired, mut fired_late): (Vec<_>, Vec<_>) = emitted.into_iter().partition(|(output, ..)| *output == 0);
        late.sort();
        fired_late.sort();
        assert_eq!(fired_late, late, "late records");
        if self.windows.allowed_lateness_ms > 0 {
            fired = self.last_of_each(fired, &results);
        }
        fired.sort();
        assert_eq!(fired, results);
    }

    /// The last result of each window. Sessions that became part of a larger one are left out.
    fn last_of_each(&self, fired: Vec<EmittedRecord>, results: &[EmittedRecord]) -> Vec<EmittedRecord> {
        let key_and_window = |text: &str| -> (String, i64, i64) {
            if let Ok(json) = serde_json::from_str::<Value>(text) {
                let time = |name: &str| json[name].as_i64().unwrap();
                return (json["key"].as_str().unwrap().to_owned(), time("start"), time("end"));
            }
            let (key, bounds) = (text.split('=').next().unwrap(), text.rsplit('[').next().unwrap());
            let (start, end) = bounds.trim_end_matches(')').split_once(',').unwrap();
            (key.to_owned(), start.parse().unwrap(), end.parse().unwrap())
        };
        let known: BTreeSet<_> = results.iter().map(|(_, text, _)| key_and_window(text)).collect();
        let mut last = BTreeMap::new();
        for result in fired {
            let of = key_and_window(&result.1);
            if matches!(self.windows.assigner, WindowAssigner::Session { .. }) && !known.contains(&of) {
                let (key, start, end) = &of;
                let within = known.iter().any(|(of, from, to)| of == key && from <= start && end <= to);
                assert!(within, "{result:?} lies in no expected session");
            } else {
                last.insert(of, result);
            }
        }
        last.into_values().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn windows_in_memory_match_the_model(case in case(false)) {
        case.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn windows_on_both_backends_match_the_model(case in case(true)) {
        case.check();
    }
}
