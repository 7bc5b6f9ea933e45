//! Interval joins, compared with their definition: for random records, watermarks and restores, every pair within the bounds is
//! emitted, in order, and nothing is stored forever.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::expiry::REMOVED_PER_STEP;
use super::join_operator::IntervalJoin;
use super::join_state::join_states;
use crate::model::{Batch, Counters, Fault, FaultCode, JoinedPairs, NO_TIMESTAMP, PairSide};
use crate::operator::late_records::LATE_RECORDS_DROPPED;
use crate::operator::testing::{
    self, GroupWatermarkModel, OperatorFactory, OperatorHarness, OperatorStep, TestRecord, expect, function_settings,
    records_of_input,
};
use crate::pipeline::{FaultPolicy, JoinInterval, NodeKind, PipelineSpec, StateBackendKind};
use crate::turn::{FIRST_INPUT, Guest, OutputBatch, OutputId, SECOND_INPUT, Turn, TurnFailure, TurnLimits};

/// Largest number of pairs in one guest call.
const CALL_PAIRS: usize = 3;

/// Emits pairs as text. Fails on a pair with a record `bad`.
struct PairFormatter;

impl Guest for PairFormatter {
    fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(Fault::new(FaultCode::GuestError, "a join function only gets pairs").into())
    }

    fn join(&mut self, _: &mut Turn, pairs: &JoinedPairs) -> Result<Vec<OutputBatch>, TurnFailure> {
        assert!(pairs.keys.key_of.len() <= CALL_PAIRS, "too many pairs in one call");
        let mut batch = Batch::default();
        for (at, &key) in pairs.keys.key_of.iter().enumerate() {
            let side = |side: &PairSide| {
                let index = side.value_of[at] as usize;
                (String::from_utf8_lossy(side.values.value(index)).into_owned(), side.timestamps[index])
            };
            let ((left, at_left), (right, at_right)) = (side(&pairs.left), side(&pairs.right));
            if left == "bad" || right == "bad" {
                return Err(Fault::new(FaultCode::GuestError, "a bad pair").into());
            }
            let key = String::from_utf8_lossy(pairs.keys.distinct.value(key as usize));
            batch.push(format!("{key} {left} {right}").as_bytes(), at_left.max(at_right));
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
    }
}

/// The outputs are pairs, late records and dead letters. A test can change the interval before a restore.
fn make(interval: &Arc<Mutex<JoinInterval>>, emits_late_records: bool) -> OperatorFactory {
    let interval = interval.clone();
    Arc::new(move |mut turn, clock| {
        // The write limit of a function does not apply to stored records.
        turn.set_limits(TurnLimits { state_per_turn: 1, ..TurnLimits::default() });
        let settings = function_settings(FaultPolicy::DeadLetter, CALL_PAIRS, clock);
        let (interval, counters) = (*interval.lock(), Counters::default());
        Box::new(
            IntervalJoin::new(Box::new(PairFormatter), turn, settings, interval, emits_late_records, counters).unwrap(),
        )
    })
}

fn shared_interval(lower_ms: i64, upper_ms: i64) -> Arc<Mutex<JoinInterval>> {
    Arc::new(Mutex::new(JoinInterval { lower_ms, upper_ms }))
}

fn harness(interval: &Arc<Mutex<JoinInterval>>, backend: StateBackendKind, parallelism: u32) -> OperatorHarness {
    OperatorHarness::new(make(interval, true), join_states(&[]), backend, parallelism)
}

/// Number of stored records, timers and keys, once there was a watermark.
fn stored_entries(harness: &mut OperatorHarness) -> u64 {
    // The memory backend counts entries exactly. Each key group stores its watermark in addition.
    harness.restore(StateBackendKind::Memory, 1);
    harness.entries() - u64::from(testing::GROUPS)
}

/// The interval of a pipeline file with these bounds. Returns `None` if the file is rejected.
fn parse_interval(lower: i64, upper: i64, exclusive: (bool, bool)) -> Option<JoinInterval> {
    let pipeline_text = format!(
        "name = \"a\"\n[source.a]\nconnector = \"generator\"\n[sink.b]\ninput = \"c\"\nconnector = \"stdout\"\n\
         [operator.c]\ninput = \"a\"\nsecond = \"a\"\ncomponent = \"c\"\nfunction = \"f\"\n\
         interval = {{ lower = \"{lower}ms\", upper = \"{upper}ms\", lower_exclusive = {}, upper_exclusive = {} }}",
        exclusive.0, exclusive.1
    );
    let node = PipelineSpec::parse(&pipeline_text, "p.toml").ok()?.nodes.into_iter().find(|node| node.id == "c")?;
    let NodeKind::Operator(operator) = node.kind else { return None };
    operator.interval
}

#[derive(Clone, Debug)]
enum JoinTestStep {
    /// Keys, and times relative to the watermark.
    Records(u32, Vec<(u8, i64)>),
    /// How far the watermark advances, and in which subtasks. In the others, an unaligned barrier overtakes it.
    Watermark(i64, [bool; 4]),
    Restore(u32),
}

fn join_test_step() -> impl Strategy<Value = JoinTestStep> {
    let time = prop_oneof![30 => -4i64..20, 1 => Just(i64::MAX), 1 => Just(i64::MAX - 3), 1 => Just(i64::MIN + 1)];
    let records = proptest::collection::vec((0u8..3, time), 1..12);
    prop_oneof![
        6 => (0u32..2, records).prop_map(|(input, records)| JoinTestStep::Records(input, records)),
        2 => (1i64..15).prop_map(|further| JoinTestStep::Watermark(further, [true; 4])),
        2 => (1i64..15, any::<[bool; 4]>()).prop_map(|(further, subtasks)| JoinTestStep::Watermark(further, subtasks)),
        1 => (1u32..5).prop_map(JoinTestStep::Restore),
    ]
}

/// A record in the model: its input, key, time, value, and the watermark when it arrived.
struct JoinArrival {
    input: u32,
    key: u8,
    time: i64,
    value: String,
    watermark: i64,
}

/// Flink's definition of a pair: neither record is late, the bounds hold, and the first has not expired when the second arrives.
fn is_pair(first: &JoinArrival, second: &JoinArrival, (lower, upper): (i64, i64), exclusive: (bool, bool)) -> bool {
    if first.input == second.input || first.key != second.key {
        return false;
    }
    let (left, right) = if first.input == 0 { (first, second) } else { (second, first) };
    let distance = i128::from(right.time) - i128::from(left.time);
    let above = distance > lower.into() || (distance == i128::from(lower) && !exclusive.0);
    let below = distance < upper.into() || (distance == i128::from(upper) && !exclusive.1);
    let (lower, upper) = (lower + i64::from(exclusive.0), upper - i64::from(exclusive.1));
    let expires_at = match first.input {
        0 if upper > 0 => first.time.saturating_add(upper),
        1 if lower < 0 => first.time.saturating_add(-lower),
        _ => first.time,
    };
    let is_expired = second.watermark > first.watermark && second.watermark >= expires_at;
    above && below && !is_expired
}

/// The texts of each key, in order.
fn group_by_key(shown: &[(String, i64)]) -> BTreeMap<String, Vec<(String, i64)>> {
    let mut keys: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for (text, time) in shown {
        let key = text.split(' ').next().unwrap().to_owned();
        keys.entry(key).or_default().push((text.clone(), *time));
    }
    keys
}

fn follow(backend: StateBackendKind, bounds: (i64, i64), exclusive: (bool, bool), steps: &[JoinTestStep]) {
    let Some(interval) = parse_interval(bounds.0, bounds.1, exclusive) else {
        let within = |distance| {
            (distance > bounds.0 || (distance == bounds.0 && !exclusive.0))
                && (distance < bounds.1 || (distance == bounds.1 && !exclusive.1))
        };
        assert!(!(bounds.0 - 1..=bounds.1 + 1).any(within), "a valid interval is rejected");
        return;
    };
    let mut harness = harness(&Arc::new(Mutex::new(interval)), backend, 2);
    let mut watermark = NO_TIMESTAMP;
    let mut reached = GroupWatermarkModel::new();
    let mut came: Vec<JoinArrival> = Vec::new();
    let (mut pairs, mut late) = (Vec::new(), Vec::new());
    let mut number = 0;
    for step in steps {
        match step {
            JoinTestStep::Records(input, records) => {
                let base = if watermark == NO_TIMESTAMP { 0 } else { watermark };
                let mut batch = Vec::new();
                for &(key, time) in records {
                    let time = if (-4..20).contains(&time) { base + time } else { time };
                    // Many records have equal values.
                    number += 1;
                    let value = format!("{}", number % 5);
                    batch.push((format!("k{key}"), value.clone(), time));
                    let watermark = reached.of(&format!("k{key}"));
                    let new = JoinArrival { input: *input, key, time, value, watermark };
                    if time < watermark {
                        late.push((new.value, time));
                        continue;
                    }
                    let mut others: Vec<&JoinArrival> =
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
            JoinTestStep::Watermark(further, subtasks) => {
                watermark = if watermark == NO_TIMESTAMP { *further } else { watermark + further };
                for subtask in (0..harness.parallelism()).filter(|subtask| subtasks[*subtask]) {
                    harness.watermark_at(subtask, watermark);
                    reached.advance(subtask, harness.parallelism(), watermark);
                }
            }
            JoinTestStep::Restore(parallelism) => harness.restore(backend, *parallelism),
        }
    }
    let mut outputs = [Vec::new(), Vec::new(), Vec::new()];
    for (output, text, time) in harness.take_emitted_in_order() {
        outputs[output].push((text, time));
    }
    let [joined, mut seen, letters] = outputs;
    assert_eq!(group_by_key(&joined), group_by_key(&pairs));
    seen.sort();
    late.sort();
    assert_eq!((seen, letters), (late, Vec::new()));
    harness.watermark(i64::MAX);
    assert_eq!(stored_entries(&mut harness), 0);
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
                steps in proptest::collection::vec(join_test_step(), 1..40),
            ) {
                follow($backend, (lower, lower + width), exclusive, &steps);
            }
        }
    };
}

property!(every_pair_within_the_bounds_in_memory, StateBackendKind::Memory, 300);
property!(every_pair_within_the_bounds_on_rocksdb, StateBackendKind::RocksDb, 12);

fn send(harness: &mut OperatorHarness, input: u32, records: &[TestRecord<'_>]) {
    let owned = |(key, value, at): &TestRecord<'_>| ((*key).to_owned(), (*value).to_owned(), *at);
    harness.records(input, &records.iter().map(owned).collect::<Vec<_>>());
}

/// The example of Flink's documentation, extended: an interval `[-2, 1]`, left records at 0, 2, 3, 4, 5 and 7, and right records at
/// 0, 1, 6 and 7. A second key has some of them.
#[test]
fn the_example_of_flinks_documentation_gives_the_expected_pairs() {
    let left =
        [("k", "0", 0), ("k", "2", 2), ("j", "2", 2), ("k", "3", 3), ("k", "4", 4), ("k", "5", 5), ("k", "7", 7)];
    // The right record at 0 joins left records in [-1, 2], that at 1 in [0, 3], that at 6 in [5, 8], and that at 7 in [6, 9].
    let steps = [
        records_of_input(FIRST_INPUT, &left),
        expect(&[]),
        records_of_input(SECOND_INPUT, &[("k", "0", 0), ("j", "0", 0), ("k", "1", 1)]),
        expect(&[("k 0 0", 0), ("k 2 0", 2), ("k 0 1", 1), ("k 2 1", 2), ("k 3 1", 3), ("j 2 0", 2)]),
        OperatorStep::Watermark(5),
        records_of_input(SECOND_INPUT, &[("k", "4", 4)]),
        OperatorStep::Expect(vec![(1, "4".into(), 4)]),
        records_of_input(SECOND_INPUT, &[("k", "7", 7), ("k", "6", 6)]),
        expect(&[("k 7 7", 7), ("k 5 6", 6), ("k 7 6", 7)]),
    ];
    testing::play(&make(&shared_interval(-2, 1), true), &join_states(&[]), &steps);
}

#[test]
fn a_bad_pair_costs_one_pair_and_a_record_without_a_timestamp_costs_one_record() {
    let mut harness = harness(&shared_interval(0, 5), StateBackendKind::Memory, 1);
    send(&mut harness, 0, &[("k", "a", 1), ("k", "bad", 2), ("k", "c", 3), ("k", "d", 4), ("k", "e", 5)]);
    send(&mut harness, 1, &[("k", "none", NO_TIMESTAMP), ("k", "x", 5), ("k", "y", 6)]);
    let (letters, joined): (Vec<_>, Vec<_>) =
        harness.take_emitted_in_order().into_iter().partition(|(output, ..)| *output == 2);
    let joined: Vec<&str> = joined.iter().map(|(_, text, _)| &**text).collect();
    assert_eq!(joined, ["k a x", "k c x", "k d x", "k e x", "k a y", "k c y", "k d y", "k e y"]);
    let reported = letters.iter().map(|(_, letter, _)| {
        let letter: serde_json::Value = serde_json::from_str(letter).unwrap();
        let text = |name: &str| letter[name].as_str().unwrap().to_owned();
        let other = &letter["joined_with"];
        let other = other["value"].as_str().map(|value| (value.to_owned(), other["timestamp"].as_i64().unwrap()));
        (text("code"), text("value"), letter["position"]["record"].as_u64().unwrap(), other)
    });
    let bad = Some(("bad".to_owned(), 2));
    let expected =
        [("timestamp-missing", "none", 5, None), ("guest-error", "x", 6, bad.clone()), ("guest-error", "y", 7, bad)];
    let expected = expected.map(|(code, value, record, other)| (code.to_owned(), value.to_owned(), record, other));
    assert_eq!(reported.collect::<Vec<_>>(), expected);
}

#[test]
fn late_records_of_a_join_are_counted_if_nothing_reads_them() {
    let mut harness =
        OperatorHarness::new(make(&shared_interval(-1, 1), false), join_states(&[]), StateBackendKind::Memory, 1);
    harness.watermark(10);
    send(&mut harness, 0, &[("k", "late", 9), ("k", "in-time", 10), ("k", "late", 0)]);
    send(&mut harness, 1, &[("k", "late", 9), ("k", "x", 10)]);
    assert_eq!(harness.take_emitted(), [(0, "k in-time x".to_owned(), 10)]);
    assert_eq!(harness.metric(LATE_RECORDS_DROPPED), 3.0);
}

/// More records than are read at once, some of them with equal times.
#[test]
fn many_records_of_one_key_are_joined_and_removed() {
    for backend in [StateBackendKind::Memory, StateBackendKind::RocksDb] {
        let mut harness = harness(&shared_interval(-1_000, 1_000), backend, 1);
        let lefts = (0..500).map(|n| ("k".to_owned(), n.to_string(), 1_000 + (n / 200) * 100));
        harness.records(0, &lefts.collect::<Vec<_>>());
        send(&mut harness, 1, &[("k", "x", 1_500)]);
        let expected = (0..500).map(|n| format!("k {n} x"));
        assert!(harness.take_emitted_in_order().into_iter().map(|(_, text, _)| text).eq(expected));
        // Left records, plus 3 entries: the right record, a timer, and the entry of the key.
        for (watermark, entries) in [(0, 500 + 3), (2_099, 300 + 3), (2_200, 3), (2_500, 0)] {
            harness.watermark(watermark);
            assert_eq!(stored_entries(&mut harness), entries, "{watermark}");
            harness.restore(backend, 1);
        }
    }
}

/// More records expire at once than one step removes. A barrier can pass between two steps.
#[test]
fn many_records_that_expire_at_once_are_removed_in_steps() {
    let mut harness = harness(&shared_interval(0, 10), StateBackendKind::Memory, 1);
    let records = (0..2 * REMOVED_PER_STEP + 1).map(|at| ("k".to_owned(), "x".to_owned(), at as i64));
    harness.records(0, &records.collect::<Vec<_>>());
    let mut steps = 0;
    let mut outputs = Vec::new();
    while harness.subtask(0).advance_watermark(1_000_000, &mut outputs).unwrap() {
        steps += 1;
        assert!(steps < 10_000, "the steps do not end");
    }
    assert!(steps > 2, "{steps}");
    harness.watermark(1_000_001);
    assert_eq!(stored_entries(&mut harness), 0);
}

/// Records that were stored under the old bounds are joined and removed by the new ones.
#[test]
fn an_interval_can_change_with_a_restore() {
    for (upper_ms, joined) in [(3, 0), (30, 3)] {
        let interval = shared_interval(0, 10);
        let mut harness = harness(&interval, StateBackendKind::Memory, 1);
        send(&mut harness, 0, &[("k", "a", 100), ("k", "b", 101)]);
        interval.lock().upper_ms = upper_ms;
        harness.restore(StateBackendKind::Memory, 1);
        send(&mut harness, 0, &[("k", "c", 102)]);
        harness.watermark(100 + upper_ms.max(10) - 1);
        send(&mut harness, 1, &[("k", "late or not", 100 + upper_ms)]);
        let pairs = harness.take_emitted().into_iter().filter(|(output, ..)| *output == 0);
        assert_eq!(pairs.count(), joined);
        harness.watermark(200);
        assert_eq!(stored_entries(&mut harness), 0);
    }
}
