//! Decodes CSV rows.
//!
//! The decoder notes the position of each needed column and then reads the values, once per schema. A row without a quote takes a
//! fast path. Others are unescaped by the crate `csv-core`.

use std::ops::Range;
use std::sync::Arc;

use memchr::{memchr, memchr_iter};

use super::text_value::TextReader;
use super::time_parser::TimeParser;
use super::timestamp_reader::{DecodeDefect, EventTime, TimestampReader};
use crate::model::Column;
use crate::model::row::{Field, FieldDefect, RowSchema, did_you_mean, read_json_value};
use crate::pipeline::KeySelector;

/// The name of column `index` if columns have no names: `column0`, `column1`, ...
fn default_name(index: usize) -> String {
    format!("column{index}")
}

fn default_index(name: &str) -> Option<usize> {
    let index = name.strip_prefix("column")?.parse().ok()?;
    (default_name(index) == name).then_some(index)
}

/// Returns the columns of a row. In a header they are the names.
pub fn column_names(row: &[u8]) -> Vec<String> {
    let mut unescaped = UnescapedRow::default();
    unescaped.read(row);
    (0..unescaped.len()).map(|index| String::from_utf8_lossy(unescaped.column(index)).into_owned()).collect()
}

/// Decodes the rows of CSV with certain columns.
pub(super) struct CsvDecoder {
    /// The needed columns in ascending order.
    needed: Vec<usize>,
    plans: Vec<Vec<CsvField>>,
    /// Where the timestamp is in `needed`, and how it is read.
    timestamp: Option<usize>,
    nulls: Vec<Vec<u8>>,
    /// The names of columns, for messages.
    names: Option<Vec<String>>,
    /// The positions of the needed columns in the current row.
    spans: Vec<Range<usize>>,
    unescaped: UnescapedRow,
}

enum CsvField {
    /// The text of a needed column, by its index in `needed`.
    Column(usize, TextReader),
    /// A field that the rows lack: null, or its default.
    Constant(Vec<u8>),
}

impl CsvDecoder {
    /// Compiles the decoder for rows with columns of these names. Error: a sentence that names a missing column.
    pub(super) fn compile(
        schemas: &[Arc<RowSchema>],
        names: Option<&[String]>,
        nulls: &[String],
        timestamp: Option<&TimestampReader>,
    ) -> Result<CsvDecoder, String> {
        let mut columns = Vec::new();
        let mut plans = Vec::new();
        for schema in schemas {
            let mut plan = Vec::new();
            for field in schema.fields() {
                let column = column_of_field(field, names)?;
                columns.extend(column);
                plan.push((field, column));
            }
            plans.push(plan);
        }
        let timestamp_column = match timestamp.map(|timestamp| &timestamp.at) {
            Some(KeySelector::Field(name)) => Some(match column_named(name, names)? {
                Some(index) => index,
                None => return Err(missing(name, names)),
            }),
            Some(KeySelector::Column(index)) => Some(*index),
            _ => None,
        };
        columns.extend(timestamp_column);
        columns.sort_unstable();
        columns.dedup();
        let place = |column: usize| columns.partition_point(|other| *other < column);
        let compiled = |(field, column): (&Field, Option<usize>)| match column {
            Some(column) => {
                let times = match timestamp {
                    Some(own) if timestamp_column == Some(column) => own.parser.clone(),
                    Some(other) => other.parser.clone().of_any_field(),
                    None => TimeParser::unset(),
                };
                Ok(CsvField::Column(place(column), TextReader::new(field, times)))
            }
            None => constant(field).map(CsvField::Constant),
        };
        let plans = plans
            .into_iter()
            .map(|plan| plan.into_iter().map(compiled).collect::<Result<Vec<_>, String>>())
            .collect::<Result<Vec<_>, String>>()?;
        Ok(CsvDecoder {
            plans,
            timestamp: timestamp_column.map(place),
            nulls: nulls.iter().map(|null| null.as_bytes().to_vec()).collect(),
            names: names.map(<[String]>::to_vec),
            spans: Vec::with_capacity(columns.len()),
            unescaped: UnescapedRow::default(),
            needed: columns,
        })
    }

    /// Appends one row to each column of `rows`. If it fails, some of them may have got one.
    #[inline]
    pub(super) fn decode(
        &mut self,
        record: &[u8],
        timestamp: Option<&TimestampReader>,
        rows: &mut [Column],
    ) -> Result<EventTime, DecodeDefect> {
        let text = match find_spans(record, &self.needed, &mut self.spans, &mut self.unescaped) {
            RowText::Plain => record,
            RowText::Unescaped => &self.unescaped.text,
        };
        if self.spans.len() < self.needed.len() {
            return Err(DecodeDefect::Field(self.too_short(record)));
        }
        for (plan, rows) in self.plans.iter().zip(rows) {
            rows.try_push_with(|to| {
                plan.iter().try_for_each(|field| match field {
                    CsvField::Column(place, reader) => reader.read(&text[self.spans[*place].clone()], &self.nulls, to),
                    CsvField::Constant(bytes) => {
                        to.extend_from_slice(bytes);
                        Ok(())
                    }
                })
            })
            .map_err(DecodeDefect::Field)?;
        }
        match (self.timestamp, timestamp) {
            (Some(place), Some(reader)) => {
                let text = &text[self.spans[place].clone()];
                let is_null = !text.is_empty() && self.nulls.iter().any(|null| null == text);
                if is_null { Ok(EventTime::Missing) } else { reader.read(text) }
            }
            _ => Ok(EventTime::Missing),
        }
    }

    /// Returns the text of the timestamp, or nothing.
    pub(super) fn timestamp_text(&mut self, record: &[u8]) -> Vec<u8> {
        let text = match find_spans(record, &self.needed, &mut self.spans, &mut self.unescaped) {
            RowText::Plain => record,
            RowText::Unescaped => &self.unescaped.text,
        };
        let span = self.timestamp.and_then(|place| self.spans.get(place));
        span.map_or_else(Vec::new, |span| text[span.clone()].to_vec())
    }

    #[cold]
    fn too_short(&self, record: &[u8]) -> Box<FieldDefect> {
        let column = self.needed[self.spans.len()];
        let count = match memchr(b'"', record) {
            None => memchr_iter(b',', record).count() + 1,
            Some(_) => self.unescaped.len(),
        };
        let name = self.names.as_ref().and_then(|names| names.get(column).cloned());
        let message = format!("is column {column}, counted from 0, but the row has only {count}");
        FieldDefect::of_value(message).within(&name.unwrap_or_else(|| default_name(column)))
    }
}

/// The text that the positions of columns refer to.
enum RowText {
    Plain,
    Unescaped,
}

/// Notes the position of each needed column, up to the first that the row lacks.
#[inline]
fn find_spans(row: &[u8], needed: &[usize], spans: &mut Vec<Range<usize>>, unescaped: &mut UnescapedRow) -> RowText {
    spans.clear();
    if memchr(b'"', row).is_none() {
        find_columns(row, needed, spans);
        return RowText::Plain;
    }
    unescaped.read(row);
    spans.extend(needed.iter().map_while(|&column| unescaped.range(column)));
    RowText::Unescaped
}

/// Notes the position of each needed column of a row without quotes, up to the first that it lacks.
///
/// Looks at eight bytes at once, and only counts the commas in front of the next one that bounds a needed column.
#[inline]
fn find_columns(row: &[u8], needed: &[usize], spans: &mut Vec<Range<usize>>) {
    let Some(mut bounds) = ColumnBounds::new(needed) else { return };
    let (words, rest) = row.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let mut commas = comma_bits(u64::from_le_bytes(*word));
        let count = commas.count_ones() as usize;
        if bounds.seen + count < bounds.next {
            bounds.seen += count;
            continue;
        }
        while commas != 0 {
            if bounds.pass_comma(index * 8 + commas.trailing_zeros() as usize / 8, spans) {
                return;
            }
            commas &= commas - 1;
        }
    }
    let start = words.len() * 8;
    for (index, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == b',') {
        if bounds.pass_comma(start + index, spans) {
            return;
        }
    }
    if let Some(start) = bounds.start {
        spans.push(start..row.len());
    }
}

/// Returns the highest bit of each byte that is a comma.
#[inline]
fn comma_bits(word: u64) -> u64 {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let zero_if_comma = word ^ 0x2c2c_2c2c_2c2c_2c2c;
    !(((zero_if_comma & LOW_BITS) + LOW_BITS) | zero_if_comma | LOW_BITS)
}

/// The progress of a search for the needed columns of a row.
struct ColumnBounds<'a> {
    /// The needed columns from the one that is searched for.
    needed: &'a [usize],
    /// Number of commas passed.
    seen: usize,
    /// The number of the next comma, from 1, that bounds a needed column.
    next: usize,
    /// The start of the column that is searched for, once it is known.
    start: Option<usize>,
}

impl ColumnBounds<'_> {
    fn new(needed: &[usize]) -> Option<ColumnBounds<'_>> {
        let first = *needed.first()?;
        Some(ColumnBounds { needed, seen: 0, next: first.max(1), start: (first == 0).then_some(0) })
    }

    /// Passes the comma at `position`. Returns true when the last needed column ends there.
    #[inline]
    fn pass_comma(&mut self, position: usize, spans: &mut Vec<Range<usize>>) -> bool {
        self.seen += 1;
        if self.seen < self.next {
            return false;
        }
        if let Some(start) = self.start.take() {
            spans.push(start..position);
            self.needed = &self.needed[1..];
        }
        match self.needed.first() {
            None => return true,
            Some(&column) if column == self.seen => {
                self.start = Some(position + 1);
                self.next = column + 1;
            }
            Some(&column) => self.next = column,
        }
        false
    }
}

fn column_of_field(field: &Field, names: Option<&[String]>) -> Result<Option<usize>, String> {
    for name in field.names() {
        if let Some(index) = column_named(name, names)? {
            return Ok(Some(index));
        }
    }
    match field.nullable || field.default.is_some() {
        true => Ok(None),
        false => Err(missing(&field.name, names)),
    }
}

fn column_named(name: &str, names: Option<&[String]>) -> Result<Option<usize>, String> {
    let Some(names) = names else { return Ok(default_index(name)) };
    let mut places = names.iter().enumerate().filter(|(_, other)| *other == name).map(|(index, _)| index);
    match (places.next(), places.next()) {
        (first, None) => Ok(first),
        (first, Some(second)) => {
            let first = first.unwrap_or_default();
            Err(format!("the header names the column `{name}` twice: columns {first} and {second}, counted from 0"))
        }
    }
}

fn missing(name: &str, names: Option<&[String]>) -> String {
    match names {
        Some(names) => format!("there is no column `{name}`{}", did_you_mean(name, names.iter().map(String::as_str))),
        None => format!(
            "there is no column `{name}`: without a header and without `columns`, the names are `column0`, `column1`, ..."
        ),
    }
}

/// Returns the bytes of a field that the records lack.
fn constant(field: &Field) -> Result<Vec<u8>, String> {
    let Some(default) = &field.default else { return Ok(vec![0]) };
    let mut bytes = Vec::new();
    match read_json_value(&field.value, field.nullable, default.as_bytes(), &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(defect) => Err(format!("the default of the field `{}`: {defect}", field.name)),
    }
}

/// The columns of a row with quotes. Reuses its memory.
struct UnescapedRow {
    parser: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    columns: usize,
}

impl Default for UnescapedRow {
    fn default() -> Self {
        UnescapedRow { parser: csv_core::Reader::new(), text: Vec::new(), ends: vec![0; 64], columns: 0 }
    }
}

impl UnescapedRow {
    /// Reads one row. Unescaping never lengthens it.
    fn read(&mut self, row: &[u8]) {
        self.parser.reset();
        self.text.resize(row.len().max(1), 0);
        let (mut read, mut written) = (0, 0);
        self.columns = 0;
        loop {
            let (result, input, output, ends) =
                self.parser.read_record(&row[read..], &mut self.text[written..], &mut self.ends[self.columns..]);
            read += input;
            written += output;
            self.columns += ends;
            match result {
                // An empty input ends the row.
                csv_core::ReadRecordResult::InputEmpty => {}
                csv_core::ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                csv_core::ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                csv_core::ReadRecordResult::Record | csv_core::ReadRecordResult::End => break,
            }
        }
    }

    fn len(&self) -> usize {
        self.columns
    }

    fn range(&self, index: usize) -> Option<Range<usize>> {
        let start = if index == 0 { 0 } else { *self.ends[..self.columns].get(index - 1)? };
        Some(start..*self.ends[..self.columns].get(index)?)
    }

    fn column(&self, index: usize) -> &[u8] {
        self.range(index).and_then(|range| self.text.get(range)).unwrap_or_default()
    }
}
