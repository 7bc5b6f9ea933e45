//! Turns of any operations, committed or aborted, with time passing, images and restores between them, against a plain model.

use std::collections::BTreeMap;

use super::*;

const KEYS: [&str; 3] = ["a", "", "b\0"];
const SUB_KEYS: [&[u8]; 5] = [b"", b"\0", b"\0\xff", b"x", b"xy"];

pub(super) fn lifetimes() -> impl Strategy<Value = Option<TimeToLive>> {
    prop_oneof![Just(FOREVER), Just(WRITTEN), Just(READ), Just(SHOWN)]
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Turn { operations: Vec<Operation>, commits: bool, passes_ms: i64 },
    Image,
    Restore(usize),
}

/// What a function asks for: `what` is taken by the kind of the state, as [`run`] says, with as many of `at` as it needs.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    state: u32,
    what: u8,
    at: Vec<(u32, usize, Vec<u8>)>,
    limit: u32,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = proptest::collection::vec(any::<u8>(), 0..4);
    let at = proptest::collection::vec((0..KEYS.len() as u32, 0..SUB_KEYS.len(), value), 1..4);
    let operation = (VALUE..=AGGREGATING, any::<u8>(), at, 0..5u32).prop_map(|(state, what, at, limit)| Operation {
        state,
        what,
        at,
        limit,
    });
    let operations = proptest::collection::vec(operation, 0..8);
    let step = prop_oneof![
        12 => (operations, proptest::bool::weighted(0.8), 0..LIFETIME_MS)
            .prop_map(|(operations, commits, passes_ms)| Step::Turn { operations, commits, passes_ms }),
        2 => Just(Step::Image),
        1 => any::<usize>().prop_map(Step::Restore),
    ];
    proptest::collection::vec(step, 0..40)
}

/// Something with a time of its own: the value, an element of the list, an entry of the map.
#[derive(Clone, Debug)]
struct Item {
    sub_key: Vec<u8>,
    value: Vec<u8>,
    updated_ms: i64,
}

/// What there is of each state and key: elements in order, entries in order of their sub-keys.
#[derive(Clone, Default)]
struct Model {
    items: BTreeMap<(u32, u32), Vec<Item>>,
    ttl: Option<TimeToLive>,
    now_ms: i64,
}

type Seen = Vec<(Vec<u8>, Vec<u8>)>;

impl Model {
    fn of(&mut self, state: u32, key: u32) -> &mut Vec<Item> {
        self.items.entry((state, key)).or_default()
    }

    fn put(&mut self, state: u32, key: u32, sub_key: &[u8], value: &[u8]) {
        self.remove(state, key, sub_key);
        self.append(state, key, sub_key, value);
        self.of(state, key).sort_by(|a, b| a.sub_key.cmp(&b.sub_key));
    }

    fn append(&mut self, state: u32, key: u32, sub_key: &[u8], value: &[u8]) {
        let item = Item { sub_key: sub_key.to_vec(), value: value.to_vec(), updated_ms: self.now_ms };
        self.of(state, key).push(item);
    }

    fn remove(&mut self, state: u32, key: u32, sub_key: &[u8]) {
        self.of(state, key).retain(|item| item.sub_key != sub_key);
    }

    fn clear(&mut self, state: u32, key: u32) {
        self.items.remove(&(state, key));
    }

    /// Checks what was seen of up to `limit` of the items that `wanted` says, and refreshes them. With `once`, what is seen
    /// although it has expired is gone.
    fn read(&mut self, (state, key): (u32, u32), seen: Seen, wanted: impl Fn(&[u8]) -> bool, limit: usize, once: bool) {
        let (ttl, now_ms) = (self.ttl, self.now_ms);
        let is_expired = |item: &Item| ttl.is_some_and(|ttl| ttl.is_expired(item.updated_ms, now_ms));
        let items = self.items.entry((state, key)).or_default();
        let (mut count, mut refreshes) = (0, false);
        let mut given = Vec::new();
        let mut rest = seen.iter().peekable();
        for item in items.iter_mut().filter(|item| wanted(&item.sub_key)) {
            if count == limit {
                break;
            }
            if is_expired(item) {
                // Perhaps it is not cleaned up yet.
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
                refreshes = true;
            }
        }
        assert_eq!(rest.next(), None, "of {seen:?} at {now_ms}");
        if refreshes && state == LIST {
            items.retain(|item| !is_expired(item));
        }
        if once {
            items.retain(|item| !is_expired(item) || !given.contains(&(item.sub_key.clone(), item.value.clone())));
        }
    }
}

pub(super) fn behaves_like_the_model(kind: StateBackendKind, ttl: Option<TimeToLive>, steps: Vec<Step>) {
    let mut subject = Subject::new(kind, ttl);
    let mut model = Model { ttl, ..Model::default() };
    let mut images: Vec<(StateHandle, Model)> = Vec::new();
    let mut written = 0_u32;
    for step in steps {
        match step {
            Step::Turn { operations, commits, passes_ms } => {
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
            Step::Image => images.push((subject.image(), model.clone())),
            Step::Restore(which) if !images.is_empty() => {
                let (image, of) = &images[which % images.len()];
                subject.restore(image);
                model = Model { now_ms: model.now_ms, ..of.clone() };
            }
            Step::Restore(_) => {}
        }
    }
    read_all(&mut subject, &mut model);
    for (image, of) in images {
        subject.restore(&image);
        read_all(&mut subject, &mut Model { now_ms: model.now_ms, ..of });
    }
}

fn read_all(subject: &mut Subject, model: &mut Model) {
    let turn = subject.begin(&KEYS);
    for state in VALUE..=AGGREGATING {
        read_at_once(turn, model, state);
        read_one_by_one(turn, model, state);
    }
    turn.commit().unwrap();
}

fn run(turn: &mut Turn, model: &mut Model, operation: &Operation, written: &mut u32) {
    match operation.state {
        LIST => run_list(turn, model, operation, written),
        MAP => run_map(turn, model, operation),
        _ => run_value(turn, model, operation),
    }
}

fn run_value(turn: &mut Turn, model: &mut Model, Operation { state, what, at, .. }: &Operation) {
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

/// Elements are numbered, so that one that has expired is told from one that has not.
fn run_list(turn: &mut Turn, model: &mut Model, Operation { what, at, .. }: &Operation, written: &mut u32) {
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
            // The first list gets all elements but the last, the last gets it, those between are emptied.
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

fn run_map(turn: &mut Turn, model: &mut Model, Operation { what, at, limit, .. }: &Operation) {
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

fn listed(elements: &Column) -> Seen {
    elements.iter().map(|element| (Vec::new(), element.to_vec())).collect()
}

/// All keys of a state, by the vectorised form.
fn read_at_once(turn: &mut Turn, model: &mut Model, state: u32) {
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

/// All keys of a state, by the form for one key.
fn read_one_by_one(turn: &mut Turn, model: &mut Model, state: u32) {
    for key in 0..KEYS.len() as u32 {
        let seen = match state {
            LIST => listed(&turn.list_get(LIST, key).unwrap()),
            MAP => turn.map_scan(MAP, key, None, u32::MAX).unwrap(),
            _ => Vec::from_iter(turn.value_get(state, key).unwrap().map(|value| (Vec::new(), value))),
        };
        model.read((state, key), seen, |_| true, usize::MAX, true);
    }
}
