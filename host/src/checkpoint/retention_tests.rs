//! Retirement removes old checkpoints and spares the files of retained, damaged and unfinished ones.

use std::fs;

use super::catalog::Verification;
use super::metadata::CheckpointMetadata;
use super::retention::{RetirementSummary, UnfinishedCheckpoint};
use super::stored_checkpoint::{StoredCheckpoint, remove_savepoint_in};
use super::testing::{JOB, TestStorage, on_each_store};

#[test]
fn retirement_keeps_the_files_that_a_restore_may_need() {
    let test = TestStorage::new();
    let retire = |keep, unfinished: &[UnfinishedCheckpoint]| test.storage.retire(JOB, keep, unfinished).unwrap();
    let (old, shared) = (test.put(1, "old", "12345"), test.put(1, "shared", "s"));
    test.complete(1, &[old.clone(), shared.clone()]);
    let second = test.put(2, "second", "2");
    test.complete(2, &[shared.clone(), second.clone()]);
    let failed = test.put(3, "failed", "3");
    let running = test.put(4, "running", "4");
    let fifth = test.put(5, "fifth", "5");
    test.complete(5, &[shared.clone(), fifth.clone()]);
    let next = test.put(6, "next", "6");
    let staged = [3, 4, 6].map(|id| test.path(&format!("job-1/shared/{id}-00-half.sst#1")));
    staged.iter().for_each(|path| fs::write(path, "half").unwrap());

    let unfinished = [UnfinishedCheckpoint { id: 4, based_on: Some(2) }];
    let retired = retire(1, &unfinished);
    assert_eq!(retired, RetirementSummary { checkpoints: vec![1], files: 2, bytes: 6, oldest_retained: Some(2) });
    assert_eq!(test.complete_ids(), [5, 2]);
    assert!(!test.exists(&old) && !test.exists(&failed) && !staged[0].exists());
    assert!([&shared, &second, &running, &fifth, &next].iter().all(|file| test.exists(file)));
    assert!(staged[1].exists() && staged[2].exists());

    assert_eq!(
        retire(1, &[]),
        RetirementSummary { checkpoints: vec![2], files: 2, bytes: 2, oldest_retained: Some(5) }
    );
    assert!(!test.exists(&second) && !test.exists(&running) && !test.path("job-1/chk-2").exists());
    assert!(test.exists(&next), "checkpoint 6 may be unfinished without being listed");
    let nothing = RetirementSummary { oldest_retained: Some(5), ..RetirementSummary::default() };
    assert_eq!(retire(0, &[]), nothing);
    assert_eq!(test.usable(Verification::Checksums).unwrap(), Some((5, vec![])));
    test.storage.remove_job(JOB).unwrap();
    assert!(!test.path("job-1").exists());
}

#[test]
fn adopted_files_stay_while_an_unfinished_checkpoint_may_name_them() {
    let test = TestStorage::new();
    let (adopted, own) = (test.put(0, "adopted", "x"), test.put(2, "own", "x"));
    test.complete(2, &[own]);
    test.storage.retire(JOB, 1, &[UnfinishedCheckpoint { id: 1, based_on: Some(0) }]).unwrap();
    assert!(test.exists(&adopted));
    test.storage.retire(JOB, 1, &[UnfinishedCheckpoint { id: 3, based_on: Some(2) }]).unwrap();
    assert!(!test.exists(&adopted));
}

#[test]
fn a_damaged_checkpoint_does_not_count_as_retained_and_its_files_are_kept() {
    on_each_store(|test| {
        let files = [1, 2, 3, 4].map(|id| test.put(id, "state", "x"));
        for (id, file) in (1..).zip(&files) {
            test.complete(id, std::slice::from_ref(file));
        }
        test.overwrite("job-1/chk-3/manifest", b"damaged");
        let retired = test.storage.retire(JOB, 2, &[]).unwrap();
        assert_eq!(retired.checkpoints, [1]);
        assert_eq!(test.complete_ids(), [4, 2]);
        assert!(files.iter().all(|file| test.exists(file)), "the damaged checkpoint may name them");
        let fifth = test.put(5, "state", "x");
        test.complete(5, &[fifth]);
        assert_eq!(test.storage.retire(JOB, 2, &[]).unwrap().checkpoints, [2, 3]);
        assert_eq!(files.map(|file| test.exists(&file)), [false, false, false, true]);
    });
}

#[test]
fn published_committables_are_cleared_and_the_marker_is_removed_with_the_checkpoint() {
    on_each_store(|test| {
        let storage = &test.storage;
        let has_committable =
            |metadata: &CheckpointMetadata| metadata.subtask("delays", 0).unwrap().committable.is_some();
        for id in 1..=3 {
            let metadata = test.complete(id, &[test.put(id, "own", "o")]);
            assert!(has_committable(&storage.newest_usable(JOB, Verification::Lengths).unwrap().unwrap().0));
            storage.mark_published(&metadata, true).unwrap();
            assert!(!has_committable(&storage.newest_usable(JOB, Verification::Lengths).unwrap().unwrap().0));
        }
        // As if the process was killed after it removed the metadata and before it removed the marker.
        storage.remove_file(&format!("{JOB}/chk-1/manifest")).unwrap();
        storage.retire(JOB, 1, &[]).unwrap();
        let stored = test.stored();
        assert_eq!(&stored[..2], [format!("{JOB}/chk-3/manifest"), format!("{JOB}/chk-3/published")]);
        assert_eq!(stored.len(), 3, "{stored:?}");

        let (location, metadata) = test.savepoint(4, &["saved"]);
        let open = || StoredCheckpoint::open(&location, test.runtime.handle().clone(), Verification::Lengths);
        if location.folder().is_some() {
            assert!(has_committable(&open().unwrap().metadata));
        }
        storage.mark_published(&metadata, true).unwrap();
        if location.folder().is_some() {
            assert!(!has_committable(&open().unwrap().metadata));
        }
        remove_savepoint_in(storage, &format!("savepoints/{JOB}-4")).unwrap();
        storage.remove_job(JOB).unwrap();
        assert_eq!(test.stored(), [""; 0]);
    });
}
