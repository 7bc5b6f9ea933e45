//! Reads the files of a checkpoint, and verifies their lengths and checksums.
//!
//! Invariant: the content of a file is only reported as complete if it is what was written. Must not write anything.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::paths::checked_path;
use super::store::CheckpointStorage;
use crate::error::{self, Result};
use crate::state::FileRef;

/// Size of the chunks in which a file is read.
const CHUNK_BYTES: u64 = 8 << 20;
/// Upper bound on the threads that verify checksums at the same time.
const READERS_MAX: usize = 4;

impl CheckpointStorage {
    /// Reads a whole file that has no recorded length or checksum. Its length, and its first `header_bytes` bytes with it,
    /// are passed to `check` before more is read.
    pub(in crate::checkpoint) fn read_checked(
        &self,
        path: &str,
        header_bytes: u64,
        check: impl FnOnce(&[u8], u64) -> Result<()>,
    ) -> Result<Bytes> {
        let location = checked_path(path)?;
        self.check_readable(path)?;
        let failed = |e: object_store::Error| self.read_failed(path, &e);
        let length = self.block_on(self.store.head(&location)).map_err(failed)?.size;
        let read = |end: u64| match end {
            0 => Ok(Bytes::new()),
            end => self.block_on(self.store.get_range(&location, 0..end)).map_err(failed),
        };
        check(&read(length.min(header_bytes))?, length)?;
        read(length)
    }

    /// Passes the content of a file to `take`, chunk by chunk. Verifies the length before and the checksum at the end.
    pub(in crate::checkpoint) fn read_verified(
        &self,
        file: &FileRef,
        mut take: impl FnMut(&Bytes) -> Result<()>,
    ) -> Result<()> {
        self.verify_length(file)?;
        let location = checked_path(&file.path)?;
        let (mut offset, mut crc) = (0, 0);
        while offset < file.bytes {
            self.interrupt.check()?;
            // Range requests, since the stream of a local store has chunks of 8 KiB with a task for each.
            let end = file.bytes.min(offset + CHUNK_BYTES);
            let chunk = self.block_on(self.store.get_range(&location, offset..end));
            let chunk = chunk.map_err(|e| self.read_failed(&file.path, &e))?;
            check_length(file, offset + chunk.len() as u64 + (file.bytes - end))?;
            crc = crc32c::crc32c_append(crc, &chunk);
            take(&chunk)?;
            offset = end;
        }
        match crc == file.crc32c {
            true => Ok(()),
            false => {
                let message = format!("{}: the checksum does not match the content", file.path);
                Err(error::checkpoint_corrupt(message))
            }
        }
    }

    /// Reads files to verify their checksums, several at the same time, since a checksum keeps a core busy.
    pub(in crate::checkpoint) fn verify_checksums<'a>(&self, files: impl Iterator<Item = &'a FileRef>) -> Result<()> {
        let (files, next): (Vec<&FileRef>, _) = (files.collect(), AtomicUsize::new(0));
        let readers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(READERS_MAX));
        let read = || -> Result<()> {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.read_verified(file, |_| Ok(()))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..readers.min(files.len())).map(|_| scope.spawn(read)).collect();
            let panicked = |_| Err(error::internal("a thread that verifies checksums panicked"));
            others.into_iter().fold(read(), |all, other| all.and(other.join().unwrap_or_else(panicked)))
        })
    }

    /// Checks that a file exists and has its length.
    pub(in crate::checkpoint) fn verify_length(&self, file: &FileRef) -> Result<()> {
        let location = checked_path(&file.path)?;
        self.check_readable(&file.path)?;
        let meta = self.block_on(self.store.head(&location)).map_err(|e| self.read_failed(&file.path, &e))?;
        check_length(file, meta.size)
    }
}

/// Checks the actual length of a file.
pub(super) fn check_length(file: &FileRef, actual: u64) -> Result<()> {
    if actual == file.bytes {
        return Ok(());
    }
    Err(error::checkpoint_corrupt(format!("{}: the file has {actual} bytes instead of {}", file.path, file.bytes)))
}
