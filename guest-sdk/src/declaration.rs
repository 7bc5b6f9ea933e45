//! What a function says about itself, gathered from its `#[function(...)]` line.
//!
//! Invariant: the order of states and side outputs here is the order of their indices in every call.

use crate::bindings::cofferdam::function::types::{Column, Failure, TimeDomain};
use crate::bindings::exports::cofferdam::function::function::{
    ComponentDescription, FunctionDescription, Port, StateDescription,
};
use crate::codec::Codec;
use crate::context::SideOutput;
use crate::function::{Function, Kind};
use crate::state::sealed::Describe;
use crate::state::{AccumulatorState, BroadcastState, MapKey, OlderForm, StateCodec, StateHandle};
use crate::{FunctionError, StateType, column};

/// The states, side outputs and timers of a function.
#[derive(Default)]
pub struct Declaration {
    pub(crate) states: Vec<StateDescription>,
    pub(crate) state_names: Vec<&'static str>,
    /// For each state the older forms that it names.
    older: Vec<Vec<&'static OlderForm>>,
    pub(crate) sides: Vec<Port>,
    pub(crate) side_names: Vec<&'static str>,
    pub(crate) timers: Vec<TimeDomain>,
}

impl Declaration {
    /// Declares a state of the function's keys.
    ///
    /// # Panics
    /// Where another state has the name.
    pub fn state(&mut self, handle: impl StateHandle) {
        self.add(handle);
    }

    /// Declares a broadcast state.
    ///
    /// # Panics
    /// Where another state has the name.
    pub fn broadcast<K: MapKey, V: StateType, C: StateCodec<V>>(&mut self, handle: BroadcastState<K, V, C>) {
        self.add(handle);
    }

    /// Declares the accumulator of a function that windows fold their records with.
    ///
    /// # Panics
    /// Where another state has the name.
    pub fn accumulator<T: StateType, C: StateCodec<T>>(&mut self, handle: AccumulatorState<T, C>) {
        self.add(handle);
    }

    fn add(&mut self, handle: impl Describe) {
        let name = handle.name();
        assert!(!self.state_names.contains(&name), "two states are named `{name}`");
        self.states.push(handle.describe());
        self.state_names.push(name);
        self.older.push(handle.older_forms().collect());
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

    /// Rewrites values of a state that are stored under an older schema.
    fn migrate(&self, state: u32, schema: &str, values: &Column) -> Result<Column, FunctionError> {
        let (Some(forms), Some(described)) = (self.older.get(state as usize), self.states.get(state as usize)) else {
            return Err(format!("there is no state {state}").into());
        };
        let name = &described.name;
        let Some(form) = forms.iter().find(|form| (form.fingerprint)() == schema) else {
            return Err(unknown_form(described, schema).into());
        };
        let mut rewritten = column::empty();
        for index in 0..column::len(values) {
            (form.rewrite)(column::value(values, index), &mut rewritten.bytes)
                .map_err(|error| format!("state `{name}`: what is stored as `{schema}` is none: {error}"))?;
            column::end_value(&mut rewritten);
        }
        Ok(rewritten)
    }
}

/// Why values cannot be read that are stored under a schema, and what to do.
pub(crate) fn unknown_form(state: &StateDescription, schema: &str) -> String {
    let StateDescription { name, schema: today, previous, .. } = state;
    let known = if previous.is_empty() { String::new() } else { format!(" or `{}`", previous.join("`, `")) };
    format!(
        "state `{name}` is stored as `{schema}`, and the function reads `{today}`{known}: keep the older type beside \
         the new one and name it on the state's const, `.migrate_from::<Old>()`"
    )
}

/// What the export `migrate` does for one function.
pub(crate) fn migrate<F: Function>(state: u32, schema: &str, values: &Column) -> Result<Column, Failure> {
    let migrated = Declaration::of::<F>().migrate(state, schema, values);
    migrated.map_err(|error| Failure { message: format!("function `{}`: {error}", F::NAME), record: None })
}

/// What `describe` says of one function.
pub(crate) fn describe<F: Function>() -> FunctionDescription {
    let declaration = Declaration::of::<F>();
    let mut outputs = vec![Port { name: "main".to_owned(), codec: F::Output::NAME.to_owned() }];
    outputs.extend(declaration.sides);
    let port = |&(name, codec): &(&str, &str)| Port { name: name.to_owned(), codec: codec.to_owned() };
    FunctionDescription {
        name: F::NAME.to_owned(),
        kind: F::Kind::KIND,
        inputs: F::Kind::INPUTS.iter().map(port).collect(),
        outputs,
        states: declaration.states,
        timers: declaration.timers,
    }
}

/// What `describe` says of a component with these functions.
pub(crate) fn describe_component(functions: Vec<FunctionDescription>) -> ComponentDescription {
    ComponentDescription { sdk: concat!("cofferdam-sdk ", env!("CARGO_PKG_VERSION")).to_owned(), functions }
}
