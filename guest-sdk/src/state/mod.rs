//! Keyed state: the handles that user code names it by, and what they stand for during a turn.
//!
//! Invariant: a state that a function did not declare cannot be reached, and all that a turn changed goes to the host
//! once, before its call returns.

mod broadcast;
mod fold;
mod gaps;
mod handle;
mod list;
mod map;
mod map_key;
mod older;
mod scan;
mod ttl;
mod value;

use crate::FunctionError;
use crate::bindings::exports::cofferdam::function::function::StateDescription;
use crate::codec::{Codec, Decode, Encode};
use crate::host::Host;
use std::any::TypeId;
use std::rc::Rc;

pub use broadcast::{Broadcast, BroadcastView, Keyed};
pub use fold::{AggregatingAccess, Aggregator, Max, Min, Reducer, ReducingAccess, Sum};
pub(crate) use handle::sealed;
pub use handle::{
    AccumulatorState, AggregatingState, BroadcastState, ListState, MapState, ReducingState, StateHandle, ValueState,
};
pub use list::ListAccess;
pub use map::MapAccess;
pub use map_key::{MapKey, OrderedKey};
pub(crate) use older::OlderForm;
pub use scan::MapIter;
pub use ttl::Ttl;
pub use value::ValueAccess;

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

/// Which state the cells are of, and whom to ask for what it held before the turn.
pub struct Source {
    pub(crate) host: Rc<dyn Host>,
    pub(crate) state: u32,
    pub(crate) name: &'static str,
    /// Whether the host gives what has expired, once to each that asks for it. Such a state is asked for one key, again at each
    /// read, since all keys together would be given what nobody looks at.
    pub(crate) returns_expired: bool,
}

impl Source {
    /// Ends the turn over state bytes that are not a value of the declared type. A restore compares fingerprints, so
    /// this means damaged state or a codec that does not read what it wrote: no answer would be right.
    #[cold]
    fn unreadable(&self, error: &FunctionError) -> ! {
        panic!("state `{}` holds bytes that are not a value of its type: {error}", self.name)
    }
}

/// What a turn knows of one state: a cell per distinct key.
pub(crate) trait Cells: 'static {
    /// Cells without a turn.
    fn new(source: Source) -> Self
    where
        Self: Sized;
    /// Forgets the last turn and makes a cell for each of `keys` keys.
    fn begin(&mut self, keys: usize);
    /// Hands what changed to the host.
    fn flush(&mut self) -> Result<(), FunctionError>;
}

impl Slot {
    #[inline(never)]
    fn begin<S: Cells>(&mut self, state: u32, host: &Rc<dyn Host>, keys: usize) {
        self.begun = true;
        let cells = self.cells.get_or_insert_with(|| {
            self.cells_type = TypeId::of::<S>();
            let (name, returns_expired) = (self.name, self.returns_expired);
            Box::new(S::new(Source { host: host.clone(), state, name, returns_expired }))
        });
        cells.begin(keys);
    }
}

#[cold]
fn two_types(state: &str) -> ! {
    panic!("state `{state}` is used with two types: give each state one const and use that everywhere")
}

/// The declared states of a function.
pub(crate) struct StateTable {
    states: Vec<Slot>,
}

struct Slot {
    name: &'static str,
    returns_expired: bool,
    cells: Option<Box<dyn Cells>>,
    /// The type of `cells`.
    cells_type: TypeId,
    /// Whether the cells belong to this turn.
    begun: bool,
}

impl StateTable {
    pub(crate) fn new(names: &[&'static str], described: &[StateDescription]) -> Self {
        let slot = |(&name, state): (&&'static str, &StateDescription)| Slot {
            name,
            returns_expired: state.ttl.is_some_and(|ttl| ttl.return_expired),
            cells: None,
            cells_type: TypeId::of::<()>(),
            begun: false,
        };
        StateTable { states: names.iter().zip(described).map(slot).collect() }
    }

    /// Forgets the last turn.
    pub(crate) fn begin(&mut self) {
        for slot in &mut self.states {
            slot.begun = false;
        }
    }

    /// The cells of the state of that name, or `None` where it is not declared.
    #[inline]
    pub(crate) fn cells<S: Cells>(&mut self, name: &'static str, host: &Rc<dyn Host>, keys: usize) -> Option<&mut S> {
        // A const's name is nearly always one and the same string: compare addresses before letters.
        let index = match self.states.iter().position(|slot| std::ptr::eq(slot.name, name)) {
            Some(index) => index,
            None => self.states.iter().position(|slot| slot.name == name)?,
        };
        let slot = &mut self.states[index];
        if !slot.begun {
            slot.begin::<S>(index as u32, host, keys);
        }
        if slot.cells_type != TypeId::of::<S>() {
            two_types(name);
        }
        let cells = slot.cells.as_deref_mut()?;
        // SAFETY: `cells` was made by `Slot::begin` as the type whose id stands in `cells_type`, and that is `S`. Asking
        // the cells for their type, as `Any` does, is a virtual call, which would cost as much as all the rest of an access.
        Some(unsafe { &mut *std::ptr::from_mut(cells).cast::<S>() })
    }

    /// Hands what the turn changed to the host.
    pub(crate) fn flush(&mut self) -> Result<(), FunctionError> {
        for slot in self.states.iter_mut().filter(|slot| slot.begun) {
            if let Some(cells) = &mut slot.cells {
                cells.flush().map_err(|error| format!("state `{}`: {error}", slot.name))?;
            }
        }
        Ok(())
    }
}
