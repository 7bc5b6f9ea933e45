//! The exports of a component: always `function`, and optionally the interfaces of windows and joins.
//!
//! A component without the optional interfaces, such as one built before they existed, still loads.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::bindings::exports::cofferdam::function::{aggregate, function, join, window};
use super::instance::StoreData;

/// A component that is ready to be instantiated, with the indices of its exports.
pub(super) struct LinkedComponent {
    pub(super) instance: InstancePre<StoreData>,
    function: function::GuestIndices,
    aggregate: Option<aggregate::GuestIndices>,
    window: Option<window::GuestIndices>,
    join: Option<join::GuestIndices>,
}

impl LinkedComponent {
    /// Finds the exports. An existing optional interface with the wrong type is an error as well.
    pub(super) fn new(instance: InstancePre<StoreData>) -> wasmtime::Result<LinkedComponent> {
        let has = |name: &str| {
            instance.component().get_export_index(None, format!("cofferdam:function/{name}@0.1.0")).is_some()
        };
        Ok(LinkedComponent {
            function: function::GuestIndices::new(&instance)?,
            aggregate: has("aggregate").then(|| aggregate::GuestIndices::new(&instance)).transpose()?,
            window: has("window").then(|| window::GuestIndices::new(&instance)).transpose()?,
            join: has("join").then(|| join::GuestIndices::new(&instance)).transpose()?,
            instance,
        })
    }

    /// Returns the exports of an instance of this component.
    pub(super) fn load(&self, store: &mut Store<StoreData>, instance: &Instance) -> wasmtime::Result<ComponentExports> {
        Ok(ComponentExports {
            function: self.function.load(&mut *store, instance)?,
            aggregate: self.aggregate.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            window: self.window.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            join: self.join.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
        })
    }

    /// Returns whether the component exports the interface `name`.
    pub(super) fn exports(&self, name: &str) -> bool {
        match name {
            "aggregate" => self.aggregate.is_some(),
            "window" => self.window.is_some(),
            "join" => self.join.is_some(),
            _ => true,
        }
    }
}

/// The exports of one instance.
pub(super) struct ComponentExports {
    pub(super) function: function::Guest,
    pub(super) aggregate: Option<aggregate::Guest>,
    pub(super) window: Option<window::Guest>,
    pub(super) join: Option<join::Guest>,
}
