//! Files in a folder and in an S3-compatible server: stored, verified, linked, reused and adopted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;

use super::checkpoint_files::CheckpointFiles;
use crate::checkpoint::metadata::CheckpointKind;
use crate::checkpoint::testing::{JOB, TestStorage, on_each_store};
use crate::state::{FileRef, FileStore};

#[test]
fn stored_files_are_read_back_and_counted() {
    on_each_store(|test| {
        let files = test.storage.files(JOB, 1, CheckpointKind::Checkpoint).unwrap();
        let local = test.folder.path().join("local");
        // Lengths around the size of the parts in which files are uploaded.
        let part = 8 << 20;
        let mut sum = 0;
        for length in [0, 1, part - 1, part, part + 1, 2 * part + 5] {
            let bytes: Vec<u8> = (0..length).map(|index| (index * 31 % 251) as u8).collect();
            fs::write(&local, &bytes).unwrap();
            let file = files.put_file("000001.sst", &local).unwrap();
            assert_eq!((file.bytes, file.crc32c), (length as u64, crc32c::crc32c(&bytes)));
            let copy = test.folder.path().join("back");
            files.get_file(&file, &copy).unwrap();
            assert!(fs::read(&copy).unwrap() == bytes && files.get(&file).unwrap() == bytes);
            sum += length as u64;
        }
        assert_eq!(files.bytes_uploaded(), sum);
        let twice = [files.put("a", Bytes::new()).unwrap(), files.put("a", Bytes::new()).unwrap()];
        assert_ne!(twice[0].path, twice[1].path);
        let missing = Path::new("none").join("such");
        assert_eq!(files.put_file("a", &missing).unwrap_err().code, "storage-failed");
    });
}

#[test]
fn the_error_for_a_damaged_file_names_it() {
    on_each_store(|test| {
        let files = test.storage.files(JOB, 1, CheckpointKind::Checkpoint).unwrap();
        let file = files.put("state", Bytes::from_static(b"0123456789")).unwrap();
        let to = test.folder.path().join("to");
        let assert_rejected = |file: &FileRef| {
            let error = files.get(file).unwrap_err();
            assert_eq!(error.code, "checkpoint-corrupt");
            assert!(error.message.contains(&file.path), "{}", error.message);
            assert_eq!(files.get_file(file, &to).unwrap_err().code, "checkpoint-corrupt");
            assert!(!to.exists());
        };
        for damaged in ["0123456780", "012345678", "01234567890", ""] {
            test.overwrite(&file.path, damaged.as_bytes());
            assert_rejected(&file);
        }
        test.storage.remove_file(&file.path).unwrap();
        assert_rejected(&file);
        for path in ["../../etc/passwd", "", "job-1/shared/../../x"] {
            assert_rejected(&FileRef { path: path.into(), ..file.clone() });
        }
    });
}

#[test]
fn a_missing_or_truncated_file_is_not_reused() {
    on_each_store(|test| {
        let files = ["intact", "missing", "truncated"].map(|name| test.put(1, name, "bytes"));
        test.complete(1, &files);
        test.storage.remove_file(&files[1].path).unwrap();
        test.overwrite(&files[2].path, b"by");
        let next = test.storage.files(JOB, 2, CheckpointKind::Checkpoint).unwrap();
        assert_eq!(next.reusable(&files).unwrap(), &files[..1]);
    });
}

#[test]
fn adopted_files_outlive_the_checkpoint_that_they_came_from() {
    on_each_store(|test| {
        let (location, metadata) = test.savepoint(2, &["a.sst", "b.sst"]);
        let claimed: Vec<FileRef> = metadata.files().cloned().collect();
        let files = test.storage.files("job-2", 0, CheckpointKind::Checkpoint).unwrap();
        let adopted = files.adopt(&test.storage, &claimed).unwrap().unwrap();
        assert_eq!(files.bytes_uploaded(), 0);
        assert_eq!(files.reusable(&adopted).unwrap(), adopted);
        let folder = location.below(test.storage.root()).unwrap();
        for (path, _) in test.storage.list_files(&folder).unwrap() {
            test.storage.remove_file(&path).unwrap();
        }
        for (file, before) in adopted.iter().zip(&claimed) {
            assert_eq!((&file.name, file.bytes, file.crc32c), (&before.name, before.bytes, before.crc32c));
            assert_eq!(files.get(file).unwrap(), file.name.as_bytes());
        }
        let other = TestStorage::new();
        let files = other.storage.files("job-2", 0, CheckpointKind::Checkpoint).unwrap();
        assert_eq!(files.adopt(&test.storage, &claimed).unwrap(), None, "adopting would move bytes between storages");
    });
}

#[test]
fn unusable_names_are_rejected() {
    let test = TestStorage::new();
    for job in ["", "..", "a/b", "savepoints", ".hidden"] {
        assert_eq!(test.storage.highest_id(job).unwrap_err().code, "internal", "{job}");
        assert!(test.storage.files(job, 1, CheckpointKind::Checkpoint).is_err(), "{job}");
    }
    let files = test.storage.files(JOB, 1, CheckpointKind::Checkpoint).unwrap();
    assert_eq!(files.put("../x", Bytes::new()).unwrap_err().code, "internal");
}

/// Returns a folder storage whose shared folder exists, since only then files are linked.
fn storage_with_folder() -> (TestStorage, CheckpointFiles) {
    let test = TestStorage::new();
    let files = test.storage.files(JOB, 1, CheckpointKind::Checkpoint).unwrap();
    files.put("first", "1".into()).unwrap();
    (test, files)
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn a_local_file_is_stored_and_restored_without_a_copy() {
    let (test, files) = storage_with_folder();
    let local = test.folder.path().join("table");
    fs::write(&local, [7; 300_000]).unwrap();
    let stored = files.put_file("000012.sst", &local).unwrap();
    assert_eq!((stored.bytes, stored.crc32c), (300_000, crc32c::crc32c(&[7; 300_000])));
    assert_eq!(files.bytes_uploaded(), 300_001);
    assert_eq!(inode(test.path(&stored.path)), inode(&local));
    fs::remove_file(&local).unwrap();
    assert_eq!(files.get(&stored).unwrap(), [7; 300_000][..]);

    let restored = test.folder.path().join("restored");
    assert!(files.link_file(&stored, &restored).unwrap());
    assert_eq!(inode(restored), inode(test.path(&stored.path)));
}

#[test]
fn the_length_of_a_linked_file_is_verified() {
    let (test, files) = storage_with_folder();
    let local = |name: &str| test.folder.path().join(name);
    let mut stored = files.put("000012.sst", "table".into()).unwrap();
    stored.bytes += 1;
    let error = files.link_file(&stored, &local("restored")).unwrap_err();
    assert_eq!(error.code, "checkpoint-corrupt");
    stored.path.push('x');
    assert!(!files.link_file(&stored, &local("missing")).unwrap());
    assert!(!local("missing").exists());
    stored.path = "../outside".into();
    assert_eq!(files.link_file(&stored, &local("outside")).unwrap_err().code, "checkpoint-corrupt");
}

#[test]
fn one_damaged_file_among_many_is_named() {
    let (test, files) = storage_with_folder();
    let mut stored: Vec<_> = (0..40).map(|byte| files.put("table", vec![byte; 1000].into()).unwrap()).collect();
    test.storage.verify_checksums(stored.iter()).unwrap();
    for damaged in [0, 17, 39] {
        stored[damaged].crc32c ^= 1;
        let error = test.storage.verify_checksums(stored.iter()).unwrap_err();
        assert_eq!(error.code, "checkpoint-corrupt");
        assert!(error.message.contains(&stored[damaged].path), "{}", error.message);
        stored[damaged].crc32c ^= 1;
    }
}
