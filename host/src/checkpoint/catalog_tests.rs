//! Finding the newest usable checkpoint among damaged ones, and the highest id.

use std::fs;

use super::catalog::Verification;
use super::location::StorageLocation;
use super::metadata::{CheckpointKind, CheckpointMetadata};
use super::testing::{JOB, TestStorage, metadata, on_each_store};
use crate::model::Interrupt;
use crate::state::FileStore;

#[test]
fn an_interrupted_read_is_not_mistaken_for_a_damaged_checkpoint() {
    let test = TestStorage::new();
    let file = test.put(1, "state", "some bytes");
    test.complete(1, std::slice::from_ref(&file));
    let interrupt = Interrupt::default();
    let storage = test.storage.clone().interruptible(&interrupt);
    assert!(storage.newest_usable(JOB, Verification::Checksums).unwrap().is_some());
    interrupt.set();
    assert_eq!(storage.newest_usable(JOB, Verification::Checksums).unwrap_err().code, "interrupted");
    let files = storage.files(JOB, 1, CheckpointKind::Checkpoint).unwrap();
    assert_eq!(files.get(&file).unwrap_err().code, "interrupted");
    assert!(
        test.storage.newest_usable(JOB, Verification::Checksums).unwrap().is_some(),
        "other clones are not interrupted"
    );
}

#[test]
fn a_restart_begins_from_a_savepoint_until_a_later_checkpoint_is_complete() {
    on_each_store(|test| {
        let restarts_from = |location: &StorageLocation| test.storage.restarts_from(JOB, location).unwrap();
        test.complete(1, &[]);
        let (savepoint, _) = test.savepoint(2, &["state"]);
        assert!(restarts_from(&savepoint));
        let (folder, name) = savepoint.split_last().unwrap();
        let (root, _) = folder.split_last().unwrap();
        for other in [root.join(&name), folder.join("job-1-1"), folder.join("job-10-2"), root.join("job-1/chk-1")] {
            assert!(!restarts_from(&other), "{other}");
        }
        test.complete(3, &[]);
        assert!(!restarts_from(&savepoint));
    });
}

#[test]
fn the_newest_usable_checkpoint_is_found_and_damaged_ones_are_named() {
    on_each_store(|test| {
        assert_eq!(test.usable(Verification::Lengths).unwrap(), None);
        let file = |id| test.put(id, "state", "0123456789");
        let files = [file(1), file(2), file(10), file(11)];
        // Files without metadata are not a checkpoint.
        assert_eq!(test.usable(Verification::Lengths).unwrap(), None);
        for (id, file) in [1, 2, 10, 11].into_iter().zip(&files) {
            test.complete(id, std::slice::from_ref(file));
        }
        assert_eq!(test.complete_ids(), [11, 10, 2, 1]);
        assert_eq!(test.usable(Verification::Checksums).unwrap(), Some((11, vec![])));

        test.overwrite(&files[3].path, "012345678X".as_bytes());
        assert_eq!(test.usable(Verification::Lengths).unwrap(), Some((11, vec![])));
        let (id, unusable) = test.usable(Verification::Checksums).unwrap().unwrap();
        assert_eq!((id, &unusable[0].path[..]), (10, "job-1/chk-11"));
        assert!(unusable[0].reason.contains(&files[3].path), "{}", unusable[0].reason);

        test.storage.remove_file(&files[3].path).unwrap();
        test.overwrite(&files[2].path, "short".as_bytes());
        let bytes = test.read("job-1/chk-2/manifest");
        test.overwrite("job-1/chk-2/manifest", &bytes[..bytes.len() - 1]);
        let (id, unusable) = test.usable(Verification::Lengths).unwrap().unwrap();
        assert_eq!(id, 1);
        let paths: Vec<_> = unusable.iter().map(|one| &one.path[..]).collect();
        assert_eq!(paths, ["job-1/chk-11", "job-1/chk-10", "job-1/chk-2"]);

        // Metadata of another checkpoint in this folder.
        test.overwrite("job-1/chk-1/manifest", &test.read("job-1/chk-10/manifest"));
        let error = test.usable(Verification::Lengths).unwrap_err();
        assert_eq!(error.code, "checkpoint-none-usable");
        for folder in ["chk-1:", "chk-2:", "chk-10:", "chk-11:"] {
            assert!(error.message.contains(folder), "{}", error.message);
        }
    });
}

#[test]
fn the_highest_id_counts_unfinished_and_damaged_checkpoints() {
    let test = TestStorage::new();
    let highest = || test.storage.highest_id(JOB).unwrap();
    assert_eq!(highest(), None);
    test.complete(3, &[]);
    test.storage
        .write_metadata(&CheckpointMetadata {
            job_id: "job-1-9".into(),
            ..metadata(77, CheckpointKind::Checkpoint, &[])
        })
        .unwrap();
    assert_eq!(highest(), Some(3));
    test.put(5, "state", "unfinished");
    assert_eq!(highest(), Some(5));
    fs::create_dir_all(test.path("job-1/chk-8")).unwrap();
    assert_eq!(highest(), Some(8));
    test.storage.write_metadata(&metadata(9, CheckpointKind::Savepoint, &[])).unwrap();
    test.storage
        .write_metadata(&CheckpointMetadata {
            job_id: "job-1-9".into(),
            ..metadata(99, CheckpointKind::Savepoint, &[])
        })
        .unwrap();
    assert_eq!(highest(), Some(9));
    test.complete(12, &[]);
    fs::write(test.path("job-1/chk-12/manifest"), "damaged").unwrap();
    assert_eq!(highest(), Some(12));
}

#[test]
fn a_savepoint_is_restored_if_it_is_the_newest() {
    on_each_store(|test| {
        let usable = || test.usable(Verification::Checksums).unwrap().map(|(id, unusable)| (id, unusable.len()));
        let savepoint = |id| test.storage.write_metadata(&metadata(id, CheckpointKind::Savepoint, &[])).unwrap();
        let first = savepoint(1);
        assert_eq!(usable(), Some((1, 0)), "its sinks have published, so the job must not restore an older state");
        let metadata_path_of =
            |location: &StorageLocation| location.join("manifest").below(test.storage.root()).unwrap();
        test.overwrite(&metadata_path_of(&first), b"damaged");
        assert_eq!(usable(), None, "no checkpoint was ever complete");

        test.complete(2, &[]);
        let third = savepoint(3);
        assert_eq!(usable(), Some((3, 0)));
        test.complete(4, &[]);
        assert_eq!(usable(), Some((4, 0)));
        test.overwrite(&format!("{JOB}/chk-4/manifest"), "damaged".as_bytes());
        assert_eq!(usable(), Some((3, 1)));
        test.storage.remove_file(&metadata_path_of(&third)).unwrap();
        assert_eq!(usable(), Some((2, 1)), "a user may remove a savepoint");
    });
}
