//! Windows against a plain program: for random definitions, orders of arrival, batches, watermarks, restores and parallelism
//! the operator gives exactly what the definitions say of all records at once. The program knows nothing of the operator: for
//! each key and each window it goes through the records that lie within.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::panes_tests::Listing;
use super::scenario_tests::*;
use super::*;
use crate::operator::Operator;
use crate::operator::testing::{Emitted, Harness, Reached, settings};
use crate::pipeline::{
    Aggregate, Evictor, FaultPolicy, KeySelector, NumericAggregate, RetainedElements, StateBackendKind, WindowAssigner,
    WindowTrigger,
};

const PROCESSING: TimeDomain = TimeDomain::Processing;

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    /// A function that sees all elements, and puts them one behind the other.
    List,
    /// An aggregate that is a function, with an accumulator that it declares.
    Sum,
    /// One of the host's own.
    Count,
    Native(NumericAggregate),
}

#[derive(Clone, Debug)]
struct Arriving {
    key: u8,
    at: i64,
    /// How long it is on its way, in event time.
    delay: i64,
}

/// What happens behind a batch.
#[derive(Clone, Copy, Debug)]
struct Between {
    /// Records of the batch.
    records: usize,
    /// The subtasks that the watermark reaches: an unaligned barrier comes in front of it elsewhere.
    advances: [bool; 4],
    restore: Option<(bool, u32)>,
    /// How far the clock goes on.
    clock: i64,
}

#[derive(Clone, Debug)]
struct Case {
    windows: WindowSettings,
    what: What,
    arriving: Vec<Arriving>,
    /// How far the watermark stays behind the largest timestamp.
    behind: i64,
    batches: Vec<Between>,
    batch_records: usize,
    parallelism: u32,
}

/// A record that has arrived.
#[derive(Clone, Debug)]
struct Arrived {
    key: String,
    value: i64,
    timestamp: i64,
    /// By which it gets into windows: its timestamp, or the clock.
    by: i64,
    /// As it stood then.
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

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        3 => Just(What::List),
        2 => Just(What::Sum),
        1 => Just(What::Count),
        1 => Just(What::Native(NumericAggregate::Sum)),
        1 => Just(What::Native(NumericAggregate::Min)),
        1 => Just(What::Native(NumericAggregate::Max)),
        1 => Just(What::Native(NumericAggregate::Average)),
        1 => (1u32..4).prop_map(|most| What::Native(NumericAggregate::Top(most))),
    ]
}

/// Only what says the same whenever it is looked at: a window that fires more than once must come to the same in the end.
fn definition() -> impl Strategy<Value = (WindowSettings, What)> {
    let lateness = prop_oneof![2 => Just(0i64), 1 => 1i64..60];
    let count = prop_oneof![2 => Just(None), 1 => (1u64..5).prop_map(Some)];
    let keeps = prop_oneof![(1u64..5).prop_map(RetainedElements::Count), (1i64..40).prop_map(RetainedElements::TimeMs)];
    let evictor = prop_oneof![2 => Just(None), 1 => (keeps, any::<bool>()).prop_map(Some)];
    let time = prop_oneof![3 => Just(EVENT), 1 => Just(PROCESSING)];
    let all = (assigner(), what(), time, lateness, count, any::<bool>(), evictor);
    all.prop_map(|(assigner, what, time, lateness, count, purge, evictor)| {
        let (is_global, is_session) =
            (assigner == WindowAssigner::Global, matches!(assigner, WindowAssigner::Session { .. }));
        let time = if is_global { EVENT } else { time };
        let mut windows = WindowSettings::new(assigner, time);
        // A count of sessions depends on when they merged.
        if let Some(records) = count.or(is_global.then_some(3)).filter(|_| !is_session) {
            (windows.trigger, windows.purge) = (WindowTrigger::Count { records }, purge);
        } else if time == EVENT {
            windows.allowed_lateness_ms = lateness;
        }
        // The elements of sessions that merged have no order, and those of a clock no time.
        windows.evictor = evictor.map(|(keeps, after)| Evictor { keeps, after }).filter(|evictor| {
            let has_order = matches!(evictor.keeps, RetainedElements::Count(_)) && !is_session;
            let has_time = matches!(evictor.keeps, RetainedElements::TimeMs(_)) && time == EVENT;
            (has_order || has_time) && (!evictor.after || windows.allowed_lateness_ms == 0)
        });
        (windows, what)
    })
}

fn case(is_on_rocksdb: bool) -> impl Strategy<Value = Case> {
    let record = (0u8..6, 0i64..100, 0i64..25).prop_map(|(key, at, delay)| Arriving { key, at, delay });
    let restore = prop_oneof![3 => Just(None), 1 => (any::<bool>(), 1u32..5).prop_map(Some)];
    let restore = restore.prop_map(move |to| to.map(|(rocksdb, parallelism)| (rocksdb && is_on_rocksdb, parallelism)));
    let advances = prop_oneof![1 => Just([false; 4]), 1 => Just([true; 4]), 2 => any::<[bool; 4]>()];
    let between = (1usize..12, advances, restore, 0i64..15).prop_map(|(records, advances, restore, clock)| Between {
        records,
        advances,
        restore,
        clock,
    });
    (
        definition(),
        prop::collection::vec(record, 1..80),
        0i64..50,
        prop::collection::vec(between, 1..30),
        1usize..20,
        1u32..5,
    )
        .prop_map(|((windows, what), arriving, behind, batches, batch_records, parallelism)| Case {
            windows,
            what,
            arriving,
            behind,
            batches,
            batch_records,
            parallelism,
        })
}

impl What {
    fn aggregate(self) -> Option<Aggregate> {
        match self {
            What::List | What::Sum => None,
            What::Count => Some(Aggregate::Count),
            What::Native(what) => Some(Aggregate::Numeric { function: what, field: KeySelector::Value }),
        }
    }

    fn guest(self) -> Box<dyn Guest> {
        match (self, self.aggregate()) {
            (_, Some(aggregate)) => native_aggregate(&aggregate, Arc::new(|value, _| Some(value))),
            (What::List, None) => Box::new(Listing),
            _ => guest_of(Sums::Guest),
        }
    }

    /// By the definition, of these elements in order of their arrival.
    fn of(self, key: &str, (start, end): (i64, i64), elements: &[&Arrived]) -> String {
        let values = || elements.iter().map(|element| element.value);
        let (name, value): (&str, Value) = match self {
            What::List => {
                let all = values().map(|value| value.to_string()).collect::<Vec<_>>().join(" ");
                return format!("{key}={all} [{start},{end})");
            }
            What::Sum => return format!("{key}={} [{start},{end})", values().sum::<i64>()),
            What::Count => ("count", elements.len().into()),
            What::Native(NumericAggregate::Sum) => ("sum", sum_of(values())),
            What::Native(NumericAggregate::Min) => ("min", values().min().into()),
            What::Native(NumericAggregate::Max) => ("max", values().max().into()),
            What::Native(NumericAggregate::Average) => {
                ("average", (values().sum::<i64>() as f64 / elements.len() as f64).into())
            }
            What::Native(NumericAggregate::Top(most)) => {
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

/// The windows that a time lies in.
fn around(assigner: WindowAssigner, time: i64) -> Vec<(i64, i64)> {
    let (size, slide, offset) = match assigner {
        WindowAssigner::Tumbling { size_ms, offset_ms } => (size_ms, size_ms, offset_ms),
        WindowAssigner::Sliding { size_ms, slide_ms, offset_ms } => (size_ms, slide_ms, offset_ms),
        WindowAssigner::Global => return vec![(i64::MIN, i64::MAX)],
        WindowAssigner::Session { .. } => unreachable!("sessions need their neighbours"),
    };
    let starts = (time - size + 1..=time).filter(|start| (start - offset).rem_euclid(slide) == 0);
    starts.map(|start| (start, start + size)).collect()
}

/// The last millisecond of a window.
fn last(end: i64) -> i64 {
    if end == i64::MAX { end } else { end - 1 }
}

/// What stays of these elements when their window fires.
fn evict(elements: &mut Vec<&Arrived>, keeps: RetainedElements) {
    match keeps {
        RetainedElements::Count(most) => drop(elements.drain(..elements.len().saturating_sub(most as usize))),
        RetainedElements::TimeMs(ms) => {
            let latest = elements.iter().map(|element| element.timestamp).max().unwrap_or(0);
            elements.retain(|element| element.timestamp > latest - ms);
        }
    }
}

/// What must come out in all, and which records are late.
struct Expected {
    results: Vec<Emitted>,
    late: Vec<Emitted>,
}

/// The elements of each window: its key, start and end.
type ElementsOf<'a> = BTreeMap<(&'a str, i64, i64), Vec<&'a Arrived>>;

impl Case {
    /// For each key and window its elements, in order of their arrival; and the records that got into none and are late.
    fn elements<'a>(&self, arrived: &'a [Arrived]) -> (ElementsOf<'a>, Vec<Emitted>) {
        let (mut windows, mut late) = (BTreeMap::<_, Vec<&Arrived>>::new(), Vec::new());
        if let WindowAssigner::Session { gap_ms } = self.windows.assigner {
            let mut of_key = BTreeMap::<&str, Vec<&Arrived>>::new();
            arrived.iter().for_each(|record| of_key.entry(&record.key).or_default().push(record));
            for (key, mut records) in of_key {
                records.sort_by_key(|record| record.by);
                for session in records.chunk_by(|one, next| next.by - one.by < gap_ms) {
                    let window = (key, session[0].by, session[session.len() - 1].by + gap_ms);
                    windows.insert(window, session.to_vec());
                }
            }
            return (windows, late);
        }
        let lateness = self.windows.allowed_lateness_ms;
        for record in arrived {
            let mut is_in = false;
            for (start, end) in around(self.windows.assigner, record.by) {
                if self.windows.time == PROCESSING || last(end).saturating_add(lateness) > record.watermark {
                    windows.entry((&record.key, start, end)).or_default().push(record);
                    is_in = true;
                }
            }
            if !is_in && self.windows.time == EVENT && record.by + lateness <= record.watermark {
                late.push((1, record.value.to_string(), record.timestamp));
            }
        }
        (windows, late)
    }

    fn expected(&self, arrived: &[Arrived]) -> Expected {
        let (windows, late) = self.elements(arrived);
        let mut results = Vec::new();
        for ((key, start, end), elements) in windows {
            let mut held: Vec<&Arrived> = Vec::new();
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
                // Without an element there is nothing to say.
                results.push(self.plain((0, self.what.of(key, (start, end), &held), last(end))));
                evictor.filter(|evictor| evictor.after).inspect(|evictor| evict(&mut held, evictor.keeps));
                if self.windows.purge {
                    held.clear();
                }
            }
        }
        results.sort();
        Expected { results, late }
    }

    fn harness(&self) -> Harness {
        let function = if self.what == What::List { WindowFunction::ProcessWindow } else { WindowFunction::Aggregate };
        let windows = WindowSettings { aggregate: self.what.aggregate(), ..self.windows.clone() };
        let accumulator = StateDescription::new("accumulator", StateKind::Aggregating, "raw", "sum");
        let mut layout: StateLayout = (self.what == What::Sum).then_some(accumulator).into_iter().collect();
        layout.extend(window_states(&windows, function == WindowFunction::Aggregate));
        let options = WindowOptions { windows, function, emits_late_records: true };
        let (what, batch_records) = (self.what, self.batch_records);
        let make = move |turn, clock| {
            let settings = settings(FaultPolicy::Fail, 2, batch_records, clock);
            let operator = WindowOperator::new(what.guest(), turn, settings, options.clone(), Counters::default());
            Box::new(operator.unwrap()) as Box<dyn Operator>
        };
        Harness::new(Arc::new(make), layout, StateBackendKind::Memory, self.parallelism)
    }

    /// The elements of sessions that merged stand in any order.
    fn plain(&self, (output, text, at): Emitted) -> Emitted {
        match text.split_once('=').zip(text.find(" [")) {
            Some(((key, rest), bounds)) if self.what == What::List && output == 0 => {
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

    /// Plays it, and compares.
    fn check(&self) {
        let mut harness = self.harness();
        let is_session = matches!(self.windows.assigner, WindowAssigner::Session { .. });
        let mut arriving: Vec<Arriving> = self.arriving.clone();
        // Within the bound: of two the later one comes at most the longest delay behind.
        arriving.sort_by_key(|record| record.at + record.delay);
        let bound = 24;
        let lateness = self.windows.allowed_lateness_ms;
        // Which sessions a late record would have joined depends on when they went: here none comes too late for that.
        let behind = if is_session { self.behind.max(bound - lateness) } else { self.behind };
        let (mut arrived, mut emitted) = (Vec::<Arrived>::new(), Vec::<Emitted>::new());
        let (mut watermark, mut clock) = (i64::MIN, 0);
        let mut reached = Reached::new();
        let mut rest = &arriving[..];
        for between in self.batches.iter().cycle() {
            let (batch, others) = rest.split_at(between.records.min(rest.len()));
            rest = others;
            let first = arrived.len();
            arrived.extend(batch.iter().enumerate().map(|(at, record)| {
                let key = format!("k{}", record.key);
                Arrived {
                    watermark: reached.of(&key),
                    key,
                    value: ((first + at) as i64 * 389) % 1009,
                    timestamp: record.at,
                    by: if self.windows.time == EVENT { record.at } else { clock },
                }
            }));
            let record = |record: &Arrived| (record.key.clone(), record.value.to_string(), record.timestamp);
            harness.records(0, &arrived[first..].iter().map(record).collect::<Vec<_>>());
            let is_over = rest.is_empty();
            let mut advances = between.advances;
            if is_over {
                (watermark, clock, advances) = (i64::MAX, 1_000_000, [true; 4]);
            } else {
                let largest = arrived.iter().map(|record| record.timestamp).max().unwrap_or(0);
                watermark = watermark.max(largest - behind - 1);
                clock += between.clock;
            }
            for subtask in (0..harness.parallelism()).filter(|subtask| advances[*subtask]) {
                harness.watermark_at(subtask, watermark);
                reached.advance(subtask, harness.parallelism(), watermark);
            }
            // A millisecond is over when the next one begins.
            harness.clock(clock - 1);
            harness.clock.set_ms(clock);
            emitted.extend(harness.take_in_order().into_iter().map(|emitted| self.plain(emitted)));
            if !is_over {
                let by_clock = self.windows.time == PROCESSING;
                self.check_promptly(&arrived, &emitted, |key| if by_clock { clock - 1 } else { reached.of(key) });
            } else {
                break;
            }
            if let Some((rocksdb, parallelism)) = between.restore {
                let backend = if rocksdb { StateBackendKind::RocksDb } else { StateBackendKind::Memory };
                harness.restore(backend, parallelism);
            }
        }
        self.check_all(&arrived, emitted);
        // Nothing is kept of windows that are over but, for each group, the watermark of the last snapshot. On RocksDB the
        // number is an estimate.
        harness.restore(StateBackendKind::Memory, 1);
        let left = harness.entries();
        assert!(self.windows.assigner == WindowAssigner::Global || [0, 16].contains(&left), "{left} entries stay");
    }

    /// Whether windows fire once, when their time is over.
    fn fires_once(&self) -> bool {
        !matches!(self.windows.trigger, WindowTrigger::Count { .. }) && self.windows.allowed_lateness_ms == 0
    }

    /// What is over for its key has come out, and nothing else.
    fn check_promptly(&self, arrived: &[Arrived], emitted: &[Emitted], now: impl Fn(&str) -> i64) {
        if self.fires_once() {
            let mut expected = self.expected(arrived).results;
            expected.retain(|(_, text, last)| *last <= now(&key_of(text)));
            let mut emitted: Vec<_> = emitted.iter().filter(|(output, ..)| *output == 0).cloned().collect();
            emitted.sort();
            assert_eq!(emitted, expected);
        }
    }

    fn check_all(&self, arrived: &[Arrived], emitted: Vec<Emitted>) {
        let Expected { results, mut late } = self.expected(arrived);
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

    /// Of several results of one window the last one. A session that has become part of a larger one is none in the end.
    fn last_of_each(&self, fired: Vec<Emitted>, results: &[Emitted]) -> Vec<Emitted> {
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
                assert!(within, "{result:?} is no part of a session");
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
    fn windows_in_memory_are_what_a_plain_program_says(case in case(false)) {
        case.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn windows_on_both_backends_are_what_a_plain_program_says(case in case(true)) {
        case.check();
    }
}
