//! What a function says about itself, gathered from its `#[function(...)]` line.
//!
//! Invariant: the order of states and side outputs here is the order of their indices in every call.

use crate::bindings::cofferdam::function::types::TimeDomain;
use crate::bindings::exports::cofferdam::function::function::{
    ComponentDescription, FunctionDescription, FunctionKind, Port, StateDescription,
};
use crate::codec::Codec;
use crate::context::SideOutput;
use crate::function::Function;
use crate::state::sealed::Describe;

/// The states, side outputs and timers of a function.
#[derive(Default)]
pub struct Declaration {
    pub(crate) states: Vec<StateDescription>,
    pub(crate) state_names: Vec<&'static str>,
    pub(crate) sides: Vec<Port>,
    pub(crate) side_names: Vec<&'static str>,
    pub(crate) timers: Vec<TimeDomain>,
}

impl Declaration {
    /// Declares a state.
    ///
    /// # Panics
    /// Where another state has the name.
    pub fn state(&mut self, handle: impl Describe) {
        let name = handle.name();
        assert!(!self.state_names.contains(&name), "two states are named `{name}`");
        self.states.push(handle.describe());
        self.state_names.push(name);
    }

    /// Declares a side output.
    ///
    /// # Panics
    /// Where another side output has the name.
    pub fn side_output<C: Codec>(&mut self, side: SideOutput<C>) {
        let name = side.name();
        assert!(!self.side_names.contains(&name), "two side outputs are named `{name}`");
        self.sides.push(Port { name: name.to_owned(), codec: C::NAME.to_owned() });
        self.side_names.push(name);
    }

    /// Declares that the function registers timers in event time.
    pub fn event_timers(&mut self) {
        self.timers.push(TimeDomain::Event);
    }

    /// Declares that the function registers timers in processing time.
    pub fn processing_timers(&mut self) {
        self.timers.push(TimeDomain::Processing);
    }

    pub(crate) fn of<F: Function>() -> Self {
        let mut declaration = Declaration::default();
        F::declare(&mut declaration);
        declaration
    }
}

/// What `describe` says of one function.
pub(crate) fn describe<F: Function>() -> FunctionDescription {
    let declaration = Declaration::of::<F>();
    let mut outputs = vec![Port { name: "main".to_owned(), codec: F::Output::NAME.to_owned() }];
    outputs.extend(declaration.sides);
    FunctionDescription {
        name: F::NAME.to_owned(),
        kind: if F::KEYED { FunctionKind::KeyedProcess } else { FunctionKind::Process },
        inputs: vec![Port { name: "main".to_owned(), codec: F::Input::NAME.to_owned() }],
        outputs,
        states: declaration.states,
        timers: declaration.timers,
    }
}

/// What `describe` says of a component with these functions.
pub(crate) fn describe_component(functions: Vec<FunctionDescription>) -> ComponentDescription {
    ComponentDescription { sdk: concat!("cofferdam-sdk ", env!("CARGO_PKG_VERSION")).to_owned(), functions }
}
