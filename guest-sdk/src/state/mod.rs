//! State of keys, declared as fields of a function.
//!
//! Invariant: everything that a turn changed goes to the host once, before its call returns. A turn that fails writes nothing.

mod accumulator;
mod broadcast;
mod fold;
mod gaps;
mod list;
mod map;
mod map_key;
mod older;
mod options;
mod scan;
mod ttl;
mod turn_state;
mod value;

use crate::FunctionError;
use crate::codec::{Codec, Decode, Encode};

pub use accumulator::AccumulatorState;
pub use broadcast::{BroadcastState, OfAllSubtasks, OfOneKey};
pub use fold::{AggregatingState, Aggregator, Max, Min, Reducer, ReducingState, Sum};
pub use list::ListState;
pub use map::MapState;
pub use map_key::{MapKey, OrderedKey};
pub(crate) use older::OlderForm;
pub use options::{ExpiringState, StateField, StateOptions};
pub use scan::MapIter;
pub use ttl::Ttl;
pub(crate) use turn_state::Source;
pub use value::ValueState;

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
