//! Writes the files of a checkpoint so that they survive a loss of power.
//!
//! In a bucket, an upload becomes visible when it is complete. In a folder, each file is written in this order, which
//! `tests/tests/durable_order.rs` checks on a running server:
//!
//! 1. Missing folders are created, and each folder that got a new entry is synced.
//! 2. The bytes are written to `<name>#<number>`, which listings do not show, and the file is synced.
//! 3. The file is renamed to its name.
//! 4. Its folder is synced, so that a loss of power does not undo the rename.
//!
//! A local file that never changes is not copied: it is synced and linked to its name, and the folder is synced.
//!
//! The metadata of a checkpoint begins with step 1 after step 4 of all its files. Removals are not synced: a loss of power
//! may bring removed files back, in any order. Must not know which files belong to which checkpoint.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::paths::checked_path;
use super::store::CheckpointStorage;
use crate::error::{self, Error, Result};

/// Files up to this size are uploaded at once, larger ones in parts of this size. Crash tests have small files only.
const PART_BYTES: usize = if cfg!(feature = "fail-points") { 2 << 10 } else { 8 << 20 };
/// Size of the chunks in which a linked file is read for its checksum.
const CHECKSUM_CHUNK_BYTES: usize = 256 << 10;

/// Length and checksum of a file that was stored.
pub(super) struct WrittenFile {
    pub bytes: u64,
    pub crc32c: u32,
}

impl CheckpointStorage {
    /// Stores bytes as a file, durably.
    pub(in crate::checkpoint) fn write_synced(&self, path: &str, bytes: Bytes) -> Result<()> {
        let location = checked_path(path)?;
        self.before_change(path)?;
        fail_point!("storage.put", error::storage_failed);
        self.block_on(self.store.put(&location, bytes.into())).map_err(|e| self.failed(path, &e))?;
        fail_point!("storage.put-done", error::storage_failed);
        Ok(())
    }

    /// Stores a copy of a local file, durably; reads and uploads it part by part.
    pub(super) fn copy_synced(&self, path: &str, local: &Path) -> Result<WrittenFile> {
        let mut file = File::open(local).map_err(|e| local_failed(local, &e))?;
        let mut next_part = || -> Result<Vec<u8>> {
            let mut part = Vec::new();
            (&mut file).take(PART_BYTES as u64).read_to_end(&mut part).map_err(|e| local_failed(local, &e))?;
            Ok(part)
        };
        let mut part = next_part()?;
        let mut written = WrittenFile { bytes: part.len() as u64, crc32c: crc32c::crc32c(&part) };
        if part.len() < PART_BYTES {
            self.write_synced(path, part.into())?;
            return Ok(written);
        }
        let location = checked_path(path)?;
        self.before_change(path)?;
        let upload = self.block_on(self.store.put_multipart(&location));
        let mut upload = upload.map_err(|e| self.failed(path, &e))?;
        let mut send_parts = || -> Result<()> {
            while !part.is_empty() {
                fail_point!("storage.put-part", error::storage_failed);
                let sent = upload.put_part(Bytes::from(std::mem::take(&mut part)).into());
                self.block_on(sent).map_err(|e| self.failed(path, &e))?;
                part = next_part()?;
                written.bytes += part.len() as u64;
                written.crc32c = crc32c::crc32c_append(written.crc32c, &part);
            }
            fail_point!("storage.complete-parts", error::storage_failed);
            self.block_on(upload.complete()).map_err(|e| self.failed(path, &e))?;
            Ok(())
        };
        if let Err(error) = send_parts() {
            // Nothing refers to the incomplete upload. The error that interrupted it is the one to return.
            let _ = self.block_on(upload.abort());
            return Err(error);
        }
        Ok(written)
    }

    /// Stores a local file by a hard link: syncs the file, links it, and syncs the folder. Returns `None`, with nothing
    /// stored, if the storage is not a folder in the same file system or the target folder does not exist yet.
    pub(super) fn sync_and_link_file(&self, path: &str, local: &Path) -> Result<Option<WrittenFile>> {
        let failed = |e: std::io::Error| local_failed(local, &e);
        let to = self.root.join(checked_path(path)?.as_ref());
        let Some((to, folder)) = to.folder().and_then(|to| Some((to, to.parent()?))) else { return Ok(None) };
        self.before_change(path)?;
        let mut file = File::open(local).map_err(failed)?;
        fail_point!("storage.sync-linked", error::storage_failed);
        file.sync_all().map_err(failed)?;
        fail_point!("storage.link", error::storage_failed);
        if fs::hard_link(local, to).is_err() {
            return Ok(None);
        }
        fail_point!("storage.sync-link", error::storage_failed);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        let (mut chunk, mut written) = (vec![0; CHECKSUM_CHUNK_BYTES], WrittenFile { bytes: 0, crc32c: 0 });
        loop {
            match file.read(&mut chunk).map_err(failed)? {
                0 => return Ok(Some(written)),
                read => {
                    let read = chunk.get(..read).unwrap_or_default();
                    written.bytes += read.len() as u64;
                    written.crc32c = crc32c::crc32c_append(written.crc32c, read);
                }
            }
        }
    }

    /// Creates the marker file of a published checkpoint. In a folder the marker is synced only if `is_durable`.
    pub(super) fn write_marker(&self, path: &str, is_durable: bool) -> Result<()> {
        fail_point!("storage.mark", error::storage_failed);
        self.before_change(path)?;
        match self.root.join(path).folder().filter(|_| !is_durable) {
            Some(local) => fs::write(local, "").map_err(|e| local_failed(local, &e)),
            None => self.write_synced(path, Bytes::new()),
        }
    }
}

/// Returns the error for a failed access to a local file.
pub(super) fn local_failed(path: &Path, error: &std::io::Error) -> Error {
    error::storage_failed(format!("{}: {error}", path.display()))
}
