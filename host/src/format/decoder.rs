//! Decodes the records of a source as rows, and reads their timestamps.

use std::sync::Arc;

use super::avro::AvroDecoder;
use super::csv::CsvDecoder;
use super::decoding::SourceDecoding;
use super::ndjson::NdjsonDecoder;
use super::text_value::TextReader;
use super::time_parser::TimeParser;
use super::timestamp_reader::{DecodeDefect, EventTime, TimestampReader};
use crate::model::row::{FieldDefect, RowSchema, cut, did_you_mean};
use crate::model::{Column, Interrupt};
use crate::pipeline::{FileFormat, TimestampSelector};

/// Decodes the records of one source subtask.
pub struct RecordDecoder {
    format: FileFormat,
    schemas: Vec<Arc<RowSchema>>,
    nulls: Vec<String>,
    /// The names of the columns in the pipeline file.
    columns: Option<Vec<String>>,
    timestamp: Option<TimestampReader>,
    fields: FieldDecoder,
}

/// The part of a decoder that depends on the format.
enum FieldDecoder {
    /// Boxed, because it is much larger than the others.
    Csv(Box<CsvDecoder>),
    Avro(Box<AvroDecoder>),
    Ndjson(NdjsonDecoder),
    /// The readers of `line` for each schema.
    Lines(Vec<Vec<TextReader>>),
    Raw,
    /// The columns of CSV are not known yet: see [`RecordDecoder::set_columns`].
    Unknown,
}

impl RecordDecoder {
    /// Compiles the decoder for the needed fields. `header` tells that each input begins with the names of its columns, which
    /// [`RecordDecoder::set_columns`] sets. Error: a sentence that names the field that the records cannot have.
    pub fn compile(decoding: &SourceDecoding, header: bool) -> Result<RecordDecoder, String> {
        let timestamp = decoding.timestamp.as_ref().map(timestamp_reader).transpose()?;
        let mut decoder = RecordDecoder {
            format: decoding.format,
            schemas: decoding.rows.clone(),
            nulls: decoding.settings.null_values.clone(),
            columns: decoding.settings.columns.clone(),
            timestamp,
            fields: FieldDecoder::Unknown,
        };
        decoder.fields = match decoding.format {
            FileFormat::Csv if header && decoder.columns.is_none() => FieldDecoder::Unknown,
            FileFormat::Csv => decoder.csv(decoder.columns.as_deref())?,
            FileFormat::Ndjson => {
                FieldDecoder::Ndjson(NdjsonDecoder::compile(&decoder.schemas, decoder.timestamp.as_ref()))
            }
            FileFormat::Lines => decoder.lines()?,
            FileFormat::Avro => {
                let reading = decoding.avro.as_ref().ok_or("the schema of its records is not known")?;
                let avro = AvroDecoder::compile(reading, &decoder.schemas, decoder.timestamp.as_ref())?;
                FieldDecoder::Avro(Box::new(avro))
            }
            FileFormat::Raw => match decoder.schemas.iter().flat_map(|schema| schema.fields()).next() {
                Some(field) => {
                    return Err(format!("there is no field `{}`: format = \"raw\" has no fields", field.name));
                }
                None => FieldDecoder::Raw,
            },
        };
        Ok(decoder)
    }

    /// Sets the names of the columns of the records that follow. Has no effect if the pipeline names them. Error: a sentence that
    /// names the column that is missing.
    pub fn set_columns(&mut self, names: &[String]) -> Result<(), String> {
        if self.format == FileFormat::Csv && self.columns.is_none() {
            self.fields = self.csv(Some(names))?;
        }
        Ok(())
    }

    fn csv(&self, names: Option<&[String]>) -> Result<FieldDecoder, String> {
        let decoder = CsvDecoder::compile(&self.schemas, names, &self.nulls, self.timestamp.as_ref())?;
        Ok(FieldDecoder::Csv(Box::new(decoder)))
    }

    fn lines(&self) -> Result<FieldDecoder, String> {
        let mut readers = Vec::new();
        let times = self.timestamp.as_ref().map_or_else(TimeParser::unset, |timestamp| timestamp.parser.clone());
        for schema in &self.schemas {
            if let Some(field) = schema.fields().iter().find(|field| !field.names().any(|name| name == "line")) {
                let hint = did_you_mean(&field.name, std::iter::once("line"));
                return Err(format!("there is no field `{}`{hint}", field.name));
            }
            readers.push(schema.fields().iter().map(|field| TextReader::new(field, times.clone())).collect());
        }
        Ok(FieldDecoder::Lines(readers))
    }

    /// Lets `interrupt` end the wait for a schema registry.
    pub fn interrupted_by(&mut self, interrupt: &Interrupt) {
        if let FieldDecoder::Avro(avro) = &mut self.fields {
            avro.interrupted_by(interrupt);
        }
    }

    /// Returns the schemas of the rows.
    pub fn schemas(&self) -> &[Arc<RowSchema>] {
        &self.schemas
    }

    /// Returns whether records have timestamps.
    pub fn has_timestamps(&self) -> bool {
        self.timestamp.is_some()
    }

    /// Describes the field and the format of timestamps, for a message.
    pub fn described_timestamp(&self) -> String {
        self.timestamp.as_ref().map_or_else(String::new, TimestampReader::described)
    }

    /// Returns the text of a record's timestamp for a message: cut and on one line.
    pub fn shown_timestamp(&mut self, record: &[u8]) -> String {
        let text = match &mut self.fields {
            FieldDecoder::Csv(csv) => csv.timestamp_text(record),
            FieldDecoder::Avro(avro) => avro.timestamp_text(record),
            FieldDecoder::Ndjson(ndjson) => ndjson.timestamp_text(record),
            FieldDecoder::Lines(_) => record.to_vec(),
            FieldDecoder::Raw | FieldDecoder::Unknown => Vec::new(),
        };
        cut(text.trim_ascii())
    }

    /// Returns a remark on a time that was read but probably has another format.
    pub fn remark(&self, ms: i64) -> Option<String> {
        self.timestamp.as_ref()?.parser.remark(ms)
    }

    /// Appends the record's row in each schema to the columns `rows`, one per schema. If it fails, it appends nothing.
    #[inline]
    pub fn decode(&mut self, record: &[u8], rows: &mut [Column]) -> Result<EventTime, DecodeDefect> {
        let before = rows.first().map_or(0, Column::len);
        let decoded = match &mut self.fields {
            FieldDecoder::Csv(csv) => csv.decode(record, self.timestamp.as_ref(), rows),
            FieldDecoder::Avro(avro) => avro.decode(record, self.timestamp.as_ref(), rows),
            FieldDecoder::Ndjson(ndjson) => ndjson.decode(record, self.timestamp.as_ref(), rows),
            FieldDecoder::Lines(readers) => decode_line(readers, record, self.timestamp.as_ref(), rows),
            FieldDecoder::Raw => Ok(EventTime::Missing),
            FieldDecoder::Unknown => Err(DecodeDefect::Field(FieldDefect::of_record("the header is missing"))),
        };
        if decoded.is_err() {
            rows.iter_mut().for_each(|column| column.truncate(before));
        }
        decoded
    }
}

fn decode_line(
    readers: &[Vec<TextReader>],
    line: &[u8],
    timestamp: Option<&TimestampReader>,
    rows: &mut [Column],
) -> Result<EventTime, DecodeDefect> {
    for (readers, rows) in readers.iter().zip(rows) {
        rows.try_push_with(|to| readers.iter().try_for_each(|reader| reader.read(line, &[], to)))
            .map_err(DecodeDefect::Field)?;
    }
    timestamp.map_or(Ok(EventTime::Missing), |timestamp| timestamp.read(line))
}

fn timestamp_reader(selector: &TimestampSelector) -> Result<TimestampReader, String> {
    let parser = TimeParser::new(selector.format.clone(), selector.zone.as_deref()).ok_or_else(|| {
        let zone = selector.zone.as_deref().unwrap_or_default();
        format!(
            "`{zone}` is not a time zone; one is \"UTC\", an offset like \"+02:00\", or a name like \"Europe/Berlin\""
        )
    })?;
    Ok(TimestampReader { at: selector.at.clone(), parser })
}
