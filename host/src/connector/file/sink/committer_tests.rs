//! Crashes between writing, preparing and publishing, and the content of the folder after each.

use std::fs;
use std::path::{Path, PathBuf};

use super::committable::{self, check_promise};
use super::committer::FileCommitter;
use super::file_sink::FileSink;
use super::sink_part::SinkPart;
use crate::access::AccessPolicy;
use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Committer, Recovered, Sink};
use crate::connector::testing::{context, finished, no_missing, output, subtask_of};
use crate::connector::versioned_bytes;
use crate::format::RecordEncoder;
use crate::model::{Batch, NO_TIMESTAMP};
use crate::pipeline::EncodingSettings;

struct SinkFixture {
    folder: tempfile::TempDir,
}

impl SinkFixture {
    fn new() -> SinkFixture {
        SinkFixture { folder: tempfile::tempdir().unwrap() }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn context(&self) -> ConnectorContext {
        context(self.folder.path())
    }

    fn sink(&self) -> FileSink {
        FileSink::open(Path::new("out"), RecordEncoder::new(EncodingSettings::default()), &self.context()).unwrap()
    }

    /// Creates a committer without memory, as after a restart.
    fn committer(&self) -> FileCommitter {
        FileCommitter::new(Path::new("out"), &self.context())
    }

    /// Returns the content of the published files in order of their names.
    fn published(&self) -> String {
        let mut names: Vec<PathBuf> = fs::read_dir(self.out()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let files = names.iter().filter(|path| path.is_file());
        files.map(|path| fs::read_to_string(path).unwrap().replace('\n', " ")).collect()
    }

    fn pending(&self) -> usize {
        fs::read_dir(self.out().join(".pending")).unwrap().count()
    }
}

fn write(sink: &mut FileSink, value: &str) {
    let mut batch = Batch::default();
    batch.push(value.as_bytes(), NO_TIMESTAMP);
    sink.write(&batch).unwrap();
}

fn prepare(sink: &mut FileSink, checkpoint: u64, value: &str) -> Vec<Vec<u8>> {
    write(sink, value);
    vec![finished(sink.prepare(checkpoint).unwrap()).unwrap()]
}

#[test]
fn a_commit_publishes_and_can_be_repeated() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    assert_eq!(setup.published(), "");
    setup.committer().commit(&output(1, &one)).unwrap();
    assert!(setup.out().join("part-0123456789abcdef-delays-000-00000001.txt").is_file());
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
    setup.committer().commit(&output(1, &one)).unwrap();
    setup.committer().recover(Some(&output(1, &one))).unwrap();
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
}

#[test]
fn recovery_publishes_the_parts_of_a_complete_checkpoint() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    write(&mut sink, "uncovered");
    sink.flush().unwrap();
    std::mem::forget(sink); // a crash runs no destructors
    assert_eq!(setup.pending(), 2);
    setup.committer().recover(Some(&output(1, &one))).unwrap();
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
}

#[test]
fn recovery_removes_the_parts_of_an_incomplete_checkpoint() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    setup.committer().commit(&output(1, &prepare(&mut sink, 1, "one"))).unwrap();
    prepare(&mut sink, 2, "two");
    drop(sink);
    setup.committer().recover(Some(&output(1, &[]))).unwrap();
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
}

#[test]
fn recovery_removes_parts_published_after_the_restored_checkpoint() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    for (checkpoint, value) in [(1, "one"), (2, "two"), (3, "three")] {
        setup.committer().commit(&output(checkpoint, &prepare(&mut sink, checkpoint, value))).unwrap();
    }
    assert_eq!(setup.published(), "one two three ");
    setup.committer().recover(Some(&output(2, &[]))).unwrap();
    assert_eq!(setup.published(), "one two ");
    setup.committer().recover(None).unwrap();
    assert_eq!(setup.published(), "");
}

#[test]
fn recovery_never_touches_the_files_of_others() {
    let setup = SinkFixture::new();
    let others = |job: &str, node: &str| ConnectorContext {
        job_id: job.to_owned(),
        node: node.to_owned(),
        ..subtask_of(setup.context(), 0, 1)
    };
    // Another job with a common prefix, another node, and nodes whose names continue like part names.
    for (job, node) in
        [("0123456789ffffff", "delays"), ("0123456789abcdef", "late"), ("0123456789abcdef", "delays-000")]
    {
        let context = others(job, node);
        let mut sink =
            FileSink::open(Path::new("out"), RecordEncoder::new(EncodingSettings::default()), &context).unwrap();
        let committable = prepare(&mut sink, 7, "theirs");
        FileCommitter::new(Path::new("out"), &context).commit(&output(1, &committable)).unwrap();
        prepare(&mut sink, 8, "theirs");
        write(&mut sink, "theirs");
        std::mem::forget(sink);
    }
    let mine =
        ["notes.txt", "part-0123456789abcdef-delays-000-00000009.txt.bak", "part-0123456789abcdef-delays-000-x.txt"];
    for name in mine {
        fs::write(setup.out().join(name), "mine\n").unwrap();
    }
    assert_eq!(setup.pending(), 6);
    setup.committer().recover(None).unwrap();
    assert_eq!(setup.published().matches("theirs").count(), 3);
    assert_eq!(setup.published().matches("mine").count(), 3);
    assert_eq!(setup.pending(), 6);
}

#[test]
fn a_removed_part_fails_a_commit_but_not_a_restore() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    let mut committer = setup.committer();
    committer.commit(&output(1, &one)).unwrap();
    fs::remove_file(setup.out().join("part-0123456789abcdef-delays-000-00000001.txt")).unwrap();
    committer.commit(&output(1, &one)).expect("the part was published and then removed by a reader");
    let error = setup.committer().commit(&output(1, &one)).unwrap_err();
    assert_eq!(error.code, "sink-unwritable");
    assert!(error.message.contains("part-0123456789abcdef-delays-000-00000001.txt"), "{error}");
    let mut restarted = setup.committer();
    restarted.recover(Some(&output(1, &one))).unwrap();
    restarted.commit(&output(1, &one)).unwrap();
}

#[test]
fn a_pending_part_of_another_length_is_corrupt() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    let pending = setup.out().join(".pending/part-0123456789abcdef-delays-000-00000001.txt");
    fs::write(&pending, "on").unwrap();
    assert_eq!(setup.committer().commit(&output(1, &one)).unwrap_err().code, "checkpoint-corrupt");
    assert_eq!(setup.committer().recover(Some(&output(1, &one))).unwrap_err().code, "checkpoint-corrupt");
    assert_eq!(setup.published(), "");
}

#[test]
fn a_committable_cannot_select_an_arbitrary_file() {
    let setup = SinkFixture::new();
    let mut committer = setup.committer();
    setup.sink();
    fs::write(setup.folder.path().join("part-victim.txt"), "mine").unwrap();
    for name in ["../part-victim.txt", "part-/../../part-victim.txt", "notes.txt", ""] {
        let part = SinkPart { name: name.to_owned(), bytes: 4 };
        let committable = committable::encode(Path::new("out"), &[part]).unwrap();
        assert_eq!(committer.commit(&output(1, &[committable])).unwrap_err().code, "checkpoint-corrupt", "{name}");
    }
    for bytes in [&b""[..], b"\x01\xff\xff\xff\xff\x0f", b"\x02\x00", b"\x03\x00", b"\x01\x00x"] {
        assert_eq!(committer.recover(Some(&output(1, &[bytes.to_vec()]))).unwrap_err().code, "checkpoint-corrupt");
    }
    assert!(setup.folder.path().join("part-victim.txt").is_file());
}

#[test]
fn a_missing_folder_needs_no_recovery() {
    let setup = SinkFixture::new();
    setup.committer().recover(None).unwrap();
    assert!(!setup.out().exists());
}

#[test]
fn special_characters_in_ids_cannot_leave_the_folder() {
    let setup = SinkFixture::new();
    let context = ConnectorContext { job_id: "../a-b".to_owned(), node: "x/é".to_owned(), ..setup.context() };
    let mut sink = FileSink::open(Path::new("out"), RecordEncoder::new(EncodingSettings::default()), &context).unwrap();
    let committable = prepare(&mut sink, 1, "one");
    FileCommitter::new(Path::new("out"), &context).commit(&output(1, &committable)).unwrap();
    assert!(setup.out().join("part-%2E%2E%2Fa%2Db-x%2F%C3%A9-000-00000001.txt").is_file());
}

/// Returns the committer of another job whose sink has the same id, with its folder at `path`.
fn committer_of_another_job(setup: &SinkFixture, path: &str) -> FileCommitter {
    FileCommitter::new(Path::new(path), &ConnectorContext { job_id: "another".to_owned(), ..setup.context() })
}

#[test]
fn another_job_publishes_the_promised_parts_and_removes_nothing() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    prepare(&mut sink, 2, "two");
    for _ in 0..2 {
        assert_eq!(committer_of_another_job(&setup, "out").adopt(&output(1, &one), false).unwrap(), no_missing());
        assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 1));
    }
    // The job that prepared the part may publish it as well.
    setup.committer().commit(&output(1, &one)).unwrap();
    setup.committer().recover(Some(&output(1, &one))).unwrap();
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
}

#[test]
fn a_moved_folder_still_keeps_the_promise() {
    let setup = SinkFixture::new();
    let one = prepare(&mut setup.sink(), 1, "one");
    let error = committer_of_another_job(&setup, "elsewhere").adopt(&output(1, &one), false).unwrap_err();
    assert_eq!(error.code, "sink-changed");
    fs::rename(setup.out(), setup.folder.path().join("elsewhere")).unwrap();
    committer_of_another_job(&setup, "elsewhere").adopt(&output(1, &one), false).unwrap();
    let name = "part-0123456789abcdef-delays-000-00000001.txt";
    assert!(setup.folder.path().join("elsewhere").join(name).is_file());
}

#[test]
fn a_committable_of_version_1_is_published_or_reported_by_name() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    write(&mut sink, "one");
    finished(sink.prepare(1).unwrap());
    let name = "part-0123456789abcdef-delays-000-00000001.txt".to_owned();
    let part = SinkPart { name: name.clone(), bytes: 4 };
    let version_1 = [versioned_bytes::encode(1, &[part][..]).unwrap()];
    let mut elsewhere = committer_of_another_job(&setup, "elsewhere");
    assert_eq!(
        elsewhere.adopt(&output(1, &version_1), false).unwrap(),
        Recovered::Done { missing: vec![name] },
        "version 1 does not store the folder"
    );
    assert_eq!(check_promise(&version_1, None, &AccessPolicy::default(), "delays").unwrap_err().code, "sink-changed");
    assert_eq!(committer_of_another_job(&setup, "out").adopt(&output(1, &version_1), false).unwrap(), no_missing());
    assert_eq!(setup.published(), "one ");
}
