//! Checkpoints in a real folder and in a real S3-compatible server: damage, retirement, moving.

use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::testing::{JOB, Subject, metadata, on_each_store};
use super::*;
use crate::model::Interrupt;
use crate::state::{FileRef, FileStore};

/// What the fixtures of formats 1 and 2 hold. The files were made byte by byte from the formats' descriptions.
fn fixture() -> (&'static [u8], CheckpointMetadata) {
    let path = "job-1/shared/7-00000000000000aa-state".into();
    let file = FileRef { name: "state".into(), path, bytes: 300, crc32c: 0xdead_beef };
    let bytes = include_bytes!("../../fixtures/checkpoint-manifest-v1.bin");
    (bytes, metadata(7, CheckpointKind::Checkpoint, &[file]))
}

#[test]
fn a_manifest_of_format_1_still_loads() {
    let (bytes, expected) = fixture();
    assert_eq!(CheckpointMetadata::decode("m", bytes).unwrap(), expected);
    assert_eq!(CheckpointMetadata::decode("m", &expected.encode().unwrap()).unwrap(), expected);
    assert_eq!(expected.bytes(), 300);
    assert_eq!(expected.subtask("delays", 0).unwrap().counters.records_in, 998);
    assert_eq!(expected.subtask("delays", 1), None);
}

#[test]
fn a_manifest_of_format_2_still_loads() {
    let (_, mut expected) = fixture();
    expected.seed = Some(300);
    let bytes = include_bytes!("../../fixtures/checkpoint-manifest-v2.bin");
    assert_eq!(CheckpointMetadata::decode("m", bytes).unwrap(), expected);
}

#[test]
fn late_records_and_watermarks_are_kept() {
    let (_, mut metadata) = fixture();
    let track = &mut metadata.operators[1].subtasks[0];
    (track.counters.records_late, track.watermark) = (70_000, Some(-5));
    assert_eq!(CheckpointMetadata::decode("m", &metadata.encode().unwrap()).unwrap(), metadata);
}

#[test]
fn reading_a_checkpoint_ends_when_it_is_interrupted_and_does_not_pass_it_over() {
    let subject = Subject::new();
    let file = subject.put(1, "state", "some bytes");
    subject.complete(1, std::slice::from_ref(&file));
    let interrupt = Interrupt::default();
    let storage = subject.storage.clone().interruptible(&interrupt);
    assert!(storage.newest_usable(JOB, Verification::Checksums).unwrap().is_some());
    interrupt.set();
    assert_eq!(storage.newest_usable(JOB, Verification::Checksums).unwrap_err().code, "interrupted");
    let files = storage.files(JOB, 1, CheckpointKind::Checkpoint).unwrap();
    assert_eq!(files.get(&file).unwrap_err().code, "interrupted");
    assert!(subject.storage.newest_usable(JOB, Verification::Checksums).unwrap().is_some(), "the others are not");
}

#[test]
fn a_damaged_manifest_is_refused_by_name() {
    let (bytes, _) = fixture();
    let refuse = |bytes: &[u8]| {
        let error = CheckpointMetadata::decode("some/path", bytes).unwrap_err();
        assert_eq!(error.code, "checkpoint-corrupt");
        assert!(error.message.starts_with("some/path: "), "{}", error.message);
        error.message
    };
    for at in 0..bytes.len() {
        refuse(&bytes[..at]);
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        refuse(&flipped);
    }
    refuse(&[bytes, b"x"].concat());
    let mut newer = bytes.to_vec();
    newer[8] = 4;
    assert!(refuse(&newer).contains("a newer version of Cofferdam"));
}

#[test]
fn a_manifest_with_a_true_checksum_is_still_checked() {
    let (_, good) = fixture();
    let seal = |metadata: &CheckpointMetadata| {
        let payload = postcard::to_stdvec(metadata).unwrap();
        let header =
            [&b"COFFCKPT"[..], &CheckpointMetadata::FORMAT.to_le_bytes(), &crc32c::crc32c(&payload).to_le_bytes()]
                .concat();
        [&header[..], &(payload.len() as u64).to_le_bytes(), &payload].concat()
    };
    assert!(CheckpointMetadata::decode("m", &seal(&good)).is_ok());
    let breaks: [fn(&mut CheckpointMetadata); 5] = [
        |metadata| metadata.max_parallelism = 0,
        |metadata| metadata.max_parallelism = u32::MAX,
        |metadata| metadata.operators[1].parallelism = 2,
        |metadata| metadata.operators[1].id = "flights".into(),
        |metadata| metadata.format = 1,
    ];
    for break_it in breaks {
        let mut metadata = good.clone();
        break_it(&mut metadata);
        assert_eq!(CheckpointMetadata::decode("m", &seal(&metadata)).unwrap_err().code, "checkpoint-corrupt");
        assert_eq!(metadata.encode().unwrap_err().code, "internal");
    }
}

#[test]
fn files_come_back_and_are_counted() {
    on_each_store(|subject| {
        let files = subject.storage.files(JOB, 1, CheckpointKind::Checkpoint).unwrap();
        let local = subject.folder.path().join("local");
        // Sizes around the pieces that files are stored in.
        let piece = 8 << 20;
        let mut sum = 0;
        for length in [0, 1, piece - 1, piece, piece + 1, 2 * piece + 5] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
            fs::write(&local, &bytes).unwrap();
            let file = files.put_file("000001.sst", &local).unwrap();
            assert_eq!((file.bytes, file.crc32c), (length as u64, crc32c::crc32c(&bytes)));
            let back = subject.folder.path().join("back");
            files.get_file(&file, &back).unwrap();
            assert!(fs::read(&back).unwrap() == bytes && files.get(&file).unwrap() == bytes);
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
fn a_file_that_is_not_what_was_written_is_refused_by_name() {
    on_each_store(|subject| {
        let files = subject.storage.files(JOB, 1, CheckpointKind::Checkpoint).unwrap();
        let file = files.put("state", Bytes::from_static(b"0123456789")).unwrap();
        let to = subject.folder.path().join("to");
        let refuse = |file: &FileRef| {
            let error = files.get(file).unwrap_err();
            assert_eq!(error.code, "checkpoint-corrupt");
            assert!(error.message.contains(&file.path), "{}", error.message);
            assert_eq!(files.get_file(file, &to).unwrap_err().code, "checkpoint-corrupt");
            assert!(!to.exists());
        };
        for damaged in ["0123456780", "012345678", "01234567890", ""] {
            subject.overwrite(&file.path, damaged.as_bytes());
            refuse(&file);
        }
        subject.storage.remove(&file.path).unwrap();
        refuse(&file);
        for path in ["../../etc/passwd", "", "job-1/shared/../../x"] {
            refuse(&FileRef { path: path.into(), ..file.clone() });
        }
    });
}

#[test]
fn the_newest_usable_checkpoint_is_found_and_the_damaged_are_named() {
    on_each_store(|subject| {
        assert_eq!(subject.usable(Verification::Lengths).unwrap(), None);
        let file = |id| subject.put(id, "state", "0123456789");
        let files = [file(1), file(2), file(10), file(11)];
        // Stored files alone are no checkpoint.
        assert_eq!(subject.usable(Verification::Lengths).unwrap(), None);
        for (id, file) in [1, 2, 10, 11].into_iter().zip(&files) {
            subject.complete(id, std::slice::from_ref(file));
        }
        assert_eq!(subject.complete_ids(), [11, 10, 2, 1]);
        assert_eq!(subject.usable(Verification::Checksums).unwrap(), Some((11, vec![])));

        subject.overwrite(&files[3].path, "012345678X".as_bytes());
        assert_eq!(subject.usable(Verification::Lengths).unwrap(), Some((11, vec![])));
        let (id, skipped) = subject.usable(Verification::Checksums).unwrap().unwrap();
        assert_eq!((id, &skipped[0].path[..]), (10, "job-1/chk-11"));
        assert!(skipped[0].why.contains(&files[3].path), "{}", skipped[0].why);

        subject.storage.remove(&files[3].path).unwrap();
        subject.overwrite(&files[2].path, "short".as_bytes());
        let bytes = subject.read("job-1/chk-2/manifest");
        subject.overwrite("job-1/chk-2/manifest", &bytes[..bytes.len() - 1]);
        let (id, skipped) = subject.usable(Verification::Lengths).unwrap().unwrap();
        assert_eq!(id, 1);
        let paths: Vec<_> = skipped.iter().map(|one| &one.path[..]).collect();
        assert_eq!(paths, ["job-1/chk-11", "job-1/chk-10", "job-1/chk-2"]);

        // The metadata of another checkpoint in this one's place.
        subject.overwrite("job-1/chk-1/manifest", &subject.read("job-1/chk-10/manifest"));
        let error = subject.usable(Verification::Lengths).unwrap_err();
        assert_eq!(error.code, "checkpoint-none-usable");
        for folder in ["chk-1:", "chk-2:", "chk-10:", "chk-11:"] {
            assert!(error.message.contains(folder), "{}", error.message);
        }
    });
}

#[test]
fn the_highest_id_counts_every_trace() {
    let subject = Subject::new();
    let highest = || subject.storage.highest_id(JOB).unwrap();
    assert_eq!(highest(), None);
    subject.complete(3, &[]);
    subject
        .storage
        .write_metadata(&CheckpointMetadata {
            job_id: "job-1-9".into(),
            ..metadata(77, CheckpointKind::Checkpoint, &[])
        })
        .unwrap();
    assert_eq!(highest(), Some(3));
    subject.put(5, "state", "unfinished");
    assert_eq!(highest(), Some(5));
    fs::create_dir_all(subject.path("job-1/chk-8")).unwrap();
    assert_eq!(highest(), Some(8));
    subject.storage.write_metadata(&metadata(9, CheckpointKind::Savepoint, &[])).unwrap();
    subject
        .storage
        .write_metadata(&CheckpointMetadata {
            job_id: "job-1-9".into(),
            ..metadata(99, CheckpointKind::Savepoint, &[])
        })
        .unwrap();
    assert_eq!(highest(), Some(9));
    subject.complete(12, &[]);
    fs::write(subject.path("job-1/chk-12/manifest"), "damaged").unwrap();
    assert_eq!(highest(), Some(12));
}

#[test]
fn retiring_keeps_what_a_restore_may_need() {
    let subject = Subject::new();
    let retire = |keep, in_progress: &[UnfinishedCheckpoint]| subject.storage.retire(JOB, keep, in_progress).unwrap();
    let (old, shared) = (subject.put(1, "old", "12345"), subject.put(1, "shared", "s"));
    subject.complete(1, &[old.clone(), shared.clone()]);
    let second = subject.put(2, "second", "2");
    subject.complete(2, &[shared.clone(), second.clone()]);
    let unfinished = subject.put(3, "unfinished", "3");
    let running = subject.put(4, "running", "4");
    let fifth = subject.put(5, "fifth", "5");
    subject.complete(5, &[shared.clone(), fifth.clone()]);
    let next = subject.put(6, "next", "6");
    let staged = [3, 4, 6].map(|id| subject.path(&format!("job-1/shared/{id}-00-half.sst#1")));
    staged.iter().for_each(|path| fs::write(path, "half").unwrap());

    let progress = [UnfinishedCheckpoint { id: 4, based_on: Some(2) }];
    let retired = retire(1, &progress);
    assert_eq!(retired, RetirementSummary { checkpoints: vec![1], files: 2, bytes: 6 });
    assert_eq!(subject.complete_ids(), [5, 2]);
    assert!(!subject.exists(&old) && !subject.exists(&unfinished) && !staged[0].exists());
    assert!([&shared, &second, &running, &fifth, &next].iter().all(|file| subject.exists(file)));
    assert!(staged[1].exists() && staged[2].exists());

    assert_eq!(retire(1, &[]), RetirementSummary { checkpoints: vec![2], files: 2, bytes: 2 });
    assert!(!subject.exists(&second) && !subject.exists(&running) && !subject.path("job-1/chk-2").exists());
    assert!(subject.exists(&next), "it may be in progress by now");
    assert_eq!(retire(0, &[]), RetirementSummary::default());
    assert_eq!(subject.usable(Verification::Checksums).unwrap(), Some((5, vec![])));
    subject.storage.remove_job(JOB).unwrap();
    assert!(!subject.path("job-1").exists());
}

#[test]
fn adopted_files_stay_while_a_checkpoint_in_progress_may_name_them() {
    let subject = Subject::new();
    let (adopted, own) = (subject.put(0, "adopted", "x"), subject.put(2, "own", "x"));
    subject.complete(2, &[own]);
    subject.storage.retire(JOB, 1, &[UnfinishedCheckpoint { id: 1, based_on: Some(0) }]).unwrap();
    assert!(subject.exists(&adopted));
    subject.storage.retire(JOB, 1, &[UnfinishedCheckpoint { id: 3, based_on: Some(2) }]).unwrap();
    assert!(!subject.exists(&adopted));
}

#[test]
fn a_damaged_checkpoint_neither_counts_nor_costs_files() {
    on_each_store(|subject| {
        let files = [1, 2, 3, 4].map(|id| subject.put(id, "state", "x"));
        for (id, file) in (1..).zip(&files) {
            subject.complete(id, std::slice::from_ref(file));
        }
        subject.overwrite("job-1/chk-3/manifest", b"damaged");
        let retired = subject.storage.retire(JOB, 2, &[]).unwrap();
        assert_eq!(retired.checkpoints, [1]);
        assert_eq!(subject.complete_ids(), [4, 2]);
        assert!(files.iter().all(|file| subject.exists(file)), "the damaged one may name them");
        let fifth = subject.put(5, "state", "x");
        subject.complete(5, &[fifth]);
        assert_eq!(subject.storage.retire(JOB, 2, &[]).unwrap().checkpoints, [2, 3]);
        assert_eq!(files.map(|file| subject.exists(&file)), [false, false, false, true]);
    });
}

#[test]
fn a_job_goes_on_from_its_savepoint_where_that_is_newest() {
    on_each_store(|subject| {
        let usable = || subject.usable(Verification::Checksums).unwrap().map(|(id, skipped)| (id, skipped.len()));
        let savepoint = |id| subject.storage.write_metadata(&metadata(id, CheckpointKind::Savepoint, &[])).unwrap();
        let first = savepoint(1);
        assert_eq!(usable(), Some((1, 0)), "sinks published on it, so the job must not begin before it");
        let manifest_of = |location: &StorageLocation| location.join("manifest").below(subject.storage.root()).unwrap();
        subject.overwrite(&manifest_of(&first), b"damaged");
        assert_eq!(usable(), None, "there never was a checkpoint");

        subject.complete(2, &[]);
        let third = savepoint(3);
        assert_eq!(usable(), Some((3, 0)));
        subject.complete(4, &[]);
        assert_eq!(usable(), Some((4, 0)));
        subject.overwrite(&format!("{JOB}/chk-4/manifest"), "damaged".as_bytes());
        assert_eq!(usable(), Some((3, 1)));
        subject.storage.remove(&manifest_of(&third)).unwrap();
        assert_eq!(usable(), Some((2, 1)), "a person may remove a savepoint");
    });
}

#[test]
fn a_savepoint_stands_alone() {
    on_each_store(|subject| {
        let shared = subject.put(1, "state", "x");
        subject.complete(1, std::slice::from_ref(&shared));
        let files = subject.storage.files(JOB, 2, CheckpointKind::Savepoint).unwrap();
        assert_eq!(files.reusable(std::slice::from_ref(&shared)).unwrap(), []);
        let (location, image) = subject.savepoint(2, &["saved"]);
        assert_eq!(location, subject.storage.root().join("savepoints/job-1-2"));
        let own = image.files().next().unwrap().clone();
        let next = subject.storage.files(JOB, 3, CheckpointKind::Checkpoint).unwrap();
        assert_eq!(next.reusable(&[own.clone(), shared.clone()]).unwrap(), std::slice::from_ref(&shared));
        let outside = metadata(3, CheckpointKind::Savepoint, &[shared]);
        assert_eq!(subject.storage.write_metadata(&outside).unwrap_err().code, "internal");

        subject.storage.remove_job(JOB).unwrap();
        assert_eq!(subject.stored(), [own.path.clone(), "savepoints/job-1-2/manifest".into()]);
        let listed = subject.storage.savepoints(JOB).unwrap();
        let [(2, its_location, Ok(its_image))] = &listed[..] else { panic!("{listed:?}") };
        assert_eq!((its_location, its_image), (&location, &image));
    });
}

#[test]
fn a_savepoint_is_read_wherever_it_was_moved() {
    let subject = Subject::new();
    let open =
        |location: &StorageLocation, verify| StoredCheckpoint::open(location, subject.runtime.handle().clone(), verify);
    let (location, image) = subject.savepoint(2, &["saved", "other"]);
    assert_eq!(open(&location, Verification::Checksums).unwrap().metadata.bytes(), image.bytes());
    is_read_when_moved(&subject, &location, &image);
    // A metadata of format 1 names its files by their paths below the root, and may be moved as well.
    subject.overwrite("savepoints/job-1-2/manifest", &image.encode().unwrap());
    is_read_when_moved(&subject, &location, &image);
}

fn is_read_when_moved(subject: &Subject, location: &StorageLocation, image: &CheckpointMetadata) {
    let open =
        |location: &StorageLocation, verify| StoredCheckpoint::open(location, subject.runtime.handle().clone(), verify);
    let moved = subject.folder.path().join("moved here, 100%");
    fs::rename(location.folder().unwrap(), &moved).unwrap();
    let moved = StorageLocation::Folder(moved);
    let snapshot = open(&moved, Verification::Checksums).unwrap();
    let reader = snapshot.storage.files(JOB, 2, CheckpointKind::Savepoint).unwrap();
    for (file, before) in snapshot.metadata.files().zip(image.files()) {
        assert_eq!((&file.name, file.crc32c), (&before.name, before.crc32c));
        assert_eq!(reader.get(file).unwrap(), before.name.as_bytes());
    }
    let file = moved.folder().unwrap().join(image.files().next().unwrap().path.rsplit('/').next().unwrap());
    fs::write(&file, "savex").unwrap();
    assert!(open(&moved, Verification::Lengths).is_ok());
    let error = open(&moved, Verification::Checksums).err().unwrap();
    assert_eq!(error.code, "checkpoint-corrupt");
    assert!(error.message.contains(file.file_name().unwrap().to_str().unwrap()), "{}", error.message);
    for nothing in ["nothing", "nothing/at/all", "storage", "storage/savepoints"] {
        let nothing = StorageLocation::Folder(subject.folder.path().join(nothing));
        assert_eq!(open(&nothing, Verification::Lengths).err().unwrap().code, "savepoint-not-found", "{nothing}");
        assert_eq!(
            remove_savepoint(&nothing, subject.runtime.handle().clone()).unwrap_err().code,
            "savepoint-not-found"
        );
    }
    fs::write(&file, "saved").unwrap();
    fs::rename(moved.folder().unwrap(), location.folder().unwrap()).unwrap();
}

#[test]
fn a_checkpoint_is_read_in_place_or_with_the_folder_of_its_job() {
    let subject = Subject::new();
    let open = |location: &StorageLocation| {
        StoredCheckpoint::open(location, subject.runtime.handle().clone(), Verification::Checksums)
    };
    let file = subject.put(7, "state", "x");
    let image = subject.complete(7, &[file]);
    let location = subject.storage.root().join("job-1/chk-7");
    assert_eq!(open(&location).unwrap().metadata, image);
    assert_eq!(remove_savepoint(&location, subject.runtime.handle().clone()).unwrap_err().code, "savepoint-not-found");
    let elsewhere = subject.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(subject.path("job-1"), elsewhere.join("job-1")).unwrap();
    assert_eq!(open(&StorageLocation::Folder(elsewhere.join("job-1/chk-7"))).unwrap().metadata, image);
    fs::rename(elsewhere.join("job-1/chk-7"), elsewhere.join("alone")).unwrap();
    assert_eq!(open(&StorageLocation::Folder(elsewhere.join("alone"))).err().unwrap().code, "checkpoint-corrupt");
}

#[test]
fn only_what_a_savepoint_names_is_removed_with_it() {
    let subject = Subject::new();
    let (location, _) = subject.savepoint(2, &["saved"]);
    let foreign = location.folder().unwrap().join("notes.txt");
    fs::write(&foreign, "mine").unwrap();
    remove_savepoint(&location, subject.runtime.handle().clone()).unwrap();
    assert_eq!(fs::read_dir(location.folder().unwrap()).unwrap().count(), 1);
    fs::remove_file(&foreign).unwrap();
    let (location, _) = subject.savepoint(3, &["saved"]);
    remove_savepoint(&location, subject.runtime.handle().clone()).unwrap();
    assert!(!location.folder().unwrap().exists());
    let (location, _) = subject.savepoint(4, &["saved"]);
    fs::write(location.folder().unwrap().join("manifest"), "damaged").unwrap();
    assert_eq!(remove_savepoint(&location, subject.runtime.handle().clone()).unwrap_err().code, "checkpoint-corrupt");
    assert_eq!(fs::read_dir(location.folder().unwrap()).unwrap().count(), 2);
}

#[test]
fn adopted_files_outlive_the_image_that_they_came_from() {
    on_each_store(|subject| {
        let (location, image) = subject.savepoint(2, &["a.sst", "b.sst"]);
        let claimed: Vec<FileRef> = image.files().cloned().collect();
        let files = subject.storage.files("job-2", 0, CheckpointKind::Checkpoint).unwrap();
        let adopted = files.adopt(&subject.storage, &claimed).unwrap().unwrap();
        assert_eq!(files.bytes_uploaded(), 0);
        assert_eq!(files.reusable(&adopted).unwrap(), adopted);
        let folder = location.below(subject.storage.root()).unwrap();
        for (path, _) in subject.storage.list(&folder).unwrap() {
            subject.storage.remove(&path).unwrap();
        }
        for (file, before) in adopted.iter().zip(&claimed) {
            assert_eq!((&file.name, file.bytes, file.crc32c), (&before.name, before.bytes, before.crc32c));
            assert_eq!(files.get(file).unwrap(), file.name.as_bytes());
        }
        let other = Subject::new();
        let files = other.storage.files("job-2", 0, CheckpointKind::Checkpoint).unwrap();
        assert_eq!(files.adopt(&subject.storage, &claimed).unwrap(), None, "bytes would have to move");
    });
}

#[test]
fn names_cannot_leave_the_storage() {
    let subject = Subject::new();
    for job in ["", "..", "a/b", "savepoints", ".hidden"] {
        assert_eq!(subject.storage.highest_id(job).unwrap_err().code, "internal", "{job}");
        assert!(subject.storage.files(job, 1, CheckpointKind::Checkpoint).is_err(), "{job}");
    }
    let files = subject.storage.files(JOB, 1, CheckpointKind::Checkpoint).unwrap();
    assert_eq!(files.put("../x", Bytes::new()).unwrap_err().code, "internal");
}

#[test]
fn a_promise_that_was_kept_is_none_and_its_mark_goes_with_the_checkpoint() {
    on_each_store(|subject| {
        let storage = &subject.storage;
        let promises = |metadata: &CheckpointMetadata| metadata.subtask("delays", 0).unwrap().committable.is_some();
        for id in 1..=3 {
            let metadata = subject.complete(id, &[subject.put(id, "own", "o")]);
            assert!(promises(&storage.newest_usable(JOB, Verification::Lengths).unwrap().unwrap().0));
            storage.mark_published(&metadata).unwrap();
            assert!(!promises(&storage.newest_usable(JOB, Verification::Lengths).unwrap().unwrap().0));
        }
        // A kill came between a metadata and its mark.
        storage.remove(&format!("{JOB}/chk-1/manifest")).unwrap();
        storage.retire(JOB, 1, &[]).unwrap();
        let stored = subject.stored();
        assert_eq!(&stored[..2], [format!("{JOB}/chk-3/manifest"), format!("{JOB}/chk-3/published")]);
        assert_eq!(stored.len(), 3, "{stored:?}");

        let (location, metadata) = subject.savepoint(4, &["saved"]);
        let open = || StoredCheckpoint::open(&location, subject.runtime.handle().clone(), Verification::Lengths);
        if location.folder().is_some() {
            assert!(promises(&open().unwrap().metadata));
        }
        storage.mark_published(&metadata).unwrap();
        if location.folder().is_some() {
            assert!(!promises(&open().unwrap().metadata));
        }
        stored_checkpoint::remove_savepoint_in(storage, &format!("savepoints/{JOB}-4")).unwrap();
        storage.remove_job(JOB).unwrap();
        assert_eq!(subject.stored(), [""; 0]);
    });
}

#[test]
fn a_file_that_is_gone_or_cut_is_not_named_again() {
    on_each_store(|subject| {
        let files = ["kept", "gone", "cut"].map(|name| subject.put(1, name, "bytes"));
        subject.complete(1, &files);
        subject.storage.remove(&files[1].path).unwrap();
        subject.overwrite(&files[2].path, b"by");
        let next = subject.storage.files(JOB, 2, CheckpointKind::Checkpoint).unwrap();
        assert_eq!(next.reusable(&files).unwrap(), &files[..1]);
    });
}
