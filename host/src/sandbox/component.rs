//! A component, compiled and checked, ready for instances.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component;

use super::compiler::compile_stopped;
use super::describe::{self, ComponentDescription};
use super::engine::Sandbox;
use super::exports::LinkedComponent;
use super::inspect;
use super::instance::{CallFailure, Instance};
use crate::error::{self, Result};
use crate::pipeline::GuestLimits;

/// Cheap to clone.
#[derive(Clone)]
pub struct Component {
    inner: Arc<LoadedComponent>,
}

struct LoadedComponent {
    pre: LinkedComponent,
    description: ComponentDescription,
}

impl Sandbox {
    /// Checks, compiles and describes a component. Every refusal is one of the `component-` errors, and leaves nothing behind.
    pub fn load(&self, bytes: &[u8]) -> Result<Component> {
        self.load_unless(bytes, &|| false)
    }

    /// As [`Sandbox::load`]; ends soon with `compile-stopped` once `stopped` says so. Compiled code comes from the cache where
    /// it is there.
    pub fn load_unless(&self, bytes: &[u8], stopped: &dyn Fn() -> bool) -> Result<Component> {
        inspect::check(bytes)?;
        let component = self.compiled(bytes, stopped)?;
        let wrong_world = |cause: wasmtime::Error| error::component_wrong_world(format!("{cause:#}"));
        let pre = self.linker.instantiate_pre(&component).map_err(wrong_world)?;
        let pre = LinkedComponent::new(pre).map_err(wrong_world)?;
        let description = self.describe(&pre, stopped)?;
        for function in &description.functions {
            if let Some(interface) = function.kind.interface()
                && !pre.exports(interface)
            {
                let (name, kind) = (&function.name, function.kind.as_str());
                let message = format!("function `{name}` is of kind {kind}, which needs the export `{interface}`");
                return Err(error::component_description(message));
            }
        }
        Ok(Component { inner: Arc::new(LoadedComponent { pre, description }) })
    }

    fn compiled(&self, bytes: &[u8], stopped: &dyn Fn() -> bool) -> Result<component::Component> {
        let sha256 = hex::encode(Sha256::digest(bytes));
        if let Some(component) = self.cache.load(&self.engine, &sha256) {
            return Ok(component);
        }
        let _place = self.compiler.take_place(bytes, stopped)?;
        // Another load of the same component may have held a place before.
        if let Some(component) = self.cache.load(&self.engine, &sha256) {
            return Ok(component);
        }
        let file = self.cache.new_file()?;
        self.compiler.compile(&self.engine, bytes, file.path(), stopped)?;
        let loaded = self.cache.keep(&self.engine, &sha256, file)?;
        loaded.map_err(|cause| error::component_limits(format!("it does not fit into an instance: {cause:#}")))
    }

    /// What a component says of itself, in an instance that no operator could have had.
    fn describe(&self, pre: &LinkedComponent, stopped: &dyn Fn() -> bool) -> Result<ComponentDescription> {
        let _instance = self.describing.take(stopped).ok_or_else(compile_stopped)?;
        let described = Instance::start(pre, GuestLimits::default(), 0, Arc::default())
            .and_then(|mut instance| instance.describe());
        match described {
            Ok(description) => describe::check(description),
            Err(CallFailure::Error(error)) => Err(error),
            Err(failed) => Err(error::component_description(format!("`describe` failed: {failed}"))),
        }
    }
}

impl Component {
    pub fn description(&self) -> &ComponentDescription {
        &self.inner.description
    }

    pub(super) fn pre(&self) -> &LinkedComponent {
        &self.inner.pre
    }
}
