//! Encodes the metadata of a checkpoint as a file, and decodes such files of every format.
//!
//! All numbers of the header are little endian; the payload is the metadata in postcard:
//!
//! ```text
//! "COFFCKPT" | format u32 | crc32c of the payload u32 | length of the payload u64 | payload
//! ```
//!
//! Formats 1 to 3 are still read: each becomes the next one, up to the current format. A fixture of each is kept.
//! Every byte is untrusted until [`CheckpointMetadata::decode`] has returned. Must not depend on where files are stored.

use serde::de::DeserializeOwned;

use super::checkpoint_metadata::CheckpointMetadata;
use super::format_1::MetadataV1;
use super::format_2::MetadataV2;
use super::format_3::MetadataV3;
use crate::error::{Result, checkpoint_corrupt, internal};

const MAGIC: [u8; 8] = *b"COFFCKPT";

impl CheckpointMetadata {
    /// Encodes the metadata as a file of the current format. Errors: `internal` if the metadata is not well formed.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if let Some(defect) = self.defect() {
            return Err(internal(format!("the metadata of checkpoint {} {defect}", self.checkpoint_id)));
        }
        let payload = postcard::to_stdvec(self)
            .map_err(|e| internal(format!("the metadata of checkpoint {}: {e}", self.checkpoint_id)))?;
        let mut file = Vec::with_capacity(payload.len() + 24);
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&CheckpointMetadata::FORMAT.to_le_bytes());
        file.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        file.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        file.extend_from_slice(&payload);
        Ok(file)
    }

    /// Decodes the content of the file `path`. Errors: `checkpoint-corrupt`, with the path.
    pub fn decode(path: &str, file: &[u8]) -> Result<CheckpointMetadata> {
        let metadata = decode_file(file).map_err(|why| checkpoint_corrupt(format!("{path}: {why}")))?;
        match metadata.defect() {
            None => Ok(metadata),
            Some(defect) => Err(checkpoint_corrupt(format!("{path}: the metadata {defect}"))),
        }
    }
}

fn decode_file(file: &[u8]) -> Result<CheckpointMetadata, String> {
    let short = || format!("the file ends after {} bytes, inside the header", file.len());
    let (magic, rest) = file.split_first_chunk::<8>().ok_or_else(short)?;
    if *magic != MAGIC {
        return Err("the file is not the metadata of a checkpoint".to_owned());
    }
    let (format, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let format = u32::from_le_bytes(*format);
    let current = CheckpointMetadata::FORMAT;
    if format > current {
        return Err(format!(
            "format {format} was written by a newer version of Cofferdam; this version reads formats up to {current}"
        ));
    }
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (length, payload) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let length = u64::from_le_bytes(*length);
    if payload.len() as u64 != length {
        return Err(format!("{} bytes follow the header, which announces {length}", payload.len()));
    }
    if crc32c::crc32c(payload) != u32::from_le_bytes(*crc) {
        return Err("the checksum does not match the content".to_owned());
    }
    match format {
        CheckpointMetadata::FORMAT => decode_payload(payload),
        1 => decode_payload(payload).map(|metadata: MetadataV1| from_format_2(metadata.into())),
        2 => decode_payload(payload).map(from_format_2),
        3 => decode_payload::<MetadataV3>(payload).map(CheckpointMetadata::from),
        _ => Err(format!("the format {format} does not exist")),
    }
}

fn from_format_2(metadata: MetadataV2) -> CheckpointMetadata {
    MetadataV3::from(metadata).into()
}

fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(payload) {
        Ok((metadata, [])) => Ok(metadata),
        Ok((_, rest)) => Err(format!("{} unexpected bytes follow the metadata", rest.len())),
        Err(e) => Err(format!("the metadata cannot be decoded: {e}")),
    }
}
