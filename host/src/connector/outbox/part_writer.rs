//! Writes a part: the records that one subtask wrote between two barriers.
//!
//! ```text
//! "COFFPART" | version u8 | block ...
//! block: coding u8 (0: as it is) | length u32 | records u32 | crc32c u32 of the three before and the payload | payload
//! ```
//!
//! Numbers are little endian. A part stays in memory until it is longer than a block. Most parts of a small job never become a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::record::OutboxRecord;
use crate::error::{Error, Result, sink_unwritable};

/// The first bytes of a part.
pub(super) const MAGIC: [u8; 9] = *b"COFFPART\x01";
/// Length of a block's header.
pub(super) const BLOCK_HEADER_BYTES: usize = 13;
/// Records are collected until a block has this length. A larger record has a block of its own.
const BLOCK_BYTES: usize = 64 << 10;

/// A part that is being written.
#[derive(Default)]
pub(super) struct PartWriter {
    /// The part, or its end if there is a file: whole blocks, and the open one with space for its header.
    buffer: Vec<u8>,
    /// Where the open block begins in the buffer.
    block: usize,
    /// Records of the open block.
    block_records: u32,
    records: u64,
    /// Bytes in the file.
    file_bytes: u64,
    file: Option<(File, PathBuf)>,
}

/// A complete part.
pub(super) struct WrittenPart {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) content: WrittenContent,
}

/// Where the bytes of a complete part are.
pub(super) enum WrittenContent {
    Memory(Vec<u8>),
    File(PathBuf),
}

impl PartWriter {
    /// Appends a record. Returns the bytes by which the part has grown. `path` names the file of the part, if it becomes one.
    pub(super) fn push(&mut self, record: &OutboxRecord<'_>, path: &dyn Fn() -> PathBuf) -> Result<u64> {
        let before = self.buffer.len();
        if self.buffer.is_empty() && self.file.is_none() {
            self.buffer.extend_from_slice(&MAGIC);
        }
        if self.block_records == 0 {
            self.block = self.buffer.len();
            self.buffer.resize(self.block + BLOCK_HEADER_BYTES, 0);
        }
        record.encode(&mut self.buffer)?;
        self.block_records += 1;
        self.records += 1;
        let grown = (self.buffer.len() - before) as u64;
        if self.buffer.len() - self.block >= BLOCK_BYTES {
            self.end_block();
            self.write_out(path)?;
        }
        Ok(grown)
    }

    /// Returns whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Ends the part and begins an empty one. A part of at most `inline_bytes` stays in memory.
    pub(super) fn seal(&mut self, inline_bytes: usize, path: &dyn Fn() -> PathBuf) -> Result<WrittenPart> {
        self.end_block();
        if self.file.is_some() || self.buffer.len() > inline_bytes {
            self.write_out(path)?;
        }
        let mut sealed = std::mem::take(self);
        let records = sealed.records;
        let mut buffer = std::mem::take(&mut sealed.buffer);
        if let Some((_, path)) = sealed.file.take() {
            // The next part probably is as large.
            self.buffer = buffer;
            return Ok(WrittenPart { records, bytes: sealed.file_bytes, content: WrittenContent::File(path) });
        }
        let bytes = buffer.len() as u64;
        buffer.shrink_to_fit();
        Ok(WrittenPart { records, bytes, content: WrittenContent::Memory(buffer) })
    }

    /// Completes the header of the open block.
    fn end_block(&mut self) {
        if self.block_records == 0 {
            return;
        }
        let records = std::mem::take(&mut self.block_records);
        let Some((header, payload)) =
            self.buffer.get_mut(self.block..).and_then(|block| block.split_at_mut_checked(BLOCK_HEADER_BYTES))
        else {
            return;
        };
        header[1..5].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[5..9].copy_from_slice(&records.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..9]), payload);
        header[9..13].copy_from_slice(&crc.to_le_bytes());
    }

    /// Moves the whole blocks in memory to the file.
    fn write_out(&mut self, path: &dyn Fn() -> PathBuf) -> Result<()> {
        if self.file.is_none() {
            let path = path();
            let file = create(&path).map_err(|cause| unwritable(&path, &cause))?;
            self.file = Some((file, path));
        }
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        fail_point!("outbox.write", sink_unwritable);
        file.write_all(&self.buffer).map_err(|cause| unwritable(path, &cause))?;
        self.file_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for PartWriter {
    /// Removes the file of a part that no checkpoint covers.
    fn drop(&mut self) {
        if let Some((_, path)) = self.file.take() {
            let _ = fs::remove_file(path);
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // A file of an earlier attempt may be linked into the checkpoint storage, so that it must not be changed.
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    File::create_new(path)
}

pub(super) fn unwritable(path: &Path, cause: &io::Error) -> Error {
    sink_unwritable(format!("`{}` cannot be written: {cause}", path.display()))
}
