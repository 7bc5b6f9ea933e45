//! One state during the turns of an instance.
//!
//! Invariant: cells belong to the turn whose number is beside them. Cells of an earlier turn are forgotten at the first access, so a
//! state that a turn does not touch costs nothing.

use crate::FunctionError;
use crate::fields::Binder;
use crate::host::Host;
use crate::turn_cursor::TurnCursor;
use std::rc::Rc;

/// Which state the cells belong to, and the host that has its values.
pub struct Source {
    pub(crate) host: Rc<dyn Host>,
    pub(crate) state: u32,
    pub(crate) name: &'static str,
    /// Whether the host returns an expired entry, once. Each read of such a state asks the host for one key: loading all keys of
    /// the batch would use up entries that the function does not look at.
    pub(crate) returns_expired: bool,
}

impl Source {
    /// Ends the turn because stored bytes are not a value of the declared type. A restore compares fingerprints, so the state is
    /// damaged or the codec does not read what it wrote.
    #[cold]
    pub(super) fn unreadable(&self, error: &FunctionError) -> ! {
        panic!("state `{}` holds bytes that are not a value of its type: {error}", self.name)
    }
}

/// The values of one state during a turn: a cell for each distinct key.
pub(super) trait Cells {
    /// Whether the state belongs to keys. A broadcast state has one cell.
    const IS_KEYED: bool = true;

    /// Makes the cells without a turn.
    fn new(source: Source) -> Self;

    /// Forgets the last turn and makes a cell for each of `keys` keys.
    fn begin(&mut self, keys: usize);

    /// Hands the changes to the host.
    fn flush(&mut self) -> Result<(), FunctionError>;
}

pub(super) struct TurnState<S> {
    cursor: Rc<TurnCursor>,
    name: &'static str,
    /// The turn that `cells` belong to.
    turn: u64,
    cells: S,
}

impl<S: Cells> TurnState<S> {
    pub(super) fn bind(binder: &Binder, name: &'static str) -> Self {
        TurnState { cursor: binder.cursor.clone(), name, turn: 0, cells: S::new(binder.source(name)) }
    }

    /// Returns the cells and the index of the current key.
    #[inline]
    pub(super) fn current(&mut self) -> (&mut S, usize) {
        if self.turn != self.cursor.turn() {
            self.begin();
        }
        (&mut self.cells, if S::IS_KEYED { self.cursor.key.get() } else { 0 })
    }

    #[inline(never)]
    fn begin(&mut self) {
        let keys = if S::IS_KEYED { self.cursor.key_count() } else { 1 };
        if keys == 0 {
            no_key(self.cursor.function, self.name);
        }
        self.cells.begin(keys);
        self.turn = self.cursor.turn();
    }

    /// Hands the turn's changes to the host.
    pub(super) fn flush(&mut self) -> Result<(), FunctionError> {
        if self.turn != self.cursor.turn() {
            return Ok(());
        }
        self.cells.flush().map_err(|error| format!("state `{}`: {error}", self.name).into())
    }
}

#[cold]
fn no_key(function: &str, state: &str) -> ! {
    panic!(
        "function `{function}` uses state `{state}` where there is no key: `open` and the broadcast input have no key, and records have one only if the operator has a `key` in the pipeline"
    )
}

/// Implements the field traits for a state that has a `state: TurnState<_>` or another state in the field `$inner`.
macro_rules! state_field {
    ([$($generics:tt)*] $state:ty, $inner:ident, $kind:ident, $value:ty, $codec:ty, $is_keyed:literal, $map_key:expr) => {
        impl<$($generics)*> crate::fields::sealed::Sealed for $state {}

        impl<$($generics)*> crate::fields::Field for $state {
            fn flush(&mut self) -> Result<(), crate::FunctionError> {
                self.$inner.flush()
            }
        }

        impl<$($generics)*> crate::fields::FieldType for $state {
            const IS_KEYED_STATE: bool = $is_keyed;
            const IS_BROADCAST_STATE: bool = !$is_keyed;

            fn bind(binder: &crate::fields::Binder, name: &'static str) -> Self {
                Self::bound(binder, name)
            }
        }

        impl<$($generics)*> super::StateField for $state {
            type Value = $value;
            type Codec = $codec;
            const KIND: crate::bindings::exports::cofferdam::function::guest::StateKind =
                crate::bindings::exports::cofferdam::function::guest::StateKind::$kind;

            fn map_key() -> String {
                $map_key
            }
        }
    };
}

pub(super) use state_field;
