//! The file source against folders and files as people have them, good and damaged.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::super::fixtures::{context, drain, subtask_of};
use super::super::check_source;
use super::*;
use crate::error::Error;
use crate::manifest::Format;

fn open(folder: &Path, path: &str, format: FileFormat, position: Option<&[u8]>) -> Result<FileSource> {
    FileSource::open(Path::new(path), format, format == FileFormat::Csv, &context(folder), position.as_slice())
}

fn refused(folder: &Path, path: &str, position: Option<&[u8]>) -> Error {
    open(folder, path, FileFormat::Lines, position).err().expect("an error")
}

fn poll(source: &mut FileSource, records: usize) -> Vec<String> {
    let mut batch = Batch::default();
    source.poll(&mut batch, records).unwrap();
    batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Three CSV files, one of them compressed in two members, and names to be passed over.
fn flights() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("b.csv", b"\xef\xbb\xbfid,note\r\nb1,\"two\nlines\"\r\n\r\nb2,x");
    write("a.csv", b"id,note\na1,\na2,y\n");
    write("c.csv.gz", &[gzip("id,note\nc1,z\nc2"), gzip(",z\nc3,z\n")].concat());
    write("_unfinished", b"no");
    write(".hidden", b"no");
    fs::create_dir(folder.path().join("nested")).unwrap();
    folder
}

#[test]
fn the_place_to_go_on_from_is_not_looked_for_once_that_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.gz"), gzip("one\ntwo\nthree\n")).unwrap();
    let mut source = open(folder.path(), "a.gz", FileFormat::Lines, None).unwrap();
    assert_eq!(poll(&mut source, 1), ["one"]);
    let position = source.position().unwrap();
    assert_eq!(drain(&mut open(folder.path(), "a.gz", FileFormat::Lines, Some(&position)).unwrap()), ["two", "three"]);
    let context = context(folder.path());
    context.interrupt.set();
    let opened = FileSource::open(Path::new("a.gz"), FileFormat::Lines, false, &context, &[&position]);
    assert_eq!(opened.err().unwrap().code, "interrupted");
}

const FLIGHTS: [&str; 7] = ["a1,", "a2,y", "b1,\"two\nlines\"", "b2,x", "c1,z", "c2,z", "c3,z"];

#[test]
fn a_folder_is_read_in_order_of_names_and_shared_by_files() {
    let folder = flights();
    assert_eq!(drain(&mut open(folder.path(), "", FileFormat::Csv, None).unwrap()), FLIGHTS);
    let share = |subtask| {
        let context = subtask_of(context(folder.path()), subtask, 2);
        drain(&mut FileSource::open(Path::new("."), FileFormat::Csv, true, &context, &[]).unwrap())
    };
    assert_eq!(share(0), [&FLIGHTS[..2], &FLIGHTS[4..]].concat());
    assert_eq!(share(1), FLIGHTS[2..4]);
}

#[test]
fn the_position_after_any_record_goes_on_with_the_next() {
    let folder = flights();
    for taken in 0..=FLIGHTS.len() {
        let mut source = open(folder.path(), "", FileFormat::Csv, None).unwrap();
        assert_eq!(poll(&mut source, taken), FLIGHTS[..taken]);
        let position = source.position().unwrap();
        let mut again = open(folder.path(), "", FileFormat::Csv, Some(&position)).unwrap();
        assert_eq!(drain(&mut again), FLIGHTS[taken..]);
        let end = again.position().unwrap();
        assert_eq!(drain(&mut open(folder.path(), "", FileFormat::Csv, Some(&end)).unwrap()), [""; 0]);
        assert_eq!(again.splits.iter().map(|split| split.records).sum::<u64>(), 7);
    }
}

#[test]
fn a_restore_reads_the_files_that_there_were() {
    let folder = flights();
    let mut source = open(folder.path(), "", FileFormat::Csv, None).unwrap();
    poll(&mut source, 3);
    let position = source.position().unwrap();
    fs::write(folder.path().join("aa.csv"), "id,note\nnew,1\n").unwrap();
    fs::remove_file(folder.path().join("a.csv")).unwrap();
    assert_eq!(drain(&mut open(folder.path(), "", FileFormat::Csv, Some(&position)).unwrap()), FLIGHTS[3..]);
    fs::remove_file(folder.path().join("c.csv.gz")).unwrap();
    let error = refused(folder.path(), "", Some(&position));
    assert_eq!(error.code, "source-failed");
    assert!(error.message.contains("`c.csv.gz`"), "{error}");
}

#[test]
fn a_file_that_became_shorter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, long, short) in [
        ("in.txt", b"one\ntwo\nthree\n".to_vec(), b"one\n".to_vec()),
        ("in.gz", gzip("one\ntwo\nthree\n"), gzip("one\n")),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, long).unwrap();
        let mut source = open(folder.path(), name, FileFormat::Lines, None).unwrap();
        assert_eq!(poll(&mut source, 2), ["one", "two"]);
        let position = source.position().unwrap();
        fs::write(&path, short).unwrap();
        let error = refused(folder.path(), name, Some(&position));
        assert_eq!(error.code, "source-failed");
        assert!(error.message.contains(name) && error.message.contains("shorter"), "{error}");
    }
}

#[test]
fn a_damaged_gzip_is_told_with_file_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..20_000).map(|n| format!("{}\n", n * 7_919)).collect();
    let whole = gzip(&text);
    fs::write(folder.path().join("in.gz"), &whole[..whole.len() / 2]).unwrap();
    let mut source = open(folder.path(), "in.gz", FileFormat::Lines, None).unwrap();
    let mut batch = Batch::default();
    let error = loop {
        match source.poll(&mut batch, 100) {
            Ok(Poll::Records) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, "source-failed");
    assert!(error.message.contains("in.gz") && error.message.contains("at byte"), "{error}");
    assert!(batch.len() > 1_000 && batch.values.value(999) == (999 * 7_919).to_string().as_bytes());

    fs::write(folder.path().join("in.gz"), b"no gzip at all").unwrap();
    let mut source = open(folder.path(), "in.gz", FileFormat::Lines, None).unwrap();
    assert_eq!(source.poll(&mut batch, 1).unwrap_err().code, "source-failed");
}

#[test]
fn a_row_that_never_ends_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("id\n1\n\"{}", "x\n".repeat(9 << 20));
    fs::write(folder.path().join("in.csv"), text).unwrap();
    let mut source = open(folder.path(), "in.csv", FileFormat::Csv, None).unwrap();
    assert_eq!(poll(&mut source, 1), ["1"]);
    let error = source.poll(&mut Batch::default(), 1).unwrap_err();
    assert_eq!(error.code, "source-failed");
    assert!(error.message.contains("byte 5 ") && error.hint.unwrap().contains("quote"));
}

#[test]
fn a_position_that_is_no_position_is_corrupt() {
    let folder = flights();
    let position = open(folder.path(), "", FileFormat::Csv, None).unwrap().position().unwrap();
    for end in 0..position.len() {
        assert_eq!(refused(folder.path(), "", Some(&position[..end])).code, "checkpoint-corrupt");
    }
    assert_eq!(refused(folder.path(), "", Some(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f])).code, "checkpoint-corrupt");
}

#[test]
fn a_check_at_submit_names_what_is_missing_and_reads_the_header() {
    let folder = flights();
    let check = |path: &str, format, header| check_source(&folder.path().join(path), format, header);
    let names = vec!["id".to_owned(), "note".to_owned()];
    assert_eq!(check("", FileFormat::Csv, true).unwrap(), Format::Csv(Some(names)));
    assert_eq!(check("a.csv", FileFormat::Csv, false).unwrap(), Format::Csv(None));
    assert_eq!(check("a.csv", FileFormat::Ndjson, false).unwrap(), Format::Json);
    assert_eq!(check("a.csv", FileFormat::Lines, false).unwrap(), Format::Raw);
    let missing = check("d.csv", FileFormat::Lines, false).unwrap_err();
    assert_eq!(missing.code, "source-missing");
    assert!(missing.message.contains("d.csv"));
    assert_eq!(check("nested", FileFormat::Lines, false).unwrap_err().code, "source-missing");
    // A device or a pipe could block for ever, and cannot be read again.
    assert_eq!(check("/dev/null", FileFormat::Lines, false).unwrap_err().code, "source-missing");
    fs::write(folder.path().join("d.csv"), "note,id\n").unwrap();
    let mixed = check("", FileFormat::Csv, true).unwrap_err();
    assert!(mixed.message.contains("d.csv") && mixed.message.contains("a.csv"), "{mixed}");
}

#[test]
fn a_poll_ends_by_bytes_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in"), format!("{}\n", "x".repeat(600 << 10)).repeat(5)).unwrap();
    let mut source = open(folder.path(), "in", FileFormat::Lines, None).unwrap();
    let polls: Vec<usize> = (0..4).map(|_| poll(&mut source, 1_000).len()).collect();
    assert_eq!(polls, [2, 2, 1, 0]);
}

#[test]
fn files_are_dealt_anew_at_another_parallelism() {
    let folder = flights();
    let open = |subtask, parallelism, positions: &[&[u8]]| {
        let context = subtask_of(context(folder.path()), subtask, parallelism);
        FileSource::open(Path::new(""), FileFormat::Csv, true, &context, positions)
    };
    for (before, after) in [(1, 2), (1, 4), (2, 1), (2, 3), (3, 2), (4, 2)] {
        let mut read = Vec::new();
        let mut positions = Vec::new();
        for subtask in 0..before {
            let mut source = open(subtask, before, &[]).unwrap();
            // Behind the first file of the first subtask, and within those of the others.
            read.extend(poll(&mut source, if subtask == 0 { 3 } else { 1 }));
            assert_eq!(source.splits.first().is_some_and(|split| split.done), subtask == 0);
            positions.push(source.position().unwrap());
        }
        let positions: Vec<&[u8]> = positions.iter().map(Vec::as_slice).collect();
        let mut splits = 0;
        for subtask in 0..after {
            let mut source = open(subtask, after, &positions).unwrap();
            splits += source.splits.len();
            read.extend(drain(&mut source));
        }
        read.sort();
        assert_eq!(read, FLIGHTS, "{before} to {after}");
        assert_eq!(splits, 3, "a file that is done is not forgotten");
    }
    let twice = open(0, 1, &[]).unwrap().position().unwrap();
    assert_eq!(open(0, 1, &[&twice, &twice]).err().unwrap().code, "checkpoint-corrupt");
}

#[test]
fn a_position_of_version_1_is_still_read() {
    let folder = flights();
    // `a.csv` done behind byte 17 and 2 records; `b.csv` at its beginning; `c.csv.gz` done.
    let mut old = vec![1, 3];
    for (name, split) in [("a.csv", [17, 2, 1]), ("b.csv", [0, 0, 0]), ("c.csv.gz", [24, 3, 1])] {
        old.push(name.len() as u8);
        old.extend(name.bytes());
        old.extend(split);
    }
    let source = open(folder.path(), "", FileFormat::Csv, Some(&old));
    assert_eq!(source.as_ref().unwrap().position().unwrap(), old);
    assert_eq!(drain(&mut source.unwrap()), FLIGHTS[2..4]);
}
