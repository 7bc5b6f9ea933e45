//! Interval joins against their definition: every pair within the bounds, in its order, whatever order the records come in, and
//! whatever is restored in between; and nothing is kept for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::manifest::{Disposition, NodeKind, Pipeline, StateBackendKind};
use crate::model::{Pairs, group_of_key, groups_of_subtask, hash_key, subtask_of_group};
use crate::state::test_store::TestStore;
use crate::state::{self, ImageFormat, RestoredImage, StateImage, StateOptions};
use crate::turn::{SECOND_INPUT, TurnContext};

const GROUPS: u32 = 8;

/// Shows pairs as text. One with a record `bad` fails.
struct Shows;

impl Guest for Shows {
    fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<Output>, Failure> {
        Err(Fault::new(FaultCode::GuestError, "a join sees pairs alone").into())
    }

    fn join(&mut self, _: &mut Turn, pairs: &Pairs) -> Result<Vec<Output>, Failure> {
        let mut batch = Batch::default();
        for (at, &key) in pairs.keys.key_of.iter().enumerate() {
            let side = |side: &crate::model::PairSide| {
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
        Ok(vec![Output { index: 0, batch }])
    }
}

/// All subtasks of a join.
struct Subject {
    backend: StateBackendKind,
    settings: (JoinInterval, Disposition, bool),
    subtasks: Vec<IntervalJoin>,
    folder: tempfile::TempDir,
    opened: usize,
    /// By output what came out: text and time.
    outputs: [Vec<(String, i64)>; 3],
}

impl Subject {
    fn new(backend: StateBackendKind, parallelism: u32, interval: JoinInterval) -> Subject {
        let settings = (interval, Disposition::DeadLetter, true);
        let (folder, outputs) = (tempfile::tempdir().unwrap(), Default::default());
        let mut subject = Subject { backend, settings, subtasks: Vec::new(), folder, opened: 0, outputs };
        subject.open(parallelism, &[], &TestStore::default());
        subject
    }

    fn open(&mut self, parallelism: u32, images: &[StateImage], store: &TestStore) {
        let (interval, on_fault, late_is_read) = self.settings;
        self.subtasks.clear();
        for subtask in 0..parallelism {
            let groups = groups_of_subtask(subtask, parallelism, GROUPS);
            let old = images.len() as u32;
            let restored = (0..).zip(images).map(|(from, image)| {
                let groups = groups_of_subtask(from, old, GROUPS);
                RestoredImage { image, groups, store }
            });
            self.opened += 1;
            let folder = self.folder.path().join(self.opened.to_string());
            let clock = Arc::new(ManualClock::default());
            let options = StateOptions::empty(self.backend, folder, join_states(), GROUPS, clock.clone());
            let options = StateOptions { groups: groups.clone(), restore: restored.collect(), ..options };
            let backend = state::open(options).unwrap();
            let mut turn = Turn::stateful(TurnContext::default(), join_states(), backend).with_timers(groups).unwrap();
            // What the host keeps is not bounded by what a function may write.
            turn.limit_writes(1);
            let settings = FunctionSettings {
                job: "job".into(),
                function: "f".into(),
                on_fault,
                outputs: 2,
                batch_records: 3,
                clock,
            };
            let counters = Counters::default();
            let join = IntervalJoin::new(Box::new(Shows), turn, settings, interval, late_is_read, counters).unwrap();
            self.subtasks.push(join);
        }
    }

    /// Takes an image and goes on from it.
    fn restore(&mut self, parallelism: u32) {
        let store = TestStore::default();
        let image = |join: &mut IntervalJoin| {
            let watermark = join.watermark();
            let turn = join.turn();
            turn.keep_watermark(watermark).unwrap();
            turn.backend().unwrap().snapshot(ImageFormat::Canonical).unwrap().upload(&store, &[]).unwrap()
        };
        let images: Vec<StateImage> = self.subtasks.iter_mut().map(image).collect();
        self.open(parallelism, &images, &store);
    }

    fn send(&mut self, input: u32, records: &[(u8, i64, String)]) {
        let parallelism = self.subtasks.len() as u32;
        for subtask in 0..parallelism {
            let mut batch = Batch::default();
            let (mut keys, mut places) = (Keys::default(), BTreeMap::new());
            for (key, time, value) in records {
                let name = format!("k{key}");
                let group = group_of_key(hash_key(name.as_bytes()), GROUPS);
                if subtask_of_group(group, parallelism, GROUPS) != subtask {
                    continue;
                }
                let next = places.len() as u32;
                let place = *places.entry(*key).or_insert_with(|| {
                    keys.distinct.push(name.as_bytes());
                    keys.groups.push(group);
                    next
                });
                keys.key_of.push(place);
                batch.push(value.as_bytes(), *time);
            }
            batch.keys = Some(Arc::new(keys));
            let mut outputs = Outputs::new();
            self.subtasks[subtask as usize].process(input, batch, &mut outputs).unwrap();
            for (index, batch) in outputs {
                assert!(batch.len() <= 3 || index == 1, "more than one call should make");
                let texts = batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap());
                self.outputs[index].extend(texts.zip(batch.timestamps.iter().copied()));
            }
        }
    }

    fn watermark(&mut self, watermark: i64) {
        for join in &mut self.subtasks {
            let mut outputs = Outputs::new();
            while join.advance_watermark(watermark, &mut outputs).unwrap() {}
            assert!(outputs.is_empty());
        }
    }

    /// What is kept of these keys: records of the left, of the right, whether more is known of them; and timers.
    fn kept(&mut self, keys: u8) -> (usize, usize, usize, usize) {
        let mut kept = (0, 0, 0, 0);
        for join in &mut self.subtasks {
            let (sides, of_key) = (join.sides, join.kept);
            let turn = join.turn();
            kept.3 += usize::from(turn.next_timer(TimeDomain::Event).is_some());
            let backend = turn.backend().unwrap();
            for name in (0..keys).map(|key| format!("k{key}")) {
                let group = group_of_key(hash_key(name.as_bytes()), GROUPS);
                let mut count =
                    |side: Side| backend.scan_map(side.state, group, name.as_bytes(), None, 10_000).unwrap().len();
                kept.0 += count(sides[0]);
                kept.1 += count(sides[1]);
                let one =
                    Keys { distinct: [name.as_bytes()].into_iter().collect(), groups: vec![group], key_of: vec![] };
                kept.2 += usize::from(backend.load(of_key, &one).unwrap().present[0]);
            }
        }
        kept
    }
}

/// As a manifest has it. None where it is refused.
fn interval(lower: i64, upper: i64, exclusive: (bool, bool)) -> Option<JoinInterval> {
    let manifest = format!(
        "name = \"a\"\n[source.a]\nconnector = \"generator\"\n[sink.b]\ninput = \"c\"\nconnector = \"stdout\"\n\
         [operator.c]\ninput = \"a\"\nsecond = \"a\"\ncomponent = \"c\"\nfunction = \"f\"\n\
         interval = {{ lower = \"{lower}ms\", upper = \"{upper}ms\", lower_exclusive = {}, upper_exclusive = {} }}",
        exclusive.0, exclusive.1
    );
    let node = Pipeline::parse(&manifest, "p.toml").ok()?.nodes.into_iter().find(|node| node.id == "c")?;
    let NodeKind::Operator(operator) = node.kind else { return None };
    operator.interval
}

#[derive(Clone, Debug)]
enum Step {
    /// Keys and times, these less the watermark.
    Records(u32, Vec<(u8, i64)>),
    /// So much further.
    Watermark(i64),
    Restore(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let time = prop_oneof![30 => -4i64..20, 1 => Just(i64::MAX), 1 => Just(i64::MAX - 3), 1 => Just(i64::MIN + 1)];
    let records = proptest::collection::vec((0u8..3, time), 1..12);
    prop_oneof![
        6 => (0u32..2, records).prop_map(|(input, records)| Step::Records(input, records)),
        3 => (1i64..15).prop_map(Step::Watermark),
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
    let mut subject = Subject::new(backend, 2, interval);
    let mut watermark = NO_TIMESTAMP;
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
                    batch.push((key, time, value.clone()));
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
                subject.send(*input, &batch);
            }
            Step::Watermark(further) => {
                watermark = if watermark == NO_TIMESTAMP { *further } else { watermark + further };
                subject.watermark(watermark);
            }
            Step::Restore(parallelism) => subject.restore(*parallelism),
        }
    }
    assert_eq!(by_key(&subject.outputs[0]), by_key(&pairs));
    let mut seen = subject.outputs[1].clone();
    seen.sort();
    late.sort();
    assert_eq!(seen, late);
    assert!(subject.outputs[2].is_empty());
    subject.watermark(i64::MAX);
    assert_eq!(subject.kept(3), (0, 0, 0, 0));
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

fn record(time: i64, value: &str) -> (u8, i64, String) {
    (0, time, value.to_owned())
}

/// From Flink's documents: `[-2, 1]` of orders at 0, 2, 3, 4, 5, 7 and shipments at 0, 1, 6, 7, by hand.
#[test]
fn the_example_by_hand() {
    let mut subject = Subject::new(StateBackendKind::Memory, 1, JoinInterval { lower_ms: -2, upper_ms: 1 });
    for time in [0, 2, 3, 4, 5, 7] {
        subject.send(FIRST_INPUT, &[record(time, &time.to_string())]);
    }
    for time in [0, 1, 6, 7] {
        subject.send(SECOND_INPUT, &[record(time, &time.to_string())]);
    }
    // Right 0 has left in [-1, 2], right 1 in [0, 3], right 6 in [5, 8], right 7 in [6, 9].
    let pairs = ["0 0", "2 0", "0 1", "2 1", "3 1", "5 6", "7 6", "7 7"];
    let times = [0, 2, 1, 2, 3, 6, 7, 7];
    let expected: Vec<_> = pairs.iter().map(|pair| format!("k0 {pair}")).zip(times).collect();
    assert_eq!(subject.outputs[0], expected);
}

#[test]
fn a_bad_pair_costs_one_pair_and_a_record_without_a_time_one_record() {
    let mut subject = Subject::new(StateBackendKind::Memory, 1, JoinInterval { lower_ms: 0, upper_ms: 5 });
    let lefts = ["a", "bad", "c", "d", "e"].iter().zip(1..).map(|(value, time)| record(time, value));
    subject.send(FIRST_INPUT, &lefts.collect::<Vec<_>>());
    subject.send(SECOND_INPUT, &[record(NO_TIMESTAMP, "none"), record(5, "x"), record(6, "y")]);
    let joined: Vec<&str> = subject.outputs[0].iter().map(|(text, _)| &**text).collect();
    assert_eq!(joined, ["k0 a x", "k0 c x", "k0 d x", "k0 e x", "k0 a y", "k0 c y", "k0 d y", "k0 e y"]);
    let letters: Vec<serde_json::Value> =
        subject.outputs[2].iter().map(|(letter, _)| serde_json::from_str(letter).unwrap()).collect();
    let told: Vec<_> = letters
        .iter()
        .map(|letter| (letter["code"].as_str(), letter["value"].as_str(), letter["position"]["record"].as_u64()))
        .collect();
    let expected = [("timestamp-missing", "none", 5), ("guest-error", "x", 6), ("guest-error", "y", 7)];
    assert_eq!(told, expected.map(|(code, value, record)| (Some(code), Some(value), Some(record))));
    let counters = subject.subtasks[0].counters();
    assert_eq!((counters.records_in, counters.records_out, counters.records_dead_lettered), (8, 8, 3));
}

#[test]
fn late_records_that_nobody_reads_are_counted() {
    let mut subject = Subject::new(StateBackendKind::Memory, 1, JoinInterval { lower_ms: -1, upper_ms: 1 });
    subject.settings.2 = false;
    subject.restore(1);
    subject.watermark(10);
    subject.send(FIRST_INPUT, &[record(9, "late"), record(10, "in time"), record(0, "late")]);
    subject.send(SECOND_INPUT, &[record(9, "late"), record(10, "x")]);
    assert_eq!(subject.outputs, [vec![("k0 in time x".to_owned(), 10)], vec![], vec![]]);
    assert_eq!(subject.subtasks[0].turn().metrics()[LATE_DROPPED], 3.0);
}

/// More than is read at once, with one time and with many.
#[test]
fn many_records_of_one_key() {
    for backend in [StateBackendKind::Memory, StateBackendKind::RocksDb] {
        let mut subject = Subject::new(backend, 1, JoinInterval { lower_ms: -1_000, upper_ms: 1_000 });
        let lefts: Vec<_> = (0..500).map(|n| record(1_000 + (n / 200) * 100, &n.to_string())).collect();
        subject.send(FIRST_INPUT, &lefts);
        subject.send(SECOND_INPUT, &[record(1_500, "x")]);
        let expected: Vec<String> = (0..500).map(|n| format!("k0 {n} x")).collect();
        assert!(subject.outputs[0].iter().map(|(text, _)| text).eq(&expected));
        assert_eq!(subject.kept(1), (500, 1, 1, 1));
        subject.watermark(2_099);
        assert_eq!(subject.kept(1), (300, 1, 1, 1));
        subject.watermark(2_200);
        assert_eq!(subject.kept(1), (0, 1, 1, 1));
        subject.watermark(2_500);
        assert_eq!(subject.kept(1), (0, 0, 0, 0));
    }
}

/// What was kept by the old bounds is joined and removed by the new ones.
#[test]
fn an_interval_may_change_with_a_restore() {
    for upper_ms in [3, 30] {
        let mut subject = Subject::new(StateBackendKind::Memory, 1, JoinInterval { lower_ms: 0, upper_ms: 10 });
        subject.send(FIRST_INPUT, &[record(100, "a"), record(101, "b")]);
        subject.settings.0 = JoinInterval { lower_ms: 0, upper_ms };
        subject.restore(1);
        subject.send(FIRST_INPUT, &[record(102, "c")]);
        subject.watermark(100 + upper_ms.max(10) - 1);
        subject.send(SECOND_INPUT, &[record(100 + upper_ms, "late or not")]);
        let joined = if upper_ms == 3 { 0 } else { 3 };
        assert_eq!(subject.outputs[0].len(), joined);
        subject.watermark(200);
        assert_eq!(subject.kept(1), (0, 0, 0, 0));
    }
}
