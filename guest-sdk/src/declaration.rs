//! The declaration of a function: its states and side outputs.
//!
//! Invariant: the order of states and side outputs in a declaration is the order of their indices in every call.

use crate::bindings::cofferdam::function::types::{Column, Failure};
use crate::bindings::exports::cofferdam::function::guest::{
    ComponentDescription, Form, FunctionDescription, Port, StateDescription, StateKind,
};
use crate::codec::Codec;
use crate::fields::FunctionFields;
use crate::function::{Function, Kind, port};
use crate::key::NoKey;
use crate::side_output::SideOutput;
use crate::state::{AccumulatorState, Rewriting, StateCodec, StateField, StateOptions};
use crate::times::malformed;
use crate::{FunctionError, StateType, column};

/// The states and side outputs of a function. `#[derive(Function)]` fills it.
#[derive(Default)]
pub struct Declaration {
    states: Vec<DeclaredState>,
    side_outputs: Vec<Port>,
}

struct DeclaredState {
    description: StateDescription,
    /// From older forms to today's, and from today's form to older ones.
    rewritings: Vec<&'static Rewriting>,
}

impl Declaration {
    /// Declares a state.
    ///
    /// # Panics
    /// Panics if another state has the same name.
    pub fn state<S: StateField>(&mut self, options: StateOptions<S>) {
        let description = options.describe();
        self.add(description, options.reads.into_iter().chain(options.writes).collect());
    }

    /// Declares the accumulator of a function that folds the records of a window.
    ///
    /// # Panics
    /// Panics if another state has the same name.
    pub fn accumulator<T: StateType<Codec: StateCodec<T>>>(&mut self, accumulator: AccumulatorState<T>) {
        self.add(accumulator.describe(), accumulator.older_forms().collect());
    }

    fn add(&mut self, description: StateDescription, rewritings: Vec<&'static Rewriting>) {
        let name = &description.name;
        assert!(self.states.iter().all(|state| state.description.name != *name), "two states have the name `{name}`");
        // The contract wants broadcast states behind all others.
        let is_broadcast = |state: &DeclaredState| state.description.kind == StateKind::Broadcast;
        let end = if description.kind == StateKind::Broadcast {
            self.states.len()
        } else {
            self.states.partition_point(|state| !is_broadcast(state))
        };
        self.states.insert(end, DeclaredState { description, rewritings });
    }

    /// Declares a side output.
    ///
    /// # Panics
    /// Panics if another side output has the same name.
    pub fn side_output<S: SideOutputCodec>(&mut self, name: &'static str) {
        assert!(self.side_outputs.iter().all(|port| port.name != name), "two side outputs have the name `{name}`");
        self.side_outputs.push(port::<S::Codec, NoKey>(name));
    }

    pub(crate) fn of<F: Function>() -> Self {
        let mut declaration = Declaration::default();
        <F as FunctionFields>::declare_fields(&mut declaration);
        F::declare(&mut declaration);
        declaration
    }

    /// Returns the index of a declared state, and whether it returns expired entries.
    pub(crate) fn state_index(&self, name: &str) -> (u32, bool) {
        let index = self.states.iter().position(|state| state.description.name == name);
        let index = index.unwrap_or_else(|| panic!("state `{name}` is not declared"));
        (index as u32, self.states[index].description.ttl.is_some_and(|ttl| ttl.return_expired))
    }

    /// Returns the index of a declared side output in the function's outputs.
    pub(crate) fn side_output_index(&self, name: &str) -> u32 {
        let index = self.side_outputs.iter().position(|port| port.name == name);
        index.unwrap_or_else(|| panic!("side output `{name}` is not declared")) as u32 + 1
    }

    /// Rewrites values of a state from one form to another.
    fn migrate(&self, state: u32, stored: &Form, wanted: &Form, values: &Column) -> Result<Column, FunctionError> {
        let Some(DeclaredState { description, rewritings }) = self.states.get(state as usize) else {
            return Err(format!("there is no state {state}").into());
        };
        let name = &description.name;
        let is_wanted = |rewriting: &&&Rewriting| same((rewriting.from)(), stored) && same((rewriting.to)(), wanted);
        let Some(rewriting) = rewritings.iter().find(is_wanted) else {
            let stored = if stored.schema == description.form.schema { wanted } else { stored };
            return Err(unknown_form(description, stored).into());
        };
        let mut rewritten = column::empty();
        for index in 0..column::len(values) {
            (rewriting.rewrite)(column::value(values, index), &mut rewritten.bytes).map_err(|error| {
                format!("state `{name}`: a value stored as `{}` cannot be rewritten: {error}", stored.schema)
            })?;
            column::end_value(&mut rewritten);
        }
        Ok(rewritten)
    }
}

/// Gives the codec of a `SideOutput` to [`Declaration::side_output`].
pub trait SideOutputCodec {
    /// The codec of its records.
    type Codec: Codec;
}

impl<C: Codec> SideOutputCodec for SideOutput<C> {
    type Codec = C;
}

fn same(form: Form, other: &Form) -> bool {
    (&form.codec, &form.schema) == (&other.codec, &other.schema)
}

/// Says why values stored in a form cannot be read, and what to do.
pub(crate) fn unknown_form(state: &StateDescription, stored: &Form) -> String {
    let StateDescription { name, form, reads, .. } = state;
    let (today, stored) = (&form.schema, &stored.schema);
    let older: Vec<&str> = reads.iter().map(|older| older.form.schema.as_str()).collect();
    let known = if older.is_empty() { String::new() } else { format!(" or `{}`", older.join("`, `")) };
    format!(
        "state `{name}` is stored as `{stored}`, and the function reads `{today}`{known}: keep the older type beside \
         the new one and name it on the state's field, `#[state(migrate_from(Old))]`"
    )
}

/// Implements the export `migrate` for one function.
pub(crate) fn migrate<F: Function>(
    state: u32,
    stored: &Form,
    wanted: &Form,
    values: &Column,
) -> Result<Column, Failure> {
    let migrated = Declaration::of::<F>().migrate(state, stored, wanted, values);
    migrated.map_err(|error| malformed(format!("function `{}`: {error}", F::NAME)))
}

/// Describes one function.
pub(crate) fn describe<F: Function>() -> FunctionDescription {
    let declaration = Declaration::of::<F>();
    let mut outputs = vec![port::<F::Out, F::OutKey>("main")];
    outputs.extend(declaration.side_outputs);
    FunctionDescription {
        name: F::NAME.to_owned(),
        kind: F::Kind::KIND,
        inputs: F::Kind::inputs(),
        outputs,
        states: declaration.states.into_iter().map(|state| state.description).collect(),
        timers: F::TIMERS.to_vec(),
    }
}

/// Describes a component with these functions.
pub(crate) fn describe_component(functions: Vec<FunctionDescription>) -> ComponentDescription {
    ComponentDescription { sdk: concat!("cofferdam-sdk ", env!("CARGO_PKG_VERSION")).to_owned(), functions }
}
