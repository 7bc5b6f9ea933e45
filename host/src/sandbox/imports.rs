//! The host side of the imports of a component.
//!
//! Each call is passed to the turn. An invalid call traps the guest, which ends its turn with a fault.

use wasmtime::Result;
use wasmtime::component::HasData;

use super::bindings::cofferdam::function as wit;
use super::bindings::cofferdam::function::types::ColumnResult as WitColumn;
use super::instance::StoreData;
use crate::model::{Column, LogLevel, NO_TIMESTAMP, TimeDomain};
use crate::state::LoadedEntries;
use crate::turn::{HostCallError, Turn};

/// Connects the generated bindings with the store's data.
pub(super) struct ImportHost;

impl HasData for ImportHost {
    type Data<'a> = &'a mut StoreData;
}

fn column(column: WitColumn) -> Result<Column, HostCallError> {
    Column::from_parts(column.bytes, column.offsets).map_err(|defect| HostCallError::InvalidCall(defect.to_string()))
}

fn to_wit(column: Column) -> WitColumn {
    let (bytes, offsets) = column.into_parts();
    WitColumn { bytes, offsets }
}

fn values(entries: LoadedEntries) -> wit::state::Values {
    let present = entries.present.iter().map(|&present| u8::from(present)).collect();
    wit::state::Values { present, values: to_wit(entries.values) }
}

impl StoreData {
    /// Returns the current turn, or an error outside of a turn, as during `describe`.
    fn turn(&mut self) -> Result<&mut Turn, HostCallError> {
        if self.in_turn {
            Ok(&mut self.turn)
        } else {
            Err(HostCallError::InvalidCall("imports cannot be called outside of a turn".into()))
        }
    }

    /// Returns the current turn for a call that uses `state`, which the function must have declared.
    fn keyed(&mut self, state: u32) -> Result<&mut Turn, HostCallError> {
        let turn = self.turn()?;
        turn.check_declared(state)?;
        Ok(turn)
    }
}

impl wit::types::Host for StoreData {}

impl wit::state::Host for StoreData {
    fn value_load(&mut self, state: u32) -> Result<wit::state::Values> {
        Ok(values(self.keyed(state)?.value_load(state)?))
    }

    fn value_store(&mut self, state: u32, keys: Vec<u32>, values: WitColumn) -> Result<()> {
        Ok(self.keyed(state)?.value_store(state, &keys, &column(values)?)?)
    }

    fn value_clear(&mut self, state: u32, keys: Vec<u32>) -> Result<()> {
        Ok(self.keyed(state)?.value_clear(state, &keys)?)
    }

    fn value_get(&mut self, state: u32, key: u32) -> Result<Option<Vec<u8>>> {
        Ok(self.keyed(state)?.value_get(state, key)?)
    }

    fn value_set(&mut self, state: u32, key: u32, value: Vec<u8>) -> Result<()> {
        Ok(self.keyed(state)?.value_set(state, key, &value)?)
    }

    fn list_load(&mut self, state: u32) -> Result<wit::state::Lists> {
        let (elements, ends) = self.keyed(state)?.list_load(state)?;
        Ok(wit::state::Lists { elements: to_wit(elements), ends })
    }

    fn list_append(&mut self, state: u32, keys: Vec<u32>, elements: WitColumn) -> Result<()> {
        Ok(self.keyed(state)?.list_append(state, &keys, &column(elements)?)?)
    }

    fn list_replace(&mut self, state: u32, keys: Vec<u32>, lists: wit::state::Lists) -> Result<()> {
        Ok(self.keyed(state)?.list_replace(state, &keys, &column(lists.elements)?, &lists.ends)?)
    }

    fn list_get(&mut self, state: u32, key: u32) -> Result<WitColumn> {
        Ok(to_wit(self.keyed(state)?.list_get(state, key)?))
    }

    fn list_add(&mut self, state: u32, key: u32, element: Vec<u8>) -> Result<()> {
        Ok(self.keyed(state)?.list_add(state, key, &element)?)
    }

    fn list_set(&mut self, state: u32, key: u32, elements: WitColumn) -> Result<()> {
        Ok(self.keyed(state)?.list_set(state, key, &column(elements)?)?)
    }

    fn map_load(&mut self, state: u32, keys: Vec<u32>, sub_keys: WitColumn) -> Result<wit::state::Values> {
        Ok(values(self.keyed(state)?.map_load(state, &keys, &column(sub_keys)?)?))
    }

    fn map_store(&mut self, state: u32, keys: Vec<u32>, sub_keys: WitColumn, values: WitColumn) -> Result<()> {
        Ok(self.keyed(state)?.map_store(state, &keys, &column(sub_keys)?, &column(values)?)?)
    }

    fn map_remove(&mut self, state: u32, keys: Vec<u32>, sub_keys: WitColumn) -> Result<()> {
        Ok(self.keyed(state)?.map_remove(state, &keys, &column(sub_keys)?)?)
    }

    fn map_clear(&mut self, state: u32, keys: Vec<u32>) -> Result<()> {
        Ok(self.keyed(state)?.map_clear(state, &keys)?)
    }

    fn map_get(&mut self, state: u32, key: u32, sub_key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        Ok(self.keyed(state)?.map_get(state, key, &sub_key)?)
    }

    fn map_put(&mut self, state: u32, key: u32, sub_key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        Ok(self.keyed(state)?.map_put(state, key, &sub_key, &value)?)
    }

    fn map_scan(
        &mut self,
        state: u32,
        key: u32,
        after: Option<Vec<u8>>,
        limit: u32,
    ) -> Result<Vec<wit::state::MapEntry>> {
        let entries = self.keyed(state)?.map_scan(state, key, after.as_deref(), limit)?;
        Ok(entries.into_iter().map(|(key, value)| wit::state::MapEntry { key, value }).collect())
    }

    fn broadcast_load(&mut self, state: u32, sub_keys: WitColumn) -> Result<wit::state::Values> {
        let entries = self.turn()?.broadcast_load(state, &column(sub_keys)?)?;
        let present = entries.present.iter().map(|&present| u8::from(present)).collect();
        Ok(wit::state::Values { present, values: to_wit(entries.values) })
    }

    fn broadcast_store(&mut self, state: u32, sub_keys: WitColumn, values: WitColumn) -> Result<()> {
        Ok(self.turn()?.broadcast_store(state, &column(sub_keys)?, &column(values)?)?)
    }

    fn broadcast_remove(&mut self, state: u32, sub_keys: WitColumn) -> Result<()> {
        Ok(self.turn()?.broadcast_remove(state, &column(sub_keys)?)?)
    }

    fn broadcast_clear(&mut self, state: u32) -> Result<()> {
        Ok(self.turn()?.broadcast_clear(state)?)
    }

    fn broadcast_get(&mut self, state: u32, sub_key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        Ok(self.turn()?.broadcast_get(state, &sub_key)?)
    }

    fn broadcast_put(&mut self, state: u32, sub_key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        Ok(self.turn()?.broadcast_put(state, sub_key, value)?)
    }

    fn broadcast_scan(&mut self, state: u32, after: Option<Vec<u8>>, limit: u32) -> Result<Vec<wit::state::MapEntry>> {
        let entries = self.turn()?.broadcast_scan(state, after.as_deref(), limit)?;
        Ok(entries.into_iter().map(|(key, value)| wit::state::MapEntry { key, value }).collect())
    }
}

fn clock(domain: wit::types::TimeDomain) -> TimeDomain {
    match domain {
        wit::types::TimeDomain::Event => TimeDomain::Event,
        wit::types::TimeDomain::Processing => TimeDomain::Processing,
    }
}

impl wit::timers::Host for StoreData {
    fn add(&mut self, domain: wit::types::TimeDomain, keys: Vec<u32>, times: Vec<i64>) -> Result<()> {
        let turn = self.turn()?;
        turn.check_timers_declared()?;
        Ok(turn.timer_register(clock(domain), &keys, &times)?)
    }

    fn remove(&mut self, domain: wit::types::TimeDomain, keys: Vec<u32>, times: Vec<i64>) -> Result<()> {
        let turn = self.turn()?;
        turn.check_timers_declared()?;
        Ok(turn.timer_delete(clock(domain), &keys, &times)?)
    }
}

impl wit::context::Host for StoreData {
    fn current(&mut self) -> Result<wit::context::TurnContext> {
        let context = &self.turn()?.context;
        Ok(wit::context::TurnContext {
            operator_id: context.operator.clone(),
            watermark: Some(context.watermark).filter(|watermark| *watermark != NO_TIMESTAMP),
            processing_time: context.processing_time,
            seed_high: (context.seed >> 32) as u32,
            seed_low: context.seed as u32,
            position: context.position,
        })
    }

    fn config(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.turn()?.context.config.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

fn log_level(level: wit::log::Level) -> LogLevel {
    match level {
        wit::log::Level::Trace => LogLevel::Trace,
        wit::log::Level::Debug => LogLevel::Debug,
        wit::log::Level::Info => LogLevel::Info,
        wit::log::Level::Warn => LogLevel::Warn,
        wit::log::Level::Error => LogLevel::Error,
    }
}

impl wit::log::Host for StoreData {
    /// Answers by the level of the operator, so that a function makes only lines that can appear.
    fn enabled(&mut self, level: wit::log::Level) -> Result<bool> {
        Ok(self.turn.is_log_enabled(log_level(level)))
    }

    fn write(&mut self, level: wit::log::Level, message: String, record: Option<u32>) -> Result<()> {
        // Logging also works outside of a turn: in `describe` and `migrate`.
        self.turn.log(log_level(level), message, record);
        Ok(())
    }

    fn panic(&mut self, message: String, record: Option<u32>, backtrace: Vec<String>) -> Result<()> {
        self.turn.record_panic(message, record, backtrace);
        Ok(())
    }
}

impl wit::metrics::Host for StoreData {
    fn add(&mut self, name: String, value: u64) -> Result<()> {
        Ok(self.turn()?.metric_add(name, value)?)
    }

    fn set(&mut self, name: String, value: f64) -> Result<()> {
        Ok(self.turn()?.metric_set(name, value)?)
    }

    fn observe(&mut self, name: String, value: f64) -> Result<()> {
        Ok(self.turn()?.metric_observe(name, value)?)
    }
}
