//! The canonical snapshot format: sorted entries, independent of backend and parallelism. Version 2.
//!
//! ```text
//! file:   "COFFSTAT" | version u32 | entries, ascending by (group, state, key, sub-key), to the end of the file
//! entry:  group u16 | state u16 | key length u32 | sub-key length u32 | value length u32 | key | sub-key | value
//! ```
//!
//! All numbers are little endian. A snapshot is a sequence of files of about 64 MiB each, in ascending order. Equal
//! states give equal bytes.
//!
//! Reading checks every byte: lengths, order, and that each state and key group belongs to the snapshot. The storage checks
//! file lengths and checksums. Version 1 can still be read: see `read_version_1`.

use std::ops::Range;

use bytes::Bytes;

use super::entry::{StateSize, StoredEntry};
use super::ordered_key::write_ordered;
use super::snapshot::{FileRef, FileStore, RestoreSource};
use crate::error::{Error, Result, checkpoint_corrupt, state_failed};
use crate::model::KeyGroup;

pub(super) const MAGIC: [u8; 8] = *b"COFFSTAT";
const VERSION: u32 = 2;

/// The writer closes a file that has reached this length.
const FILE_BYTES: usize = 64 << 20;

/// Stores entries in the canonical format. Entries must be pushed in ascending order.
pub struct CanonicalWriter<'a> {
    store: &'a dyn FileStore,
    /// Content of the current file.
    file: Vec<u8>,
    files: Vec<FileRef>,
    size: StateSize,
}

impl<'a> CanonicalWriter<'a> {
    /// Returns a writer that has stored nothing yet.
    pub fn new(store: &'a dyn FileStore) -> CanonicalWriter<'a> {
        CanonicalWriter { store, file: Vec::new(), files: Vec::new(), size: StateSize::default() }
    }

    /// Appends an entry, which must sort after the previous one. Returns `state-failed` if a key or value is 4 GiB or larger,
    /// and the errors of the storage.
    pub fn push(&mut self, entry: StoredEntry<'_>) -> Result<()> {
        if self.file.is_empty() {
            self.file.extend_from_slice(&MAGIC);
            self.file.extend_from_slice(&VERSION.to_le_bytes());
        }
        let StoredEntry { group, state, key, sub_key, value } = entry;
        self.file.extend_from_slice(&group.to_le_bytes());
        self.file.extend_from_slice(&state.to_le_bytes());
        for bytes in [key, sub_key, value] {
            let length = u32::try_from(bytes.len())
                .map_err(|_| state_failed(format!("an entry of {} bytes is too large for a snapshot", bytes.len())))?;
            self.file.extend_from_slice(&length.to_le_bytes());
        }
        [key, sub_key, value].iter().for_each(|bytes| self.file.extend_from_slice(bytes));
        self.size.entries += 1;
        self.size.bytes += (key.len() + sub_key.len() + value.len()) as u64;
        if self.file.len() >= FILE_BYTES { self.store_file() } else { Ok(()) }
    }

    fn store_file(&mut self) -> Result<()> {
        let file = std::mem::take(&mut self.file);
        if !file.is_empty() {
            let name = format!("state-{:06}", self.files.len());
            self.files.push(self.store.put(&name, Bytes::from(file))?);
        }
        Ok(())
    }

    /// Stores the last file, and returns all files and the size of their entries. An empty state has no files.
    pub fn finish(mut self) -> Result<(Vec<FileRef>, StateSize)> {
        self.store_file()?;
        Ok((self.files, self.size))
    }
}

/// Calls `visit` for every entry of a canonical snapshot whose key group is in `groups`.
///
/// Returns `checkpoint-corrupt` if a file is malformed, and the errors of the storage and of `visit`.
pub(super) fn read(
    source: &RestoreSource<'_>,
    groups: Range<u32>,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    let mut last_address = Vec::new();
    let mut count = 0;
    for file in &source.handle.files {
        let bytes = source.store.get(file)?;
        let states = source.handle.layout.len();
        let mut order = EntryOrderCheck { last_address: &mut last_address, states, owned: &source.groups };
        let mut check_and_visit = |entry: StoredEntry<'_>| {
            order.check(entry)?;
            count += 1;
            if groups.contains(&u32::from(entry.group)) { visit(entry) } else { Ok(()) }
        };
        read_file(&bytes, &mut check_and_visit).map_err(|error| error.context(&file.path))?;
    }
    let expected = source.handle.size.entries;
    if count != expected {
        return Err(checkpoint_corrupt(format!("a snapshot of {expected} entries contains {count}")));
    }
    Ok(())
}

/// Checks that entries ascend across all files of a snapshot, and that their groups and states belong to it.
struct EntryOrderCheck<'a> {
    /// Order-preserving encoding of the previous entry's address. Empty before the first entry.
    last_address: &'a mut Vec<u8>,
    /// Number of states in the snapshot.
    states: usize,
    /// Key groups of the subtask that took the snapshot.
    owned: &'a Range<u32>,
}

impl EntryOrderCheck<'_> {
    fn check(&mut self, entry: StoredEntry<'_>) -> Result<()> {
        let StoredEntry { group, state, key, sub_key, .. } = entry;
        let mut address = Vec::with_capacity(12 + key.len() + sub_key.len());
        address.extend_from_slice(&group.to_be_bytes());
        address.extend_from_slice(&state.to_be_bytes());
        write_ordered(&mut address, key);
        address.extend_from_slice(sub_key);
        let belongs = usize::from(state) < self.states && self.owned.contains(&u32::from(group));
        if !belongs || (!self.last_address.is_empty() && *self.last_address >= address) {
            return Err(checkpoint_corrupt(format!("an entry of state {state} in key group {group} is out of place")));
        }
        *self.last_address = address;
        Ok(())
    }
}

fn read_file(file: &[u8], visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>) -> Result<()> {
    let mut reader = CanonicalReader { rest: file, length: file.len() };
    if reader.array::<8>()? != MAGIC {
        return Err(checkpoint_corrupt("the file is not a canonical state file"));
    }
    match reader.u32()? {
        VERSION => {}
        1 => return read_version_1(reader, visit),
        version => {
            return Err(checkpoint_corrupt(format!(
                "the state file has version {version}; this build reads versions up to {VERSION}"
            )));
        }
    }
    while !reader.rest.is_empty() {
        let (group, state) = (reader.u16()?, reader.u16()?);
        let lengths = [reader.u32()?, reader.u32()?, reader.u32()?];
        let [key, sub_key, value] = [reader.bytes(lengths[0])?, reader.bytes(lengths[1])?, reader.bytes(lengths[2])?];
        visit(StoredEntry { group, state, key, sub_key, value })?;
    }
    Ok(())
}

/// Reads the rest of a file of version 1, which has no sub-keys:
///
/// ```text
/// file:   "COFFSTAT" | version u32 | number of groups u32 | groups, ascending
/// group:  group u16 | number of entries u32 | entries, ascending by (state, key)
/// entry:  state u16 | key length u32 | value length u32 | key | value
/// ```
fn read_version_1(mut reader: CanonicalReader<'_>, visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>) -> Result<()> {
    for _ in 0..reader.u32()? {
        let group = reader.u16()?;
        for _ in 0..reader.u32()? {
            let state = reader.u16()?;
            let (key_length, value_length) = (reader.u32()?, reader.u32()?);
            let (key, value) = (reader.bytes(key_length)?, reader.bytes(value_length)?);
            visit(StoredEntry { group, state, key, sub_key: &[], value })?;
        }
    }
    match reader.rest {
        [] => Ok(()),
        rest => Err(checkpoint_corrupt(format!("the state file has {} bytes after its last entry", rest.len()))),
    }
}

/// Reads numbers and bytes from a file, and fails with `checkpoint-corrupt` at its end.
struct CanonicalReader<'a> {
    rest: &'a [u8],
    /// Length of the whole file, for error messages.
    length: usize,
}

impl<'a> CanonicalReader<'a> {
    fn bytes(&mut self, count: u32) -> Result<&'a [u8]> {
        let Some((bytes, rest)) = self.rest.split_at_checked(count as usize) else { return Err(self.ends_early()) };
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((array, rest)) = self.rest.split_first_chunk::<N>() else { return Err(self.ends_early()) };
        self.rest = rest;
        Ok(*array)
    }

    fn u16(&mut self) -> Result<KeyGroup> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn ends_early(&self) -> Error {
        checkpoint_corrupt(format!("the state file ends too early, after {} bytes", self.length))
    }
}
