//! Files that a storage in the same file system takes and gives without copying.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::state::FileStore;

struct Subject {
    folder: tempfile::TempDir,
    storage: CheckpointStorage,
    files: CheckpointFiles,
    _runtime: tokio::runtime::Runtime,
}

impl Subject {
    fn new() -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let storage =
            CheckpointStorage::open(&StorageLocation::Folder(folder.path().join("storage")), runtime.handle().clone())
                .unwrap();
        let files = storage.files("job-1", 1, CheckpointKind::Checkpoint).unwrap();
        // The storage makes the folder with the first file.
        files.put("first", "1".into()).unwrap();
        Subject { folder, storage, files, _runtime: runtime }
    }

    fn local(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn inode(&self, below: &str) -> u64 {
        fs::metadata(self.folder.path().join(below)).unwrap().ino()
    }
}

#[test]
fn a_file_is_stored_and_given_back_without_a_copy() {
    let subject = Subject::new();
    fs::write(subject.local("table"), [7; 300_000]).unwrap();
    let stored = subject.files.put_file("000012.sst", &subject.local("table")).unwrap();
    assert_eq!((stored.bytes, stored.crc32c), (300_000, crc32c::crc32c(&[7; 300_000])));
    assert_eq!(subject.files.bytes_uploaded(), 300_001);
    assert_eq!(subject.inode(&format!("storage/{}", stored.path)), subject.inode("table"));
    fs::remove_file(subject.local("table")).unwrap();
    assert_eq!(subject.files.get(&stored).unwrap(), [7; 300_000][..]);

    assert!(subject.files.link_file(&stored, &subject.local("again")).unwrap());
    assert_eq!(subject.inode("again"), subject.inode(&format!("storage/{}", stored.path)));
}

#[test]
fn a_linked_file_has_its_length() {
    let subject = Subject::new();
    let mut stored = subject.files.put("000012.sst", "table".into()).unwrap();
    stored.bytes += 1;
    let error = subject.files.link_file(&stored, &subject.local("again")).unwrap_err();
    assert_eq!(error.code, "checkpoint-corrupt");
    stored.path.push('x');
    assert!(!subject.files.link_file(&stored, &subject.local("missing")).unwrap());
    assert!(!subject.local("missing").exists());
    stored.path = "../outside".into();
    assert_eq!(subject.files.link_file(&stored, &subject.local("outside")).unwrap_err().code, "checkpoint-corrupt");
}

#[test]
fn one_damaged_file_among_many_is_named() {
    let subject = Subject::new();
    let mut stored: Vec<_> = (0..40).map(|at| subject.files.put("table", vec![at; 1000].into()).unwrap()).collect();
    subject.storage.read_all(stored.iter()).unwrap();
    for damaged in [0, 17, 39] {
        stored[damaged].crc32c ^= 1;
        let error = subject.storage.read_all(stored.iter()).unwrap_err();
        assert_eq!(error.code, "checkpoint-corrupt");
        assert!(error.message.contains(&stored[damaged].path), "{}", error.message);
        stored[damaged].crc32c ^= 1;
    }
}
