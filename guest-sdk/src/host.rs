//! The interface to the host: the component's imports on Wasm, the memory of a harness in tests.
//!
//! Its functions are called a few times per turn and never per record, so the cost of a virtual call does not matter.

use crate::bindings::cofferdam::function::{
    context::TurnContext,
    log::Level,
    state::{Lists, MapEntry, Values},
    types::{Column, TimeDomain},
};

/// The imports of the contract, one method for each.
pub trait Host {
    fn value_load(&self, state: u32) -> Values;
    fn value_get(&self, state: u32, key: u32) -> Option<Vec<u8>>;
    fn value_store(&self, state: u32, keys: &[u32], values: &Column);
    fn value_clear(&self, state: u32, keys: &[u32]);
    fn list_load(&self, state: u32) -> Lists;
    fn list_get(&self, state: u32, key: u32) -> Column;
    fn list_append(&self, state: u32, keys: &[u32], elements: &Column);
    fn list_replace(&self, state: u32, keys: &[u32], lists: &Lists);
    fn map_load(&self, state: u32, keys: &[u32], sub_keys: &Column) -> Values;
    fn map_store(&self, state: u32, keys: &[u32], sub_keys: &Column, values: &Column);
    fn map_remove(&self, state: u32, keys: &[u32], sub_keys: &Column);
    fn map_clear(&self, state: u32, keys: &[u32]);
    fn map_get(&self, state: u32, key: u32, sub_key: &[u8]) -> Option<Vec<u8>>;
    fn map_scan(&self, state: u32, key: u32, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry>;
    fn broadcast_load(&self, state: u32, sub_keys: &Column) -> Values;
    fn broadcast_store(&self, state: u32, sub_keys: &Column, values: &Column);
    fn broadcast_remove(&self, state: u32, sub_keys: &Column);
    fn broadcast_clear(&self, state: u32);
    fn broadcast_get(&self, state: u32, sub_key: &[u8]) -> Option<Vec<u8>>;
    fn broadcast_scan(&self, state: u32, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry>;
    fn timer_add(&self, domain: TimeDomain, keys: &[u32], times: &[i64]);
    fn timer_remove(&self, domain: TimeDomain, keys: &[u32], times: &[i64]);
    fn turn(&self) -> TurnContext;
    fn config(&self) -> Vec<(String, String)>;
    fn log_enabled(&self, level: Level) -> bool;
    fn log(&self, level: Level, message: &str, record: Option<u32>);
    fn metric_add(&self, name: &str, value: u64);
    fn metric_set(&self, name: &str, value: f64);
    fn metric_observe(&self, name: &str, value: f64);
}

/// The component's imports.
#[cfg(target_family = "wasm")]
pub(crate) struct Imports;

#[cfg(target_family = "wasm")]
mod imports {
    use super::*;
    use crate::bindings::cofferdam::function::{context, log, metrics, state, timers};

    impl Host for Imports {
        fn value_load(&self, index: u32) -> Values {
            state::value_load(index)
        }

        fn value_get(&self, index: u32, key: u32) -> Option<Vec<u8>> {
            state::value_get(index, key)
        }

        fn value_store(&self, index: u32, keys: &[u32], values: &Column) {
            state::value_store(index, keys, values);
        }

        fn value_clear(&self, index: u32, keys: &[u32]) {
            state::value_clear(index, keys);
        }

        fn list_load(&self, index: u32) -> Lists {
            state::list_load(index)
        }

        fn list_get(&self, index: u32, key: u32) -> Column {
            state::list_get(index, key)
        }

        fn list_append(&self, index: u32, keys: &[u32], elements: &Column) {
            state::list_append(index, keys, elements);
        }

        fn list_replace(&self, index: u32, keys: &[u32], lists: &Lists) {
            state::list_replace(index, keys, lists);
        }

        fn map_load(&self, index: u32, keys: &[u32], sub_keys: &Column) -> Values {
            state::map_load(index, keys, sub_keys)
        }

        fn map_store(&self, index: u32, keys: &[u32], sub_keys: &Column, values: &Column) {
            state::map_store(index, keys, sub_keys, values);
        }

        fn map_remove(&self, index: u32, keys: &[u32], sub_keys: &Column) {
            state::map_remove(index, keys, sub_keys);
        }

        fn map_clear(&self, index: u32, keys: &[u32]) {
            state::map_clear(index, keys);
        }

        fn map_get(&self, index: u32, key: u32, sub_key: &[u8]) -> Option<Vec<u8>> {
            state::map_get(index, key, sub_key)
        }

        fn map_scan(&self, index: u32, key: u32, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry> {
            state::map_scan(index, key, after, limit)
        }

        fn broadcast_load(&self, index: u32, sub_keys: &Column) -> Values {
            state::broadcast_load(index, sub_keys)
        }

        fn broadcast_store(&self, index: u32, sub_keys: &Column, values: &Column) {
            state::broadcast_store(index, sub_keys, values);
        }

        fn broadcast_remove(&self, index: u32, sub_keys: &Column) {
            state::broadcast_remove(index, sub_keys);
        }

        fn broadcast_clear(&self, index: u32) {
            state::broadcast_clear(index);
        }

        fn broadcast_get(&self, index: u32, sub_key: &[u8]) -> Option<Vec<u8>> {
            state::broadcast_get(index, sub_key)
        }

        fn broadcast_scan(&self, index: u32, after: Option<&[u8]>, limit: u32) -> Vec<MapEntry> {
            state::broadcast_scan(index, after, limit)
        }

        fn timer_add(&self, domain: TimeDomain, keys: &[u32], times: &[i64]) {
            timers::add(domain, keys, times);
        }

        fn timer_remove(&self, domain: TimeDomain, keys: &[u32], times: &[i64]) {
            timers::remove(domain, keys, times);
        }

        fn turn(&self) -> TurnContext {
            context::current()
        }

        fn config(&self) -> Vec<(String, String)> {
            context::config()
        }

        fn log_enabled(&self, level: Level) -> bool {
            log::enabled(level)
        }

        fn log(&self, level: Level, message: &str, record: Option<u32>) {
            log::write(level, message, record);
        }

        fn metric_add(&self, name: &str, value: u64) {
            metrics::add(name, value);
        }

        fn metric_set(&self, name: &str, value: f64) {
            metrics::set(name, value);
        }

        fn metric_observe(&self, name: &str, value: f64) {
            metrics::observe(name, value);
        }
    }
}
