//! How positions and committables are written: one byte of version, then postcard. They come back from checkpoint
//! files, so reading them checks everything and never panics.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, checkpoint_corrupt, internal};

/// The one version there is.
const VERSION: u8 = 1;

/// Writes `value`. Fails only by a bug: a type that postcard cannot write.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    postcard::to_extend(value, vec![VERSION])
        .map_err(|error| internal(format!("a position cannot be written: {error}")))
}

/// Reads what [`encode`] wrote. `what` names it in the error `checkpoint-corrupt`.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    let Some((&version, body)) = bytes.split_first() else {
        return Err(checkpoint_corrupt(format!("{what} is empty")));
    };
    if version != VERSION {
        return Err(checkpoint_corrupt(format!("{what} has version {version}; this build reads version {VERSION}")));
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
    fn only_what_was_written_is_read() {
        let bytes = encode(&(7_u64, "seven".to_string())).unwrap();
        assert_eq!(decode::<(u64, String)>(&bytes, "it").unwrap(), (7, "seven".to_string()));
        for end in 0..bytes.len() {
            assert_eq!(decode::<(u64, String)>(&bytes[..end], "it").unwrap_err().code, "checkpoint-corrupt");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(decode::<(u64, String)>(&longer, "it").unwrap_err().code, "checkpoint-corrupt");
        let newer = [&[9], &bytes[1..]].concat();
        assert!(decode::<(u64, String)>(&newer, "it").unwrap_err().message.contains("version 9"));
    }
}
