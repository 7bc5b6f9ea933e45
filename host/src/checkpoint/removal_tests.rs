//! Interrupts each removal before each of its changes: a restore still finds what it needs, and the next call finishes.
//!
//! The storage counts its changes and fails at the n-th, for every n. Another storage object then looks at what is left.

use std::sync::atomic::Ordering;

use super::catalog::{ListedSavepoint, Verification};
use super::metadata::{CheckpointKind, CheckpointMetadata};
use super::retention::UnfinishedCheckpoint;
use super::storage::CheckpointStorage;
use super::stored_checkpoint::remove_savepoint_in;
use super::testing::{JOB, TestStorage, metadata};
use crate::error::Result;

/// Interrupts `remove` before each of its changes in turn. `check` looks at what each interruption left; then `finish` runs
/// undisturbed, and `done` looks at the result. Returns the number of interruptions.
fn interrupt_at_each_change(
    build: impl Fn() -> TestStorage,
    remove: impl Fn(&CheckpointStorage) -> Result<()>,
    check: impl Fn(&TestStorage, &str),
    finish: impl Fn(&CheckpointStorage) -> Result<()>,
    done: impl Fn(&TestStorage, &str),
) -> u64 {
    for changes in 0.. {
        let test = build();
        let mut failing = test.storage.clone();
        failing.changes_left = std::sync::Arc::new(changes.into());
        let removed = remove(&failing);
        let what = format!("interrupted before change {changes}");
        check(&test, &what);
        assert_eq!(finish(&test.storage).map_err(|error| error.code), Ok(()), "{what}");
        done(&test, &what);
        if removed.is_ok() {
            assert!(failing.changes_left.load(Ordering::Relaxed) == 0, "it ignored the interruption");
            return changes;
        }
    }
    unreachable!()
}

/// Four checkpoints and a savepoint. Each checkpoint names a file of its own, a file of the previous checkpoint, and a file
/// that all share.
fn four_checkpoints() -> TestStorage {
    let test = TestStorage::new();
    let base = test.put(1, "base", "b");
    let mut before = test.put(1, "own", "o");
    test.complete(1, &[base.clone(), before.clone()]);
    test.savepoint(2, &["saved"]);
    for id in 3..=5 {
        let own = test.put(id, "own", "o");
        test.complete(id, &[base.clone(), before, own.clone()]);
        before = own;
    }
    test
}

/// Checks that every checkpoint with metadata is intact. Returns their ids, newest first.
fn intact_checkpoints(test: &TestStorage, what: &str) -> Vec<u64> {
    let (complete, damaged) = test.storage.checkpoints(JOB).unwrap();
    assert_eq!(damaged, [], "{what}");
    for metadata in &complete {
        test.storage.verify(metadata, Verification::Checksums).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    complete.iter().map(|metadata| metadata.checkpoint_id).collect()
}

fn assert_savepoint_is_intact(test: &TestStorage, what: &str) {
    let savepoints = test.storage.savepoints(JOB).unwrap();
    let [ListedSavepoint { id: 2, metadata: Ok(metadata), .. }] = &savepoints[..] else {
        panic!("{what}: {savepoints:?}")
    };
    test.storage.verify(metadata, Verification::Checksums).unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn an_interrupted_retirement_is_finished_by_the_next_one() {
    let retire = |storage: &CheckpointStorage| storage.retire(JOB, 1, &[]).map(drop);
    let interruptions = interrupt_at_each_change(
        four_checkpoints,
        retire,
        |test, what| {
            assert_eq!(intact_checkpoints(test, what)[0], 5, "{what}");
            assert_eq!(test.usable(Verification::Checksums).unwrap(), Some((5, vec![])), "{what}");
            assert_savepoint_is_intact(test, what);
        },
        retire,
        |test, what| {
            assert_eq!(intact_checkpoints(test, what), [5], "{what}");
            // The metadata of 2 and 5, the files of base, 4 and 5, and the file of the savepoint.
            assert_eq!(test.stored().len(), 6, "{what}: {:?}", test.stored());
        },
    );
    assert_eq!(interruptions, 5, "three metadata files, two shared files");
}

#[test]
fn an_interrupted_retirement_spares_the_checkpoint_that_another_job_restores() {
    let spared = [UnfinishedCheckpoint { id: 0, based_on: Some(3) }];
    let retire = |storage: &CheckpointStorage| storage.retire(JOB, 1, &spared).map(drop);
    let check = |test: &TestStorage, what: &str| {
        let intact = intact_checkpoints(test, what);
        assert!(intact.contains(&3) && intact.contains(&5), "{what}: {intact:?}");
    };
    assert_eq!(interrupt_at_each_change(four_checkpoints, retire, check, retire, check), 2, "two metadata files");
}

#[test]
fn an_interrupted_removal_of_a_job_is_finished_by_the_next_one() {
    let remove = |storage: &CheckpointStorage| storage.remove_job(JOB);
    let interruptions = interrupt_at_each_change(
        four_checkpoints,
        remove,
        |test, what| {
            intact_checkpoints(test, what);
            assert_savepoint_is_intact(test, what);
        },
        remove,
        |test, what| {
            assert_eq!(test.stored().len(), 2, "{what}: {:?}", test.stored());
            assert_savepoint_is_intact(test, what);
        },
    );
    assert_eq!(interruptions, 9, "four metadata files, five shared files");
}

#[test]
fn an_interrupted_removal_of_a_savepoint_is_finished_by_the_next_one() {
    let remove = |storage: &CheckpointStorage| remove_savepoint_in(storage, "savepoints/job-1-2");
    let interruptions = interrupt_at_each_change(
        four_checkpoints,
        remove,
        |test, what| {
            assert_eq!(intact_checkpoints(test, what), [5, 4, 3, 1], "{what}");
            assert_eq!(test.usable(Verification::Checksums).unwrap(), Some((5, vec![])), "{what}");
            // As long as a file is left, the savepoint is listed and can be removed.
            let rest = test.storage.list_files("savepoints/job-1-2").unwrap();
            assert_eq!(rest.is_empty(), test.storage.savepoints(JOB).unwrap().is_empty(), "{what}");
        },
        |storage| {
            remove(storage).or_else(|error| if error.code == "savepoint-not-found" { Ok(()) } else { Err(error) })
        },
        |test, what| assert_eq!(test.storage.list_files("savepoints").unwrap(), [], "{what}"),
    );
    assert_eq!(interruptions, 3, "a file, the marker, the metadata");
}

/// Another job has claimed checkpoint 4, has completed a checkpoint of its own, and removes the claimed one.
#[test]
fn an_interrupted_removal_of_a_claimed_checkpoint_is_finished_by_the_next_one() {
    let claimed = || {
        let test = four_checkpoints();
        let old = test.storage.checkpoints(JOB).unwrap().0.remove(1);
        assert_eq!(old.checkpoint_id, 4);
        let files = test.storage.files("job-2", 0, CheckpointKind::Checkpoint).unwrap();
        let files = files.adopt(&test.storage, &old.files().cloned().collect::<Vec<_>>()).unwrap().unwrap();
        let own = CheckpointMetadata { job_id: "job-2".into(), ..metadata(1, CheckpointKind::Checkpoint, &files) };
        test.storage.write_metadata(&own).unwrap();
        test
    };
    let remove = |storage: &CheckpointStorage| storage.remove_checkpoint(JOB, 4);
    let assert_own_checkpoint_is_intact = |test: &TestStorage, what: &str| {
        let (own, unusable) = test.storage.newest_usable("job-2", Verification::Checksums).unwrap().unwrap();
        assert_eq!((own.checkpoint_id, unusable), (1, vec![]), "{what}");
    };
    let interruptions = interrupt_at_each_change(
        claimed,
        remove,
        |test, what| {
            let others: Vec<u64> = intact_checkpoints(test, what).into_iter().filter(|id| *id != 4).collect();
            assert_eq!(others, [5, 3, 1], "{what}");
            assert_savepoint_is_intact(test, what);
            assert_own_checkpoint_is_intact(test, what);
        },
        remove,
        |test, what| {
            assert_eq!(intact_checkpoints(test, what), [5, 3, 1], "{what}");
            assert_own_checkpoint_is_intact(test, what);
        },
    );
    assert_eq!(interruptions, 1, "the metadata; its files are shared with 3 and 5");

    // Without 5, no other checkpoint needs the file that 4 stored.
    let last = || {
        let test = claimed();
        test.storage.remove_checkpoint(JOB, 5).unwrap();
        test
    };
    let interruptions = interrupt_at_each_change(
        last,
        remove,
        |test, what| assert_own_checkpoint_is_intact(test, what),
        remove,
        |test, what| {
            assert_eq!(intact_checkpoints(test, what), [3, 1], "{what}");
            let shared = test.storage.list_files("job-1/shared").unwrap();
            assert_eq!(shared.len(), 3, "{what}: {shared:?}");
        },
    );
    assert_eq!(interruptions, 2, "the metadata, its own file");
}

#[test]
fn an_interrupted_removal_of_unfinished_savepoints_is_finished_by_the_next_one() {
    let unfinished = || {
        let test = four_checkpoints();
        let files = test.storage.files(JOB, 6, CheckpointKind::Savepoint).unwrap();
        for name in ["one", "two"] {
            crate::state::FileStore::put(&files, name, bytes::Bytes::from_static(b"x")).unwrap();
        }
        std::fs::write(test.path("savepoints/job-1-6/half#1"), "half").unwrap();
        test
    };
    let remove = |storage: &CheckpointStorage| storage.remove_unfinished_savepoints(JOB);
    let interruptions = interrupt_at_each_change(
        unfinished,
        remove,
        |test, what| {
            assert_eq!(intact_checkpoints(test, what), [5, 4, 3, 1], "{what}");
            assert_savepoint_is_intact(test, what);
        },
        remove,
        |test, what| assert!(!test.path("savepoints/job-1-6").exists(), "{what}"),
    );
    assert_eq!(interruptions, 2);
}
