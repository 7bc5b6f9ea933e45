//! Interval joins against their definition: every pair within the bounds, in its order, whatever order the records come in, and
//! whatever is restored in between; and nothing is kept for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::model::{JoinedPairs, PairSide};
use crate::operator::testing::{self, Harness, MakeOperator, Reached, Record, expect, of_input, settings};
use crate::pipeline::{FaultPolicy, NodeKind, PipelineSpec, StateBackendKind};
use crate::turn::{OutputBatch, SECOND_INPUT, TurnFailure};

/// Pairs that one call gets, at most.
const CALL_PAIRS: usize = 3;

/// Shows pairs as text. One with a record `bad` fails.
struct Shows;

impl Guest for Shows {
    fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(Fault::new(FaultCode::GuestError, "a join sees pairs alone").into())
    }

    fn join(&mut self, _: &mut Turn, pairs: &JoinedPairs) -> Result<Vec<OutputBatch>, TurnFailure> {
        assert!(pairs.keys.key_of.len() <= CALL_PAIRS, "more than one call should get");
        let mut batch = Batch::default();
        for (at, &key) in pairs.keys.key_of.iter().enumerate() {
            let side = |side: &PairSide| {
                let place = side.value_of[at] as usize;
                (String::from_utf8_lossy(side.values.value(place)).into_owned(), side.timestamps[place])
            };
            let ((left, at_left), (right, at_right)) = (side(&pairs.left), side(&pairs.right));
            if left == "bad" || right == "bad" {
                return Err(Fault::new(FaultCode::GuestError, "a bad pair").into());
            }
            let key = String::from_utf8_lossy(pairs.keys.distinct.value(key as usize));
            batch.push(format!("{key} {left} {right}").as_bytes(), at_left.max(at_right));
        }
        Ok(vec![OutputBatch { index: 0, batch }])
    }
}

/// Outputs are pairs, late records and dead letters. The interval may be another one with the next restore.
fn make(interval: &Arc<Mutex<JoinInterval>>, emits_late_records: bool) -> MakeOperator {
    let interval = interval.clone();
    Arc::new(move |mut turn, clock| {
        // What the host keeps is not bounded by what a function may write.
        turn.limit_writes(1);
        let settings = settings(FaultPolicy::DeadLetter, 2, CALL_PAIRS, clock);
        let (interval, counters) = (*interval.lock(), Counters::default());
        Box::new(IntervalJoin::new(Box::new(Shows), turn, settings, interval, emits_late_records, counters).unwrap())
    })
}

fn of(lower_ms: i64, upper_ms: i64) -> Arc<Mutex<JoinInterval>> {
    Arc::new(Mutex::new(JoinInterval { lower_ms, upper_ms }))
}

fn harness(interval: &Arc<Mutex<JoinInterval>>, backend: StateBackendKind, parallelism: u32) -> Harness {
    Harness::new(make(interval, true), join_states(), backend, parallelism)
}

/// Entries of state after the first watermark: records, timers, and one for each key.
fn kept(harness: &mut Harness) -> u64 {
    // The memory backend counts them. Beside them each group keeps the watermark.
    harness.restore(StateBackendKind::Memory, 1);
    harness.entries() - u64::from(testing::GROUPS)
}

/// As a manifest has it. None where it is refused.
fn interval(lower: i64, upper: i64, exclusive: (bool, bool)) -> Option<JoinInterval> {
    let manifest = format!(
        "name = \"a\"\n[source.a]\nconnector = \"generator\"\n[sink.b]\ninput = \"c\"\nconnector = \"stdout\"\n\
         [operator.c]\ninput = \"a\"\nsecond = \"a\"\ncomponent = \"c\"\nfunction = \"f\"\n\
         interval = {{ lower = \"{lower}ms\", upper = \"{upper}ms\", lower_exclusive = {}, upper_exclusive = {} }}",
        exclusive.0, exclusive.1
    );
    let node = PipelineSpec::parse(&manifest, "p.toml").ok()?.nodes.into_iter().find(|node| node.id == "c")?;
    let NodeKind::Operator(operator) = node.kind else { return None };
    operator.interval
}

#[derive(Clone, Debug)]
enum Step {
    /// Keys and times, these less the watermark.
    Records(u32, Vec<(u8, i64)>),
    /// So much further, in these subtasks: an unaligned barrier comes in front of it in the others.
    Watermark(i64, [bool; 4]),
    Restore(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let time = prop_oneof![30 => -4i64..20, 1 => Just(i64::MAX), 1 => Just(i64::MAX - 3), 1 => Just(i64::MIN + 1)];
    let records = proptest::collection::vec((0u8..3, time), 1..12);
    prop_oneof![
        6 => (0u32..2, records).prop_map(|(input, records)| Step::Records(input, records)),
        2 => (1i64..15).prop_map(|further| Step::Watermark(further, [true; 4])),
        2 => (1i64..15, any::<[bool; 4]>()).prop_map(|(further, subtasks)| Step::Watermark(further, subtasks)),
        1 => (1u32..5).prop_map(Step::Restore),
    ]
}

/// A record as the definition sees it: its side, key, time, value, and the watermark when it came.
struct Came {
    input: u32,
    key: u8,
    time: i64,
    value: String,
    watermark: i64,
}

/// By Flink's definition: both in time, the bounds kept, and the first one not gone when the second one came.
fn is_pair(first: &Came, second: &Came, (lower, upper): (i64, i64), exclusive: (bool, bool)) -> bool {
    if first.input == second.input || first.key != second.key {
        return false;
    }
    let (left, right) = if first.input == 0 { (first, second) } else { (second, first) };
    let apart = i128::from(right.time) - i128::from(left.time);
    let above = apart > lower.into() || (apart == i128::from(lower) && !exclusive.0);
    let below = apart < upper.into() || (apart == i128::from(upper) && !exclusive.1);
    let (lower, upper) = (lower + i64::from(exclusive.0), upper - i64::from(exclusive.1));
    let goes_at = match first.input {
        0 if upper > 0 => first.time.saturating_add(upper),
        1 if lower < 0 => first.time.saturating_add(-lower),
        _ => first.time,
    };
    let is_gone = second.watermark > first.watermark && second.watermark >= goes_at;
    above && below && !is_gone
}

/// The texts of a key, in their order.
fn by_key(shown: &[(String, i64)]) -> BTreeMap<String, Vec<(String, i64)>> {
    let mut keys: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for (text, time) in shown {
        let key = text.split(' ').next().unwrap().to_owned();
        keys.entry(key).or_default().push((text.clone(), *time));
    }
    keys
}

fn follow(backend: StateBackendKind, bounds: (i64, i64), exclusive: (bool, bool), steps: &[Step]) {
    let Some(interval) = interval(bounds.0, bounds.1, exclusive) else {
        let within = |apart| {
            (apart > bounds.0 || (apart == bounds.0 && !exclusive.0))
                && (apart < bounds.1 || (apart == bounds.1 && !exclusive.1))
        };
        assert!(!(bounds.0 - 1..=bounds.1 + 1).any(within), "a good interval is refused");
        return;
    };
    let mut harness = harness(&Arc::new(Mutex::new(interval)), backend, 2);
    let mut watermark = NO_TIMESTAMP;
    let mut reached = Reached::new();
    let mut came: Vec<Came> = Vec::new();
    let (mut pairs, mut late) = (Vec::new(), Vec::new());
    let mut number = 0;
    for step in steps {
        match step {
            Step::Records(input, records) => {
                let base = if watermark == NO_TIMESTAMP { 0 } else { watermark };
                let mut batch = Vec::new();
                for &(key, time) in records {
                    let time = if (-4..20).contains(&time) { base + time } else { time };
                    // Many are of the same value.
                    number += 1;
                    let value = format!("{}", number % 5);
                    batch.push((format!("k{key}"), value.clone(), time));
                    let watermark = reached.of(&format!("k{key}"));
                    let new = Came { input: *input, key, time, value, watermark };
                    if time < watermark {
                        late.push((new.value, time));
                        continue;
                    }
                    let mut others: Vec<&Came> =
                        came.iter().filter(|other| is_pair(other, &new, bounds, exclusive)).collect();
                    others.sort_by_key(|other| other.time);
                    for other in others {
                        let (left, right) = if *input == 0 { (&new, other) } else { (other, &new) };
                        let time = left.time.max(right.time);
                        pairs.push((format!("k{key} {} {}", left.value, right.value), time));
                    }
                    came.push(new);
                }
                harness.records(*input, &batch);
            }
            Step::Watermark(further, subtasks) => {
                watermark = if watermark == NO_TIMESTAMP { *further } else { watermark + further };
                for subtask in (0..harness.parallelism()).filter(|subtask| subtasks[*subtask]) {
                    harness.watermark_at(subtask, watermark);
                    reached.advance(subtask, harness.parallelism(), watermark);
                }
            }
            Step::Restore(parallelism) => harness.restore(backend, *parallelism),
        }
    }
    let mut outputs = [Vec::new(), Vec::new(), Vec::new()];
    for (output, text, time) in harness.take_in_order() {
        outputs[output].push((text, time));
    }
    let [joined, mut seen, letters] = outputs;
    assert_eq!(by_key(&joined), by_key(&pairs));
    seen.sort();
    late.sort();
    assert_eq!((seen, letters), (late, Vec::new()));
    harness.watermark(i64::MAX);
    assert_eq!(kept(&mut harness), 0);
}

macro_rules! property {
    ($name:ident, $backend:expr, $cases:expr) => {
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases($cases) })]

            #[test]
            fn $name(
                lower in -12i64..8,
                width in 0i64..16,
                exclusive in any::<(bool, bool)>(),
                steps in proptest::collection::vec(step(), 1..40),
            ) {
                follow($backend, (lower, lower + width), exclusive, &steps);
            }
        }
    };
}

property!(every_pair_within_the_bounds_in_memory, StateBackendKind::Memory, 300);
property!(every_pair_within_the_bounds_on_rocksdb, StateBackendKind::RocksDb, 12);

fn send(harness: &mut Harness, input: u32, records: &[Record<'_>]) {
    let owned = |(key, value, at): &Record<'_>| ((*key).to_owned(), (*value).to_owned(), *at);
    harness.records(input, &records.iter().map(owned).collect::<Vec<_>>());
}

/// From Flink's documents: `[-2, 1]` of orders at 0, 2, 3, 4, 5, 7 and shipments at 0, 1, 6, 7, by hand; of another key the half.
#[test]
fn the_example_by_hand() {
    let left =
        [("k", "0", 0), ("k", "2", 2), ("j", "2", 2), ("k", "3", 3), ("k", "4", 4), ("k", "5", 5), ("k", "7", 7)];
    // Right 0 has left in [-1, 2], right 1 in [0, 3], right 6 in [5, 8], right 7 in [6, 9].
    let steps = [
        of_input(FIRST_INPUT, &left),
        expect(&[]),
        of_input(SECOND_INPUT, &[("k", "0", 0), ("j", "0", 0), ("k", "1", 1)]),
        expect(&[("k 0 0", 0), ("k 2 0", 2), ("k 0 1", 1), ("k 2 1", 2), ("k 3 1", 3), ("j 2 0", 2)]),
        testing::Step::Watermark(5),
        of_input(SECOND_INPUT, &[("k", "4", 4)]),
        testing::Step::Expect(vec![(1, "4".into(), 4)]),
        of_input(SECOND_INPUT, &[("k", "7", 7), ("k", "6", 6)]),
        expect(&[("k 7 7", 7), ("k 5 6", 6), ("k 7 6", 7)]),
    ];
    testing::play(&make(&of(-2, 1), true), &join_states(), &steps);
}

#[test]
fn a_bad_pair_costs_one_pair_and_a_record_without_a_time_one_record() {
    let mut harness = harness(&of(0, 5), StateBackendKind::Memory, 1);
    send(&mut harness, 0, &[("k", "a", 1), ("k", "bad", 2), ("k", "c", 3), ("k", "d", 4), ("k", "e", 5)]);
    send(&mut harness, 1, &[("k", "none", NO_TIMESTAMP), ("k", "x", 5), ("k", "y", 6)]);
    let (letters, joined): (Vec<_>, Vec<_>) =
        harness.take_in_order().into_iter().partition(|(output, ..)| *output == 2);
    let joined: Vec<&str> = joined.iter().map(|(_, text, _)| &**text).collect();
    assert_eq!(joined, ["k a x", "k c x", "k d x", "k e x", "k a y", "k c y", "k d y", "k e y"]);
    let told = letters.iter().map(|(_, letter, _)| {
        let letter: serde_json::Value = serde_json::from_str(letter).unwrap();
        let text = |name: &str| letter[name].as_str().unwrap().to_owned();
        (text("code"), text("value"), letter["position"]["record"].as_u64().unwrap())
    });
    let expected = [("timestamp-missing", "none", 5), ("guest-error", "x", 6), ("guest-error", "y", 7)];
    let expected = expected.map(|(code, value, record)| (code.to_owned(), value.to_owned(), record));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn late_records_that_nobody_reads_are_counted() {
    let mut harness = Harness::new(make(&of(-1, 1), false), join_states(), StateBackendKind::Memory, 1);
    harness.watermark(10);
    send(&mut harness, 0, &[("k", "late", 9), ("k", "in-time", 10), ("k", "late", 0)]);
    send(&mut harness, 1, &[("k", "late", 9), ("k", "x", 10)]);
    assert_eq!(harness.take(), [(0, "k in-time x".to_owned(), 10)]);
    assert_eq!(harness.metric(LATE_DROPPED), 3.0);
}

/// More than is read at once, with one time and with many.
#[test]
fn many_records_of_one_key() {
    for backend in [StateBackendKind::Memory, StateBackendKind::RocksDb] {
        let mut harness = harness(&of(-1_000, 1_000), backend, 1);
        let lefts = (0..500).map(|n| ("k".to_owned(), n.to_string(), 1_000 + (n / 200) * 100));
        harness.records(0, &lefts.collect::<Vec<_>>());
        send(&mut harness, 1, &[("k", "x", 1_500)]);
        let expected = (0..500).map(|n| format!("k {n} x"));
        assert!(harness.take_in_order().into_iter().map(|(_, text, _)| text).eq(expected));
        // Left records, the right one, a timer, and what is known of the key.
        for (watermark, entries) in [(0, 500 + 3), (2_099, 300 + 3), (2_200, 3), (2_500, 0)] {
            harness.watermark(watermark);
            assert_eq!(kept(&mut harness), entries, "{watermark}");
            harness.restore(backend, 1);
        }
    }
}

/// More records that have to go at once than one step removes: a barrier may come in between.
#[test]
fn what_goes_at_once_goes_in_steps() {
    let mut harness = harness(&of(0, 10), StateBackendKind::Memory, 1);
    let records = (0..2 * REMOVED_IN_STEP + 1).map(|at| ("k".to_owned(), "x".to_owned(), at as i64));
    harness.records(0, &records.collect::<Vec<_>>());
    let mut steps = 0;
    let mut outputs = Vec::new();
    while harness.subtask(0).advance_watermark(1_000_000, &mut outputs).unwrap() {
        steps += 1;
        assert!(steps < 10_000, "it does not end");
    }
    assert!(steps > 2, "{steps}");
    harness.watermark(1_000_001);
    assert_eq!(kept(&mut harness), 0);
}

/// What was kept by the old bounds is joined and removed by the new ones.
#[test]
fn an_interval_may_change_with_a_restore() {
    for (upper_ms, joined) in [(3, 0), (30, 3)] {
        let interval = of(0, 10);
        let mut harness = harness(&interval, StateBackendKind::Memory, 1);
        send(&mut harness, 0, &[("k", "a", 100), ("k", "b", 101)]);
        interval.lock().upper_ms = upper_ms;
        harness.restore(StateBackendKind::Memory, 1);
        send(&mut harness, 0, &[("k", "c", 102)]);
        harness.watermark(100 + upper_ms.max(10) - 1);
        send(&mut harness, 1, &[("k", "late or not", 100 + upper_ms)]);
        let pairs = harness.take().into_iter().filter(|(output, ..)| *output == 0);
        assert_eq!(pairs.count(), joined);
        harness.watermark(200);
        assert_eq!(kept(&mut harness), 0);
    }
}
