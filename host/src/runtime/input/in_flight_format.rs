//! The file format of in-flight data.
//!
//! Durable. Numbers of the header are little endian. The payload is a [`StoredInFlight`] in postcard.
//!
//! ```text
//! "COFFFLOW" | version u32 | payload
//! ```
//!
//! Versions 1 and 2 are still read (`in_flight_format_2.rs`): they know neither rows nor attributes. The bytes are untrusted until
//! [`InFlightData::decode`] has checked them.

use serde::de::DeserializeOwned;

use super::in_flight_data::InFlightData;
use super::in_flight_format_2::InFlightV2;
use super::stored_in_flight::StoredInFlight;
use crate::error::{Result, checkpoint_corrupt, internal};

const MAGIC: [u8; 8] = *b"COFFFLOW";
const VERSION: u32 = 3;

impl InFlightData {
    /// Returns the bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&VERSION.to_le_bytes());
        postcard::to_extend(&StoredInFlight::of(self), file)
            .map_err(|error| internal(format!("in-flight data: {error}")))
    }

    /// Decodes the bytes of the file `path`. Every error has the code `checkpoint-corrupt` and names the file.
    pub fn decode(path: &str, file: &[u8], max_parallelism: u32) -> Result<InFlightData> {
        decode_file(file)
            .and_then(|stored| stored.checked(max_parallelism))
            .map_err(|reason| checkpoint_corrupt(format!("{path}: {reason}")))
    }
}

fn decode_file(file: &[u8]) -> Result<StoredInFlight, String> {
    let header = file.split_first_chunk::<8>().and_then(|(magic, rest)| Some((magic, rest.split_first_chunk()?)));
    let Some((&MAGIC, (version, payload))) = header else {
        return Err("the file does not hold in-flight data".to_owned());
    };
    match u32::from_le_bytes(*version) {
        VERSION => decode_payload(payload),
        1 | 2 => decode_payload::<InFlightV2>(payload).map(StoredInFlight::from),
        other => Err(format!("in-flight data has version {other}; the newest supported version is {VERSION}")),
    }
}

fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(payload) {
        Ok((stored, [])) => Ok(stored),
        Ok((_, rest)) => Err(format!("{} bytes follow the last element", rest.len())),
        Err(error) => Err(format!("the elements cannot be decoded: {error}")),
    }
}
