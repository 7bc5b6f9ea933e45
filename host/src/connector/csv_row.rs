//! Reads the columns of one CSV row as the crate `csv` does.
//!
//! A quote counts only at the start of a field. Within a quoted field, a doubled quote stands for one. Text after the
//! closing quote is taken literally.

use memchr::{memchr, memchr_iter};

/// Returns column `index` of `row`, counted from 0, or `None` if the row has fewer. A field that needs unescaping is built
/// in `scratch`.
#[inline]
pub(super) fn column<'a>(row: &'a [u8], index: usize, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    if memchr(b'"', row).is_some() {
        return quoted_column(row, index, scratch);
    }
    let mut commas = memchr_iter(b',', row);
    let start = match index {
        0 => 0,
        _ => commas.nth(index - 1)? + 1,
    };
    row.get(start..commas.next().unwrap_or(row.len()))
}

/// Returns every column of `row`.
pub(super) fn columns(row: &[u8]) -> Vec<Vec<u8>> {
    let mut scratch = Vec::new();
    RowFields { row, next: Some(0) }.map(|field| unquote(field, &mut scratch).to_vec()).collect()
}

fn quoted_column<'a>(row: &'a [u8], index: usize, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    RowFields { row, next: Some(0) }.nth(index).map(|field| unquote(field, scratch))
}

/// Iterates over the fields of a row in their escaped form.
struct RowFields<'a> {
    row: &'a [u8],
    /// Start of the next field, or `None` after the last one.
    next: Option<usize>,
}

impl<'a> Iterator for RowFields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.row.get(self.next?..)?;
        let quoted = match rest.first() {
            Some(b'"') => 1 + quoted_part(&rest[1..]),
            _ => 0,
        };
        let comma = memchr(b',', &rest[quoted..]).map(|comma| quoted + comma);
        self.next = comma.map(|comma| self.row.len() - rest.len() + comma + 1);
        rest.get(..comma.unwrap_or(rest.len()))
    }
}

/// Returns the length of the quoted part of a field, without the opening quote and with the closing one if it exists.
fn quoted_part(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(quote) = memchr(b'"', &bytes[at..]) {
        at += quote + 1;
        if bytes.get(at) != Some(&b'"') {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

/// Returns the unescaped value of a field.
fn unquote<'a>(field: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let Some((b'"', inner)) = field.split_first() else {
        return field;
    };
    if memchr(b'"', inner).is_none_or(|quote| quote + 1 == inner.len()) {
        return inner.strip_suffix(b"\"").unwrap_or(inner);
    }
    let (quoted, tail) = inner.split_at(quoted_part(inner));
    scratch.clear();
    let mut rest = quoted;
    while let Some(quote) = memchr(b'"', rest) {
        scratch.extend_from_slice(&rest[..quote]);
        rest = &rest[quote + 1..];
        if let Some(after) = rest.strip_prefix(b"\"") {
            scratch.push(b'"');
            rest = after;
        }
    }
    scratch.extend_from_slice(rest);
    scratch.extend_from_slice(tail);
    scratch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_column_is_found_by_its_index() {
        let mut scratch = Vec::new();
        let row = b"N1,\"a,b\",\"say \"\"hi\"\"\",,\"x\"y\"";
        let expected: [&[u8]; 5] = [b"N1", b"a,b", b"say \"hi\"", b"", b"xy\""];
        for (index, field) in expected.iter().enumerate() {
            assert_eq!(column(row, index, &mut scratch), Some(*field));
        }
        assert_eq!(column(row, 5, &mut scratch), None);
        assert_eq!(column(b"a,,", 2, &mut scratch), Some(&b""[..]));
        assert_eq!(column(b"a,,", 3, &mut scratch), None);
        assert_eq!(column(b"", 0, &mut scratch), Some(&b""[..]));
        assert_eq!(column(b"a", usize::MAX, &mut scratch), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn columns_are_those_of_the_csv_crate(
            row in prop::collection::vec(prop::sample::select(b"\"\"\",,ab\xff ".to_vec()), 1..40),
        ) {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&row[..]);
            let record = reader.byte_records().next().unwrap().unwrap();
            let mut scratch = Vec::new();
            for (index, field) in record.iter().enumerate() {
                prop_assert_eq!(column(&row, index, &mut scratch), Some(field));
            }
            prop_assert_eq!(column(&row, record.len(), &mut scratch), None);
            prop_assert_eq!(columns(&row), record.iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
        }
    }
}
