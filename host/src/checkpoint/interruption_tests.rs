//! A kill at each step of everything that removes: nothing that a restore needs is gone, and the next call finishes.
//!
//! The storage counts its changes and dies at the n-th, for every n; what is stored then is looked at through a storage
//! that is opened anew.

use std::sync::atomic::Ordering;

use super::testing::{JOB, Subject, metadata};
use super::*;
use crate::error::Result;

/// Lets `remove` be killed before each of its changes in turn. After each kill `check` looks at what is left; then `finish`,
/// which nothing disturbs, and `done` looks at the end. Gives the number of kills.
fn kill_at_each_step(
    build: impl Fn() -> Subject,
    remove: impl Fn(&CheckpointStorage) -> Result<()>,
    check: impl Fn(&Subject, &str),
    finish: impl Fn(&CheckpointStorage) -> Result<()>,
    done: impl Fn(&Subject, &str),
) -> u64 {
    for kill_at in 0.. {
        let subject = build();
        let mut dying = subject.storage.clone();
        dying.changes_left = std::sync::Arc::new(kill_at.into());
        let whole = remove(&dying);
        let what = format!("killed before change {kill_at}");
        check(&subject, &what);
        assert_eq!(finish(&subject.storage).map_err(|error| error.code), Ok(()), "{what}");
        done(&subject, &what);
        if whole.is_ok() {
            assert!(dying.changes_left.load(Ordering::Relaxed) == 0, "it was not killed, but would have gone on");
            return kill_at;
        }
    }
    unreachable!()
}

/// Four checkpoints, each with a file of its own, one that all share and one that the one before had too; a savepoint.
fn four_checkpoints() -> Subject {
    let subject = Subject::new();
    let base = subject.put(1, "base", "b");
    let mut before = subject.put(1, "own", "o");
    subject.complete(1, &[base.clone(), before.clone()]);
    subject.savepoint(2, &["saved"]);
    for id in 3..=5 {
        let own = subject.put(id, "own", "o");
        subject.complete(id, &[base.clone(), before, own.clone()]);
        before = own;
    }
    subject
}

/// Every image that has a metadata is whole; gives their ids.
fn whole_images(subject: &Subject, what: &str) -> Vec<u64> {
    let (complete, damaged) = subject.storage.checkpoints(JOB).unwrap();
    assert_eq!(damaged, [], "{what}");
    for metadata in &complete {
        subject.storage.verify(metadata, Verification::Checksums).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    complete.iter().map(|metadata| metadata.checkpoint_id).collect()
}

fn savepoint_is_whole(subject: &Subject, what: &str) {
    let savepoints = subject.storage.savepoints(JOB).unwrap();
    let [(2, _, Ok(metadata))] = &savepoints[..] else { panic!("{what}: {savepoints:?}") };
    subject.storage.verify(metadata, Verification::Checksums).unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn retirement() {
    let retire = |storage: &CheckpointStorage| storage.retire(JOB, 1, &[]).map(drop);
    let kills = kill_at_each_step(
        four_checkpoints,
        retire,
        |subject, what| {
            assert_eq!(whole_images(subject, what)[0], 5, "{what}");
            assert_eq!(subject.usable(Verification::Checksums).unwrap(), Some((5, vec![])), "{what}");
            savepoint_is_whole(subject, what);
        },
        retire,
        |subject, what| {
            assert_eq!(whole_images(subject, what), [5], "{what}");
            // The manifests of 2 and 5; base, 4 and 5; the savepoint's file.
            assert_eq!(subject.stored().len(), 6, "{what}: {:?}", subject.stored());
        },
    );
    assert_eq!(kills, 5, "three manifests, two files");
}

#[test]
fn retirement_while_another_job_begins_from_an_old_checkpoint() {
    let spared = [UnfinishedCheckpoint { id: 0, based_on: Some(3) }];
    let retire = |storage: &CheckpointStorage| storage.retire(JOB, 1, &spared).map(drop);
    let check = |subject: &Subject, what: &str| {
        let whole = whole_images(subject, what);
        assert!(whole.contains(&3) && whole.contains(&5), "{what}: {whole:?}");
    };
    assert_eq!(kill_at_each_step(four_checkpoints, retire, check, retire, check), 2, "two manifests");
}

#[test]
fn removal_of_a_job() {
    let remove = |storage: &CheckpointStorage| storage.remove_job(JOB);
    let kills = kill_at_each_step(
        four_checkpoints,
        remove,
        |subject, what| {
            whole_images(subject, what);
            savepoint_is_whole(subject, what);
        },
        remove,
        |subject, what| {
            assert_eq!(subject.stored().len(), 2, "{what}: {:?}", subject.stored());
            savepoint_is_whole(subject, what);
        },
    );
    assert_eq!(kills, 9, "four manifests, five files");
}

#[test]
fn removal_of_a_savepoint() {
    let remove = |storage: &CheckpointStorage| stored_checkpoint::remove_savepoint_in(storage, "savepoints/job-1-2");
    let kills = kill_at_each_step(
        four_checkpoints,
        remove,
        |subject, what| {
            assert_eq!(whole_images(subject, what), [5, 4, 3, 1], "{what}");
            assert_eq!(subject.usable(Verification::Checksums).unwrap(), Some((5, vec![])), "{what}");
            // The rest, where there is one, is known of: so it can be removed.
            let rest = subject.storage.list("savepoints/job-1-2").unwrap();
            assert_eq!(rest.is_empty(), subject.storage.savepoints(JOB).unwrap().is_empty(), "{what}");
        },
        |storage| {
            remove(storage).or_else(|error| if error.code == "savepoint-not-found" { Ok(()) } else { Err(error) })
        },
        |subject, what| assert_eq!(subject.storage.list("savepoints").unwrap(), [], "{what}"),
    );
    assert_eq!(kills, 3, "a file, the mark, the metadata");
}

/// Another job has claimed checkpoint 4, has its own by now, and removes what it claimed.
#[test]
fn removal_of_a_claimed_checkpoint() {
    let claimed = || {
        let subject = four_checkpoints();
        let image = subject.storage.checkpoints(JOB).unwrap().0.remove(1);
        assert_eq!(image.checkpoint_id, 4);
        let files = subject.storage.files("job-2", 0, CheckpointKind::Checkpoint).unwrap();
        let files = files.adopt(&subject.storage, &image.files().cloned().collect::<Vec<_>>()).unwrap().unwrap();
        let own = CheckpointMetadata { job_id: "job-2".into(), ..metadata(1, CheckpointKind::Checkpoint, &files) };
        subject.storage.write_metadata(&own).unwrap();
        subject
    };
    let remove = |storage: &CheckpointStorage| storage.remove_checkpoint(JOB, 4);
    let its_image_is_whole = |subject: &Subject, what: &str| {
        let (own, skipped) = subject.storage.newest_usable("job-2", Verification::Checksums).unwrap().unwrap();
        assert_eq!((own.checkpoint_id, skipped), (1, vec![]), "{what}");
    };
    let kills = kill_at_each_step(
        claimed,
        remove,
        |subject, what| {
            let others: Vec<u64> = whole_images(subject, what).into_iter().filter(|id| *id != 4).collect();
            assert_eq!(others, [5, 3, 1], "{what}");
            savepoint_is_whole(subject, what);
            its_image_is_whole(subject, what);
        },
        remove,
        |subject, what| {
            assert_eq!(whole_images(subject, what), [5, 3, 1], "{what}");
            its_image_is_whole(subject, what);
        },
    );
    assert_eq!(kills, 1, "the metadata: its files are shared with 3 and 5");

    // When 5 is gone too, nobody needs what 4 stored.
    let last = || {
        let subject = claimed();
        subject.storage.remove_checkpoint(JOB, 5).unwrap();
        subject
    };
    let kills = kill_at_each_step(
        last,
        remove,
        |subject, what| its_image_is_whole(subject, what),
        remove,
        |subject, what| {
            assert_eq!(whole_images(subject, what), [3, 1], "{what}");
            let shared = subject.storage.list("job-1/shared").unwrap();
            assert_eq!(shared.len(), 3, "{what}: {shared:?}");
        },
    );
    assert_eq!(kills, 2, "the metadata, its own file");
}

#[test]
fn removal_of_savepoints_that_were_never_finished() {
    let begun = || {
        let subject = four_checkpoints();
        let files = subject.storage.files(JOB, 6, CheckpointKind::Savepoint).unwrap();
        for name in ["one", "two"] {
            crate::state::FileStore::put(&files, name, bytes::Bytes::from_static(b"x")).unwrap();
        }
        std::fs::write(subject.path("savepoints/job-1-6/half#1"), "half").unwrap();
        subject
    };
    let remove = |storage: &CheckpointStorage| storage.remove_unfinished_savepoints(JOB);
    let kills = kill_at_each_step(
        begun,
        remove,
        |subject, what| {
            assert_eq!(whole_images(subject, what), [5, 4, 3, 1], "{what}");
            savepoint_is_whole(subject, what);
        },
        remove,
        |subject, what| assert!(!subject.path("savepoints/job-1-6").exists(), "{what}"),
    );
    assert_eq!(kills, 2);
}
