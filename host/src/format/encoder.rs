//! Encodes batches for sinks that write lines, and records for sinks that write messages.
//!
//! Invariant: a record of a batch is one line, or one CSV row. A record with a line end that cannot be escaped is refused.

use std::sync::Arc;

use memchr::memchr;

use super::avro::{AvroEncoder, AvroWriting};
use super::csv_row::{CsvRowWriter, write_header};
use super::encode_defect::EncodeDefect;
use crate::model::Batch;
use crate::model::row::{FieldType, RowDefect, RowSchema, RowValue, RowValues, cut, write_json, write_json_text};
use crate::pipeline::{EncodingSettings, SinkFormat};

/// Encodes the records of one sink subtask.
pub struct RecordEncoder {
    settings: EncodingSettings,
    avro: Option<AvroEncoder>,
    /// The schema of the last batch, with what writes its rows.
    writer: Option<(Arc<RowSchema>, RowWriter)>,
    /// The schema of the header of the current file.
    header: Option<Arc<RowSchema>>,
}

/// Writes rows of one schema.
enum RowWriter {
    Json(Arc<RowSchema>),
    Csv(CsvRowWriter),
    /// The text of the only field, for `format = "raw"`.
    Text(RowValues),
}

impl RecordEncoder {
    /// Creates an encoder for these settings of a sink.
    pub fn new(settings: EncodingSettings) -> RecordEncoder {
        RecordEncoder { settings, avro: None, writer: None, header: None }
    }

    /// Sets how records of Avro are written, for `format = "avro"`.
    pub fn with_avro(mut self, writing: AvroWriting) -> RecordEncoder {
        self.avro = Some(AvroEncoder::new(writing));
        self
    }

    /// Appends one record for a message: without a line end, and without a header. `schema` is that of the row, or `None` for a record that
    /// is written as it is.
    #[inline]
    pub fn encode_message(
        &mut self,
        schema: Option<&Arc<RowSchema>>,
        value: &[u8],
        to: &mut Vec<u8>,
    ) -> Result<(), EncodeDefect> {
        let format = self.settings.format;
        let Some(schema) = schema else {
            return match format {
                Some(SinkFormat::Csv) => Err(EncodeDefect::NoFields),
                Some(SinkFormat::Avro) => Err(EncodeDefect::NoFieldsForAvro),
                _ => {
                    to.extend_from_slice(value);
                    Ok(())
                }
            };
        };
        if let Some(avro) = &mut self.avro {
            return avro.encode(schema, value, to);
        }
        let is_known = self.writer.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, schema) || known == schema);
        if !is_known {
            self.writer = None;
        }
        let (_, writer) = self.writer.get_or_insert_with(|| (schema.clone(), RowWriter::new(format, schema)));
        writer.write_message(value, to)
    }

    /// Begins a new file: its header is written with its first row.
    pub fn begin_file(&mut self) {
        self.header = None;
    }

    /// Leaves out the header, because another encoder has written it.
    pub fn omit_header(&mut self) {
        self.settings.header = false;
    }

    /// Returns whether the next row is preceded by a header.
    pub fn needs_header(&self) -> bool {
        self.settings.header && self.settings.format == Some(SinkFormat::Csv) && self.header.is_none()
    }

    /// Appends the records of a batch, each with its line end. If it fails, `to` may have got some of them.
    pub fn encode(&mut self, batch: &Batch, to: &mut Vec<u8>) -> Result<(), EncodeDefect> {
        if batch.is_empty() {
            return Ok(());
        }
        match &batch.schema {
            _ if self.settings.format == Some(SinkFormat::Avro) => {
                Err(EncodeDefect::Avro("lines cannot hold it".to_owned()))
            }
            Some(schema) => self.encode_rows(schema, batch, to),
            None if self.settings.format == Some(SinkFormat::Csv) => Err(EncodeDefect::NoFields),
            None => encode_lines(batch, to),
        }
    }

    fn encode_rows(&mut self, schema: &Arc<RowSchema>, batch: &Batch, to: &mut Vec<u8>) -> Result<(), EncodeDefect> {
        let is_known = self.writer.as_ref().is_some_and(|(known, _)| known == schema);
        if !is_known {
            self.writer = None;
        }
        let format = self.settings.format;
        let (_, writer) = self.writer.get_or_insert_with(|| (schema.clone(), RowWriter::new(format, schema)));
        if let RowWriter::Csv(_) = writer
            && self.settings.header
        {
            match &self.header {
                None => {
                    write_header(schema, to);
                    self.header = Some(schema.clone());
                }
                Some(header) if Arc::ptr_eq(header, schema) || has_names_of(header, schema) => {}
                Some(header) => {
                    return Err(EncodeDefect::OtherColumns { from: header.to_string(), to: schema.to_string() });
                }
            }
        }
        batch.values.iter().try_for_each(|row| writer.write(row, to))
    }
}

/// Returns whether rows have one field, which is a string or bytes.
fn is_text(schema: &RowSchema) -> bool {
    matches!(schema.fields(), [field] if matches!(field.value, FieldType::String | FieldType::Bytes))
}

fn has_names_of(one: &RowSchema, other: &RowSchema) -> bool {
    one.fields().iter().map(|field| &field.name).eq(other.fields().iter().map(|field| &field.name))
}

impl RowWriter {
    fn new(format: Option<SinkFormat>, schema: &Arc<RowSchema>) -> RowWriter {
        match format {
            Some(SinkFormat::Csv) => RowWriter::Csv(CsvRowWriter::new(schema)),
            Some(SinkFormat::Raw) if is_text(schema) => RowWriter::Text(RowValues::new(schema)),
            _ => RowWriter::Json(schema.clone()),
        }
    }

    /// Appends a row without a line end. Text is written as it is.
    fn write_message(&mut self, row: &[u8], to: &mut Vec<u8>) -> Result<(), EncodeDefect> {
        match self {
            RowWriter::Csv(_) => {
                self.write(row, to)?;
                if to.last() == Some(&b'\n') {
                    to.pop();
                }
            }
            RowWriter::Json(schema) => write_json(schema, row, to)?,
            RowWriter::Text(values) => values.visit(row, |_, value| {
                match value {
                    Some(RowValue::Text(text)) => to.extend_from_slice(text.as_bytes()),
                    Some(RowValue::Bytes(bytes)) => to.extend_from_slice(bytes),
                    _ => {}
                }
                Ok::<_, RowDefect>(())
            })?,
        }
        Ok(())
    }

    fn write(&mut self, row: &[u8], to: &mut Vec<u8>) -> Result<(), EncodeDefect> {
        match self {
            RowWriter::Csv(writer) => writer.write(row, to)?,
            RowWriter::Json(schema) => {
                write_json(schema, row, to)?;
                to.push(b'\n');
            }
            RowWriter::Text(values) => {
                values.visit(row, |_, value| match value {
                    Some(RowValue::Text(text)) => write_line(text.as_bytes(), to),
                    Some(RowValue::Bytes(bytes)) => write_line(bytes, to),
                    _ => write_line(b"", to),
                })?;
            }
        }
        Ok(())
    }
}

/// Appends records that are written as they are.
fn encode_lines(batch: &Batch, to: &mut Vec<u8>) -> Result<(), EncodeDefect> {
    if memchr(b'\n', batch.values.bytes()).is_some() {
        return batch.values.iter().try_for_each(|value| write_line(value, to));
    }
    to.reserve(batch.values.bytes().len() + batch.len());
    for value in batch.values.iter() {
        to.extend_from_slice(value);
        to.push(b'\n');
    }
    Ok(())
}

/// Appends a record as a line. Line ends in JSON are spaces between its values, and become spaces.
fn write_line(value: &[u8], to: &mut Vec<u8>) -> Result<(), EncodeDefect> {
    match memchr(b'\n', value) {
        None => to.extend_from_slice(value),
        Some(_) => write_json_text(to, value).map_err(|_| EncodeDefect::LineEnd(cut(value)))?,
    }
    to.push(b'\n');
    Ok(())
}
