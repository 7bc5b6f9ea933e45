//! JSON and postcard, for any type that serde can read and write.

use super::{Codec, CodecError, CodecFamily, Decode, Encode};
use crate::column;
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// JSON. The function gets a `T`, and emits a `T` or a `&T`. If a name occurs twice, the last one counts. NaN and infinite numbers
/// are written as `null`, because JSON does not have them.
pub struct Json<T>(PhantomData<T>);

/// [postcard](https://postcard.jamesmunns.com/wire-format), a compact binary format. It is the default codec of state.
pub struct Postcard<T>(PhantomData<T>);

impl<T: 'static> Codec for Json<T> {
    const NAME: &'static str = "json";
    type Owned = T;
}

impl<T: 'static> CodecFamily for Json<T> {
    type Of<U: 'static> = Json<U>;
}

impl<T: DeserializeOwned + 'static> Decode for Json<T> {
    type Value<'a> = T;

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).or_else(|error| with_last_names(bytes, error))
    }

    fn decode_owned(bytes: &[u8]) -> Result<T, CodecError> {
        Self::decode(bytes)
    }
}

/// Reads JSON in which a name occurs twice. A derived struct refuses such JSON, but the host and other readers take the last value.
/// This function does the same.
#[cold]
fn with_last_names<T: DeserializeOwned>(bytes: &[u8], error: serde_json::Error) -> Result<T, CodecError> {
    let failed = |error: serde_json::Error| CodecError::new("json", error.to_string());
    if !error.to_string().starts_with("duplicate field") {
        return Err(failed(error));
    }
    let last: serde_json::Value = serde_json::from_slice(bytes).map_err(failed)?;
    let text = serde_json::to_vec(&last).map_err(failed)?;
    serde_json::from_slice(&text).map_err(failed)
}

impl<T: Serialize + 'static> Encode<&T> for Json<T> {
    fn encode(value: &T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(to, value).map_err(|error| CodecError::new("json", error.to_string()))
    }
}

impl<T: Serialize + 'static> Encode<T> for Json<T> {
    fn encode(value: T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        Self::encode(&value, to)
    }
}

impl<T: 'static> Codec for Postcard<T> {
    const NAME: &'static str = "postcard";
    type Owned = T;
}

impl<T: 'static> CodecFamily for Postcard<T> {
    type Of<U: 'static> = Postcard<U>;
}

impl<T: DeserializeOwned + 'static> Decode for Postcard<T> {
    type Value<'a> = T;

    #[inline]
    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        // The same as `postcard::take_from_bytes`, which is not inlined.
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        match T::deserialize(&mut deserializer).and_then(|value| Ok((value, deserializer.finalize()?))) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(too_long(bytes.len(), rest.len())),
            Err(error) => Err(unreadable(&error, bytes.len())),
        }
    }

    #[inline]
    fn decode_owned(bytes: &[u8]) -> Result<T, CodecError> {
        Self::decode(bytes)
    }
}

impl<T: Serialize + 'static> Encode<&T> for Postcard<T> {
    #[inline]
    fn encode(value: &T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        // The same as `postcard::serialize_with_flavor`, which is not inlined.
        value.serialize(&mut postcard::Serializer { output: Appender(to) }).map_err(|error| unwritable(&error))
    }
}

impl<T: Serialize + 'static> Encode<T> for Postcard<T> {
    #[inline]
    fn encode(value: T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        Self::encode(&value, to)
    }
}

#[cold]
fn too_long(bytes: usize, rest: usize) -> CodecError {
    CodecError::new("postcard", format!("{rest} bytes too many at byte {}", bytes - rest))
}

#[cold]
fn unreadable(error: &postcard::Error, bytes: usize) -> CodecError {
    CodecError::new("postcard", format!("{error} (a value of {bytes} bytes)"))
}

#[cold]
fn unwritable(error: &postcard::Error) -> CodecError {
    CodecError::new("postcard", error.to_string())
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
