//! Postcard, the codec of states whose type is no record.

use super::{CodecError, CodecFamily};
use crate::bindings::exports::cofferdam::function::guest::Form;
use crate::shape::{Shape, StateType};
use crate::state::StateCodec;
use crate::{FunctionError, column};
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

const NAME: &str = "postcard";

/// [postcard](https://postcard.jamesmunns.com/wire-format), a compact binary format: the default codec of states. Records cross between
/// functions as rows instead: see [`derive(Record)`](derive@crate::Record).
pub struct Postcard<T>(PhantomData<T>);

impl<T> CodecFamily for Postcard<T> {
    type Of<U: 'static> = Postcard<U>;
}

impl<T: Serialize + DeserializeOwned + 'static> StateCodec<T> for Postcard<T> {
    fn form() -> Form
    where
        T: StateType,
    {
        Form { codec: NAME.to_owned(), schema: Shape::fingerprint::<T>(NAME) }
    }

    #[inline]
    fn write(value: &T, to: &mut Vec<u8>) -> Result<(), FunctionError> {
        // The same as `postcard::serialize_with_flavor`, which is not inlined.
        let written = value.serialize(&mut postcard::Serializer { output: Appender(to) });
        written.map_err(|error| CodecError::new(NAME, error.to_string()).into())
    }

    #[inline]
    fn read(bytes: &[u8]) -> Result<T, FunctionError> {
        // The same as `postcard::take_from_bytes`, which is not inlined.
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        match T::deserialize(&mut deserializer).and_then(|value| Ok((value, deserializer.finalize()?))) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(too_long(bytes.len(), rest.len()).into()),
            Err(error) => Err(unreadable(&error, bytes.len()).into()),
        }
    }
}

#[cold]
fn too_long(bytes: usize, rest: usize) -> CodecError {
    CodecError::new(NAME, format!("{rest} bytes too many at byte {}", bytes - rest))
}

#[cold]
fn unreadable(error: &postcard::Error, bytes: usize) -> CodecError {
    CodecError::new(NAME, format!("{error} (a value of {bytes} bytes)"))
}

/// Appends to a buffer, without a buffer in between.
struct Appender<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appender<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        column::append(self.0, data);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
