//! Reads parts of a segment through a buffer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Result, ingest_failed};

/// Number of bytes that a read requests at least.
const READ_BYTES: usize = 256 << 10;

/// An open segment with a buffered part.
pub(super) struct SegmentBytes {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Offset of the buffer in the file.
    start: u64,
    /// Nothing at or behind this offset is read.
    limit: u64,
}

impl SegmentBytes {
    /// Opens a segment to read all of it. Error: `ingest-failed`.
    pub(super) fn open(path: &Path) -> Result<SegmentBytes> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (limit, file) = opened.map_err(|error| unreadable(path, &error))?;
        Ok(SegmentBytes { path: path.to_owned(), file, buffer: Vec::new(), start: 0, limit })
    }

    /// Returns the offset at which reading ends.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Sets the offset at which reading ends. What lies behind it may still change.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Returns `count` bytes from `offset` on, or fewer at the limit. Error: `ingest-failed`.
    pub(super) fn at(&mut self, offset: u64, count: usize) -> Result<&[u8]> {
        let available = usize::try_from(self.limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = count.min(available);
        let buffered = self.buffered(offset).filter(|from| self.buffer.len() - from >= count);
        let from = match buffered {
            Some(from) => from,
            None => {
                self.load(offset, count.max(READ_BYTES).min(available))?;
                0
            }
        };
        Ok(self.buffer.get(from..from + count).unwrap_or_default())
    }

    /// Returns the index of the byte at `offset` in the buffer.
    fn buffered(&self, offset: u64) -> Option<usize> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (from <= self.buffer.len()).then_some(from)
    }

    fn load(&mut self, offset: u64, count: usize) -> Result<()> {
        // Keeps what is buffered already, so that a reader that follows the log reads each byte once.
        let kept = self.buffered(offset).map_or(0, |from| {
            self.buffer.drain(..from);
            self.buffer.len()
        });
        self.buffer.resize(count.max(kept), 0);
        self.start = offset;
        let read = self.file.read_exact_at(&mut self.buffer[kept..], offset + kept as u64);
        read.map_err(|error| {
            self.buffer.clear();
            unreadable(&self.path, &error)
        })
    }
}

fn unreadable(path: &Path, error: &io::Error) -> crate::error::Error {
    ingest_failed(format!("{} cannot be read: {error}", path.display()))
}
