//! The file source on valid and damaged files and folders.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::check::{check, check_headers};
use super::file_source::FileSource;
use super::input_path::FileSettings;
use super::remaining_files::FinishedFiles;
use crate::access::PipelinePaths;
use crate::connector::source::{Poll, Source, SourceCheck};
use crate::connector::testing::{context, drain, subtask_of};
use crate::error::{Error, Result};
use crate::format::SourceDecoding;
use crate::model::Batch;
use crate::pipeline::{DecodingSettings, FileFormat, UndecodablePolicy};

fn settings(path: &str, format: FileFormat, on_undecodable: UndecodablePolicy) -> FileSettings {
    FileSettings { path: path.into(), format, header: format == FileFormat::Csv, on_undecodable, one_header: true }
}

fn open(folder: &Path, path: &str, format: FileFormat, position: Option<&[u8]>) -> Result<FileSource> {
    FileSource::open(settings(path, format, UndecodablePolicy::Fail), &context(folder), position.as_slice())
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

/// Creates a folder with three CSV files, one of them compressed in two members, and with entries to be skipped.
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
fn an_interrupt_ends_the_seek_to_a_restored_position() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.gz"), gzip("one\ntwo\nthree\n")).unwrap();
    let mut source = open(folder.path(), "a.gz", FileFormat::Lines, None).unwrap();
    assert_eq!(poll(&mut source, 1), ["one"]);
    let position = source.snapshot(1).unwrap();
    assert_eq!(drain(&mut open(folder.path(), "a.gz", FileFormat::Lines, Some(&position)).unwrap()), ["two", "three"]);
    let context = context(folder.path());
    context.interrupt.set();
    let opened = FileSource::open(settings("a.gz", FileFormat::Lines, UndecodablePolicy::Fail), &context, &[&position]);
    assert_eq!(opened.err().unwrap().code, "interrupted");
}

const FLIGHTS: [&str; 7] = ["a1,", "a2,y", "b1,\"two\nlines\"", "b2,x", "c1,z", "c2,z", "c3,z"];

#[test]
fn a_folder_is_read_in_order_of_names_and_divided_by_files() {
    let folder = flights();
    assert_eq!(drain(&mut open(folder.path(), "", FileFormat::Csv, None).unwrap()), FLIGHTS);
    let share = |subtask| {
        let context = subtask_of(context(folder.path()), subtask, 2);
        drain(&mut FileSource::open(settings(".", FileFormat::Csv, UndecodablePolicy::Fail), &context, &[]).unwrap())
    };
    assert_eq!(share(0), [&FLIGHTS[..2], &FLIGHTS[4..]].concat());
    assert_eq!(share(1), FLIGHTS[2..4]);
}

#[test]
fn the_position_after_any_record_continues_with_the_next() {
    let folder = flights();
    for taken in 0..=FLIGHTS.len() {
        let mut source = open(folder.path(), "", FileFormat::Csv, None).unwrap();
        assert_eq!(poll(&mut source, taken), FLIGHTS[..taken]);
        let position = source.snapshot(1).unwrap();
        let mut again = open(folder.path(), "", FileFormat::Csv, Some(&position)).unwrap();
        assert_eq!(drain(&mut again), FLIGHTS[taken..]);
        let end = again.snapshot(1).unwrap();
        assert_eq!(drain(&mut open(folder.path(), "", FileFormat::Csv, Some(&end)).unwrap()), [""; 0]);
        assert_eq!(again.remaining.progress.done, FinishedFiles { files: 3, records: 7 });
    }
}

#[test]
fn a_restore_reads_the_files_of_the_position_and_no_newer_ones() {
    let folder = flights();
    let mut source = open(folder.path(), "", FileFormat::Csv, None).unwrap();
    poll(&mut source, 3);
    let position = source.snapshot(1).unwrap();
    fs::write(folder.path().join("aa.csv"), "id,note\nnew,1\n").unwrap();
    fs::remove_file(folder.path().join("a.csv")).unwrap();
    assert_eq!(drain(&mut open(folder.path(), "", FileFormat::Csv, Some(&position)).unwrap()), FLIGHTS[3..]);
    fs::remove_file(folder.path().join("c.csv.gz")).unwrap();
    let error = refused(folder.path(), "", Some(&position));
    assert_eq!(error.code, "source-failed");
    assert!(error.message.contains("`c.csv.gz`"), "{error}");
}

#[test]
fn a_file_that_became_shorter_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (name, long, short) in [
        ("in.txt", b"one\ntwo\nthree\n".to_vec(), b"one\n".to_vec()),
        ("in.gz", gzip("one\ntwo\nthree\n"), gzip("one\n")),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, long).unwrap();
        let mut source = open(folder.path(), name, FileFormat::Lines, None).unwrap();
        assert_eq!(poll(&mut source, 2), ["one", "two"]);
        let position = source.snapshot(1).unwrap();
        fs::write(&path, short).unwrap();
        let error = refused(folder.path(), name, Some(&position));
        assert_eq!(error.code, "source-failed");
        assert!(error.message.contains(name) && error.message.contains("shorter"), "{error}");
    }
}

#[test]
fn damaged_gzip_is_reported_with_file_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..20_000).map(|n| format!("{}\n", n * 7_919)).collect();
    let whole = gzip(&text);
    fs::write(folder.path().join("in.gz"), &whole[..whole.len() / 2]).unwrap();
    let mut source = open(folder.path(), "in.gz", FileFormat::Lines, None).unwrap();
    let mut batch = Batch::default();
    let error = loop {
        match source.poll(&mut batch, 100) {
            Ok(Poll::Records(_)) => {}
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
fn a_row_that_never_ends_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("id\n1\n\"{}", "x\n".repeat(9 << 20));
    fs::write(folder.path().join("in.csv"), text).unwrap();
    let mut source = open(folder.path(), "in.csv", FileFormat::Csv, None).unwrap();
    assert_eq!(poll(&mut source, 1), ["1"]);
    let error = source.poll(&mut Batch::default(), 1).unwrap_err();
    assert_eq!(error.code, "record-undecodable");
    assert!(
        error.message.contains("line 3, byte 5 of ") && error.message.contains("not closed within 16 MiB"),
        "{error}"
    );
}

#[test]
fn an_invalid_position_is_corrupt() {
    let folder = flights();
    let position = open(folder.path(), "", FileFormat::Csv, None).unwrap().snapshot(1).unwrap();
    for end in 0..position.len() {
        assert_eq!(refused(folder.path(), "", Some(&position[..end])).code, "checkpoint-corrupt");
    }
    assert_eq!(refused(folder.path(), "", Some(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f])).code, "checkpoint-corrupt");
}

#[test]
fn a_check_at_submit_reports_missing_files_and_reads_the_header() {
    let folder = flights();
    let check = |path: &str, format, header| {
        let settings = FileSettings { header, ..settings(path, format, UndecodablePolicy::Fail) };
        check(&settings, &PipelinePaths::unrestricted(folder.path()), SourceCheck::Submit)
    };
    let names = vec!["id".to_owned(), "note".to_owned()];
    assert_eq!(check("", FileFormat::Csv, true).unwrap(), Some(names));
    assert_eq!(check("a.csv", FileFormat::Csv, false).unwrap(), None);
    assert_eq!(check("a.csv", FileFormat::Ndjson, false).unwrap(), None);
    assert_eq!(check("a.csv", FileFormat::Lines, false).unwrap(), None);
    let missing = check("d.csv", FileFormat::Lines, false).unwrap_err();
    assert_eq!(missing.code, "source-missing");
    assert!(missing.message.contains("d.csv"));
    assert_eq!(check("nested", FileFormat::Lines, false).unwrap_err().code, "source-missing");
    // A device or a pipe may block forever and cannot be read again.
    assert_eq!(check("/dev/null", FileFormat::Lines, false).unwrap_err().code, "path-denied");
    fs::write(folder.path().join("d.csv"), "note,id\n").unwrap();
    assert!(check("", FileFormat::Csv, true).is_ok());
    let headers = |wants_raw, fields: &str| {
        let raw = SourceDecoding::raw(FileFormat::Csv, DecodingSettings::default(), None);
        let decoding = SourceDecoding { wants_raw, rows: vec![Arc::new(fields.parse().unwrap())], ..raw };
        check_headers(
            &settings("", FileFormat::Csv, UndecodablePolicy::Fail),
            &PipelinePaths::unrestricted(folder.path()),
            &decoding,
        )
    };
    let mixed = headers(true, "{id:string}").unwrap_err();
    assert!(mixed.message.contains("d.csv") && mixed.message.contains("a.csv"), "{mixed}");
    headers(false, "{id:string}").unwrap();
    fs::write(folder.path().join("d.csv"), "note,idd\n").unwrap();
    headers(false, "{id:string?}").unwrap();
    let missing = headers(false, "{id:string}").unwrap_err();
    assert!(missing.message.contains("d.csv`: there is no column `id`; did you mean `idd`?"), "{missing}");
}

#[test]
fn a_poll_ends_after_enough_bytes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in"), format!("{}\n", "x".repeat(600 << 10)).repeat(5)).unwrap();
    let mut source = open(folder.path(), "in", FileFormat::Lines, None).unwrap();
    let polls: Vec<usize> = (0..4).map(|_| poll(&mut source, 1_000).len()).collect();
    assert_eq!(polls, [2, 2, 1, 0]);
}

#[test]
fn files_are_dealt_out_again_at_another_parallelism() {
    let folder = flights();
    let open = |subtask, parallelism, positions: &[&[u8]]| {
        let context = subtask_of(context(folder.path()), subtask, parallelism);
        FileSource::open(settings("", FileFormat::Csv, UndecodablePolicy::Fail), &context, positions)
    };
    for (before, after) in [(1, 2), (1, 4), (2, 1), (2, 3), (3, 2), (4, 2)] {
        let mut read = Vec::new();
        let mut positions = Vec::new();
        for subtask in 0..before {
            let mut source = open(subtask, before, &[]).unwrap();
            // The first subtask stops behind its first file, the others within theirs.
            read.extend(poll(&mut source, if subtask == 0 { 3 } else { 1 }));
            assert_eq!(source.remaining.progress.done.files, u64::from(subtask == 0));
            positions.push(source.snapshot(1).unwrap());
        }
        let positions: Vec<&[u8]> = positions.iter().map(Vec::as_slice).collect();
        let mut done = 0;
        for subtask in 0..after {
            let mut source = open(subtask, after, &positions).unwrap();
            read.extend(drain(&mut source));
            done += source.remaining.progress.done.files;
        }
        read.sort();
        assert_eq!(read, FLIGHTS, "{before} to {after}");
        assert_eq!(done, 3, "a finished file still counts");
    }
    let twice = open(0, 1, &[]).unwrap().snapshot(1).unwrap();
    assert_eq!(open(0, 1, &[&twice, &twice]).err().unwrap().code, "checkpoint-corrupt");
}

/// Files are often in order of event time: the records of a file that is read too late are late.
#[test]
fn files_are_read_in_order_of_names_whatever_other_subtasks_had_read() {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..6 {
        std::fs::write(folder.path().join(file.to_string()), format!("{file}0\n{file}1\n")).unwrap();
    }
    let open = |subtask, parallelism, positions: &[&[u8]]| {
        let context = subtask_of(context(folder.path()), subtask, parallelism);
        FileSource::open(settings("", FileFormat::Lines, UndecodablePolicy::Fail), &context, positions).unwrap()
    };
    for (reads, after) in (0..4 * 4 * 4).flat_map(|reads| [(reads, 1), (reads, 2)]) {
        let reads = [reads % 4, reads / 4 % 4, reads / 16];
        let positions: Vec<Vec<u8>> = (0..3)
            .map(|subtask| {
                let mut source = open(subtask, 3, &[]);
                (0..reads[subtask as usize]).for_each(|_| assert_eq!(poll(&mut source, 1).len(), 1));
                source.snapshot(1).unwrap()
            })
            .collect();
        let positions: Vec<&[u8]> = positions.iter().map(Vec::as_slice).collect();
        let mut left = 12 - reads.iter().sum::<usize>();
        for subtask in 0..after {
            let mut source = open(subtask, after, &positions);
            let first = poll(&mut source, 1);
            // The position of the new subtask can be restored as well.
            let position = source.snapshot(1).unwrap();
            let rest = drain(&mut open(subtask, after, &vec![&position[..]; after as usize]));
            let read = [first, rest].concat();
            assert!(read.is_sorted(), "{reads:?} to {after}: {read:?}");
            left -= read.len();
        }
        assert_eq!(left, 0, "{reads:?} to {after}");
    }
}

#[test]
fn a_position_of_version_1_can_be_restored() {
    let folder = flights();
    // `a.csv` is finished at byte 17 with 2 records, `b.csv` is unread, `c.csv.gz` is finished.
    let mut old = vec![1, 3];
    for (name, split) in [("a.csv", [17, 2, 1]), ("b.csv", [0, 0, 0]), ("c.csv.gz", [24, 3, 1])] {
        old.push(name.len() as u8);
        old.extend(name.bytes());
        old.extend(split);
    }
    let mut source = open(folder.path(), "", FileFormat::Csv, Some(&old)).unwrap();
    let new = source.snapshot(1).unwrap();
    assert_eq!(new[0], 2, "positions are written in version 2");
    assert_eq!(drain(&mut source), FLIGHTS[2..4]);
    assert_eq!(source.remaining.progress.done, FinishedFiles { files: 3, records: 7 });
    assert_eq!(drain(&mut open(folder.path(), "", FileFormat::Csv, Some(&new)).unwrap()), FLIGHTS[2..4]);
}

/// Reads a source in polls of 3 records up to its end or an error. Returns the records, the number of skipped ones and the
/// error.
fn read_until(source: &mut FileSource) -> (Vec<String>, u64, Option<Error>) {
    let (mut all, mut skipped) = (Vec::new(), 0);
    loop {
        let mut batch = Batch::default();
        let poll = source.poll(&mut batch, 3);
        all.extend(batch.values.iter().map(|value| String::from_utf8_lossy(value).into_owned()));
        skipped += source.take_skipped();
        match poll {
            Ok(Poll::End) => return (all, skipped, None),
            Ok(_) => {}
            Err(error) => return (all, skipped, Some(error)),
        }
    }
}

#[test]
fn records_before_a_defect_are_returned_and_a_restore_finds_the_defect_again() {
    let folder = tempfile::tempdir().unwrap();
    let cut = gzip("id,note\n1,a\n2,b\n3,c\n4,\"d\n5,e\n");
    let garbage = [gzip("id,note\n1,a\n2,b\n3,c\n"), b"garbage".to_vec()].concat();
    let long = format!("id,note\n1,a\n2,b\n3,c\n4,{}\n5,e\n", "x".repeat(17 << 20));
    for (name, bytes, code, words) in [
        ("in.csv", b"id,note\n1,a\n2,b\n3,c\n4,\"d\n5,e\n".to_vec(), "record-undecodable", "line 5, byte 22 of "),
        ("in.csv.gz", cut, "record-undecodable", "line 5, byte 22 of "),
        ("long.csv", long.into_bytes(), "record-undecodable", "line 5, byte 20 of "),
        ("garbage.csv.gz", garbage, "source-failed", "failed at byte 20: the bytes after the gzip data"),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
        let mut source = open(folder.path(), name, FileFormat::Csv, None).unwrap();
        let (records, _, error) = read_until(&mut source);
        let error = error.expect(name);
        assert_eq!(records, ["1,a", "2,b", "3,c"], "{name}");
        assert_eq!(error.code, code, "{name}: {error}");
        assert!(error.message.contains(words) && error.message.contains(name), "{name}: {error}");
        let position = source.snapshot(1).unwrap();
        let again = read_until(&mut source).2.expect("another poll fails again");
        assert_eq!(again.code, code);
        let mut restored = open(folder.path(), name, FileFormat::Csv, Some(&position)).unwrap();
        let (records, _, error) = read_until(&mut restored);
        assert!(records.is_empty() && error.is_some_and(|error| error.code == code), "{name}");
    }
}

#[test]
fn a_defect_costs_one_line_and_is_counted_once_from_any_position() {
    let folder = tempfile::tempdir().unwrap();
    let text = "id,note\n1,a\n2,\"b\n3,c\n4,\"d\ne\"\n5,\"f\n6,g\n";
    for (name, bytes) in [("in.csv", text.as_bytes().to_vec()), ("in.csv.gz", gzip(text))] {
        fs::write(folder.path().join(name), bytes).unwrap();
        let settings = || settings(name, FileFormat::Csv, UndecodablePolicy::Skip);
        let context = context(folder.path());
        let expected = ["1,a", "3,c", "4,\"d\ne\"", "6,g"];
        for first in 0..=expected.len() {
            let mut source = FileSource::open(settings(), &context, &[]).unwrap();
            let mut before = Batch::default();
            source.poll(&mut before, first).unwrap();
            let counted = source.take_skipped();
            let position = source.snapshot(1).unwrap();
            let mut restored = FileSource::open(settings(), &context, &[&position]).unwrap();
            let (after, skipped, error) = read_until(&mut restored);
            assert!(error.is_none(), "{error:?}");
            let before = before.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap());
            assert_eq!(before.chain(after).collect::<Vec<_>>(), expected, "{name} {first}");
            assert_eq!(counted + skipped, 2, "{name} {first}");
        }
    }
}

#[test]
fn records_that_are_given_back_are_returned_again() {
    let folder = flights();
    for (taken, back) in [(0, 0), (1, 1), (3, 1), (3, 3), (5, 4), (7, 5), (7, 7)] {
        let mut source = open(folder.path(), "", FileFormat::Csv, None).unwrap();
        assert_eq!(poll(&mut source, taken), FLIGHTS[..taken]);
        source.give_back(back).unwrap();
        let position = source.snapshot(1).unwrap();
        assert_eq!(drain(&mut source), FLIGHTS[taken - back..], "{taken} {back}");
        assert_eq!(source.remaining.progress.done, FinishedFiles { files: 3, records: 7 });
        let mut restored = open(folder.path(), "", FileFormat::Csv, Some(&position)).unwrap();
        assert_eq!(drain(&mut restored), FLIGHTS[taken - back..], "{taken} {back}");
    }
    let mut source = open(folder.path(), "", FileFormat::Csv, None).unwrap();
    poll(&mut source, 3);
    let location = source.locate(2, &|| false).unwrap().with_byte();
    assert!(location.contains("line 2, byte 12 of ") && location.contains("b.csv"), "{location}");
}

#[test]
fn gzip_is_recognized_by_its_content_and_may_be_padded() {
    let folder = tempfile::tempdir().unwrap();
    let text = "id,note\n1,a\n2,b\n";
    let padded = [gzip(text), vec![0; 100_000]].concat();
    let between = [gzip("id,note\n1,a\n"), vec![0; 300], gzip("2,"), gzip(""), gzip("b\n"), vec![0; 5]].concat();
    let marked = [gzip("\u{feff}id,note\n1,a\n"), gzip("\u{feff}2,b\n")].concat();
    for (name, bytes) in [("a.csv", gzip(text)), ("b.csv.gz", padded), ("c.csv.gz", between), ("d.csv", marked)] {
        fs::write(folder.path().join(name), bytes).unwrap();
        let mut source = open(folder.path(), name, FileFormat::Csv, None).unwrap();
        assert_eq!(poll(&mut source, 1), ["1,a"], "{name}");
        let position = source.snapshot(1).unwrap();
        assert_eq!(drain(&mut source), ["2,b"], "{name}");
        assert_eq!(drain(&mut open(folder.path(), name, FileFormat::Csv, Some(&position)).unwrap()), ["2,b"], "{name}");
    }
    fs::write(folder.path().join("empty.gz"), b"").unwrap();
    assert_eq!(drain(&mut open(folder.path(), "empty.gz", FileFormat::Lines, None).unwrap()), [""; 0]);
}

#[test]
fn another_encoding_is_an_error_at_submit_and_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("a.csv", b"\xff\xfek\0,\0t\0\n\0a\0,\x001\0\n\0");
    write("b.csv", b"\x28\xb5\x2f\xfd and so on");
    write("c.csv.gz", &gzip("k\0,\0t\0\n\0"));
    for (name, encoding) in [("a.csv", "UTF-16"), ("b.csv", "zstd"), ("c.csv.gz", "UTF-16")] {
        for format in [FileFormat::Csv, FileFormat::Ndjson, FileFormat::Lines] {
            let settings = settings(name, format, UndecodablePolicy::Skip);
            let at_submit =
                check(&settings, &PipelinePaths::unrestricted(folder.path()), SourceCheck::Submit).unwrap_err();
            let (records, _, error) =
                read_until(&mut FileSource::open(settings, &context(folder.path()), &[]).unwrap());
            for error in [at_submit, error.unwrap()] {
                assert_eq!(error.code, "source-encoding");
                assert!(error.message.contains(name) && error.message.contains(encoding), "{error}");
            }
            assert!(records.is_empty());
        }
    }
}

#[cfg(unix)]
#[test]
fn an_attempt_skips_unusable_entries_and_a_submit_reports_them() {
    use std::os::unix::ffi::OsStrExt;
    let folder = flights();
    let dangling = folder.path().join("d.csv");
    let odd = folder.path().join(OsStr::from_bytes(b"e\xff.csv"));
    let fresh = settings("", FileFormat::Csv, UndecodablePolicy::Fail);
    let mut source = open(folder.path(), "", FileFormat::Csv, None).unwrap();
    poll(&mut source, 3);
    let position = source.snapshot(1).unwrap();
    for (name, words) in
        [(&dangling, "d.csv` is a link to a file that does not exist"), (&odd, "has a name that is not UTF-8")]
    {
        match name == &dangling {
            true => std::os::unix::fs::symlink("nowhere", name).unwrap(),
            false => fs::write(name, "id,note\n1,1\n").unwrap(),
        }
        let refused = check(&fresh, &PipelinePaths::unrestricted(folder.path()), SourceCheck::Submit).unwrap_err();
        assert!(refused.message.contains(words), "{refused}");
        for positions in [&[][..], &[&position[..]]] {
            let columns = Some(vec!["id".to_owned(), "note".to_owned()]);
            assert_eq!(
                check(&fresh, &PipelinePaths::unrestricted(folder.path()), SourceCheck::Attempt { positions }).unwrap(),
                columns
            );
            let mut source = FileSource::open(fresh.clone(), &context(folder.path()), positions).unwrap();
            assert_eq!(drain(&mut source), FLIGHTS[if positions.is_empty() { 0 } else { 3 }..]);
        }
        fs::remove_file(name).unwrap();
    }
}

#[test]
fn a_restored_attempt_checks_only_the_files_that_it_reads() {
    let folder = flights();
    let mut source = open(folder.path(), "", FileFormat::Csv, None).unwrap();
    poll(&mut source, 6);
    let position = source.snapshot(1).unwrap();
    fs::write(folder.path().join("aa.csv"), "other,columns,here\n").unwrap();
    fs::write(folder.path().join("bb.csv"), b"\xff\xfek\0").unwrap();
    fs::remove_file(folder.path().join("a.csv")).unwrap();
    let settings = settings("", FileFormat::Csv, UndecodablePolicy::Fail);
    let columns = Some(vec!["id".to_owned(), "note".to_owned()]);
    assert_eq!(
        check(&settings, &PipelinePaths::unrestricted(folder.path()), SourceCheck::Attempt { positions: &[&position] })
            .unwrap(),
        columns
    );
    assert_eq!(drain(&mut source), FLIGHTS[6..]);
    let end = source.snapshot(1).unwrap();
    drop(folder);
    let gone = tempfile::tempdir().unwrap();
    assert_eq!(
        check(&settings, &PipelinePaths::unrestricted(gone.path()), SourceCheck::Attempt { positions: &[&end] })
            .unwrap(),
        columns
    );
    assert_eq!(drain(&mut open(gone.path(), "", FileFormat::Csv, Some(&end)).unwrap()), [""; 0]);
}

#[test]
fn a_file_with_another_header_is_an_error_when_it_is_read() {
    let folder = flights();
    let mut source = open(folder.path(), "", FileFormat::Csv, None).unwrap();
    poll(&mut source, 1);
    fs::write(folder.path().join("b.csv"), "note,id\n1,2\n").unwrap();
    let (records, _, error) = read_until(&mut source);
    let error = error.unwrap();
    assert_eq!(records, ["a2,y"]);
    assert!(error.code == "source-failed" && error.message.contains("b.csv"), "{error}");
}

#[test]
fn a_poll_over_many_empty_files_ends() {
    let folder = tempfile::tempdir().unwrap();
    (0..200).for_each(|number| fs::write(folder.path().join(format!("{number:03}")), b"").unwrap());
    let mut source = open(folder.path(), "", FileFormat::Lines, None).unwrap();
    let mut polls = 0;
    while source.poll(&mut Batch::default(), 10).unwrap() != Poll::End {
        polls += 1;
    }
    assert!(polls > 5, "the subtask handles barriers and a cancel between {polls} polls");
}
