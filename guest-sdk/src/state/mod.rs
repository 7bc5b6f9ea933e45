//! Keyed state: the handles that user code names it by, and what they stand for during a turn.
//!
//! Invariant: a state that a function did not declare cannot be reached, and all that a turn changed goes to the host
//! once, before its call returns.

mod list;
mod value;

use crate::FunctionError;
use crate::bindings::exports::cofferdam::function::function::{StateDescription, StateKind};
use crate::codec::{Codec, Decode, Encode, Postcard};
use crate::context::Context;
use crate::host::Host;
use crate::shape::{Shape, StateType};
use std::any::Any;
use std::marker::PhantomData;

pub use list::ListAccess;
pub(crate) use list::ListCells;
pub use value::ValueAccess;
pub(crate) use value::ValueCells;

/// A codec that can keep a `T` in state. Every codec whose values own their memory is one.
pub trait StateCodec<T>: Codec {
    #[doc(hidden)]
    fn write(value: &T, to: &mut Vec<u8>) -> Result<(), FunctionError>;
    #[doc(hidden)]
    fn read(bytes: &[u8]) -> Result<T, FunctionError>;
}

impl<T, C> StateCodec<T> for C
where
    C: Decode + Codec<Owned = T> + for<'a> Encode<&'a T>,
{
    #[inline]
    fn write(value: &T, to: &mut Vec<u8>) -> Result<(), FunctionError> {
        Ok(C::encode(value, to)?)
    }

    #[inline]
    fn read(bytes: &[u8]) -> Result<T, FunctionError> {
        Ok(C::decode_owned(bytes)?)
    }
}

macro_rules! handles {
    ($($(#[$doc:meta])* $handle:ident, $kind:ident;)*) => {$(
        $(#[$doc])*
        pub struct $handle<T, C = Postcard<T>> {
            name: &'static str,
            types: PhantomData<fn() -> (T, C)>,
        }

        impl<T> $handle<T> {
            /// The state of that name, written as postcard.
            pub const fn new(name: &'static str) -> Self {
                $handle { name, types: PhantomData }
            }
        }

        impl<T, C> $handle<T, C> {
            /// The state of that name, written by the codec `C`.
            pub const fn with_codec(name: &'static str) -> Self {
                $handle { name, types: PhantomData }
            }

            /// Its name.
            pub const fn name(&self) -> &'static str {
                self.name
            }
        }

        impl<T, C> Clone for $handle<T, C> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T, C> Copy for $handle<T, C> {}

        impl<T: StateType, C: StateCodec<T>> sealed::Describe for $handle<T, C> {
            fn name(&self) -> &'static str {
                self.name
            }

            fn describe(&self) -> StateDescription {
                StateDescription {
                    name: self.name.to_owned(),
                    kind: StateKind::$kind,
                    codec: C::NAME.to_owned(),
                    schema: Shape::fingerprint::<T>(C::NAME),
                    ttl: None,
                }
            }
        }
    )*};
}

handles! {
    /// One value per key. Named by a const: `const COUNT: ValueState<u64> = ValueState::new("count");`
    ///
    /// The function declares it, `#[function(states(COUNT))]`, and reaches it with `ctx.state(COUNT)`: see
    /// [`ValueAccess`]. `ValueState<T, Json<T>>` with [`ValueState::with_codec`] keeps it as JSON.
    ValueState, Value;
    /// One list per key. Named by a const: `const LAST: ListState<i32> = ListState::new("last");`
    ///
    /// The function declares it, `#[function(states(LAST))]`, and reaches it with `ctx.state(LAST)`: see [`ListAccess`].
    ListState, List;
}

/// A handle that [`Context::state`] takes.
pub trait StateHandle: sealed::Describe {
    /// What can be done with the state of the current key.
    type Access<'a>;

    #[doc(hidden)]
    fn access(self, context: &mut Context) -> Self::Access<'_>;
}

pub(crate) mod sealed {
    use super::StateDescription;

    pub trait Describe: Copy {
        fn name(&self) -> &'static str;
        fn describe(&self) -> StateDescription;
    }
}

impl<T: StateType, C: StateCodec<T>> StateHandle for ValueState<T, C> {
    type Access<'a> = ValueAccess<'a, T, C>;

    #[inline]
    fn access(self, context: &mut Context) -> ValueAccess<'_, T, C> {
        let (cells, at) = context.cells::<ValueCells<T, C>>(self.name);
        ValueAccess { cells, at }
    }
}

impl<T: StateType, C: StateCodec<T>> StateHandle for ListState<T, C> {
    type Access<'a> = ListAccess<'a, T, C>;

    #[inline]
    fn access(self, context: &mut Context) -> ListAccess<'_, T, C> {
        let (cells, at) = context.cells::<ListCells<T, C>>(self.name);
        ListAccess { cells, at }
    }
}

/// Which cell is meant, and whom to ask for what it held before the turn.
pub(crate) struct At<'a> {
    pub(crate) host: &'a dyn Host,
    pub(crate) state: u32,
    pub(crate) name: &'static str,
    pub(crate) key: usize,
}

impl At<'_> {
    /// Ends the turn over state bytes that are not a value of the declared type. A restore compares fingerprints, so
    /// this means damaged state or a codec that does not read what it wrote: no answer would be right.
    #[cold]
    fn unreadable(&self, error: &FunctionError) -> ! {
        panic!("state `{}` holds bytes that are not a value of its type: {error}", self.name)
    }
}

/// What a turn knows of one state: a cell per distinct key.
pub(crate) trait Cells: Any {
    /// Forgets the last turn and makes a cell for each of `keys` keys.
    fn begin(&mut self, keys: usize);
    /// Hands what changed to the host.
    fn flush(&mut self, host: &dyn Host, state: u32) -> Result<(), FunctionError>;
}

/// The declared states of a function.
pub(crate) struct StateTable {
    states: Vec<Slot>,
}

struct Slot {
    name: &'static str,
    cells: Option<Box<dyn Cells>>,
    /// Whether the cells belong to this turn.
    begun: bool,
}

impl StateTable {
    pub(crate) fn new(names: &[&'static str]) -> Self {
        StateTable { states: names.iter().map(|&name| Slot { name, cells: None, begun: false }).collect() }
    }

    /// Forgets the last turn.
    pub(crate) fn begin(&mut self) {
        for slot in &mut self.states {
            slot.begun = false;
        }
    }

    /// The index and the cells of the state of that name, or `None` where it is not declared.
    #[inline]
    pub(crate) fn cells<S: Cells + Default>(&mut self, name: &'static str, keys: usize) -> Option<(u32, &mut S)> {
        // A const's name is nearly always one and the same string: compare addresses before letters.
        let index = match self.states.iter().position(|slot| std::ptr::eq(slot.name, name)) {
            Some(index) => index,
            None => self.states.iter().position(|slot| slot.name == name)?,
        };
        let slot = &mut self.states[index];
        if !slot.begun {
            slot.begun = true;
            slot.cells.get_or_insert_with(|| Box::new(S::default())).begin(keys);
        }
        let cells: &mut dyn Any = slot.cells.as_deref_mut()?;
        match cells.downcast_mut() {
            Some(cells) => Some((index as u32, cells)),
            None => panic!("state `{name}` is used with two types: give each state one const and use that everywhere"),
        }
    }

    /// Hands what the turn changed to the host.
    pub(crate) fn flush(&mut self, host: &dyn Host) -> Result<(), FunctionError> {
        for (index, slot) in self.states.iter_mut().enumerate().filter(|(_, slot)| slot.begun) {
            if let Some(cells) = &mut slot.cells {
                cells.flush(host, index as u32).map_err(|error| format!("state `{}`: {error}", slot.name))?;
            }
        }
        Ok(())
    }
}
