//! Compares random sequences of turns, snapshots and restores with a plain model, while time passes.

use std::collections::BTreeMap;

use super::*;

const KEYS: [&str; 3] = ["a", "", "b\0"];
const SUB_KEYS: [&[u8]; 5] = [b"", b"\0", b"\0\xff", b"x", b"xy"];

pub(super) fn lifetimes() -> impl Strategy<Value = Option<TimeToLive>> {
    prop_oneof![Just(FOREVER), Just(WRITTEN), Just(READ), Just(SHOWN)]
}

#[derive(Clone, Debug)]
pub(super) enum TurnStep {
    Turn { operations: Vec<StateCall>, commits: bool, passes_ms: i64 },
    Image,
    Restore(usize),
}

/// A call of a function. `what` selects the call for the kind of the state, see [`run`]. `at` has more arguments than most
/// calls need.
#[derive(Clone, Debug)]
pub(super) struct StateCall {
    state: u32,
    what: u8,
    at: Vec<(u32, usize, Vec<u8>)>,
    limit: u32,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<TurnStep>> {
    let value = proptest::collection::vec(any::<u8>(), 0..4);
    let at = proptest::collection::vec((0..KEYS.len() as u32, 0..SUB_KEYS.len(), value), 1..4);
    let operation = (VALUE..=AGGREGATING, any::<u8>(), at, 0..5u32).prop_map(|(state, what, at, limit)| StateCall {
        state,
        what,
        at,
        limit,
    });
    let operations = proptest::collection::vec(operation, 0..8);
    let step = prop_oneof![
        12 => (operations, proptest::bool::weighted(0.8), 0..LIFETIME_MS)
            .prop_map(|(operations, commits, passes_ms)| TurnStep::Turn { operations, commits, passes_ms }),
        2 => Just(TurnStep::Image),
        1 => any::<usize>().prop_map(TurnStep::Restore),
    ];
    proptest::collection::vec(step, 0..40)
}

/// Something with its own update time: a value, an element of a list, or an entry of a map.
#[derive(Clone, Debug)]
struct TimedItem {
    sub_key: Vec<u8>,
    value: Vec<u8>,
    updated_ms: i64,
}

/// The items of each state and key: elements in order, entries ordered by sub-key.
#[derive(Clone, Default)]
struct TtlModel {
    items: BTreeMap<(u32, u32), Vec<TimedItem>>,
    ttl: Option<TimeToLive>,
    now_ms: i64,
}

/// Sub-keys and values that a read returned.
type ReadItems = Vec<(Vec<u8>, Vec<u8>)>;

impl TtlModel {
    fn of(&mut self, state: u32, key: u32) -> &mut Vec<TimedItem> {
        self.items.entry((state, key)).or_default()
    }

    fn put(&mut self, state: u32, key: u32, sub_key: &[u8], value: &[u8]) {
        self.remove(state, key, sub_key);
        self.append(state, key, sub_key, value);
        self.of(state, key).sort_by(|a, b| a.sub_key.cmp(&b.sub_key));
    }

    fn append(&mut self, state: u32, key: u32, sub_key: &[u8], value: &[u8]) {
        let item = TimedItem { sub_key: sub_key.to_vec(), value: value.to_vec(), updated_ms: self.now_ms };
        self.of(state, key).push(item);
    }

    fn remove(&mut self, state: u32, key: u32, sub_key: &[u8]) {
        self.of(state, key).retain(|item| item.sub_key != sub_key);
    }

    fn clear(&mut self, state: u32, key: u32) {
        self.items.remove(&(state, key));
    }

    /// Checks the result of a read of up to `limit` items whose sub-key is `wanted`, and renews them. With `once`, expired items
    /// that were returned are removed.
    fn read(
        &mut self,
        (state, key): (u32, u32),
        seen: ReadItems,
        wanted: impl Fn(&[u8]) -> bool,
        limit: usize,
        once: bool,
    ) {
        let (ttl, now_ms) = (self.ttl, self.now_ms);
        let is_expired = |item: &TimedItem| ttl.is_some_and(|ttl| ttl.is_expired(item.updated_ms, now_ms));
        let items = self.items.entry((state, key)).or_default();
        let (mut count, mut renews) = (0, false);
        let mut given = Vec::new();
        let mut rest = seen.iter().peekable();
        for item in items.iter_mut().filter(|item| wanted(&item.sub_key)) {
            if count == limit {
                break;
            }
            if is_expired(item) {
                // The item may not have been cleaned up yet.
                let may_be_seen = ttl.is_some_and(|ttl| ttl.return_expired);
                if may_be_seen && rest.next_if(|seen| seen.0 == item.sub_key && seen.1 == item.value).is_some() {
                    count += 1;
                    given.push((item.sub_key.clone(), item.value.clone()));
                }
                continue;
            }
            let next = rest.next().unwrap_or_else(|| panic!("{item:?} is missing in {seen:?} at {now_ms}"));
            assert_eq!((&next.0, &next.1), (&item.sub_key, &item.value), "at {now_ms}");
            count += 1;
            if ttl.is_some_and(|ttl| ttl.update == TtlUpdate::ReadAndWrite) {
                item.updated_ms = now_ms;
                renews = true;
            }
        }
        assert_eq!(rest.next(), None, "of {seen:?} at {now_ms}");
        if renews && state == LIST {
            items.retain(|item| !is_expired(item));
        }
        if once {
            items.retain(|item| !is_expired(item) || !given.contains(&(item.sub_key.clone(), item.value.clone())));
        }
    }
}

pub(super) fn behaves_like_the_model(kind: StateBackendKind, ttl: Option<TimeToLive>, steps: Vec<TurnStep>) {
    let mut subject = TurnTest::new(kind, ttl);
    let mut model = TtlModel { ttl, ..TtlModel::default() };
    let mut handles: Vec<(StateHandle, TtlModel)> = Vec::new();
    let mut written = 0_u32;
    for step in steps {
        match step {
            TurnStep::Turn { operations, commits, passes_ms } => {
                model.now_ms += passes_ms;
                subject.clock.set_ms(model.now_ms);
                let before = model.clone();
                let turn = subject.begin(&KEYS);
                operations.iter().for_each(|operation| run(turn, &mut model, operation, &mut written));
                if commits {
                    turn.commit().unwrap();
                } else {
                    turn.abort();
                    model = before;
                }
            }
            TurnStep::Image => handles.push((subject.handle(), model.clone())),
            TurnStep::Restore(which) if !handles.is_empty() => {
                let (handle, of) = &handles[which % handles.len()];
                subject.restore(handle);
                model = TtlModel { now_ms: model.now_ms, ..of.clone() };
            }
            TurnStep::Restore(_) => {}
        }
    }
    read_all(&mut subject, &mut model);
    for (handle, of) in handles {
        subject.restore(&handle);
        read_all(&mut subject, &mut TtlModel { now_ms: model.now_ms, ..of });
    }
}

fn read_all(subject: &mut TurnTest, model: &mut TtlModel) {
    let turn = subject.begin(&KEYS);
    for state in VALUE..=AGGREGATING {
        read_at_once(turn, model, state);
        read_one_by_one(turn, model, state);
    }
    turn.commit().unwrap();
}

fn run(turn: &mut Turn, model: &mut TtlModel, operation: &StateCall, written: &mut u32) {
    match operation.state {
        LIST => run_list(turn, model, operation, written),
        MAP => run_map(turn, model, operation),
        _ => run_value(turn, model, operation),
    }
}

fn run_value(turn: &mut Turn, model: &mut TtlModel, StateCall { state, what, at, .. }: &StateCall) {
    let keys: Vec<u32> = at.iter().map(|(key, ..)| *key).collect();
    let (key, _, value) = &at[0];
    match what % 5 {
        0 => read_at_once(turn, model, *state),
        1 => {
            let seen = turn.value_get(*state, *key).unwrap().map(|value| (Vec::new(), value));
            model.read((*state, *key), Vec::from_iter(seen), |_| true, 1, true);
        }
        2 => {
            turn.value_set(*state, *key, value).unwrap();
            model.put(*state, *key, b"", value);
        }
        3 => {
            turn.value_store(*state, &keys, &at.iter().map(|(.., value)| value).collect()).unwrap();
            at.iter().for_each(|(key, _, value)| model.put(*state, *key, b"", value));
        }
        _ => {
            turn.value_clear(*state, &keys).unwrap();
            keys.iter().for_each(|&key| model.clear(*state, key));
        }
    }
}

/// Numbers the elements, so that expired elements can be told from others.
fn run_list(turn: &mut Turn, model: &mut TtlModel, StateCall { what, at, .. }: &StateCall, written: &mut u32) {
    let keys: Vec<u32> = at.iter().map(|(key, ..)| *key).collect();
    let mut element = |value: &[u8]| {
        *written += 1;
        [&written.to_le_bytes(), value].concat()
    };
    let elements: Column = at.iter().map(|(.., value)| element(value)).collect();
    let key = keys[0];
    match what % 6 {
        0 => read_at_once(turn, model, LIST),
        1 => model.read((LIST, key), listed(&turn.list_get(LIST, key).unwrap()), |_| true, usize::MAX, true),
        2 => {
            turn.list_add(LIST, key, elements.value(0)).unwrap();
            model.append(LIST, key, b"", elements.value(0));
        }
        3 => {
            turn.list_append(LIST, &keys, &elements).unwrap();
            keys.iter().zip(elements.iter()).for_each(|(&key, element)| model.append(LIST, key, b"", element));
        }
        4 => {
            // The first list gets all elements except the last, the last list gets that one, and the others become empty.
            let ends: Vec<u32> =
                (1..=keys.len()).map(|at| (keys.len() - usize::from(at < keys.len())) as u32).collect();
            turn.list_replace(LIST, &keys, &elements, &ends).unwrap();
            let mut start = 0;
            for (&key, end) in keys.iter().zip(ends) {
                model.clear(LIST, key);
                (start..end).for_each(|at| model.append(LIST, key, b"", elements.value(at as usize)));
                start = end;
            }
        }
        _ => {
            let kept = elements.slice(0..usize::from(*what) % (elements.len() + 1));
            turn.list_set(LIST, key, &kept).unwrap();
            model.clear(LIST, key);
            kept.iter().for_each(|element| model.append(LIST, key, b"", element));
        }
    }
}

fn run_map(turn: &mut Turn, model: &mut TtlModel, StateCall { what, at, limit, .. }: &StateCall) {
    let keys: Vec<u32> = at.iter().map(|(key, ..)| *key).collect();
    let sub_keys: Column = at.iter().map(|(_, sub_key, _)| SUB_KEYS[*sub_key]).collect();
    let (key, sub_key, value) = (at[0].0, SUB_KEYS[at[0].1], &at[0].2);
    match what % 8 {
        0 => read_at_once(turn, model, MAP),
        1 => {
            let seen = turn.map_get(MAP, key, sub_key).unwrap().map(|value| (sub_key.to_vec(), value));
            model.read((MAP, key), Vec::from_iter(seen), |held| held == sub_key, 1, true);
        }
        2 => {
            turn.map_put(MAP, key, sub_key, value).unwrap();
            model.put(MAP, key, sub_key, value);
        }
        3 | 4 => {
            turn.map_store(MAP, &keys, &sub_keys, &at.iter().map(|(.., value)| value).collect()).unwrap();
            at.iter().for_each(|(key, sub_key, value)| model.put(MAP, *key, SUB_KEYS[*sub_key], value));
        }
        5 => {
            turn.map_remove(MAP, &keys, &sub_keys).unwrap();
            at.iter().for_each(|(key, sub_key, _)| model.remove(MAP, *key, SUB_KEYS[*sub_key]));
        }
        6 => {
            let after = (value.len() > 1).then_some(sub_key);
            let seen = turn.map_scan(MAP, key, after, *limit).unwrap();
            model.read((MAP, key), seen, |held| after.is_none_or(|after| held > after), *limit as usize, true);
        }
        _ => {
            turn.map_clear(MAP, &keys).unwrap();
            keys.iter().for_each(|&key| model.clear(MAP, key));
        }
    }
}

fn listed(elements: &Column) -> ReadItems {
    elements.iter().map(|element| (Vec::new(), element.to_vec())).collect()
}

/// Reads all keys of a state by the vectorised call.
fn read_at_once(turn: &mut Turn, model: &mut TtlModel, state: u32) {
    let all = |_: &[u8]| true;
    let keys = 0..KEYS.len() as u32;
    match state {
        LIST => {
            let (elements, ends) = turn.list_load(LIST).unwrap();
            for key in keys {
                let start = if key == 0 { 0 } else { ends[key as usize - 1] };
                let of_key = elements.slice(start as usize..ends[key as usize] as usize);
                model.read((LIST, key), listed(&of_key), all, usize::MAX, false);
            }
        }
        MAP => {
            let of: Vec<u32> = keys.clone().flat_map(|key| [key; SUB_KEYS.len()]).collect();
            let sub_keys: Column = keys.clone().flat_map(|_| SUB_KEYS).collect();
            let loaded = turn.map_load(MAP, &of, &sub_keys).unwrap();
            for key in keys {
                let of_key = (0..of.len()).filter(|&at| of[at] == key && loaded.present[at]);
                let seen = of_key.map(|at| (sub_keys.value(at).to_vec(), loaded.values.value(at).to_vec())).collect();
                model.read((MAP, key), seen, all, usize::MAX, true);
            }
        }
        _ => {
            let loaded = turn.value_load(state).unwrap();
            for key in keys {
                let at = key as usize;
                let seen = loaded.present[at].then(|| (Vec::new(), loaded.values.value(at).to_vec()));
                model.read((state, key), Vec::from_iter(seen), all, 1, false);
            }
        }
    }
}

/// Reads all keys of a state by the calls for one key.
fn read_one_by_one(turn: &mut Turn, model: &mut TtlModel, state: u32) {
    for key in 0..KEYS.len() as u32 {
        let seen = match state {
            LIST => listed(&turn.list_get(LIST, key).unwrap()),
            MAP => turn.map_scan(MAP, key, None, u32::MAX).unwrap(),
            _ => Vec::from_iter(turn.value_get(state, key).unwrap().map(|value| (Vec::new(), value))),
        };
        model.read((state, key), seen, |_| true, usize::MAX, true);
    }
}
