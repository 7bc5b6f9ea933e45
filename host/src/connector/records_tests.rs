//! Splitting against the crate `csv`, and against inputs that arrive in any pieces.

use std::io::{self, Cursor, Read};

use proptest::prelude::*;

use super::{Fill, RECORD_BYTES_MAX, Records};
use crate::manifest::FileFormat;

/// Gives at most `step` bytes per read.
struct Pieces<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.step.min(into.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(count);
        into[..count].copy_from_slice(now);
        self.bytes = later;
        Ok(count)
    }
}

/// Every record with the offset behind it.
fn split(bytes: &[u8], format: FileFormat, step: usize) -> Vec<(Vec<u8>, u64)> {
    let mut records = Records::new(Pieces { bytes, step }, format, 0);
    let mut all = Vec::new();
    loop {
        while let Some(record) = records.next() {
            let record = record.to_vec();
            all.push((record, records.offset()));
        }
        match records.fill().unwrap() {
            Fill::More => {}
            // What was left without a line end.
            Fill::End => match records.next().map(<[u8]>::to_vec) {
                Some(record) => all.push((record, records.offset())),
                None => return all,
            },
            other => panic!("{other:?}"),
        }
    }
}

fn values(bytes: &[u8], format: FileFormat) -> Vec<String> {
    split(bytes, format, 7).into_iter().map(|(record, _)| String::from_utf8(record).unwrap()).collect()
}

#[test]
fn lines_end_as_people_write_them() {
    assert_eq!(values(b"a\r\nb\n\nc", FileFormat::Lines), ["a", "b", "", "c"]);
    assert_eq!(values(b"a\n", FileFormat::Lines), ["a"]);
    assert_eq!(values(b"\n", FileFormat::Lines), [""]);
    assert_eq!(values(b"", FileFormat::Lines), [""; 0]);
    assert_eq!(values(b"{}\n\r\n\n[1]\n", FileFormat::Ndjson), ["{}", "[1]"]);
}

#[test]
fn rows_keep_their_quotes_and_their_line_ends_within_quotes() {
    let rows = values(b"a,\"b\r\nb\",c\r\n\r\n\"x\"\"\n\",y\nq\"\n\"\"", FileFormat::Csv);
    assert_eq!(rows, ["a,\"b\r\nb\",c", "\"x\"\"\n\",y", "q\"", "\"\""]);
}

#[test]
fn a_record_without_an_end_is_refused() {
    let mut records = Records::new(io::repeat(b'x'), FileFormat::Lines, 0);
    let mut last = Fill::More;
    while last == Fill::More {
        assert!(records.next().is_none());
        last = records.fill().unwrap();
    }
    assert_eq!(last, Fill::TooLong);

    let mut longest = vec![b'x'; RECORD_BYTES_MAX - 1];
    longest.push(b'\n');
    let all = split(&longest, FileFormat::Csv, usize::MAX);
    assert_eq!((all.len(), all[0].0.len()), (1, RECORD_BYTES_MAX - 1));
}

#[test]
fn a_mark_is_stepped_over_where_there_is_one() {
    let mut records = Records::new(Cursor::new(b"\xef\xbb\xbfa\n"), FileFormat::Csv, 0);
    records.skip_mark(b"\xef\xbb\xbf").unwrap();
    assert_eq!(records.next(), Some(&b"a"[..]));
    assert_eq!(records.offset(), 5);
    let mut short = Records::new(Cursor::new(b"a"), FileFormat::Csv, 0);
    short.skip_mark(b"\xef\xbb\xbf").unwrap();
    assert_eq!(short.next(), Some(&b"a"[..]));
}

/// Bytes of which most mean something to a reader of CSV.
fn csv_like() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(b"\"\"\"\n\n\r,,,ab\xc3 ".to_vec());
    prop::collection::vec(byte, 0..60)
}

fn fields(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes)
        .into_byte_records()
        .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_those_of_the_csv_crate(bytes in csv_like(), step in 1_usize..9) {
        let rows = split(&bytes, FileFormat::Csv, step);
        let ours: Vec<_> = rows.iter().flat_map(|(row, _)| fields(row)).collect();
        prop_assert_eq!(rows.len(), ours.len());
        prop_assert_eq!(ours, fields(&bytes));
    }

    #[test]
    fn reading_on_from_any_record_gives_the_same_rest(bytes in csv_like(), step in 1_usize..9) {
        for format in [FileFormat::Lines, FileFormat::Csv, FileFormat::Ndjson] {
            let all = split(&bytes, format, usize::MAX);
            prop_assert_eq!(&split(&bytes, format, step), &all);
            for (index, (_, offset)) in all.iter().enumerate() {
                let rest = split(&bytes[*offset as usize..], format, step);
                let rest: Vec<_> = rest.into_iter().map(|(record, _)| record).collect();
                let expected: Vec<_> = all[index + 1..].iter().map(|(record, _)| record.clone()).collect();
                prop_assert_eq!(rest, expected);
            }
        }
    }
}
