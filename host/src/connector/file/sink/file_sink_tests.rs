//! The file sink without its committer: the parts that it prepares, and its errors.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::committable;
use super::file_sink::{BUFFER_BYTES, FileSink, check};
use super::sink_part::SinkPart;
use crate::access::AccessPolicy;
use crate::connector::sink::Sink;
use crate::connector::testing::{context, finished, subtask_of};
use crate::format::RecordEncoder;
use crate::model::{Batch, NO_TIMESTAMP};
use crate::pipeline::EncodingSettings;

fn batch(values: &[&str]) -> Batch {
    let mut batch = Batch::default();
    values.iter().for_each(|value| batch.push(value.as_bytes(), NO_TIMESTAMP));
    batch
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_prepared_part_is_complete_and_unpublished() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = FileSink::open(
        Path::new("out"),
        RecordEncoder::new(EncodingSettings::default()),
        &subtask_of(context(folder.path()), 4, 5),
    )
    .unwrap();
    let out = folder.path().join("out");
    assert_eq!(finished(sink.prepare(1).unwrap()), None, "nothing was written");
    sink.write(&batch(&["a", ""])).unwrap();
    sink.write(&batch(&["c"])).unwrap();
    let committable = finished(sink.prepare(2).unwrap()).unwrap();
    let name = "part-0123456789abcdef-delays-004-00000002.txt";
    let prepared = committable::decode(&[committable], "delays").unwrap().remove(0);
    assert_eq!(prepared.folder, Some(out.canonicalize().unwrap()));
    assert_eq!(prepared.parts, [SinkPart { name: name.to_owned(), bytes: 5 }]);
    assert_eq!(names(&out), [".pending"]);
    assert_eq!(names(&out.join(".pending")), [name]);
    assert_eq!(fs::read_to_string(out.join(".pending").join(name)).unwrap(), "a\n\nc\n");
}

#[test]
fn a_part_of_a_failed_checkpoint_is_listed_again_until_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink =
        FileSink::open(Path::new(""), RecordEncoder::new(EncodingSettings::default()), &context(folder.path()))
            .unwrap();
    sink.write(&batch(&["a"])).unwrap();
    let first = finished(sink.prepare(1).unwrap()).unwrap();
    assert_eq!(finished(sink.prepare(2).unwrap()).unwrap(), first);
    sink.write(&batch(&["b"])).unwrap();
    let parts = committable::decode(&[finished(sink.prepare(3).unwrap()).unwrap()], "delays").unwrap().remove(0).parts;
    assert_eq!(parts.len(), 2);
    for part in parts {
        fs::rename(folder.path().join(".pending").join(&part.name), folder.path().join(&part.name)).unwrap();
    }
    assert_eq!(finished(sink.prepare(4).unwrap()), None);
}

#[test]
fn a_checkpoint_that_is_given_up_leaves_its_parts_to_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let encoder = RecordEncoder::new(EncodingSettings::default());
    let mut sink = FileSink::open(Path::new(""), encoder, &context(folder.path())).unwrap();
    sink.write(&batch(&["a"])).unwrap();
    let first = sink.prepare(1).unwrap();
    sink.write(&batch(&["b"])).unwrap();
    let second = sink.prepare(2).unwrap();
    sink.write(&batch(&["c"])).unwrap();
    drop(first);
    let prepared = |checkpoint: u32| format!("part-0123456789abcdef-delays-000-{checkpoint:08}.txt");
    let pending = folder.path().join(".pending");
    assert!(names(&pending).iter().all(|name| name.ends_with(".open")), "the upload gives a part its name");
    let parts = committable::decode(&[finished(second).unwrap()], "delays").unwrap().remove(0).parts;
    assert_eq!(parts.iter().map(|part| part.name.clone()).collect::<Vec<_>>(), [prepared(1), prepared(2)]);
    assert_eq!(names(&pending).iter().filter(|name| name.ends_with(".txt")).count(), 2);
}

#[test]
fn a_part_that_could_not_be_synced_fails_the_next_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let encoder = RecordEncoder::new(EncodingSettings::default());
    let mut sink = FileSink::open(Path::new(""), encoder, &context(folder.path())).unwrap();
    sink.write(&batch(&["a"])).unwrap();
    let prepared = sink.prepare(1).unwrap();
    fs::remove_dir_all(folder.path().join(".pending")).unwrap();
    assert_eq!(prepared.finish.unwrap()().unwrap_err().code, "sink-unwritable");
    assert_eq!(sink.prepare(2).err().expect("an error").code, "sink-unwritable");
}

#[test]
fn dropping_the_sink_removes_the_open_part() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink =
        FileSink::open(Path::new(""), RecordEncoder::new(EncodingSettings::default()), &context(folder.path()))
            .unwrap();
    sink.write(&batch(&["a"])).unwrap();
    sink.flush().unwrap();
    assert_eq!(names(&folder.path().join(".pending")).len(), 1);
    drop(sink);
    assert_eq!(names(&folder.path().join(".pending")), [""; 0]);
}

#[test]
fn a_full_disk_is_reported_with_path_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink =
        FileSink::open_as(Path::new(""), RecordEncoder::new(EncodingSettings::default()), &context(folder.path()), 7)
            .unwrap();
    symlink("/dev/full", &sink.open_path).unwrap();
    sink.write(&batch(&["a"])).unwrap();
    for error in [sink.flush().unwrap_err(), sink.prepare(1).err().expect("an error")] {
        assert_eq!(error.code, "sink-unwritable");
        assert!(error.message.contains(".open") && error.message.contains("No space left"), "{error}");
    }
    let error = sink.write(&batch(&["x".repeat(BUFFER_BYTES + 1).as_str()])).unwrap_err();
    assert!(error.message.contains("No space left"), "{error}");
}

#[test]
fn an_impossible_folder_is_an_error_at_submit_and_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let long = "x".repeat(300);
    for path in [file.join("out"), file.clone(), folder.path().join(&long), folder.path().join("a/nul\0")] {
        let error = check(&path, &AccessPolicy::default()).unwrap_err();
        assert_eq!(error.code, "sink-unwritable");
        let error = FileSink::open(&path, RecordEncoder::new(EncodingSettings::default()), &context(folder.path()))
            .err()
            .expect("an error");
        assert_eq!(error.code, "sink-unwritable");
        // Removes the folder that `open` created before it failed.
        let _ = fs::remove_dir(folder.path().join("a"));
    }
    let error = check(&file.join("out"), &AccessPolicy::default()).unwrap_err();
    assert!(error.message.contains("file/out") && error.message.contains("os error"), "{error}");
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn a_check_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    check(&folder.path().join("a/b/c"), &AccessPolicy::default()).unwrap();
    assert_eq!(names(folder.path()), [""; 0]);
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/mine"), "mine").unwrap();
    check(&folder.path().join("a"), &AccessPolicy::default()).unwrap();
    check(&folder.path().join("a/b"), &AccessPolicy::default()).unwrap();
    let long = "x".repeat(300);
    assert!(check(&folder.path().join("a/b").join(long), &AccessPolicy::default()).is_err());
    assert_eq!(names(&folder.path().join("a")), ["mine"]);
}
