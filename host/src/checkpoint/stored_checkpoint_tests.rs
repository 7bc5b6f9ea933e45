//! Checkpoints and savepoints that are opened by location, moved and removed.

use std::fs;

use super::catalog::{ListedSavepoint, Verification};
use super::location::StorageLocation;
use super::metadata::{CheckpointKind, CheckpointMetadata};
use super::stored_checkpoint::{StoredCheckpoint, remove_savepoint};
use super::testing::{JOB, TestStorage, metadata, on_each_store};
use crate::state::FileStore;

#[test]
fn a_savepoint_shares_no_files_with_checkpoints() {
    on_each_store(|test| {
        let shared = test.put(1, "state", "x");
        test.complete(1, std::slice::from_ref(&shared));
        let files = test.storage.files(JOB, 2, CheckpointKind::Savepoint).unwrap();
        assert_eq!(files.reusable(std::slice::from_ref(&shared)).unwrap(), []);
        let (location, saved) = test.savepoint(2, &["saved"]);
        assert_eq!(location, test.storage.root().join("savepoints/job-1-2"));
        let own = saved.files().next().unwrap().clone();
        let next = test.storage.files(JOB, 3, CheckpointKind::Checkpoint).unwrap();
        assert_eq!(next.reusable(&[own.clone(), shared.clone()]).unwrap(), std::slice::from_ref(&shared));
        let outside = metadata(3, CheckpointKind::Savepoint, &[shared]);
        assert_eq!(test.storage.write_metadata(&outside).unwrap_err().code, "internal");

        test.storage.remove_job(JOB).unwrap();
        assert_eq!(test.stored(), [own.path.clone(), "savepoints/job-1-2/manifest".into()]);
        let listed = test.storage.savepoints(JOB).unwrap();
        let [ListedSavepoint { id: 2, location: listed_location, metadata: Ok(listed_metadata) }] = &listed[..] else {
            panic!("{listed:?}")
        };
        assert_eq!((listed_location, listed_metadata), (&location, &saved));
    });
}

#[test]
fn a_moved_savepoint_can_be_opened() {
    let test = TestStorage::new();
    let open = |location: &StorageLocation, verification| {
        StoredCheckpoint::open(location, test.runtime.handle().clone(), verification)
    };
    let (location, metadata) = test.savepoint(2, &["saved", "other"]);
    assert_eq!(open(&location, Verification::Checksums).unwrap().metadata.bytes(), metadata.bytes());
    assert_readable_when_moved(&test, &location, &metadata);
    // Metadata of format 1 names files by their paths below the root; such a savepoint can be moved as well.
    test.overwrite("savepoints/job-1-2/manifest", &metadata.encode().unwrap());
    assert_readable_when_moved(&test, &location, &metadata);
}

fn assert_readable_when_moved(test: &TestStorage, location: &StorageLocation, metadata: &CheckpointMetadata) {
    let open = |location: &StorageLocation, verification| {
        StoredCheckpoint::open(location, test.runtime.handle().clone(), verification)
    };
    let moved = test.folder.path().join("moved here, 100%");
    fs::rename(location.folder().unwrap(), &moved).unwrap();
    let moved = StorageLocation::Folder(moved);
    let stored = open(&moved, Verification::Checksums).unwrap();
    let files = stored.storage.files(JOB, 2, CheckpointKind::Savepoint).unwrap();
    for (file, before) in stored.metadata.files().zip(metadata.files()) {
        assert_eq!((&file.name, file.crc32c), (&before.name, before.crc32c));
        assert_eq!(files.get(file).unwrap(), before.name.as_bytes());
    }
    let file = moved.folder().unwrap().join(metadata.files().next().unwrap().path.rsplit('/').next().unwrap());
    fs::write(&file, "savex").unwrap();
    assert!(open(&moved, Verification::Lengths).is_ok());
    let error = open(&moved, Verification::Checksums).err().unwrap();
    assert_eq!(error.code, "checkpoint-corrupt");
    assert!(error.message.contains(file.file_name().unwrap().to_str().unwrap()), "{}", error.message);
    for name in ["nothing", "nothing/at/all", "storage", "storage/savepoints"] {
        let empty = StorageLocation::Folder(test.folder.path().join(name));
        assert_eq!(open(&empty, Verification::Lengths).err().unwrap().code, "savepoint-not-found", "{name}");
        assert_eq!(remove_savepoint(&empty, test.runtime.handle().clone()).unwrap_err().code, "savepoint-not-found");
    }
    fs::write(&file, "saved").unwrap();
    fs::rename(moved.folder().unwrap(), location.folder().unwrap()).unwrap();
}

#[test]
fn a_checkpoint_is_opened_in_place_or_in_the_moved_folder_of_its_job() {
    let test = TestStorage::new();
    let open = |location: &StorageLocation| {
        StoredCheckpoint::open(location, test.runtime.handle().clone(), Verification::Checksums)
    };
    let file = test.put(7, "state", "x");
    let metadata = test.complete(7, &[file]);
    let location = test.storage.root().join("job-1/chk-7");
    assert_eq!(open(&location).unwrap().metadata, metadata);
    assert_eq!(remove_savepoint(&location, test.runtime.handle().clone()).unwrap_err().code, "savepoint-not-found");
    let elsewhere = test.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(test.path("job-1"), elsewhere.join("job-1")).unwrap();
    assert_eq!(open(&StorageLocation::Folder(elsewhere.join("job-1/chk-7"))).unwrap().metadata, metadata);
    fs::rename(elsewhere.join("job-1/chk-7"), elsewhere.join("alone")).unwrap();
    assert_eq!(open(&StorageLocation::Folder(elsewhere.join("alone"))).err().unwrap().code, "checkpoint-corrupt");
}

#[test]
fn removing_a_savepoint_removes_only_the_files_that_it_names() {
    let test = TestStorage::new();
    let (location, _) = test.savepoint(2, &["saved"]);
    let foreign = location.folder().unwrap().join("notes.txt");
    fs::write(&foreign, "mine").unwrap();
    remove_savepoint(&location, test.runtime.handle().clone()).unwrap();
    assert_eq!(fs::read_dir(location.folder().unwrap()).unwrap().count(), 1);
    fs::remove_file(&foreign).unwrap();
    let (location, _) = test.savepoint(3, &["saved"]);
    remove_savepoint(&location, test.runtime.handle().clone()).unwrap();
    assert!(!location.folder().unwrap().exists());
    let (location, _) = test.savepoint(4, &["saved"]);
    fs::write(location.folder().unwrap().join("manifest"), "damaged").unwrap();
    assert_eq!(remove_savepoint(&location, test.runtime.handle().clone()).unwrap_err().code, "checkpoint-corrupt");
    assert_eq!(fs::read_dir(location.folder().unwrap()).unwrap().count(), 2);
}
