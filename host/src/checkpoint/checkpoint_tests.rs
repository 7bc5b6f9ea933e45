//! Checkpoints on a real folder: damage, retirement, and interruption at each of its steps.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::runtime::Runtime;

use super::*;
use crate::error::Result;
use crate::state::{FileRef, FileStore, ImageFormat, StateDescription, StateImage, StateKind, StateSize};

const JOB: &str = "job-1";

/// A storage in a folder of its own, with the runtime that it needs.
struct Subject {
    folder: tempfile::TempDir,
    storage: CheckpointStorage,
    _runtime: Runtime,
}

impl Subject {
    fn new() -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let storage = CheckpointStorage::open(&folder.path().join("storage"), runtime.handle().clone()).unwrap();
        Subject { folder, storage, _runtime: runtime }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.storage.root().join(below)
    }

    fn put(&self, id: u64, name: &str, bytes: &str) -> FileRef {
        let files = self.storage.files(JOB, id, CheckpointKind::Checkpoint).unwrap();
        files.put(name, Bytes::copy_from_slice(bytes.as_bytes())).unwrap()
    }

    /// A complete checkpoint that names `files`.
    fn complete(&self, id: u64, files: &[FileRef]) -> CheckpointManifest {
        let manifest = manifest(id, CheckpointKind::Checkpoint, files);
        assert_eq!(self.storage.write_manifest(&manifest).unwrap(), format!("{JOB}/chk-{id}"));
        manifest
    }

    fn usable(&self, verify: Verify) -> Result<Option<(u64, Vec<Skipped>)>> {
        let found = self.storage.newest_usable(JOB, verify)?;
        Ok(found.map(|(manifest, skipped)| (manifest.checkpoint_id, skipped)))
    }

    fn complete_ids(&self) -> Vec<u64> {
        self.storage.checkpoints(JOB).unwrap().0.iter().map(|manifest| manifest.checkpoint_id).collect()
    }

    fn exists(&self, file: &FileRef) -> bool {
        self.path(&file.path).exists()
    }
}

fn manifest(id: u64, kind: CheckpointKind, files: &[FileRef]) -> CheckpointManifest {
    let state = StateImage {
        format: ImageFormat::Canonical,
        layout: vec![StateDescription::new("count", StateKind::Value, "postcard", "u64")],
        files: files.to_vec(),
        size: StateSize { entries: 12, bytes: 240 },
    };
    let operator = |id: &str, subtask| OperatorImage { id: id.into(), parallelism: 1, subtasks: vec![subtask] };
    let counters = |records_in, records_out| Counters { records_in, records_out, ..Counters::default() };
    CheckpointManifest {
        format: CheckpointManifest::FORMAT,
        job_id: JOB.into(),
        job_name: "late flights".into(),
        checkpoint_id: id,
        kind,
        taken_at_ms: 1_700_000_000_000,
        max_parallelism: 128,
        operators: vec![
            operator(
                "flights",
                SubtaskImage {
                    source_position: Some(vec![42, 0]),
                    counters: counters(0, 1000),
                    ..SubtaskImage::default()
                },
            ),
            operator(
                "track",
                SubtaskImage {
                    state: Some(state),
                    counters: Counters {
                        faults: 1,
                        records_skipped: 1,
                        records_dead_lettered: 1,
                        ..counters(1000, 998)
                    },
                    ..SubtaskImage::default()
                },
            ),
            operator(
                "delays",
                SubtaskImage {
                    committable: Some(b"part-0-7".to_vec()),
                    counters: counters(998, 0),
                    ..SubtaskImage::default()
                },
            ),
        ],
    }
}

/// What the fixture of format 1 holds. The file was made byte by byte from the format's description.
fn fixture() -> (&'static [u8], CheckpointManifest) {
    let path = "job-1/shared/7-00000000000000aa-state".into();
    let file = FileRef { name: "state".into(), path, bytes: 300, crc32c: 0xdead_beef };
    let bytes = include_bytes!("../../fixtures/checkpoint-manifest-v1.bin");
    (bytes, manifest(7, CheckpointKind::Checkpoint, &[file]))
}

#[test]
fn a_manifest_of_format_1_still_loads() {
    let (bytes, expected) = fixture();
    assert_eq!(CheckpointManifest::decode("m", bytes).unwrap(), expected);
    assert_eq!(CheckpointManifest::decode("m", &expected.encode().unwrap()).unwrap(), expected);
    assert_eq!(expected.bytes(), 300);
    assert_eq!(expected.subtask("delays", 0).unwrap().counters.records_in, 998);
    assert_eq!(expected.subtask("delays", 1), None);
}

#[test]
fn a_damaged_manifest_is_refused_by_name() {
    let (bytes, _) = fixture();
    let refuse = |bytes: &[u8]| {
        let error = CheckpointManifest::decode("some/path", bytes).unwrap_err();
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
    newer[8] = 3;
    assert!(refuse(&newer).contains("a newer version of Cofferdam"));
}

#[test]
fn a_manifest_with_a_true_checksum_is_still_checked() {
    let (_, good) = fixture();
    let seal = |manifest: &CheckpointManifest| {
        let payload = postcard::to_stdvec(manifest).unwrap();
        let header = [&b"COFFCKPT"[..], &2u32.to_le_bytes(), &crc32c::crc32c(&payload).to_le_bytes()].concat();
        [&header[..], &(payload.len() as u64).to_le_bytes(), &payload].concat()
    };
    assert!(CheckpointManifest::decode("m", &seal(&good)).is_ok());
    let breaks: [fn(&mut CheckpointManifest); 5] = [
        |manifest| manifest.max_parallelism = 0,
        |manifest| manifest.max_parallelism = u32::MAX,
        |manifest| manifest.operators[1].parallelism = 2,
        |manifest| manifest.operators[1].id = "flights".into(),
        |manifest| manifest.format = 1,
    ];
    for break_it in breaks {
        let mut manifest = good.clone();
        break_it(&mut manifest);
        assert_eq!(CheckpointManifest::decode("m", &seal(&manifest)).unwrap_err().code, "checkpoint-corrupt");
        assert_eq!(manifest.encode().unwrap_err().code, "internal");
    }
}

#[test]
fn files_come_back_and_are_counted() {
    let subject = Subject::new();
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
}

#[test]
fn a_file_that_is_not_what_was_written_is_refused_by_name() {
    let subject = Subject::new();
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
        fs::write(subject.path(&file.path), damaged).unwrap();
        refuse(&file);
    }
    fs::remove_file(subject.path(&file.path)).unwrap();
    refuse(&file);
    for path in ["../../etc/passwd", "", "job-1/shared/../../x"] {
        refuse(&FileRef { path: path.into(), ..file.clone() });
    }
}

#[test]
fn the_newest_usable_checkpoint_is_found_and_the_damaged_are_named() {
    let subject = Subject::new();
    assert_eq!(subject.usable(Verify::Lengths).unwrap(), None);
    let file = |id| subject.put(id, "state", "0123456789");
    let files = [file(1), file(2), file(10), file(11)];
    // Stored files alone are no checkpoint.
    assert_eq!(subject.usable(Verify::Lengths).unwrap(), None);
    for (id, file) in [1, 2, 10, 11].into_iter().zip(&files) {
        subject.complete(id, std::slice::from_ref(file));
    }
    assert_eq!(subject.complete_ids(), [11, 10, 2, 1]);
    assert_eq!(subject.usable(Verify::Checksums).unwrap(), Some((11, vec![])));

    fs::write(subject.path(&files[3].path), "012345678X").unwrap();
    assert_eq!(subject.usable(Verify::Lengths).unwrap(), Some((11, vec![])));
    let (id, skipped) = subject.usable(Verify::Checksums).unwrap().unwrap();
    assert_eq!((id, &skipped[0].path[..]), (10, "job-1/chk-11"));
    assert!(skipped[0].why.contains(&files[3].path), "{}", skipped[0].why);

    fs::remove_file(subject.path(&files[3].path)).unwrap();
    fs::write(subject.path(&files[2].path), "short").unwrap();
    let manifest = subject.path("job-1/chk-2/manifest");
    let bytes = fs::read(&manifest).unwrap();
    fs::write(&manifest, &bytes[..bytes.len() - 1]).unwrap();
    let (id, skipped) = subject.usable(Verify::Lengths).unwrap().unwrap();
    assert_eq!(id, 1);
    let paths: Vec<_> = skipped.iter().map(|one| &one.path[..]).collect();
    assert_eq!(paths, ["job-1/chk-11", "job-1/chk-10", "job-1/chk-2"]);

    // The manifest of another checkpoint in this one's place.
    fs::copy(subject.path("job-1/chk-10/manifest"), subject.path("job-1/chk-1/manifest")).unwrap();
    let error = subject.usable(Verify::Lengths).unwrap_err();
    assert_eq!(error.code, "checkpoint-none-usable");
    for folder in ["chk-1:", "chk-2:", "chk-10:", "chk-11:"] {
        assert!(error.message.contains(folder), "{}", error.message);
    }
}

#[test]
fn the_highest_id_counts_every_trace() {
    let subject = Subject::new();
    let highest = || subject.storage.highest_id(JOB).unwrap();
    assert_eq!(highest(), None);
    subject.complete(3, &[]);
    subject
        .storage
        .write_manifest(&CheckpointManifest {
            job_id: "job-1-9".into(),
            ..manifest(77, CheckpointKind::Checkpoint, &[])
        })
        .unwrap();
    assert_eq!(highest(), Some(3));
    subject.put(5, "state", "unfinished");
    assert_eq!(highest(), Some(5));
    fs::create_dir_all(subject.path("job-1/chk-8")).unwrap();
    assert_eq!(highest(), Some(8));
    subject.storage.write_manifest(&manifest(9, CheckpointKind::Savepoint, &[])).unwrap();
    subject
        .storage
        .write_manifest(&CheckpointManifest {
            job_id: "job-1-9".into(),
            ..manifest(99, CheckpointKind::Savepoint, &[])
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
    let retire = |keep, in_progress: &[InProgress]| subject.storage.retire(JOB, keep, in_progress).unwrap();
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

    let progress = [InProgress { id: 4, based_on: Some(2) }];
    let retired = retire(1, &progress);
    assert_eq!(retired, Retired { checkpoints: vec![1], files: 2, bytes: 6 });
    assert_eq!(subject.complete_ids(), [5, 2]);
    assert!(!subject.exists(&old) && !subject.exists(&unfinished) && !staged[0].exists());
    assert!([&shared, &second, &running, &fifth, &next].iter().all(|file| subject.exists(file)));
    assert!(staged[1].exists() && staged[2].exists());

    assert_eq!(retire(1, &[]), Retired { checkpoints: vec![2], files: 2, bytes: 2 });
    assert!(!subject.exists(&second) && !subject.exists(&running) && !subject.path("job-1/chk-2").exists());
    assert!(subject.exists(&next), "it may be in progress by now");
    assert_eq!(retire(0, &[]), Retired::default());
    assert_eq!(subject.usable(Verify::Checksums).unwrap(), Some((5, vec![])));
    subject.storage.remove_job(JOB).unwrap();
    assert!(!subject.path("job-1").exists());
}

#[test]
fn a_damaged_checkpoint_neither_counts_nor_costs_files() {
    let subject = Subject::new();
    let files = [1, 2, 3, 4].map(|id| subject.put(id, "state", "x"));
    for (id, file) in (1..).zip(&files) {
        subject.complete(id, std::slice::from_ref(file));
    }
    fs::write(subject.path("job-1/chk-3/manifest"), "damaged").unwrap();
    let retired = subject.storage.retire(JOB, 2, &[]).unwrap();
    assert_eq!(retired.checkpoints, [1]);
    assert_eq!(subject.complete_ids(), [4, 2]);
    assert!(files.iter().all(|file| subject.exists(file)), "the damaged one may name them");
    let fifth = subject.put(5, "state", "x");
    subject.complete(5, &[fifth]);
    assert_eq!(subject.storage.retire(JOB, 2, &[]).unwrap().checkpoints, [2, 3]);
    assert_eq!(files.map(|file| subject.exists(&file)), [false, false, false, true]);
}

#[test]
fn an_interrupted_retirement_leaves_only_whole_checkpoints() {
    let build = || {
        let subject = Subject::new();
        let base = subject.put(1, "base", "b");
        for id in 1..=4 {
            let own = subject.put(id, "own", "o");
            subject.complete(id, &[base.clone(), own]);
        }
        subject
    };
    let steps = |subject: &Subject| -> Vec<String> {
        let plan = subject.storage.plan_retirement(JOB, 1, &[]).unwrap();
        let manifests = plan.manifests.into_iter().map(|(_, path)| path);
        manifests.chain(plan.files.into_iter().map(|(path, _)| path)).collect()
    };
    let count = steps(&build()).len();
    assert_eq!(count, 6);
    for done in 0..=count {
        let subject = build();
        for path in &steps(&subject)[..done] {
            fs::remove_file(subject.path(path)).unwrap();
        }
        let (complete, damaged) = subject.storage.checkpoints(JOB).unwrap();
        assert_eq!((complete[0].checkpoint_id, damaged), (4, vec![]), "after {done} steps");
        subject.storage.retire(JOB, 1, &[]).unwrap();
        assert_eq!(subject.complete_ids(), [4]);
        assert_eq!(fs::read_dir(subject.path("job-1/shared")).unwrap().count(), 2, "after {done} steps");
    }
}

#[test]
fn a_job_goes_on_from_its_savepoint_where_that_is_newest() {
    let subject = Subject::new();
    let usable = || subject.usable(Verify::Checksums).unwrap().map(|(id, skipped)| (id, skipped.len()));
    let savepoint = |id| subject.storage.write_manifest(&manifest(id, CheckpointKind::Savepoint, &[])).unwrap();
    let first = savepoint(1);
    assert_eq!(usable(), Some((1, 0)), "sinks published on it, so the job must not begin before it");
    fs::write(subject.path(&first).join("manifest"), "damaged").unwrap();
    assert_eq!(usable(), None, "there never was a checkpoint");

    subject.complete(2, &[]);
    let third = savepoint(3);
    assert_eq!(usable(), Some((3, 0)));
    subject.complete(4, &[]);
    assert_eq!(usable(), Some((4, 0)));
    fs::write(subject.path(&format!("{JOB}/chk-4/manifest")), "damaged").unwrap();
    assert_eq!(usable(), Some((3, 1)));
    subject.storage.remove_savepoint(&third).unwrap();
    assert_eq!(usable(), Some((2, 1)), "a person may remove a savepoint");
}

#[test]
fn a_savepoint_stands_alone() {
    let subject = Subject::new();
    let shared = subject.put(1, "state", "x");
    subject.complete(1, std::slice::from_ref(&shared));
    let files = subject.storage.files(JOB, 2, CheckpointKind::Savepoint).unwrap();
    assert_eq!(files.reusable(std::slice::from_ref(&shared)), []);
    let own = files.put("state", Bytes::from_static(b"saved")).unwrap();
    let image = manifest(2, CheckpointKind::Savepoint, std::slice::from_ref(&own));
    let location = subject.storage.write_manifest(&image).unwrap();
    assert_eq!(location, "savepoints/job-1-2");
    let next = subject.storage.files(JOB, 3, CheckpointKind::Checkpoint).unwrap();
    assert_eq!(next.reusable(&[own.clone(), shared.clone()]), [shared]);

    subject.storage.remove_job(JOB).unwrap();
    for name in ["savepoints/job-1-2", "savepoints/job-1-2/", "job-1-2"] {
        assert_eq!(subject.storage.savepoint(name, Verify::Checksums).unwrap(), image);
    }
    for name in ["", "savepoints", "job-1-3", "../job-1", "savepoints/..", "job-1/chk-1"] {
        assert_eq!(subject.storage.savepoint(name, Verify::Lengths).unwrap_err().code, "savepoint-not-found", "{name}");
    }
    fs::remove_file(subject.path(&own.path)).unwrap();
    let error = subject.storage.savepoint("job-1-2", Verify::Lengths).unwrap_err();
    assert_eq!(error.code, "checkpoint-corrupt");
    subject.storage.remove_savepoint("job-1-2").unwrap();
    assert!(!subject.path("savepoints/job-1-2").exists());
    assert_eq!(subject.storage.remove_savepoint("job-1-2").unwrap_err().code, "savepoint-not-found");
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
