//! Decodes JSON objects.
//!
//! The decoder walks over the members of the object once, notes the position of each needed value, and then reads the values, once per
//! schema. Other values are skipped by their structure.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::time_parser::TimeParser;
use super::timestamp_reader::{DecodeDefect, EventTime, TimestampReader};
use crate::model::Column;
use crate::model::row::{
    Field, FieldDefect, FieldType, JsonDefect, MemberName, RowSchema, cut, members, read_field, skip_space, skip_value,
    string_of, write_signed,
};
use crate::pipeline::KeySelector;

/// Up to this many names are compared one by one. More are searched in order.
const COMPARED_NAMES_MAX: usize = 12;

/// Decodes JSON objects.
pub(super) struct NdjsonDecoder {
    /// The needed names, sorted.
    names: Vec<String>,
    /// The lengths of the needed names that are at most 63 bytes long, as bits.
    lengths: u64,
    plans: Vec<Vec<NdjsonField>>,
    /// Where the object with the timestamp is in `names`, and the path within.
    timestamp: Option<(usize, Vec<String>)>,
    /// The value of each needed name in the current record. An empty range if there is none.
    values: Vec<Range<usize>>,
}

struct NdjsonField {
    field: Field,
    /// The field's names in `names`: its own and its aliases.
    places: Vec<usize>,
    /// How a timestamp is read.
    times: Option<TimeParser>,
}

impl NdjsonDecoder {
    pub(super) fn compile(schemas: &[Arc<RowSchema>], timestamp: Option<&TimestampReader>) -> NdjsonDecoder {
        let path: Option<Vec<String>> = match timestamp.map(|timestamp| &timestamp.at) {
            Some(KeySelector::Field(path)) => Some(path.split('.').map(str::to_owned).collect()),
            _ => None,
        };
        let fields = || schemas.iter().flat_map(|schema| schema.fields());
        let mut names: Vec<String> = fields().flat_map(Field::names).map(str::to_owned).collect();
        names.extend(path.as_ref().and_then(|path| path.first().cloned()));
        names.sort_unstable();
        names.dedup();
        let place = |name: &str| names.partition_point(|other| other.as_str() < name);
        let is_timestamp = |field: &Field| path.as_ref().is_some_and(|path| *path == [field.name.as_str()]);
        let compiled = |field: &Field| NdjsonField {
            places: field.names().map(place).collect(),
            times: match timestamp {
                _ if field.value != FieldType::Timestamp => None,
                Some(own) if is_timestamp(field) => Some(own.parser.clone()),
                Some(other) => Some(other.parser.clone().of_any_field()),
                None => Some(TimeParser::unset()),
            },
            field: field.clone(),
        };
        let plans = schemas.iter().map(|schema| schema.fields().iter().map(compiled).collect()).collect();
        let timestamp = path.map(|path| (place(&path[0]), path[1..].to_vec()));
        let lengths = names.iter().fold(0, |lengths, name| lengths | length_bit(name.len()));
        let values = vec![0..0; names.len()];
        NdjsonDecoder { names, lengths, plans, timestamp, values }
    }

    /// Appends one row to each column of `rows`. If it fails, some of them may have got one.
    #[inline]
    pub(super) fn decode(
        &mut self,
        record: &[u8],
        timestamp: Option<&TimestampReader>,
        rows: &mut [Column],
    ) -> Result<EventTime, DecodeDefect> {
        self.find_values(record).map_err(|defect| {
            DecodeDefect::Field(FieldDefect::of_record(format!("the record {defect}: `{}`", cut(record))))
        })?;
        let values = &self.values;
        for (plan, rows) in self.plans.iter().zip(rows) {
            rows.try_push_with(|to| plan.iter().try_for_each(|field| field.read(record, values, to)))
                .map_err(DecodeDefect::Field)?;
        }
        let (Some((place, path)), Some(reader)) = (&self.timestamp, timestamp) else { return Ok(EventTime::Missing) };
        let value = below(&record[values[*place].clone()], path);
        match scalar_text(value) {
            Some(text) => reader.read(&text),
            None => Ok(EventTime::Missing),
        }
    }

    /// Returns the text of the timestamp, or nothing.
    pub(super) fn timestamp_text(&mut self, record: &[u8]) -> Vec<u8> {
        if self.find_values(record).is_err() {
            return Vec::new();
        }
        let value = self.timestamp.as_ref().map(|(place, path)| below(&record[self.values[*place].clone()], path));
        value.and_then(scalar_text).map_or_else(Vec::new, Cow::into_owned)
    }

    /// Notes the positions of the needed values. The last of repeated names counts.
    #[inline]
    fn find_values(&mut self, record: &[u8]) -> Result<(), JsonDefect> {
        self.values.fill(0..0);
        let start = skip_space(record, 0);
        let (names, lengths, values) = (&self.names, self.lengths, &mut self.values);
        let end = members::<JsonDefect>(record, start, |name, at| {
            let behind = skip_value(record, at)?;
            if (lengths & length_bit(name.range.len()) != 0 || name.is_escaped)
                && let Some(place) = place_of(names, record, name)
            {
                values[place] = at..behind;
            }
            Ok(behind)
        })?;
        match skip_space(record, end) {
            at if at == record.len() => Ok(()),
            at => Err(JsonDefect { at, what: "text behind the object" }),
        }
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Returns where a name is in the sorted `names`.
#[inline]
fn place_of(names: &[String], record: &[u8], name: MemberName) -> Option<usize> {
    let search = |name: &[u8]| {
        if names.len() <= COMPARED_NAMES_MAX {
            return names.iter().position(|other| other.as_bytes() == name);
        }
        names.binary_search_by(|other| other.as_bytes().cmp(name)).ok()
    };
    if name.is_escaped {
        return search(string_of(name.quoted(record))?.as_bytes());
    }
    search(&record[name.range])
}

impl NdjsonField {
    #[inline]
    fn read(&self, record: &[u8], values: &[Range<usize>], to: &mut Vec<u8>) -> Result<(), Box<FieldDefect>> {
        let range = self.places.iter().map(|place| &values[*place]).find(|range| !range.is_empty());
        let json = range.map_or(&[][..], |range| &record[range.clone()]);
        match &self.times {
            Some(times) if !json.is_empty() && json != b"null" => self.read_timestamp(times, json, to),
            _ => read_field(&self.field, json, to),
        }
    }

    fn read_timestamp(&self, times: &TimeParser, json: &[u8], to: &mut Vec<u8>) -> Result<(), Box<FieldDefect>> {
        let text = scalar_text(json);
        let Some(ms) = text.as_ref().and_then(|text| times.parse(text)) else {
            let why = text
                .map_or_else(|| "it is neither a string nor a number".to_owned(), |text| times.why_unreadable(&text));
            let message = format!("is `{}`, which is not a timestamp: {why}", cut(json));
            return Err(FieldDefect::of_value(message).within(&self.field.name));
        };
        if self.field.nullable {
            to.push(1);
        }
        write_signed(to, ms);
        Ok(())
    }
}

/// Returns the value at a path below a value, or nothing.
fn below<'a>(value: &'a [u8], path: &[String]) -> &'a [u8] {
    let mut value = value;
    for name in path {
        let mut found = 0..0;
        let walked = members::<JsonDefect>(value, 0, |member, at| {
            let behind = skip_value(value, at)?;
            if string_of(member.quoted(value)).is_some_and(|other| other == name.as_str()) {
                found = at..behind;
            }
            Ok(behind)
        });
        if walked.is_err() {
            return &[];
        }
        value = &value[found];
    }
    value
}

/// Returns the text of a string or a number. `None` for null, a missing value, and other values.
fn scalar_text(json: &[u8]) -> Option<Cow<'_, [u8]>> {
    match json.first()? {
        b'"' => Some(match string_of(json) {
            Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
            // Not text, so that reading it fails.
            None => Cow::Borrowed(json),
        }),
        b'-' | b'0'..=b'9' | b't' | b'f' => Some(Cow::Borrowed(json)),
        _ => None,
    }
}
