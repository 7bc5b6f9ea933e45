//! Divides a body into records, and checks that they can be decoded.

use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::error::{Result, request_invalid};
use crate::pipeline::FileFormat;

/// How a body is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodySplit {
    /// The body is one record.
    Whole,
    /// Each line that is not blank is a record.
    Lines,
    /// The elements of a JSON array are the records.
    Array,
}

impl BodySplit {
    /// Returns how a body of this content type is divided, unless the query parameter `split` chooses. Error: `request-invalid`.
    pub(super) fn choose(query: Option<&str>, content_type: Option<&[u8]>) -> Result<BodySplit> {
        match query {
            Some("none") => return Ok(BodySplit::Whole),
            Some("lines") => return Ok(BodySplit::Lines),
            Some("array") => return Ok(BodySplit::Array),
            Some(_) => {
                return Err(request_invalid("the query parameter `split` must be `none`, `lines` or `array`"));
            }
            None => {}
        }
        let media_type = content_type.unwrap_or_default().split(|byte| *byte == b';').next().unwrap_or_default();
        let lines: [&[u8]; 4] =
            [b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/x-jsonlines"];
        let is_lines = lines.iter().any(|name| media_type.trim_ascii().eq_ignore_ascii_case(name));
        Ok(if is_lines { BodySplit::Lines } else { BodySplit::Whole })
    }

    /// Returns the records of a body. Errors: `request-invalid` if there is none, or if one is not of the source's format.
    pub(super) fn records(self, body: &[u8], format: FileFormat) -> Result<Vec<Range<usize>>> {
        let records = match self {
            BodySplit::Whole if body.is_empty() => Vec::new(),
            BodySplit::Whole => std::iter::once(0..body.len()).collect(),
            BodySplit::Lines => lines(body),
            BodySplit::Array => elements(body)?,
        };
        if records.is_empty() {
            return Err(request_invalid("the body contains no record"));
        }
        if format == FileFormat::Ndjson {
            for (index, record) in records.iter().enumerate() {
                check_json(body.get(record.clone()).unwrap_or_default()).map_err(|why| {
                    request_invalid(format!("record {} of the body is not a JSON object: {why}", index + 1))
                        .hint("no record of the request was accepted; correct it and send all of it again")
                })?;
            }
        }
        Ok(records)
    }
}

fn lines(body: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    let line = |end: usize| {
        let line = body.get(start..end).unwrap_or_default();
        let range = start..start + line.strip_suffix(b"\r").unwrap_or(line).len();
        start = end + 1;
        range
    };
    let ends = memchr::memchr_iter(b'\n', body).chain([body.len()]);
    let is_blank = |range: &Range<usize>| body.get(range.clone()).is_none_or(|line| line.trim_ascii().is_empty());
    ends.map(line).filter(|range| !is_blank(range)).collect()
}

fn elements(body: &[u8]) -> Result<Vec<Range<usize>>> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body)
        .map_err(|error| request_invalid(format!("the body is not an array of JSON values: {error}")))?;
    let range = |element: &&RawValue| {
        let text = element.get();
        let start = (text.as_ptr().addr()).checked_sub(body.as_ptr().addr())?;
        Some(start..start + text.len())
    };
    Ok(elements.iter().filter_map(range).collect())
}

/// Checks that a record is one JSON object. Its fields are checked when the source decodes it.
fn check_json(record: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(record).map_err(|_| "it is not UTF-8".to_owned())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
    match text.trim_start().starts_with('{') {
        true => Ok(()),
        false => Err("it is another value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(split: BodySplit, format: FileFormat, body: &str) -> Result<Vec<&str>> {
        let ranges = split.records(body.as_bytes(), format)?;
        Ok(ranges.into_iter().map(|range| &body[range]).collect())
    }

    #[test]
    fn bodies_are_divided_by_content_type_or_query() {
        let choose = |query, header: &str| BodySplit::choose(query, Some(header.as_bytes())).unwrap();
        assert_eq!(choose(None, "Application/X-NDJSON; charset=utf-8"), BodySplit::Lines);
        assert_eq!(choose(None, "application/json"), BodySplit::Whole);
        assert_eq!(choose(Some("array"), "application/json"), BodySplit::Array);
        assert_eq!(choose(Some("none"), "application/x-ndjson"), BodySplit::Whole);
        assert_eq!(BodySplit::choose(None, None).unwrap(), BodySplit::Whole);
        assert_eq!(BodySplit::choose(Some("x"), None).unwrap_err().code, "request-invalid");
    }

    #[test]
    fn records_are_lines_elements_or_the_whole_body() {
        let format = FileFormat::Ndjson;
        assert_eq!(
            records(BodySplit::Lines, format, "{\"a\":1}\r\n\n  \n {\"b\":2}\n{}").unwrap(),
            ["{\"a\":1}", " {\"b\":2}", "{}"]
        );
        let array = " [ {\"a\": [1]} ,{}\n] ";
        assert_eq!(records(BodySplit::Array, format, array).unwrap(), ["{\"a\": [1]}", "{}"]);
        assert_eq!(records(BodySplit::Whole, format, "\n{\n}\n").unwrap(), ["\n{\n}\n"]);
        assert_eq!(records(BodySplit::Whole, FileFormat::Raw, "\n").unwrap(), ["\n"]);
        assert_eq!(records(BodySplit::Array, FileFormat::Lines, "[1,\"x\"]").unwrap(), ["1", "\"x\""]);
    }

    #[test]
    fn bodies_that_a_source_could_not_decode_are_refused() {
        for (split, body) in [
            (BodySplit::Whole, ""),
            (BodySplit::Lines, "\n \r\n"),
            (BodySplit::Array, "[]"),
            (BodySplit::Array, "{}"),
            (BodySplit::Array, "[{}"),
            (BodySplit::Whole, "{} {}"),
            (BodySplit::Whole, "5"),
            (BodySplit::Lines, "{}\n{\"a\":}\n"),
        ] {
            assert_eq!(records(split, FileFormat::Ndjson, body).unwrap_err().code, "request-invalid", "{body}");
        }
        let error = records(BodySplit::Lines, FileFormat::Ndjson, "{}\n{\"a\":}\n").unwrap_err();
        assert!(error.message.contains("record 2"), "{error}");
        assert!(BodySplit::Whole.records(b"{\"a\":\"\xff\"}", FileFormat::Ndjson).is_err());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(records(BodySplit::Whole, FileFormat::Ndjson, &deep).is_err());
        assert!(records(BodySplit::Array, FileFormat::Ndjson, &deep).is_err());
    }
}
