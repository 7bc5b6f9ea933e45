//! The exports of a component: always `guest`, and optionally the interfaces of timers, migrations, windows and joins.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::bindings::exports::cofferdam::function::{aggregate, guest, join, migration, timer_handler, window};
use super::engine::RunningCalls;
use super::instance::StoreData;

/// A component that is ready to be instantiated, with the indices of its exports.
pub(super) struct LinkedComponent {
    pub(super) instance: InstancePre<StoreData>,
    guest: guest::GuestIndices,
    timer_handler: Option<timer_handler::GuestIndices>,
    migration: Option<migration::GuestIndices>,
    aggregate: Option<aggregate::GuestIndices>,
    window: Option<window::GuestIndices>,
    join: Option<join::GuestIndices>,
    /// Counts the calls of all components of the engine.
    pub(super) calls: Arc<RunningCalls>,
}

impl LinkedComponent {
    /// Finds the exports. An existing optional interface with the wrong type is an error as well.
    pub(super) fn new(instance: InstancePre<StoreData>, calls: Arc<RunningCalls>) -> wasmtime::Result<LinkedComponent> {
        let has = |name: &str| {
            instance.component().get_export_index(None, format!("cofferdam:function/{name}@0.2.0")).is_some()
        };
        Ok(LinkedComponent {
            guest: guest::GuestIndices::new(&instance)?,
            timer_handler: has("timer-handler").then(|| timer_handler::GuestIndices::new(&instance)).transpose()?,
            migration: has("migration").then(|| migration::GuestIndices::new(&instance)).transpose()?,
            aggregate: has("aggregate").then(|| aggregate::GuestIndices::new(&instance)).transpose()?,
            window: has("window").then(|| window::GuestIndices::new(&instance)).transpose()?,
            join: has("join").then(|| join::GuestIndices::new(&instance)).transpose()?,
            instance,
            calls,
        })
    }

    /// Returns the exports of an instance of this component.
    pub(super) fn load(&self, store: &mut Store<StoreData>, instance: &Instance) -> wasmtime::Result<ComponentExports> {
        Ok(ComponentExports {
            guest: self.guest.load(&mut *store, instance)?,
            timer_handler: self
                .timer_handler
                .as_ref()
                .map(|indices| indices.load(&mut *store, instance))
                .transpose()?,
            migration: self.migration.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            aggregate: self.aggregate.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            window: self.window.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            join: self.join.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
        })
    }

    /// Returns whether the component exports the optional interface `name`.
    pub(super) fn exports(&self, name: &str) -> bool {
        match name {
            "timer-handler" => self.timer_handler.is_some(),
            "migration" => self.migration.is_some(),
            "aggregate" => self.aggregate.is_some(),
            "window" => self.window.is_some(),
            "join" => self.join.is_some(),
            _ => false,
        }
    }
}

/// The exports of one instance.
pub(super) struct ComponentExports {
    pub(super) guest: guest::Guest,
    pub(super) timer_handler: Option<timer_handler::Guest>,
    pub(super) migration: Option<migration::Guest>,
    pub(super) aggregate: Option<aggregate::Guest>,
    pub(super) window: Option<window::Guest>,
    pub(super) join: Option<join::Guest>,
}
