//! Encodes the metadata of a checkpoint as a file, and decodes such files of every format.
//!
//! All numbers of the header are little endian; the payload is the metadata in postcard:
//!
//! ```text
//! "COFFCKPT" | format u32 | crc32c of the payload u32 | length of the payload u64 | payload
//! ```
//!
//! Formats 1 to 4 are still read: each becomes the next one, up to the current format. A fixture of each is kept.
//! Every byte is untrusted until [`CheckpointMetadata::decode`] has returned. Must not depend on where files are stored.

use serde::de::DeserializeOwned;

use super::checkpoint_metadata::CheckpointMetadata;
use super::format_1::MetadataV1;
use super::format_2::MetadataV2;
use super::format_3::MetadataV3;
use super::format_4::MetadataV4;
use crate::error::{Result, checkpoint_corrupt, internal, storage_failed};
use crate::model::within_element_budget;

const MAGIC: [u8; 8] = *b"COFFCKPT";

/// Limit on the payload that is written. A job of a thousand subtasks with a thousand files each has less.
const PAYLOAD_BYTES_MAX: u64 = 128 << 20;

/// Limits on metadata that is read, since an element of a list takes about thirty times its bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::checkpoint) struct MetadataLimits {
    /// Length of the payload.
    payload_bytes: u64,
    /// Number of operators, subtasks, states and files together.
    elements: usize,
}

impl MetadataLimits {
    /// Metadata that this host wrote.
    pub const OWN: MetadataLimits = MetadataLimits { payload_bytes: PAYLOAD_BYTES_MAX, elements: 1 << 22 };
    /// Metadata that others may have written: about 100 MB of memory.
    pub const FOREIGN: MetadataLimits = MetadataLimits { payload_bytes: 16 << 20, elements: 1 << 18 };
}

impl CheckpointMetadata {
    /// Length of the header of a file, in bytes.
    pub(in crate::checkpoint) const HEADER_BYTES: u64 = 24;

    /// Encodes the metadata as a file of the current format. Errors: `internal` if the metadata is not well formed.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if let Some(defect) = self.defect() {
            return Err(internal(format!("the metadata of checkpoint {} {defect}", self.checkpoint_id)));
        }
        let payload = postcard::to_stdvec(self)
            .map_err(|e| internal(format!("the metadata of checkpoint {}: {e}", self.checkpoint_id)))?;
        if payload.len() as u64 > PAYLOAD_BYTES_MAX {
            return Err(storage_failed(format!(
                "the metadata of checkpoint {} has {} bytes, but at most {PAYLOAD_BYTES_MAX} can be stored",
                self.checkpoint_id,
                payload.len()
            )));
        }
        let mut file = Vec::with_capacity(payload.len() + 24);
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&CheckpointMetadata::FORMAT.to_le_bytes());
        file.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        file.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        file.extend_from_slice(&payload);
        Ok(file)
    }

    /// Checks the header of the file `path`, which has `length` bytes, before the rest is read. Errors: `checkpoint-corrupt`.
    pub(in crate::checkpoint) fn check_header(
        path: &str,
        header: &[u8],
        length: u64,
        limits: MetadataLimits,
    ) -> Result<()> {
        MetadataHeader::read(header, length, limits)
            .map(drop)
            .map_err(|why| checkpoint_corrupt(format!("{path}: {why}")))
    }

    /// Decodes the content of the file `path`. Errors: `checkpoint-corrupt`, with the path.
    pub fn decode(path: &str, file: &[u8]) -> Result<CheckpointMetadata> {
        CheckpointMetadata::decode_within(path, file, MetadataLimits::OWN)
    }

    /// Decodes like [`CheckpointMetadata::decode`], within other limits.
    pub(in crate::checkpoint) fn decode_within(
        path: &str,
        file: &[u8],
        limits: MetadataLimits,
    ) -> Result<CheckpointMetadata> {
        let decoded = within_element_budget(limits.elements, || decode_file(file, limits));
        let metadata = decoded.map_err(|why| checkpoint_corrupt(format!("{path}: {why}")))?;
        match metadata.defect() {
            None => Ok(metadata),
            Some(defect) => Err(checkpoint_corrupt(format!("{path}: the metadata {defect}"))),
        }
    }
}

/// The fields of the header.
struct MetadataHeader {
    format: u32,
    crc: u32,
}

impl MetadataHeader {
    /// Reads the header of a file of `length` bytes. The error is a message for the user.
    fn read(header: &[u8], length: u64, limits: MetadataLimits) -> Result<MetadataHeader, String> {
        let short = || format!("the file ends after {length} bytes, inside the header");
        let (magic, rest) = header.split_first_chunk::<8>().ok_or_else(short)?;
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
        let announced = u64::from_le_bytes(*rest.first_chunk::<8>().ok_or_else(short)?);
        let payload = length.saturating_sub(CheckpointMetadata::HEADER_BYTES);
        if payload != announced {
            return Err(format!("{payload} bytes follow the header, which announces {announced}"));
        }
        if payload > limits.payload_bytes {
            return Err(format!("the metadata has {payload} bytes, but at most {} are read", limits.payload_bytes));
        }
        Ok(MetadataHeader { format, crc: u32::from_le_bytes(*crc) })
    }
}

fn decode_file(file: &[u8], limits: MetadataLimits) -> Result<CheckpointMetadata, String> {
    let MetadataHeader { format, crc } = MetadataHeader::read(file, file.len() as u64, limits)?;
    let payload = file.get(CheckpointMetadata::HEADER_BYTES as usize..).unwrap_or_default();
    if crc32c::crc32c(payload) != crc {
        return Err("the checksum does not match the content".to_owned());
    }
    match format {
        CheckpointMetadata::FORMAT => decode_payload(payload),
        1 => decode_payload(payload).map(|metadata: MetadataV1| from_format_2(metadata.into())),
        2 => decode_payload(payload).map(from_format_2),
        3 => decode_payload::<MetadataV3>(payload).map(CheckpointMetadata::from),
        4 => decode_payload::<MetadataV4>(payload).map(CheckpointMetadata::from),
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
