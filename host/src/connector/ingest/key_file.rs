//! The keys of a removed segment, in `NNNNNNNNNNNNNNNNNNNN.keys`: keys outlive the records that came with them.
//!
//! The file is written before its segment is removed, and is removed once all its keys have expired.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::frame::{RequestKey, checksum};
use super::key_index::KeptRequest;
use super::log_position::LogPosition;
use super::segment::{damaged, sync_folder};
use crate::error::{Result, ingest_failed};

const MAGIC: &[u8; 8] = b"cofdkeys";
const VERSION: u32 = 1;
/// Magic, version, checksum, salt.
const HEADER_BYTES: usize = 8 + 4 + 4 + 8;
const ENTRY_BYTES: usize = 16 + 8 + 8 + 8 + 4 + 4;

/// Extension of key files.
pub(super) const KEY_FILE_EXTENSION: &str = "keys";

/// Returns the path of the keys of a segment.
pub(super) fn key_file_path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:020}.{KEY_FILE_EXTENSION}"))
}

/// Stores keys durably.
pub(super) fn write_keys(folder: &Path, segment: u64, salt: u64, requests: &[KeptRequest]) -> io::Result<()> {
    let mut entries = Vec::with_capacity(requests.len() * ENTRY_BYTES);
    for KeptRequest { key, received_ms, position, records } in requests {
        entries.extend_from_slice(&key.hash.to_le_bytes());
        entries.extend_from_slice(&key.body.to_le_bytes());
        entries.extend_from_slice(&received_ms.to_le_bytes());
        entries.extend_from_slice(&position.segment.to_le_bytes());
        entries.extend_from_slice(&(position.offset as u32).to_le_bytes());
        entries.extend_from_slice(&records.to_le_bytes());
    }
    let path = key_file_path(folder, segment);
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(MAGIC)?;
    file.write_all(&VERSION.to_le_bytes())?;
    file.write_all(&checksum(salt, &entries).to_le_bytes())?;
    file.write_all(&salt.to_le_bytes())?;
    file.write_all(&entries)?;
    file.sync_all()?;
    fail_point!("ingest.keys", io::Error::other);
    fs::rename(&unfinished, &path)?;
    sync_folder(folder)
}

/// Reads the keys of a removed segment. Errors: `ingest-failed`, `ingest-corrupt`.
pub(super) fn read_keys(folder: &Path, segment: u64) -> Result<Vec<KeptRequest>> {
    let path = key_file_path(folder, segment);
    let bytes =
        fs::read(&path).map_err(|error| ingest_failed(format!("{} cannot be read: {error}", path.display())))?;
    decode(&bytes).ok_or_else(|| damaged(&path, 0, "the idempotency keys are damaged"))
}

fn decode(bytes: &[u8]) -> Option<Vec<KeptRequest>> {
    let (header, entries) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (magic, rest) = header.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (crc, salt) = rest.split_first_chunk()?;
    let salt = u64::from_le_bytes(*salt.first_chunk()?);
    let is_sound = magic == MAGIC
        && u32::from_le_bytes(*version) == VERSION
        && u32::from_le_bytes(*crc) == checksum(salt, entries)
        && entries.len().is_multiple_of(ENTRY_BYTES);
    if !is_sound {
        return None;
    }
    entries.as_chunks::<ENTRY_BYTES>().0.iter().map(decode_entry).collect()
}

fn decode_entry(entry: &[u8; ENTRY_BYTES]) -> Option<KeptRequest> {
    let (hash, rest) = entry.split_first_chunk()?;
    let (body, rest) = rest.split_first_chunk()?;
    let (received_ms, rest) = rest.split_first_chunk()?;
    let (segment, rest) = rest.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let records = rest.first_chunk()?;
    let offset = u64::from(u32::from_le_bytes(*offset));
    Some(KeptRequest {
        key: RequestKey { hash: u128::from_le_bytes(*hash), body: u64::from_le_bytes(*body) },
        received_ms: i64::from_le_bytes(*received_ms),
        position: LogPosition { segment: u64::from_le_bytes(*segment), offset },
        records: u32::from_le_bytes(*records),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let request = |number: u32| KeptRequest {
            key: RequestKey { hash: u128::from(number) << 70 | 1, body: 5 },
            received_ms: -4,
            position: LogPosition { segment: 9, offset: 64 },
            records: number,
        };
        let requests: Vec<KeptRequest> = (0..3).map(request).collect();
        write_keys(folder.path(), 9, 77, &requests).unwrap();
        assert_eq!(read_keys(folder.path(), 9).unwrap(), requests);
        let path = key_file_path(folder.path(), 9);
        let bytes = fs::read(&path).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 4;
            fs::write(&path, &changed).unwrap();
            assert_eq!(read_keys(folder.path(), 9).unwrap_err().code, "ingest-corrupt", "byte {index}");
            fs::write(&path, &bytes[..index]).unwrap();
            assert_eq!(read_keys(folder.path(), 9).unwrap_err().code, "ingest-corrupt", "length {index}");
        }
    }
}
