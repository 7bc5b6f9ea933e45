//! Tests of the canonical snapshot format against bytes written by hand.

use bytes::Bytes;

use super::canonical::{CanonicalWriter, MAGIC, read};
use super::testing::TestStore;
use super::*;
use crate::model::KeyGroup;

fn layout() -> StateLayout {
    ["a", "b"].map(|name| StateDescription::new(name, StateKind::Value, "postcard", "u64")).to_vec()
}

const HEADER_BYTES: usize = 12;
const ENTRY_HEADER_BYTES: usize = 16;

type EntryTuple = (KeyGroup, StateId, Vec<u8>, Vec<u8>, Vec<u8>);

fn handle(store: &TestStore, bytes: &[u8], entries: u64) -> StateHandle {
    let files = vec![store.put("state-000000", Bytes::copy_from_slice(bytes)).unwrap()];
    let size = StateSize { entries, bytes: 0 };
    StateHandle { format: SnapshotFormat::Canonical, layout: layout(), files, size }
}

fn entries(bytes: &[u8], count: u64) -> crate::error::Result<Vec<EntryTuple>> {
    let store = TestStore::default();
    let handle = handle(&store, bytes, count);
    let mut seen = Vec::new();
    read(&RestoreSource { handle: &handle, groups: 0..3, store: &store }, 0..3, &mut |entry| {
        let StoredEntry { group, state, key, sub_key, value } = entry;
        seen.push((group, state, key.to_vec(), sub_key.to_vec(), value.to_vec()));
        Ok(())
    })?;
    Ok(seen)
}

fn sample() -> Vec<EntryTuple> {
    let entry = |group, state, key: &str, sub: &str, value: &str| (group, state, key.into(), sub.into(), value.into());
    vec![entry(1, 0, "z", "", ""), entry(1, 1, "a", "", "1"), entry(1, 1, "a", "x", "2"), entry(2, 0, "", "", "3")]
}

fn file(entries: &[EntryTuple]) -> Vec<u8> {
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
fn written_entries_are_read_back() {
    assert_eq!(entries(&file(&sample()), 4).unwrap(), sample());
    assert_eq!(file(&sample()).len(), HEADER_BYTES + 4 * ENTRY_HEADER_BYTES + 7);
}

#[test]
fn malformed_files_are_refused() {
    let file = file(&sample());
    for end in 0..file.len() {
        assert_eq!(entries(&file[..end], 4).unwrap_err().code, "checkpoint-corrupt", "truncated at {end}");
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
fn version_2_does_not_change() {
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
fn version_1_can_be_read() {
    let mut file = [&MAGIC[..], &1_u32.to_le_bytes(), &1_u32.to_le_bytes(), &1_u16.to_le_bytes()].concat();
    file.extend([2, 0, 0, 0, /* state */ 0, 0, /* lengths */ 1, 0, 0, 0, 0, 0, 0, 0, b'z']);
    file.extend([/* state */ 1, 0, /* lengths */ 1, 0, 0, 0, 1, 0, 0, 0, b'a', b'1']);
    assert_eq!(entries(&file, 2).unwrap(), sample()[..2]);
    assert!(entries(&[&file[..], b"x"].concat(), 2).unwrap_err().message.contains("1 bytes after its last entry"));
}
