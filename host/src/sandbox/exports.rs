//! What a component exports: `function` always, and the interfaces of windows and joins where it has them.
//!
//! A component of the smaller world, or one that was built before an interface was there, loads all the same.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::bindings::exports::cofferdam::function::{aggregate, function, join, window};
use super::instance::StoreData;

/// A component that is ready to be instantiated, and where its exports are.
pub(super) struct LinkedComponent {
    pub(super) instance: InstancePre<StoreData>,
    function: function::GuestIndices,
    aggregate: Option<aggregate::GuestIndices>,
    window: Option<window::GuestIndices>,
    join: Option<join::GuestIndices>,
}

impl LinkedComponent {
    /// Finds the exports. An optional interface that is there, and not what it should be, is an error as well.
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

    /// The exports of an instance that was made of this.
    pub(super) fn load(&self, store: &mut Store<StoreData>, instance: &Instance) -> wasmtime::Result<ComponentExports> {
        Ok(ComponentExports {
            function: self.function.load(&mut *store, instance)?,
            aggregate: self.aggregate.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            window: self.window.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            join: self.join.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
        })
    }

    /// Whether the component can be called as these kinds of functions are.
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
