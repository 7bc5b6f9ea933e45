//! Crashes between writing, preparing and publishing, and what the folder holds after each.

use std::path::PathBuf;

use super::super::super::fixtures::{context, subtask_of};
use super::super::super::{Committer, Sink};
use super::super::sink::FileSink;
use super::*;
use crate::model::{Batch, NO_TIMESTAMP};

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
        FileSink::open(Path::new("out"), &self.context()).unwrap()
    }

    /// A committer of a process that remembers nothing.
    fn committer(&self) -> FileCommitter {
        FileCommitter::new(Path::new("out"), &self.context())
    }

    /// What a reader of the folder sees: the published files by name.
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
    vec![sink.prepare(checkpoint).unwrap().unwrap()]
}

#[test]
fn a_commit_publishes_and_may_be_repeated() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    assert_eq!(setup.published(), "");
    setup.committer().commit(&one).unwrap();
    assert!(setup.out().join("part-0123456789abcdef-delays-000-00000001.txt").is_file());
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
    setup.committer().commit(&one).unwrap();
    setup.committer().recover(Some(1), &one).unwrap();
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
}

#[test]
fn a_crash_before_the_commit_is_made_good_where_the_checkpoint_is_complete() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    write(&mut sink, "uncovered");
    sink.flush().unwrap();
    std::mem::forget(sink); // a crash runs no destructors
    assert_eq!(setup.pending(), 2);
    setup.committer().recover(Some(1), &one).unwrap();
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
}

#[test]
fn a_crash_before_the_checkpoint_is_complete_takes_its_part_away() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    setup.committer().commit(&prepare(&mut sink, 1, "one")).unwrap();
    prepare(&mut sink, 2, "two");
    drop(sink);
    setup.committer().recover(Some(1), &[]).unwrap();
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
}

#[test]
fn going_back_takes_back_what_was_published_later() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    for (checkpoint, value) in [(1, "one"), (2, "two"), (3, "three")] {
        setup.committer().commit(&prepare(&mut sink, checkpoint, value)).unwrap();
    }
    assert_eq!(setup.published(), "one two three ");
    setup.committer().recover(Some(2), &[]).unwrap();
    assert_eq!(setup.published(), "one two ");
    setup.committer().recover(None, &[]).unwrap();
    assert_eq!(setup.published(), "");
}

#[test]
fn the_files_of_others_are_never_touched() {
    let setup = SinkFixture::new();
    let others = |job: &str, node: &str| ConnectorContext {
        job_id: job.to_owned(),
        node: node.to_owned(),
        ..subtask_of(setup.context(), 0, 1)
    };
    // Another job with the same beginning, another node, and nodes whose names go on like part names.
    for (job, node) in
        [("0123456789ffffff", "delays"), ("0123456789abcdef", "late"), ("0123456789abcdef", "delays-000")]
    {
        let context = others(job, node);
        let mut sink = FileSink::open(Path::new("out"), &context).unwrap();
        let committable = prepare(&mut sink, 7, "theirs");
        FileCommitter::new(Path::new("out"), &context).commit(&committable).unwrap();
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
    setup.committer().recover(None, &[]).unwrap();
    assert_eq!(setup.published().matches("theirs").count(), 3);
    assert_eq!(setup.published().matches("mine").count(), 3);
    assert_eq!(setup.pending(), 6);
}

#[test]
fn a_part_that_somebody_removed_is_an_error_of_a_commit_but_not_of_a_restore() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    let committer = setup.committer();
    committer.commit(&one).unwrap();
    fs::remove_file(setup.out().join("part-0123456789abcdef-delays-000-00000001.txt")).unwrap();
    committer.commit(&one).expect("it was published, and a reader took it");
    let error = setup.committer().commit(&one).unwrap_err();
    assert_eq!(error.code, "sink-unwritable");
    assert!(error.message.contains("part-0123456789abcdef-delays-000-00000001.txt"), "{error}");
    let restarted = setup.committer();
    restarted.recover(Some(1), &one).unwrap();
    restarted.commit(&one).unwrap();
}

#[test]
fn a_part_of_another_length_is_corrupt() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    let pending = setup.out().join(".pending/part-0123456789abcdef-delays-000-00000001.txt");
    fs::write(&pending, "on").unwrap();
    assert_eq!(setup.committer().commit(&one).unwrap_err().code, "checkpoint-corrupt");
    assert_eq!(setup.committer().recover(Some(1), &one).unwrap_err().code, "checkpoint-corrupt");
    assert_eq!(setup.published(), "");
}

#[test]
fn committables_are_not_trusted() {
    let setup = SinkFixture::new();
    let committer = setup.committer();
    setup.sink();
    fs::write(setup.folder.path().join("part-victim.txt"), "mine").unwrap();
    for name in ["../part-victim.txt", "part-/../../part-victim.txt", "notes.txt", ""] {
        let part = SinkPart { name: name.to_owned(), bytes: 4 };
        let committable = promise::encode(Path::new("out"), &[part]).unwrap();
        assert_eq!(committer.commit(&[committable]).unwrap_err().code, "checkpoint-corrupt", "{name}");
    }
    for bytes in [&b""[..], b"\x01\xff\xff\xff\xff\x0f", b"\x02\x00", b"\x03\x00", b"\x01\x00x"] {
        assert_eq!(committer.recover(Some(1), &[bytes.to_vec()]).unwrap_err().code, "checkpoint-corrupt");
    }
    assert!(setup.folder.path().join("part-victim.txt").is_file());
}

#[test]
fn a_folder_that_is_not_there_needs_no_recovery() {
    let setup = SinkFixture::new();
    setup.committer().recover(None, &[]).unwrap();
    assert!(!setup.out().exists());
}

#[test]
fn strange_ids_stay_within_the_folder() {
    let setup = SinkFixture::new();
    let context = ConnectorContext { job_id: "../a-b".to_owned(), node: "x/é".to_owned(), ..setup.context() };
    let mut sink = FileSink::open(Path::new("out"), &context).unwrap();
    let committable = prepare(&mut sink, 1, "one");
    FileCommitter::new(Path::new("out"), &context).commit(&committable).unwrap();
    assert!(setup.out().join("part-%2E%2E%2Fa%2Db-x%2F%C3%A9-000-00000001.txt").is_file());
}

/// A committer of another job, whose sink has the same id and folder.
fn of_another_job(setup: &SinkFixture, path: &str) -> FileCommitter {
    FileCommitter::new(Path::new(path), &ConnectorContext { job_id: "another".to_owned(), ..setup.context() })
}

#[test]
fn another_job_publishes_what_was_promised_and_removes_nothing() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    let one = prepare(&mut sink, 1, "one");
    prepare(&mut sink, 2, "two");
    for _ in 0..2 {
        assert_eq!(of_another_job(&setup, "out").adopt(&one).unwrap(), [""; 0]);
        assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 1));
    }
    // The job that prepared it may publish it as well.
    setup.committer().commit(&one).unwrap();
    setup.committer().recover(Some(1), &one).unwrap();
    assert_eq!((setup.published().as_str(), setup.pending()), ("one ", 0));
}

#[test]
fn a_folder_that_moved_with_all_that_is_in_it_is_no_other() {
    let setup = SinkFixture::new();
    let one = prepare(&mut setup.sink(), 1, "one");
    let error = of_another_job(&setup, "elsewhere").adopt(&one).unwrap_err();
    assert_eq!(error.code, "sink-changed");
    fs::rename(setup.out(), setup.folder.path().join("elsewhere")).unwrap();
    of_another_job(&setup, "elsewhere").adopt(&one).unwrap();
    let name = "part-0123456789abcdef-delays-000-00000001.txt";
    assert!(setup.folder.path().join("elsewhere").join(name).is_file());
}

#[test]
fn a_committable_of_version_1_is_published_or_missed_by_name() {
    let setup = SinkFixture::new();
    let mut sink = setup.sink();
    write(&mut sink, "one");
    sink.prepare(1).unwrap();
    let name = "part-0123456789abcdef-delays-000-00000001.txt".to_owned();
    let part = SinkPart { name: name.clone(), bytes: 4 };
    let version_1 = [super::super::super::position::encode(1, &[part][..]).unwrap()];
    let elsewhere = of_another_job(&setup, "elsewhere");
    assert_eq!(elsewhere.adopt(&version_1).unwrap(), [name], "it does not say where it was");
    assert_eq!(super::super::check_promise(&version_1, None, "delays").unwrap_err().code, "sink-changed");
    assert_eq!(of_another_job(&setup, "out").adopt(&version_1).unwrap(), [""; 0]);
    assert_eq!(setup.published(), "one ");
}
