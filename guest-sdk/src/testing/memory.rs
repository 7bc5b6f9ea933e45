//! The host of a harness: keyed state, timers, metrics and log lines in memory.
//!
//! Invariant: `committed` is what a snapshot holds; a turn works on it in place and is rolled back to the copy that was
//! made before it.

use super::LogLine;
use crate::bindings::cofferdam::function::context::TurnContext;
use crate::bindings::cofferdam::function::log::Level;
use crate::bindings::cofferdam::function::state::{Lists, Values};
use crate::bindings::cofferdam::function::types::{Column, TimeDomain};
use crate::column;
use crate::host::Host;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// State index and key.
type Place = (u32, Vec<u8>);

/// What turns change together.
#[derive(Clone, Default)]
pub(super) struct Committed {
    pub(super) values: BTreeMap<Place, Vec<u8>>,
    pub(super) lists: BTreeMap<Place, Vec<Vec<u8>>>,
    pub(super) event_timers: BTreeSet<(i64, Vec<u8>)>,
    pub(super) processing_timers: BTreeSet<(i64, Vec<u8>)>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) gauges: BTreeMap<String, f64>,
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
    pub(super) logs: Vec<LogLine>,
    pub(super) calls: BTreeMap<&'static str, u64>,
}

impl Memory {
    pub(super) fn before_turn(&self) -> Committed {
        self.committed.clone()
    }

    pub(super) fn roll_back(&mut self, before: Committed) {
        self.committed = before;
    }

    pub(super) fn value(&self, state: u32, key: &[u8]) -> Option<&Vec<u8>> {
        self.committed.values.get(&(state, key.to_vec()))
    }

    pub(super) fn list(&self, state: u32, key: &[u8]) -> &[Vec<u8>] {
        self.committed.lists.get(&(state, key.to_vec())).map_or(&[], Vec::as_slice)
    }

    /// The earliest time up to `until` for which there are timers, and their keys in order.
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

    fn called(&mut self, import: &'static str) {
        *self.calls.entry(import).or_default() += 1;
    }
}

/// The memory, as the harness and the function's context both hold it.
#[derive(Clone)]
pub(super) struct SharedMemory(Rc<RefCell<Memory>>);

impl SharedMemory {
    pub(super) fn new() -> Self {
        SharedMemory(Rc::new(RefCell::new(Memory {
            committed: Committed::default(),
            keys: Vec::new(),
            watermark: i64::MIN,
            processing_time: 0,
            config: Vec::new(),
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
            let mut values = Values { present: Vec::new(), values: column::empty() };
            for key in &memory.keys {
                let value = memory.value(state, key);
                values.present.push(u8::from(value.is_some()));
                values.values.bytes.extend(value.into_iter().flatten());
                column::end_value(&mut values.values);
            }
            values
        })
    }

    fn value_store(&self, state: u32, keys: &[u32], values: &Column) {
        self.call("value-store", |memory| {
            for (index, &key) in keys.iter().enumerate() {
                let place = memory.place(state, key);
                memory.committed.values.insert(place, column::value(values, index).to_vec());
            }
        });
    }

    fn value_clear(&self, state: u32, keys: &[u32]) {
        self.call("value-clear", |memory| {
            for &key in keys {
                let place = memory.place(state, key);
                memory.committed.values.remove(&place);
            }
        });
    }

    fn list_load(&self, state: u32) -> Lists {
        self.call("list-load", |memory| {
            let mut lists = Lists { elements: column::empty(), ends: Vec::new() };
            for key in &memory.keys {
                for element in memory.list(state, key) {
                    lists.elements.bytes.extend_from_slice(element);
                    column::end_value(&mut lists.elements);
                }
                lists.ends.push(column::len(&lists.elements) as u32);
            }
            lists
        })
    }

    fn list_append(&self, state: u32, keys: &[u32], elements: &Column) {
        self.call("list-append", |memory| {
            for (index, &key) in keys.iter().enumerate() {
                let place = memory.place(state, key);
                memory.committed.lists.entry(place).or_default().push(column::value(elements, index).to_vec());
            }
        });
    }

    fn list_replace(&self, state: u32, keys: &[u32], lists: &Lists) {
        self.call("list-replace", |memory| {
            let mut start = 0;
            for (&key, &end) in keys.iter().zip(&lists.ends) {
                let place = memory.place(state, key);
                let list: Vec<_> =
                    (start..end as usize).map(|index| column::value(&lists.elements, index).to_vec()).collect();
                start = end as usize;
                if list.is_empty() {
                    memory.committed.lists.remove(&place);
                } else {
                    memory.committed.lists.insert(place, list);
                }
            }
        });
    }

    fn timer_register(&self, domain: TimeDomain, keys: &[u32], times: &[i64]) {
        self.call("register", |memory| {
            for (&key, &time) in keys.iter().zip(times) {
                let key = memory.keys[key as usize].clone();
                memory.committed.timers_mut(domain).insert((time, key));
            }
        });
    }

    fn timer_delete(&self, domain: TimeDomain, keys: &[u32], times: &[i64]) {
        self.call("delete", |memory| {
            for (&key, &time) in keys.iter().zip(times) {
                let key = memory.keys[key as usize].clone();
                memory.delete_timer(domain, time, &key);
            }
        });
    }

    fn turn(&self) -> TurnContext {
        self.call("current", |memory| TurnContext {
            operator: "harness".to_owned(),
            subtask: 0,
            parallelism: 1,
            watermark: memory.watermark,
            processing_time: memory.processing_time,
            seed: 0,
        })
    }

    fn config(&self) -> Vec<(String, String)> {
        self.call("config", |memory| memory.config.clone())
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
}
