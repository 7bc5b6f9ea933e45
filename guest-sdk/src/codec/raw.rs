//! Bytes and text without a format. Reading copies nothing.

use super::{Codec, CodecError, Decode, Encode};
use crate::column;

/// Raw bytes. The function gets a `&[u8]` and emits anything that is `AsRef<[u8]>`.
pub enum Bytes {}

/// UTF-8 text. The function gets a `&str` and emits anything that is `AsRef<str>`.
pub enum Text {}

impl Codec for Bytes {
    const NAME: &'static str = "raw";
    type Owned = Vec<u8>;
}

impl Decode for Bytes {
    type Value<'a> = &'a [u8];

    #[inline]
    fn decode(bytes: &[u8]) -> Result<&[u8], CodecError> {
        Ok(bytes)
    }

    fn decode_owned(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

impl<V: AsRef<[u8]>> Encode<V> for Bytes {
    #[inline]
    fn encode(value: V, to: &mut Vec<u8>) -> Result<(), CodecError> {
        column::append(to, value.as_ref());
        Ok(())
    }
}

impl Codec for Text {
    const NAME: &'static str = "raw";
    type Owned = String;
}

impl Decode for Text {
    type Value<'a> = &'a str;

    #[inline]
    fn decode(bytes: &[u8]) -> Result<&str, CodecError> {
        std::str::from_utf8(bytes)
            .map_err(|error| CodecError::new("text", format!("not UTF-8 at byte {}", error.valid_up_to())))
    }

    fn decode_owned(bytes: &[u8]) -> Result<String, CodecError> {
        Text::decode(bytes).map(str::to_owned)
    }
}

impl<V: AsRef<str>> Encode<V> for Text {
    #[inline]
    fn encode(value: V, to: &mut Vec<u8>) -> Result<(), CodecError> {
        column::append(to, value.as_ref().as_bytes());
        Ok(())
    }
}
