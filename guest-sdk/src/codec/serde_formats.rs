//! JSON and postcard, for any type that serde knows.

use super::{Codec, CodecError, CodecFamily, Decode, Encode};
use crate::column;
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// JSON: the function sees a `T`, and emits a `T` or a `&T`.
pub struct Json<T>(PhantomData<T>);

/// [postcard](https://postcard.jamesmunns.com/wire-format), a compact binary form: what keyed state is written in
/// unless it says otherwise.
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
        serde_json::from_slice(bytes).map_err(|error| CodecError::new("json", error.to_string()))
    }

    fn decode_owned(bytes: &[u8]) -> Result<T, CodecError> {
        Self::decode(bytes)
    }
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
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => {
                let position = bytes.len() - rest.len();
                Err(CodecError::new("postcard", format!("{} bytes too many at byte {position}", rest.len())))
            }
            Err(error) => Err(CodecError::new("postcard", format!("{error} (a value of {} bytes)", bytes.len()))),
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
        postcard::serialize_with_flavor(value, Appender(to))
            .map_err(|error| CodecError::new("postcard", error.to_string()))
    }
}

impl<T: Serialize + 'static> Encode<T> for Postcard<T> {
    #[inline]
    fn encode(value: T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        Self::encode(&value, to)
    }
}

/// Writes behind what a buffer holds already, without a buffer in between.
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
