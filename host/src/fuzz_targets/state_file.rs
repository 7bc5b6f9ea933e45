//! A canonical state file, and the encodings of the values in it. The file belongs to a snapshot of three states and 128 key
//! groups.

use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;

use crate::error::{Result, internal};
use crate::state::canonical::CanonicalWriter;
use crate::state::{
    FileRef, FileStore, RestoreSource, SnapshotFormat, StateDescription, StateHandle, StateKind, StateSize,
    StoredEntry, read_ordered, read_snapshot, write_ordered,
};

/// A store of one file.
#[derive(Default)]
struct OneFileStore(Mutex<Bytes>);

impl FileStore for OneFileStore {
    fn put(&self, name: &str, bytes: Bytes) -> Result<FileRef> {
        let file = file_ref(name, bytes.len());
        *self.0.lock().unwrap() = bytes;
        Ok(file)
    }

    fn put_file(&self, _: &str, _: &Path) -> Result<FileRef> {
        Err(internal("the target stores no local files"))
    }

    fn get(&self, _: &FileRef) -> Result<Bytes> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn get_file(&self, _: &FileRef, _: &Path) -> Result<()> {
        Err(internal("the target reads no local files"))
    }
}

fn file_ref(name: &str, bytes: usize) -> FileRef {
    FileRef { name: name.to_owned(), path: name.to_owned(), bytes: bytes as u64, crc32c: 0 }
}

/// Entries of a file that is read give a file that is read to the same entries. A file of the current version is reproduced.
pub(super) fn run(data: &[u8]) {
    ordered_keys(data);
    let store = OneFileStore(Mutex::new(Bytes::copy_from_slice(data)));
    let Some(entries) = read_all(&store, data.len()) else { return };
    let rewritten = OneFileStore::default();
    let mut writer = CanonicalWriter::new(&rewritten);
    for (group, state, key, sub_key, value) in &entries {
        let entry = StoredEntry { group: *group, state: *state, key, sub_key, value };
        writer.push(entry).unwrap();
    }
    let (files, size) = writer.finish().unwrap();
    assert_eq!(size.entries, entries.len() as u64);
    if entries.is_empty() {
        assert!(files.is_empty());
        return;
    }
    let bytes = rewritten.0.lock().unwrap().clone();
    assert_eq!(read_all(&rewritten, bytes.len()).as_ref(), Some(&entries));
    if data.get(8..12) == Some(&2_u32.to_le_bytes()) {
        assert!(bytes == data, "a file of the current version is not reproduced");
    }
}

type OwnedEntry = (u16, u16, Vec<u8>, Vec<u8>, Vec<u8>);

/// Returns the entries of the file, or `None` if it is damaged.
fn read_all(store: &OneFileStore, bytes: usize) -> Option<Vec<OwnedEntry>> {
    let mut handle = StateHandle {
        format: SnapshotFormat::Canonical,
        layout: vec![StateDescription::new("state", StateKind::Value, "postcard", "u64"); 3],
        files: vec![file_ref("file", bytes)],
        size: StateSize::default(),
    };
    let mut entries: Vec<OwnedEntry> = Vec::new();
    // The number of entries is part of the metadata. The first pass finds it, the second one has to agree.
    for pass in 0..2 {
        let source = RestoreSource { handle: &handle, groups: 0..128, store };
        let mut found = Vec::new();
        let read = read_snapshot(&source, 0..128, Path::new("unused"), &mut |entry| {
            let [key, sub_key, value] = [entry.key, entry.sub_key, entry.value].map(<[u8]>::to_vec);
            found.push((entry.group, entry.state, key, sub_key, value));
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.code, "checkpoint-corrupt", "{error}");
                if pass == 1 {
                    return None;
                }
            }
        }
        handle.size.entries = found.len() as u64;
        entries = found;
    }
    Some(entries)
}

/// Order-preserving keys are read as they were written, and compare like the keys.
fn ordered_keys(data: &[u8]) {
    let (one, other) = data.split_at(data.len() / 2);
    let encoded = |key: &[u8]| {
        let mut encoded = Vec::new();
        write_ordered(&mut encoded, key);
        encoded
    };
    assert_eq!(encoded(one).cmp(&encoded(other)), one.cmp(other));
    let mut with_tail = encoded(one);
    with_tail.extend_from_slice(other);
    let (key, rest) = read_ordered(&with_tail).unwrap();
    assert_eq!((&key[..], rest), (one, other));
    let _ = read_ordered(data);
}
