//! The host of a harness: state, timers, metrics and log lines in memory.
//!
//! Invariant: `committed` is the content of a snapshot. A turn changes it in place; a turn that fails is rolled back to a copy from
//! before it.

use super::LogLine;
use super::states::{Place, States};
use crate::bindings::cofferdam::function::context::TurnContext;
use crate::bindings::cofferdam::function::log::Level;
use crate::bindings::cofferdam::function::state::{Lists, MapEntry, Values};
use crate::bindings::cofferdam::function::types::{Column, TimeDomain};
use crate::bindings::exports::cofferdam::function::guest::StateDescription;
use crate::column;
use crate::host::Host;
use crate::turn_cursor::ItemStream;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Everything that a turn changes as a whole.
#[derive(Clone, Default)]
pub(super) struct Committed {
    pub(super) states: States,
    pub(super) event_timers: BTreeSet<(i64, Vec<u8>)>,
    pub(super) processing_timers: BTreeSet<(i64, Vec<u8>)>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) gauges: BTreeMap<String, f64>,
    pub(super) observations: BTreeMap<String, Vec<f64>>,
    /// The number of items of each stream that were handled.
    pub(super) positions: [u64; 5],
}

impl Committed {
    pub(super) fn timers_of(&self, domain: TimeDomain) -> &BTreeSet<(i64, Vec<u8>)> {
        match domain {
            TimeDomain::Event => &self.event_timers,
            TimeDomain::Processing => &self.processing_timers,
        }
    }

    fn timers_mut(&mut self, domain: TimeDomain) -> &mut BTreeSet<(i64, Vec<u8>)> {
        match domain {
            TimeDomain::Event => &mut self.event_timers,
            TimeDomain::Processing => &mut self.processing_timers,
        }
    }
}

pub(super) struct Memory {
    pub(super) committed: Committed,
    /// The distinct keys of the turn.
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) watermark: i64,
    pub(super) processing_time: i64,
    pub(super) config: Vec<(String, String)>,
    /// The stream of the turn's items.
    pub(super) stream: ItemStream,
    pub(super) logs: Vec<LogLine>,
    pub(super) calls: BTreeMap<&'static str, u64>,
}

impl Memory {
    pub(super) fn before_turn(&self) -> Committed {
        self.committed.clone()
    }

    /// Counts the items of a turn.
    pub(super) fn advance(&mut self, items: u64) {
        self.committed.positions[self.stream as usize] += items;
    }

    pub(super) fn roll_back(&mut self, before: Committed) {
        self.committed = before;
    }

    /// Drops the timers that did not exist before.
    pub(super) fn drop_timers_not_in(&mut self, before: &Committed) {
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            self.committed.timers_mut(domain).retain(|timer| before.timers_of(domain).contains(timer));
        }
    }

    /// Returns the earliest time up to `until` that has timers, and their keys in order.
    pub(super) fn earliest_timers(&self, domain: TimeDomain, until: i64) -> Option<(i64, Vec<Vec<u8>>)> {
        let timers = self.committed.timers_of(domain);
        let time = timers.first().map(|(time, _)| *time).filter(|&time| time <= until)?;
        let keys = timers.iter().take_while(|(other, _)| *other == time).map(|(_, key)| key.clone());
        Some((time, keys.collect()))
    }

    pub(super) fn delete_timer(&mut self, domain: TimeDomain, time: i64, key: &[u8]) {
        self.committed.timers_mut(domain).remove(&(time, key.to_vec()));
    }

    fn place(&self, state: u32, key: u32) -> Place {
        (state, self.keys[key as usize].clone())
    }

    fn places(&self, state: u32) -> Vec<Place> {
        self.keys.iter().map(|key| (state, key.clone())).collect()
    }

    /// Reads entries of one key. Removes an expired entry that is returned.
    fn read(&mut self, place: Place, wanted: impl FnMut(&[u8]) -> bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.committed.states.read(place, self.processing_time, wanted, true)
    }

    /// Reads the entries of one key together with those of all other keys. Removes nothing.
    fn read_with_others(&mut self, place: Place) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.committed.states.read(place, self.processing_time, |_| true, false)
    }

    fn put(&mut self, place: Place, sub_key: &[u8], bytes: &[u8]) {
        self.committed.states.put(place, sub_key, bytes, self.processing_time);
    }

    fn append(&mut self, place: Place, bytes: &[u8]) {
        self.committed.states.append(place, bytes, self.processing_time);
    }

    fn clear(&mut self, place: &Place) {
        self.committed.states.clear(place);
    }

    /// Reads one entry of a map.
    fn entry(&mut self, place: Place, sub_key: &[u8]) -> Option<Vec<u8>> {
        self.read(place, |other| other == sub_key).pop().map(|(_, bytes)| bytes)
    }

    fn entries(&mut self, places: impl Iterator<Item = Place>, sub_keys: &Column) -> Values {
        let mut values = no_values();
        for (index, place) in places.enumerate() {
            let entry = self.entry(place, column::value(sub_keys, index));
            push_value(&mut values, entry.as_deref());
        }
        values
    }

    fn scan(&mut self, place: Place, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry> {
        let mut left = limit;
        let wanted = |sub_key: &[u8]| {
            let wanted = left > 0 && after.is_none_or(|after| sub_key > after);
            left -= u32::from(wanted);
            wanted
        };
        self.read(place, wanted).into_iter().map(|(key, value)| MapEntry { key, value }).collect()
    }

    fn called(&mut self, import: &'static str) {
        *self.calls.entry(import).or_default() += 1;
    }
}

fn no_values() -> Values {
    Values { present: Vec::new(), values: column::empty() }
}

fn push_value(values: &mut Values, value: Option<&[u8]>) {
    values.present.push(u8::from(value.is_some()));
    values.values.bytes.extend_from_slice(value.unwrap_or_default());
    column::end_value(&mut values.values);
}

/// The place of a broadcast state.
fn broadcast_place(state: u32) -> Place {
    (state, Vec::new())
}

/// The memory, shared by the harness and the function's context.
#[derive(Clone)]
pub(super) struct SharedMemory(Rc<RefCell<Memory>>);

impl SharedMemory {
    pub(super) fn new(states: &[StateDescription]) -> Self {
        SharedMemory(Rc::new(RefCell::new(Memory {
            committed: Committed { states: States::new(states), ..Committed::default() },
            keys: Vec::new(),
            watermark: i64::MIN,
            processing_time: 0,
            config: Vec::new(),
            stream: ItemStream::FirstInput,
            logs: Vec::new(),
            calls: BTreeMap::new(),
        })))
    }

    pub(super) fn with<R>(&self, action: impl FnOnce(&mut Memory) -> R) -> R {
        action(&mut self.0.borrow_mut())
    }

    fn call<R>(&self, import: &'static str, action: impl FnOnce(&mut Memory) -> R) -> R {
        self.with(|memory| {
            memory.called(import);
            action(memory)
        })
    }
}

impl Host for SharedMemory {
    fn value_load(&self, state: u32) -> Values {
        self.call("value-load", |memory| {
            let mut values = no_values();
            for place in memory.places(state) {
                let value = memory.read_with_others(place).pop().map(|(_, bytes)| bytes);
                push_value(&mut values, value.as_deref());
            }
            values
        })
    }

    fn value_get(&self, state: u32, key: u32) -> Option<Vec<u8>> {
        self.call("value-get", |memory| memory.entry(memory.place(state, key), &[]))
    }

    fn value_store(&self, state: u32, keys: &[u32], values: &Column) {
        self.call("value-store", |memory| {
            for (index, &key) in keys.iter().enumerate() {
                memory.put(memory.place(state, key), &[], column::value(values, index));
            }
        });
    }

    fn value_clear(&self, state: u32, keys: &[u32]) {
        self.call("value-clear", |memory| keys.iter().for_each(|&key| memory.clear(&memory.place(state, key))));
    }

    fn list_load(&self, state: u32) -> Lists {
        self.call("list-load", |memory| {
            let mut lists = Lists { elements: column::empty(), ends: Vec::new() };
            for place in memory.places(state) {
                for (_, element) in memory.read_with_others(place) {
                    lists.elements.bytes.extend_from_slice(&element);
                    column::end_value(&mut lists.elements);
                }
                lists.ends.push(column::len(&lists.elements) as u32);
            }
            lists
        })
    }

    fn list_get(&self, state: u32, key: u32) -> Column {
        self.call("list-get", |memory| {
            let mut elements = column::empty();
            for (_, element) in memory.read(memory.place(state, key), |_| true) {
                elements.bytes.extend_from_slice(&element);
                column::end_value(&mut elements);
            }
            elements
        })
    }

    fn list_append(&self, state: u32, keys: &[u32], elements: &Column) {
        self.call("list-append", |memory| {
            for (index, &key) in keys.iter().enumerate() {
                memory.append(memory.place(state, key), column::value(elements, index));
            }
        });
    }

    fn list_replace(&self, state: u32, keys: &[u32], lists: &Lists) {
        self.call("list-replace", |memory| {
            let mut start = 0;
            for (&key, &end) in keys.iter().zip(&lists.ends) {
                let place = memory.place(state, key);
                memory.clear(&place);
                for index in start..end as usize {
                    memory.append(place.clone(), column::value(&lists.elements, index));
                }
                start = end as usize;
            }
        });
    }

    fn map_load(&self, state: u32, keys: &[u32], sub_keys: &Column) -> Values {
        self.call("map-load", |memory| {
            let places: Vec<_> = keys.iter().map(|&key| memory.place(state, key)).collect();
            memory.entries(places.into_iter(), sub_keys)
        })
    }

    fn map_store(&self, state: u32, keys: &[u32], sub_keys: &Column, values: &Column) {
        self.call("map-store", |memory| {
            for (index, &key) in keys.iter().enumerate() {
                let (sub_key, value) = (column::value(sub_keys, index), column::value(values, index));
                memory.put(memory.place(state, key), sub_key, value);
            }
        });
    }

    fn map_remove(&self, state: u32, keys: &[u32], sub_keys: &Column) {
        self.call("map-remove", |memory| {
            for (index, &key) in keys.iter().enumerate() {
                let place = memory.place(state, key);
                memory.committed.states.remove(&place, column::value(sub_keys, index));
            }
        });
    }

    fn map_clear(&self, state: u32, keys: &[u32]) {
        self.call("map-clear", |memory| keys.iter().for_each(|&key| memory.clear(&memory.place(state, key))));
    }

    fn map_get(&self, state: u32, key: u32, sub_key: &[u8]) -> Option<Vec<u8>> {
        self.call("map-get", |memory| memory.entry(memory.place(state, key), sub_key))
    }

    fn map_scan(&self, state: u32, key: u32, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry> {
        self.call("map-scan", |memory| memory.scan(memory.place(state, key), after, limit))
    }

    fn broadcast_load(&self, state: u32, sub_keys: &Column) -> Values {
        self.call("broadcast-load", |memory| {
            memory.entries(std::iter::repeat_n(broadcast_place(state), column::len(sub_keys)), sub_keys)
        })
    }

    fn broadcast_store(&self, state: u32, sub_keys: &Column, values: &Column) {
        self.call("broadcast-store", |memory| {
            for index in 0..column::len(sub_keys) {
                memory.put(broadcast_place(state), column::value(sub_keys, index), column::value(values, index));
            }
        });
    }

    fn broadcast_remove(&self, state: u32, sub_keys: &Column) {
        self.call("broadcast-remove", |memory| {
            for index in 0..column::len(sub_keys) {
                memory.committed.states.remove(&broadcast_place(state), column::value(sub_keys, index));
            }
        });
    }

    fn broadcast_clear(&self, state: u32) {
        self.call("broadcast-clear", |memory| memory.clear(&broadcast_place(state)));
    }

    fn broadcast_get(&self, state: u32, sub_key: &[u8]) -> Option<Vec<u8>> {
        self.call("broadcast-get", |memory| memory.entry(broadcast_place(state), sub_key))
    }

    fn broadcast_scan(&self, state: u32, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry> {
        self.call("broadcast-scan", |memory| memory.scan(broadcast_place(state), after, limit))
    }

    fn timer_add(&self, domain: TimeDomain, keys: &[u32], times: &[i64]) {
        self.call("add", |memory| {
            for (&key, &time) in keys.iter().zip(times) {
                let key = memory.keys[key as usize].clone();
                memory.committed.timers_mut(domain).insert((time, key));
            }
        });
    }

    fn timer_remove(&self, domain: TimeDomain, keys: &[u32], times: &[i64]) {
        self.call("remove", |memory| {
            for (&key, &time) in keys.iter().zip(times) {
                let key = memory.keys[key as usize].clone();
                memory.delete_timer(domain, time, &key);
            }
        });
    }

    fn turn(&self) -> TurnContext {
        self.call("current", |memory| TurnContext {
            operator_id: "harness".to_owned(),
            watermark: (memory.watermark != i64::MIN).then_some(memory.watermark),
            processing_time: memory.processing_time,
            seed_high: 0,
            seed_low: 0,
            position: memory.committed.positions[memory.stream as usize],
        })
    }

    fn config(&self) -> Vec<(String, String)> {
        self.call("config", |memory| memory.config.clone())
    }

    fn log_enabled(&self, _: Level) -> bool {
        true
    }

    fn log(&self, level: Level, message: &str, record: Option<u32>) {
        self.with(|memory| memory.logs.push(LogLine { level, message: message.to_owned(), record }));
    }

    fn metric_add(&self, name: &str, value: u64) {
        self.with(|memory| *memory.committed.counters.entry(name.to_owned()).or_default() += value);
    }

    fn metric_set(&self, name: &str, value: f64) {
        self.with(|memory| {
            memory.committed.gauges.insert(name.to_owned(), value);
        });
    }

    fn metric_observe(&self, name: &str, value: f64) {
        self.with(|memory| memory.committed.observations.entry(name.to_owned()).or_default().push(value));
    }
}
