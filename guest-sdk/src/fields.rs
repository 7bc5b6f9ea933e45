//! Fields of a function that the host knows of: its states and side outputs.
//!
//! `#[derive(Function)]` implements [`FunctionFields`]. Invariant: a state or side output can be made by a [`Binder`] only, and a
//! binder makes what the same derive declares. A function therefore cannot use what it does not declare.

use crate::FunctionError;
use crate::bindings::cofferdam::function::types::Output;
use crate::declaration::Declaration;
use crate::host::Host;
use crate::state::Source;
use crate::turn_cursor::TurnCursor;
use std::rc::Rc;

/// A struct with states and side outputs. `#[derive(Function)]` implements it; a struct that implements `Default` has none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the struct of a function",
    note = "derive `Function` for it: `#[derive(Function)]`"
)]
pub trait FunctionFields: Sized + 'static {
    /// Whether there are states of keys.
    const HAS_STATES: bool = false;
    /// Whether there is broadcast state.
    const HAS_BROADCAST_STATES: bool = false;
    /// Whether there are side outputs.
    const HAS_SIDE_OUTPUTS: bool = false;

    /// Declares all states and side outputs.
    fn declare_fields(declaration: &mut Declaration);

    /// Makes the struct. Fields that are neither state nor side output get their default.
    fn create(binder: &Binder) -> Self;

    /// Calls `visit` for each state and side output, in the order in which they are declared.
    fn visit_fields(&mut self, visit: &mut dyn FnMut(&mut dyn Field));
}

#[diagnostic::do_not_recommend]
impl<T: Default + 'static> FunctionFields for T {
    fn declare_fields(_: &mut Declaration) {}

    fn create(_: &Binder) -> Self {
        T::default()
    }

    fn visit_fields(&mut self, _: &mut dyn FnMut(&mut dyn Field)) {}
}

pub(crate) mod sealed {
    /// Implemented by the states and by `SideOutput`.
    pub trait Sealed {}
}

/// The type of a field that the host knows of.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a state nor a side output",
    note = "states are `ValueState`, `ListState`, `MapState`, `ReducingState`, `AggregatingState`, `BroadcastState`"
)]
pub trait FieldType: sealed::Sealed + Field + Sized {
    /// Whether it is a state of keys.
    const IS_KEYED_STATE: bool = false;
    /// Whether it is a broadcast state.
    const IS_BROADCAST_STATE: bool = false;
    /// Whether it is a side output.
    const IS_SIDE_OUTPUT: bool = false;

    /// Makes the field. It has been declared under this name.
    fn bind(binder: &Binder, name: &'static str) -> Self;
}

/// The end of a turn, for a field of any type.
pub trait Field {
    /// Hands the turn's changes of a state to the host.
    ///
    /// # Errors
    /// Returns an error if a codec cannot write a value.
    fn flush(&mut self) -> Result<(), FunctionError> {
        Ok(())
    }

    /// Takes the records that the turn emitted to a side output.
    fn take_output(&mut self) -> Option<Output> {
        None
    }
}

/// Makes the fields of one instance of a function.
pub struct Binder {
    pub(crate) declaration: Declaration,
    pub(crate) cursor: Rc<TurnCursor>,
}

impl Binder {
    pub(crate) fn new(function: &'static str, declaration: Declaration, host: Rc<dyn Host>) -> Self {
        Binder { declaration, cursor: TurnCursor::new(function, host) }
    }

    pub(crate) fn source(&self, name: &'static str) -> Source {
        let (state, returns_expired) = self.declaration.state_index(name);
        Source { host: self.cursor.host.clone(), state, name, returns_expired }
    }
}
