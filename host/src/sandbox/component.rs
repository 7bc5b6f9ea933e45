//! A component that is compiled, checked and ready to be instantiated.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use super::description::ComponentDescription;
use super::exports::LinkedComponent;
use crate::pipeline::WasiPart;

/// A loaded component. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    loaded: Arc<LoadedComponent>,
}

/// A reference to a component that may have been unloaded, because nothing used it.
#[derive(Clone)]
pub struct UnusedComponent {
    loaded: Weak<LoadedComponent>,
}

impl UnusedComponent {
    /// Returns the component if it is still loaded.
    pub fn upgrade(&self) -> Option<Component> {
        self.loaded.upgrade().map(|loaded| Component { loaded })
    }
}

struct LoadedComponent {
    linked: LinkedComponent,
    wasi: BTreeSet<WasiPart>,
    description: ComponentDescription,
}

impl Component {
    pub(super) fn new(
        linked: LinkedComponent,
        wasi: BTreeSet<WasiPart>,
        description: ComponentDescription,
    ) -> Component {
        Component { loaded: Arc::new(LoadedComponent { linked, wasi, description }) }
    }

    /// Returns the parts of WASI that the component imports. An operator that runs it needs grants for them.
    pub fn wasi_parts(&self) -> &BTreeSet<WasiPart> {
        &self.loaded.wasi
    }

    /// Returns the functions of the component.
    pub fn description(&self) -> &ComponentDescription {
        &self.loaded.description
    }

    /// Returns a reference that does not keep the component loaded.
    pub fn downgrade(&self) -> UnusedComponent {
        UnusedComponent { loaded: Arc::downgrade(&self.loaded) }
    }

    pub(super) fn linked(&self) -> &LinkedComponent {
        &self.loaded.linked
    }
}
