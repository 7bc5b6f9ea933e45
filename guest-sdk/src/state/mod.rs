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
use crate::bindings::exports::cofferdam::function::guest::Form;
use crate::codec::{Codec, Decode, Encode};
use crate::shape::{Shape, StateType};

pub use accumulator::AccumulatorState;
pub use broadcast::{BroadcastState, OfAllSubtasks, OfOneKey};
pub use fold::{AggregatingState, Aggregator, Max, Min, Reducer, ReducingState, Sum};
pub use list::ListState;
pub use map::MapState;
pub use map_key::{MapKey, OrderedKey};
pub(crate) use older::Rewriting;
pub use options::{ExpiringState, StateField, StateOptions};
pub use scan::MapIter;
pub use ttl::Ttl;
pub(crate) use turn_state::Source;
pub use value::ValueState;

/// A codec that can keep a `T` in state: [`Postcard<T>`](crate::codec::Postcard), [`Json<T>`](crate::codec::Json), or `T` itself if it is a
/// record.
#[diagnostic::on_unimplemented(
    message = "the codec `{Self}` cannot keep a `{T}` in state",
    note = "`Postcard<T>` and `Json<T>` keep a `T` that derives `serde::Serialize` and `serde::Deserialize`",
    note = "a struct with `#[derive(Record)]` keeps itself: `ValueState<Flight>`; within another type, such as `Vec<Flight>`, it derives serde's traits too"
)]
pub trait StateCodec<T>: 'static {
    #[doc(hidden)]
    fn form() -> Form
    where
        T: StateType;
    #[doc(hidden)]
    fn write(value: &T, to: &mut Vec<u8>) -> Result<(), FunctionError>;
    #[doc(hidden)]
    fn read(bytes: &[u8]) -> Result<T, FunctionError>;
}

/// Every codec whose values own their memory.
impl<T, C> StateCodec<T> for C
where
    C: Decode + Codec<Owned = T> + for<'a> Encode<&'a T>,
{
    fn form() -> Form
    where
        T: StateType,
    {
        let schema = match C::row() {
            Some(row) => Shape::readable(row.text()),
            None => Shape::fingerprint::<T>(C::NAME),
        };
        Form { codec: C::NAME.to_owned(), schema }
    }

    #[inline]
    fn write(value: &T, to: &mut Vec<u8>) -> Result<(), FunctionError> {
        Ok(C::encode(value, to)?)
    }

    #[inline]
    fn read(bytes: &[u8]) -> Result<T, FunctionError> {
        Ok(C::decode_owned(bytes)?)
    }
}
