//! The one file of an image of memory state, version 1. All numbers are little endian.
//!
//! ```text
//! file:   "COFFSTAT" | version u32 | number of groups u32 | groups, ascending
//! group:  group u16 | number of entries u32 | entries, ascending by (state, key)
//! entry:  state u16 | key length u32 | value length u32 | key | value
//! ```
//!
//! Groups without entries are left out. The same state gives the same bytes. Bytes are checked whole on reading: order,
//! lengths, that groups and states exist, and that nothing follows. Length and checksum are the storage's to check.

use std::sync::Arc;

use super::memory::{Entry, Group};
use super::{StateId, StateSize};
use crate::error::{Result, checkpoint_corrupt, state_failed};
use crate::model::KeyGroup;

pub(super) const FILE_NAME: &str = "state";

const MAGIC: [u8; 8] = *b"COFFSTAT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const ENTRY_HEADER_BYTES: u64 = 10;

/// Writes the state; `size` is a hint of how much it is.
pub(super) fn encode(groups: &[Arc<Group>], size: StateSize) -> Result<Vec<u8>> {
    let capacity = HEADER_BYTES as u64 + size.bytes + size.entries * ENTRY_HEADER_BYTES;
    let mut file = Vec::with_capacity(usize::try_from(capacity).unwrap_or(0));
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    let occupied = groups.iter().filter(|group| !group.is_empty()).count();
    file.extend_from_slice(&length(occupied)?);
    let mut sorted: Vec<&Entry> = Vec::new();
    for (number, group) in groups.iter().enumerate().filter(|(_, group)| !group.is_empty()) {
        sorted.clear();
        sorted.extend(group.iter());
        sorted.sort_unstable_by(|a, b| (a.state, &a.key).cmp(&(b.state, &b.key)));
        file.extend_from_slice(&(number as KeyGroup).to_le_bytes());
        file.extend_from_slice(&length(sorted.len())?);
        for entry in &sorted {
            file.extend_from_slice(&entry.state.to_le_bytes());
            file.extend_from_slice(&length(entry.key.len())?);
            file.extend_from_slice(&length(entry.value.len())?);
            file.extend_from_slice(&entry.key);
            file.extend_from_slice(&entry.value);
        }
    }
    Ok(file)
}

fn length(length: usize) -> Result<[u8; 4]> {
    match u32::try_from(length) {
        Ok(length) => Ok(length.to_le_bytes()),
        Err(_) => Err(state_failed(format!("an entry or a count of {length} is too large for the state's file"))),
    }
}

/// Reads a file back, and hands every entry to `put` (group, stored state, key, value). `checkpoint-corrupt` where it
/// is not well formed, or has a group or state that is not below `groups` and `states`.
pub(super) fn decode(
    file: &[u8],
    groups: u32,
    states: usize,
    mut put: impl FnMut(KeyGroup, StateId, &[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let mut reader = Reader { rest: file, length: file.len() };
    if reader.array::<8>()? != MAGIC {
        return Err(checkpoint_corrupt("this is not a file of memory state"));
    }
    let version = reader.u32()?;
    if version != VERSION {
        return Err(checkpoint_corrupt(format!(
            "a file of memory state of version {version}; this build reads version {VERSION}"
        )));
    }
    let mut last_group = None;
    for _ in 0..reader.u32()? {
        let group = reader.u16()?;
        if u32::from(group) >= groups || last_group.is_some_and(|last| last >= group) {
            return Err(checkpoint_corrupt(format!("key group {group} of {groups} is out of place")));
        }
        last_group = Some(group);
        let mut last: Option<(StateId, &[u8])> = None;
        for _ in 0..reader.u32()? {
            let state = reader.u16()?;
            let (key_length, value_length) = (reader.u32()?, reader.u32()?);
            let (key, value) = (reader.bytes(key_length)?, reader.bytes(value_length)?);
            if usize::from(state) >= states || last.is_some_and(|last| last >= (state, key)) {
                return Err(checkpoint_corrupt(format!(
                    "an entry of state {state} in key group {group} is out of place"
                )));
            }
            last = Some((state, key));
            put(group, state, key, value)?;
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

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn ends_early(&self) -> crate::error::Error {
        checkpoint_corrupt(format!("the state's file ends too early, after {} bytes", self.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(entries: &[(StateId, &[u8], &[u8])]) -> Arc<Group> {
        let mut group = Group::new();
        for (at, (state, key, value)) in entries.iter().enumerate() {
            let entry = Entry { state: *state, key: (*key).into(), value: value.to_vec() };
            group.insert_unique(at as u64, entry, |_| 0);
        }
        Arc::new(group)
    }

    type Decoded = (KeyGroup, StateId, Vec<u8>, Vec<u8>);

    fn read(file: &[u8], groups: u32, states: usize) -> Result<Vec<Decoded>> {
        let mut entries = Vec::new();
        decode(file, groups, states, |group, state, key, value| {
            entries.push((group, state, key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok(entries)
    }

    fn file() -> Vec<u8> {
        let groups = [group(&[]), group(&[(1, b"b", b"2"), (0, b"z", b""), (1, b"a", b"1")]), group(&[(0, b"", b"3")])];
        encode(&groups, StateSize::default()).unwrap()
    }

    #[test]
    fn the_file_is_sorted_and_comes_back() {
        let entry = |group, state, key: &str, value: &str| (group, state, key.into(), value.into());
        let expected = [entry(1, 0, "z", ""), entry(1, 1, "a", "1"), entry(1, 1, "b", "2"), entry(2, 0, "", "3")];
        assert_eq!(read(&file(), 3, 2).unwrap(), expected);
    }

    #[test]
    fn a_file_that_is_not_well_formed_is_refused() {
        let file = file();
        for end in 0..file.len() {
            assert_eq!(read(&file[..end], 3, 2).unwrap_err().code, "checkpoint-corrupt", "cut at {end}");
        }
        let longer = [&file[..], b"x"].concat();
        assert!(read(&longer, 3, 2).unwrap_err().message.contains("1 bytes follow"));
        assert!(read(&file, 2, 2).unwrap_err().message.contains("key group 2 of 2"));
        assert!(read(&file, 3, 1).unwrap_err().message.contains("state 1 in key group 1"));
        let mut newer = file.clone();
        newer[8] = 2;
        assert!(read(&newer, 3, 2).unwrap_err().message.contains("version 2"));
    }
}
