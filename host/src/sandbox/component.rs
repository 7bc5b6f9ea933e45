//! A component that is compiled, checked and ready to be instantiated.

use std::sync::Arc;

use super::description::ComponentDescription;
use super::exports::LinkedComponent;

/// A loaded component. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    loaded: Arc<LoadedComponent>,
}

struct LoadedComponent {
    linked: LinkedComponent,
    description: ComponentDescription,
}

impl Component {
    pub(super) fn new(linked: LinkedComponent, description: ComponentDescription) -> Component {
        Component { loaded: Arc::new(LoadedComponent { linked, description }) }
    }

    /// Returns the functions of the component.
    pub fn description(&self) -> &ComponentDescription {
        &self.loaded.description
    }

    pub(super) fn linked(&self) -> &LinkedComponent {
        &self.loaded.linked
    }
}
