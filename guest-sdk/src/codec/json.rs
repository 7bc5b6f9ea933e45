//! JSON, for any type that serde can read and write.

use super::{Codec, CodecError, CodecFamily, Decode, Encode};
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// JSON. The function gets a `T`, and emits a `T` or a `&T`. If a name occurs twice, the last one counts. NaN and infinite numbers
/// are written as `null`, because JSON does not have them.
pub struct Json<T>(PhantomData<T>);

impl<T: 'static> Codec for Json<T> {
    const NAME: &'static str = "json";
    type Owned = T;
}

impl<T> CodecFamily for Json<T> {
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
