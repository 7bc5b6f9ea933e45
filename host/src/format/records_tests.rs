//! Splitting compared with the crate `csv`, and with inputs that arrive in pieces of any size.

use std::io::{self, Read};

use proptest::prelude::*;

use super::records::{Defect, Fill, RECORD_BYTES_MAX, RecordInput, RecordSplitter};
use crate::pipeline::FileFormat;

/// Returns at most `step` bytes per read.
struct ChunkedInput<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for ChunkedInput<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.step.min(into.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(count);
        into[..count].copy_from_slice(now);
        self.bytes = later;
        Ok(count)
    }
}

/// Returns every record with the offset behind it, and the outcome that stopped the reading before the end.
fn split_until(bytes: &[u8], format: FileFormat, step: usize) -> (Vec<(Vec<u8>, u64)>, Option<Fill>) {
    let mut records = RecordSplitter::new(ChunkedInput { bytes, step }, format, 0);
    let mut all = Vec::new();
    loop {
        while let Some(record) = records.next_record() {
            let record = record.to_vec();
            all.push((record, records.offset()));
        }
        match records.fill().unwrap() {
            Fill::More => {}
            Fill::End => return (all, None),
            other => {
                assert_eq!(records.next_record(), None);
                assert_eq!(records.fill().unwrap(), other, "the result stays the same");
                return (all, Some(other));
            }
        }
    }
}

/// Returns every record with the offset behind it.
fn split(bytes: &[u8], format: FileFormat, step: usize) -> Vec<(Vec<u8>, u64)> {
    let (all, stopped) = split_until(bytes, format, step);
    assert_eq!(stopped, None);
    all
}

/// Skips defective records. Returns the other records with the offset behind each, and the number of skipped ones.
fn split_skipping(input: impl RecordInput, format: FileFormat) -> (Vec<(Vec<u8>, u64)>, u64) {
    let mut records = RecordSplitter::new(input, format, 0);
    let (mut all, mut skipped) = (Vec::new(), 0);
    loop {
        while let Some(record) = records.next_record() {
            let record = record.to_vec();
            all.push((record, records.offset()));
        }
        match records.fill().unwrap() {
            Fill::More | Fill::Nothing => {}
            Fill::Broken(_) => records.skip(),
            Fill::End => return (all, skipped + records.take_skipped()),
            Fill::Foreign(name) => panic!("{name}"),
        }
        skipped += records.take_skipped();
    }
}

fn skipping(bytes: &[u8], format: FileFormat, step: usize) -> (Vec<String>, u64) {
    let (all, skipped) = split_skipping(ChunkedInput { bytes, step }, format);
    (all.into_iter().map(|(record, _)| String::from_utf8(record).unwrap()).collect(), skipped)
}

fn values(bytes: &[u8], format: FileFormat) -> Vec<String> {
    split(bytes, format, 7).into_iter().map(|(record, _)| String::from_utf8(record).unwrap()).collect()
}

#[test]
fn lines_end_with_lf_or_crlf_or_the_end_of_the_input() {
    assert_eq!(values(b"a\r\nb\n\nc", FileFormat::Lines), ["a", "b", "", "c"]);
    assert_eq!(values(b"a\n", FileFormat::Lines), ["a"]);
    assert_eq!(values(b"\n", FileFormat::Lines), [""]);
    assert_eq!(values(b"", FileFormat::Lines), [""; 0]);
    assert_eq!(values(b"{}\n\r\n\n[1]\n", FileFormat::Ndjson), ["{}", "[1]"]);
}

#[test]
fn rows_keep_their_quotes_and_the_line_ends_within_them() {
    let rows = values(b"a,\"b\r\nb\",c\r\n\r\n\"x\"\"\n\",y\nq\"\n\"\"", FileFormat::Csv);
    assert_eq!(rows, ["a,\"b\r\nb\",c", "\"x\"\"\n\",y", "q\"", "\"\""]);
}

#[test]
fn an_unclosed_quote_stops_reading_or_costs_one_line() {
    let never = b"a,1\nb,\"12 inch\nc,3\nd,4\n";
    let later = b"a,1\nb,\"12 inch\nc,3\nd,\"4\"\ne,5\n";
    let second = b"a,\"x\ny\",\"12 inch\nc,3\n";
    for step in [1, 3, 100] {
        let (all, stopped) = split_until(never, FileFormat::Csv, step);
        assert_eq!((all.len(), stopped), (1, Some(Fill::Broken(Defect::UnclosedQuote { quote: 6 }))));
        let (all, stopped) = split_until(later, FileFormat::Csv, step);
        let closed = Defect::TextBehindQuote { quote: 6, closing: 21 };
        assert_eq!((all.len(), stopped), (1, Some(Fill::Broken(closed))));
        assert_eq!(skipping(never, FileFormat::Csv, step), (vec!["a,1".into(), "c,3".into(), "d,4".into()], 1));
        let rest = vec!["a,1".into(), "c,3".into(), "d,\"4\"".into(), "e,5".into()];
        assert_eq!(skipping(later, FileFormat::Csv, step), (rest, 1));
        assert_eq!(skipping(second, FileFormat::Csv, step), (vec!["c,3".into()], 1));
        assert_eq!(skipping(b"a\n\"", FileFormat::Csv, step), (vec!["a".into()], 1));
    }
    // A quote within a line is read as the crate `csv` reads it.
    assert_eq!(values(b"\"a\"b,\"\"c\n", FileFormat::Csv), ["\"a\"b,\"\"c"]);
}

#[test]
fn a_too_long_record_stops_reading_or_costs_one_line() {
    let long = "x".repeat(RECORD_BYTES_MAX + 7);
    for format in [FileFormat::Lines, FileFormat::Ndjson, FileFormat::Csv] {
        let text = format!("one\n{long}\ntwo\n{long}");
        let (all, stopped) = split_until(text.as_bytes(), format, usize::MAX);
        assert_eq!((all.len(), stopped), (1, Some(Fill::Broken(Defect::TooLong { start: 4 }))));
        let (all, skipped) = split_skipping(ChunkedInput { bytes: text.as_bytes(), step: usize::MAX }, format);
        let offsets: Vec<u64> = all.iter().map(|(_, offset)| *offset).collect();
        assert_eq!((offsets, skipped), (vec![4, 4 + long.len() as u64 + 1 + 4], 2));
    }
    let quoted = format!("one\n\"{}\n", "x\n".repeat(RECORD_BYTES_MAX / 2));
    let (_, stopped) = split_until(quoted.as_bytes(), FileFormat::Csv, usize::MAX);
    assert_eq!(stopped, Some(Fill::Broken(Defect::EndlessQuote { quote: 4 })));
    let (all, skipped) = split_skipping(ChunkedInput { bytes: quoted.as_bytes(), step: usize::MAX }, FileFormat::Csv);
    assert_eq!((all.len(), skipped), (1 + RECORD_BYTES_MAX / 2 - 1, 1), "the line of the quote is skipped");

    let mut longest = vec![b'x'; RECORD_BYTES_MAX - 1];
    longest.push(b'\n');
    let all = split(&longest, FileFormat::Csv, usize::MAX);
    assert_eq!((all.len(), all[0].0.len()), (1, RECORD_BYTES_MAX - 1));
}

#[test]
fn a_skipped_line_moves_the_offset_at_its_end() {
    let text = format!("one\n{}\ntwo\n", "x".repeat(2 * RECORD_BYTES_MAX));
    let mut records = RecordSplitter::new(ChunkedInput { bytes: text.as_bytes(), step: 1 << 20 }, FileFormat::Lines, 0)
        .counting_lines();
    let mut offsets = Vec::new();
    loop {
        while records.next_record().is_some() {}
        match records.fill().unwrap() {
            Fill::Broken(defect) => {
                assert_eq!(records.line_of(defect.offset()), Some(2));
                records.skip();
            }
            Fill::End => break,
            _ => {}
        }
        offsets.push((records.offset(), records.take_skipped()));
    }
    offsets.dedup();
    assert_eq!(offsets[..2], [(0, 0), (4, 0)]);
    assert_eq!(offsets[2].1, 1, "it counts once it has been read completely");
    assert_eq!(records.offset(), text.len() as u64);
    assert_eq!(records.line_of(records.offset()), Some(4));
}

/// Fails like a connection whose peer no longer answers.
struct TimedOutInput;

impl Read for TimedOutInput {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::TimedOut.into())
    }
}

#[test]
fn a_connection_that_timed_out_is_an_error() {
    let mut records = RecordSplitter::new(TimedOutInput, FileFormat::Lines, 0);
    assert_eq!(records.fill().unwrap_err().kind(), io::ErrorKind::TimedOut);
}

/// Texts one after another. No read crosses the start of a text.
struct ConcatenatedTexts(Vec<Vec<u8>>, bool);

impl RecordInput for ConcatenatedTexts {
    fn read_into(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(text) = self.0.first_mut() else { return Ok(0) };
        let count = into.len().min(2).min(text.len());
        into[..count].copy_from_slice(&text[..count]);
        text.drain(..count);
        let is_over = text.is_empty();
        self.1 = count > 0 && std::mem::replace(&mut self.1, false);
        if is_over {
            self.0.remove(0);
        }
        Ok(count)
    }

    fn begins_text(&self) -> bool {
        // Any read may be the first of a text. The byte order marks decide.
        true
    }
}

#[test]
fn a_byte_order_mark_is_removed_where_a_text_begins() {
    for format in [FileFormat::Lines, FileFormat::Csv, FileFormat::Ndjson] {
        let (all, stopped) = split_until(b"\xef\xbb\xbfa\nb\n", format, 1);
        assert_eq!((all, stopped), (vec![(b"a".to_vec(), 5), (b"b".to_vec(), 7)], None));
        let texts = ["\u{feff}a\n", "\u{feff}b\n", "c"].map(|text| text.as_bytes().to_vec());
        let (all, _) = split_skipping(ConcatenatedTexts(texts.to_vec(), true), format);
        assert_eq!(all, [(b"a".to_vec(), 5), (b"b".to_vec(), 10), (b"c".to_vec(), 11)]);
        let (all, stopped) = split_until(b"\xfe\xff\0a\0\n", format, 1);
        assert_eq!((all, stopped), (vec![], Some(Fill::Foreign("UTF-16"))));
    }
    assert_eq!(split(b"\xef\xbb", FileFormat::Csv, 1), [(b"\xef\xbb".to_vec(), 2)], "half a mark is not a mark");
}

/// Generates bytes that mostly have a meaning in CSV.
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
        let (rows, stopped) = split_until(&bytes, FileFormat::Csv, step);
        let expected = fields(&bytes);
        let ours: Vec<_> = rows.iter().flat_map(|(row, _)| fields(row)).collect();
        prop_assert_eq!(rows.len(), ours.len());
        prop_assert_eq!(&ours[..], &expected[..ours.len()]);
        prop_assert!(stopped.is_some() || ours.len() == expected.len());
        // Only a quoted field with line ends may stop the reading.
        let quoted = |row: &Vec<Vec<u8>>| row.iter().any(|field| field.contains(&b'\n') || field.contains(&b'\r'));
        let is_last = |row: &[Vec<Vec<u8>>]| row.len() == 1 && bytes.contains(&b'"');
        prop_assert!(stopped.is_none() || quoted(&expected[ours.len()]) || is_last(&expected[ours.len()..]));
    }

    #[test]
    fn reading_from_the_offset_of_any_record_returns_the_same_rest(bytes in csv_like(), step in 1_usize..9) {
        for format in [FileFormat::Lines, FileFormat::Csv, FileFormat::Ndjson] {
            let (all, skipped) = split_skipping(ChunkedInput { bytes: &bytes, step: usize::MAX }, format);
            let (in_pieces, skipped_in_pieces) = split_skipping(ChunkedInput { bytes: &bytes, step }, format);
            prop_assert_eq!((&in_pieces, skipped_in_pieces), (&all, skipped));
            for (index, (_, offset)) in all.iter().enumerate() {
                let (rest, _) = split_skipping(ChunkedInput { bytes: &bytes[*offset as usize..], step }, format);
                let rest: Vec<_> = rest.into_iter().map(|(record, _)| record).collect();
                let expected: Vec<_> = all[index + 1..].iter().map(|(record, _)| record.clone()).collect();
                prop_assert_eq!(rest, expected);
            }
        }
    }

    #[test]
    fn an_unclosed_quote_loses_only_its_line(
        before in prop::collection::vec("[a-c]{1,3}(,(\"[a-c,]{0,3}\"|[a-c]{0,3})){0,2}", 0..5),
        after in prop::collection::vec("[a-c]{1,3}(,(\"[a-c]{1,3}\"|[a-c]{0,3})){0,2}", 0..5),
        step in 1_usize..9,
    ) {
        let lines: Vec<&str> = before.iter().map(String::as_str).chain(["a,\"12 inch"]).chain(after.iter().map(String::as_str)).collect();
        let (rows, skipped) = skipping(lines.join("\n").as_bytes(), FileFormat::Csv, step);
        let expected: Vec<String> = before.into_iter().chain(after).collect();
        prop_assert_eq!((rows, skipped), (expected, 1));
    }
}
