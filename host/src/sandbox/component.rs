//! A component, compiled and checked, ready for instances.

use std::sync::Arc;

use wasmtime::component;

use super::describe::{self, Description};
use super::engine::Sandbox;
use super::exports::WorldPre;
use super::inspect;
use super::instance::Instance;
use crate::error::{self, Result};
use crate::manifest::Limits;

/// Cheap to clone.
#[derive(Clone)]
pub struct Component {
    inner: Arc<Inner>,
}

struct Inner {
    pre: WorldPre,
    description: Description,
}

impl Sandbox {
    /// Checks, compiles and describes a component. Compiled code comes from the cache where it is there. Every refusal
    /// is one of the `component-` errors, and leaves nothing behind.
    pub fn load(&self, bytes: &[u8]) -> Result<Component> {
        inspect::check(bytes)?;
        let component = component::Component::from_binary(&self.engine, bytes)
            .map_err(|cause| error::component_invalid(format!("it does not compile: {cause:#}")))?;
        let wrong_world = |cause: wasmtime::Error| error::component_wrong_world(format!("{cause:#}"));
        let pre = self.linker.instantiate_pre(&component).map_err(wrong_world)?;
        let pre = WorldPre::new(pre).map_err(wrong_world)?;
        let described = Instance::start(&pre, Limits::default(), 0).and_then(|mut instance| instance.describe());
        let description = described
            .map_err(|failure| error::component_description(format!("`describe` failed: {failure}")))
            .and_then(describe::check)?;
        for function in &description.functions {
            if let Some(interface) = function.kind.interface()
                && !pre.exports(interface)
            {
                let (name, kind) = (&function.name, function.kind.as_str());
                let message = format!("function `{name}` is of kind {kind}, which needs the export `{interface}`");
                return Err(error::component_description(message));
            }
        }
        Ok(Component { inner: Arc::new(Inner { pre, description }) })
    }
}

impl Component {
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    pub(super) fn pre(&self) -> &WorldPre {
        &self.inner.pre
    }
}
