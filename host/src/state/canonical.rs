//! The canonical form of an image: sorted entries, whatever the backend and the parallelism. Version 2.
//!
//! ```text
//! file:   "COFFSTAT" | version u32 | entries, ascending by (group, state, key, sub-key), to the end of the file
//! entry:  group u16 | state u16 | key length u32 | sub-key length u32 | value length u32 | key | sub-key | value
//! ```
//!
//! All numbers are little endian. An image is as many files as it needs, of about [`PART_BYTES`] each; the entries of each
//! follow those of the one before. The same state gives the same bytes. Bytes are checked whole on reading: order, lengths,
//! that states exist. Length and checksum are the storage's to check. Version 1 is read as well: see [`read_version_1`].

use std::ops::Range;

use bytes::Bytes;

use super::{FileRef, FileStore, RestoreSource, StateSize, StoredEntry};
use crate::error::{Error, Result, checkpoint_corrupt, state_failed};
use crate::model::KeyGroup;

const MAGIC: [u8; 8] = *b"COFFSTAT";
const VERSION: u32 = 2;

/// A file is closed when it has this many bytes.
const PART_BYTES: usize = 64 << 20;

/// Stores entries as the files of an image. They are pushed in order.
pub struct CanonicalWriter<'a> {
    store: &'a dyn FileStore,
    part: Vec<u8>,
    files: Vec<FileRef>,
    size: StateSize,
}

impl<'a> CanonicalWriter<'a> {
    pub fn new(store: &'a dyn FileStore) -> CanonicalWriter<'a> {
        CanonicalWriter { store, part: Vec::new(), files: Vec::new(), size: StateSize::default() }
    }

    /// Appends an entry, which is above the one before. Fails where it is too large, and where the storage does.
    pub fn push(&mut self, entry: StoredEntry<'_>) -> Result<()> {
        if self.part.is_empty() {
            self.part.extend_from_slice(&MAGIC);
            self.part.extend_from_slice(&VERSION.to_le_bytes());
        }
        let StoredEntry { group, state, key, sub_key, value } = entry;
        self.part.extend_from_slice(&group.to_le_bytes());
        self.part.extend_from_slice(&state.to_le_bytes());
        for bytes in [key, sub_key, value] {
            let length = u32::try_from(bytes.len())
                .map_err(|_| state_failed(format!("an entry of {} bytes is too large for an image", bytes.len())))?;
            self.part.extend_from_slice(&length.to_le_bytes());
        }
        [key, sub_key, value].iter().for_each(|bytes| self.part.extend_from_slice(bytes));
        self.size.entries += 1;
        self.size.bytes += (key.len() + sub_key.len() + value.len()) as u64;
        if self.part.len() >= PART_BYTES { self.close_part() } else { Ok(()) }
    }

    fn close_part(&mut self) -> Result<()> {
        let part = std::mem::take(&mut self.part);
        if !part.is_empty() {
            let name = format!("state-{:06}", self.files.len());
            self.files.push(self.store.put(&name, Bytes::from(part))?);
        }
        Ok(())
    }

    /// Closes the last file. An empty state has none.
    pub fn finish(mut self) -> Result<(Vec<FileRef>, StateSize)> {
        self.close_part()?;
        Ok((self.files, self.size))
    }
}

/// Hands every entry of a canonical image whose group is in `groups` to `visit`. Errors: `checkpoint-corrupt` where a file
/// is not well formed, and what the storage and `visit` say.
pub(super) fn read(
    image: &RestoreSource<'_>,
    groups: Range<u32>,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    let mut last = Vec::new();
    let mut count = 0;
    for file in &image.handle.files {
        let bytes = image.store.get(file)?;
        let mut order = Order { last: &mut last, states: image.handle.layout.len(), owned: &image.groups };
        let mut wanted = |entry: StoredEntry<'_>| {
            order.check(entry)?;
            count += 1;
            if groups.contains(&u32::from(entry.group)) { visit(entry) } else { Ok(()) }
        };
        read_file(&bytes, &mut wanted).map_err(|error| error.context(&file.path))?;
    }
    let expected = image.handle.size.entries;
    if count != expected {
        return Err(checkpoint_corrupt(format!("an image of {expected} entries has {count}")));
    }
    Ok(())
}

/// Checks that entries ascend, over all files of an image, and that their groups and states are the image's.
struct Order<'a> {
    /// The address of the entry before, as bytes that sort alike; empty before the first.
    last: &'a mut Vec<u8>,
    states: usize,
    owned: &'a Range<u32>,
}

impl Order<'_> {
    fn check(&mut self, entry: StoredEntry<'_>) -> Result<()> {
        let StoredEntry { group, state, key, sub_key, .. } = entry;
        let mut address = Vec::with_capacity(12 + key.len() + sub_key.len());
        address.extend_from_slice(&group.to_be_bytes());
        address.extend_from_slice(&state.to_be_bytes());
        super::write_ordered(&mut address, key);
        address.extend_from_slice(sub_key);
        let known = usize::from(state) < self.states && self.owned.contains(&u32::from(group));
        if !known || (!self.last.is_empty() && *self.last >= address) {
            return Err(checkpoint_corrupt(format!("an entry of state {state} in key group {group} is out of place")));
        }
        *self.last = address;
        Ok(())
    }
}

fn read_file(file: &[u8], visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>) -> Result<()> {
    let mut reader = Reader { rest: file, length: file.len() };
    if reader.array::<8>()? != MAGIC {
        return Err(checkpoint_corrupt("this is not a file of state"));
    }
    match reader.u32()? {
        VERSION => {}
        1 => return read_version_1(reader, visit),
        version => {
            return Err(checkpoint_corrupt(format!(
                "a file of state of version {version}; this build reads versions up to {VERSION}"
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

/// ```text
/// file:   "COFFSTAT" | version u32 | number of groups u32 | groups, ascending
/// group:  group u16 | number of entries u32 | entries, ascending by (state, key)
/// entry:  state u16 | key length u32 | value length u32 | key | value
/// ```
fn read_version_1(mut reader: Reader<'_>, visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>) -> Result<()> {
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
        rest => Err(checkpoint_corrupt(format!("{} bytes follow behind the state", rest.len()))),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
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
        checkpoint_corrupt(format!("the state's file ends too early, after {} bytes", self.length))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestStore;
    use super::super::{SnapshotFormat, StateDescription, StateHandle, StateId, StateKind, StateLayout};
    use super::*;

    fn layout() -> StateLayout {
        ["a", "b"].map(|name| StateDescription::new(name, StateKind::Value, "postcard", "u64")).to_vec()
    }

    const HEADER_BYTES: usize = 12;
    const ENTRY_HEADER_BYTES: usize = 16;

    type Owned = (KeyGroup, StateId, Vec<u8>, Vec<u8>, Vec<u8>);

    fn image(store: &TestStore, bytes: &[u8], entries: u64) -> StateHandle {
        let files = vec![store.put("state-000000", Bytes::copy_from_slice(bytes)).unwrap()];
        let size = StateSize { entries, bytes: 0 };
        StateHandle { format: SnapshotFormat::Canonical, layout: layout(), files, size }
    }

    fn entries(bytes: &[u8], count: u64) -> Result<Vec<Owned>> {
        let store = TestStore::default();
        let image = image(&store, bytes, count);
        let mut seen = Vec::new();
        read(&RestoreSource { handle: &image, groups: 0..3, store: &store }, 0..3, &mut |entry| {
            let StoredEntry { group, state, key, sub_key, value } = entry;
            seen.push((group, state, key.to_vec(), sub_key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok(seen)
    }

    fn sample() -> Vec<Owned> {
        let entry =
            |group, state, key: &str, sub: &str, value: &str| (group, state, key.into(), sub.into(), value.into());
        vec![entry(1, 0, "z", "", ""), entry(1, 1, "a", "", "1"), entry(1, 1, "a", "x", "2"), entry(2, 0, "", "", "3")]
    }

    fn file(entries: &[Owned]) -> Vec<u8> {
        let store = TestStore::default();
        let mut writer = CanonicalWriter::new(&store);
        for (group, state, key, sub_key, value) in entries {
            writer.push(StoredEntry { group: *group, state: *state, key, sub_key, value }).unwrap();
        }
        let (files, size) = writer.finish().unwrap();
        assert_eq!(size.entries, entries.len() as u64);
        store.get(&files[0]).unwrap().to_vec()
    }

    #[test]
    fn what_was_written_comes_back() {
        assert_eq!(entries(&file(&sample()), 4).unwrap(), sample());
        assert_eq!(file(&sample()).len(), HEADER_BYTES + 4 * ENTRY_HEADER_BYTES + 7);
    }

    #[test]
    fn a_file_that_is_not_well_formed_is_refused() {
        let file = file(&sample());
        for end in 0..file.len() {
            assert_eq!(entries(&file[..end], 4).unwrap_err().code, "checkpoint-corrupt", "cut at {end}");
        }
        assert!(entries(&[&file[..], b"x"].concat(), 4).unwrap_err().message.contains("ends too early"));
        let mut newer = file.clone();
        newer[8] = 3;
        assert!(entries(&newer, 4).unwrap_err().message.contains("version 3"));
    }

    #[test]
    fn entries_out_of_place_are_refused() {
        for (at, change) in [(0, 3_u8), (2, 2)] {
            let mut file = file(&sample()[3..]);
            file[HEADER_BYTES + at] = change;
            assert!(entries(&file, 1).unwrap_err().message.contains("out of place"));
        }
        let twice = file(&[sample()[1].clone(), sample()[1].clone()]);
        assert!(entries(&twice, 2).unwrap_err().message.contains("out of place"));
    }

    #[test]
    fn version_2_stays_what_it_is() {
        let mut bytes = [&MAGIC[..], &[2, 0, 0, 0]].concat();
        bytes.extend([
            /* group */ 1, 0, /* state */ 0, 0, /* lengths */ 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'z',
        ]);
        bytes.extend([1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'a', b'1']);
        bytes.extend([1, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'a', b'x', b'2']);
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'3']);
        assert_eq!(file(&sample()), bytes);
        assert_eq!(entries(&bytes, 4).unwrap(), sample());
    }

    #[test]
    fn version_1_is_still_read() {
        let mut file = [&MAGIC[..], &1_u32.to_le_bytes(), &1_u32.to_le_bytes(), &1_u16.to_le_bytes()].concat();
        file.extend([2, 0, 0, 0, /* state */ 0, 0, /* lengths */ 1, 0, 0, 0, 0, 0, 0, 0, b'z']);
        file.extend([/* state */ 1, 0, /* lengths */ 1, 0, 0, 0, 1, 0, 0, 0, b'a', b'1']);
        assert_eq!(entries(&file, 2).unwrap(), sample()[..2]);
        assert!(entries(&[&file[..], b"x"].concat(), 2).unwrap_err().message.contains("1 bytes follow"));
    }
}
