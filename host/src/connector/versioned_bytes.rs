//! The durable form of positions and committables: one version byte, then postcard.
//!
//! Each kind of value counts its own versions. The bytes come back from checkpoint files, so decoding checks everything
//! and never panics.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, checkpoint_corrupt, internal};

/// The first version of every kind of value.
pub(super) const VERSION_1: u8 = 1;

/// Encodes `value`. Fails only if postcard cannot represent its type, which is a bug.
pub(super) fn encode<T: Serialize + ?Sized>(version: u8, value: &T) -> Result<Vec<u8>> {
    postcard::to_extend(value, vec![version])
        .map_err(|error| internal(format!("a position cannot be encoded: {error}")))
}

/// Returns the version of encoded bytes.
pub(super) fn version(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied()
}

/// Decodes bytes of this version. `what` names the value in the error `checkpoint-corrupt`.
pub(super) fn decode<T: DeserializeOwned>(version: u8, bytes: &[u8], what: &str) -> Result<T> {
    let Some((&found, body)) = bytes.split_first() else {
        return Err(checkpoint_corrupt(format!("{what} is empty")));
    };
    if found != version {
        return Err(checkpoint_corrupt(format!(
            "{what} has version {found}; this build reads versions up to {version}"
        )));
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(checkpoint_corrupt(format!("{what} has {} bytes too many", rest.len()))),
        Err(error) => Err(checkpoint_corrupt(format!("{what} cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_bytes_of_the_expected_version_are_decoded() {
        let bytes = encode(1, &(7_u64, "seven".to_string())).unwrap();
        assert_eq!(decode::<(u64, String)>(1, &bytes, "it").unwrap(), (7, "seven".to_string()));
        for end in 0..bytes.len() {
            assert_eq!(decode::<(u64, String)>(1, &bytes[..end], "it").unwrap_err().code, "checkpoint-corrupt");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(decode::<(u64, String)>(1, &longer, "it").unwrap_err().code, "checkpoint-corrupt");
        let newer = [&[9], &bytes[1..]].concat();
        assert!(decode::<(u64, String)>(1, &newer, "it").unwrap_err().message.contains("version 9"));
    }
}
