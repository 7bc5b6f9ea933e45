//! Decides what a source decodes: one row with the fields that its consumers need, and the text of records if a consumer wants it.
//!
//! A field that two consumers declare with different types is decoded for each of them, as two rows of the record.

use std::sync::Arc;

use super::input_need::{InputNeed, NeededField, OtherFields};
use super::mismatch::{schema_mismatch, with_formats};
use super::needed_fields::{DecodedField, merge_fields};
use crate::error::{self, Error, Result};
use crate::format::avro::{AvroReading, check_field};
use crate::format::{RecordDecoder, SourceDecoding};
use crate::model::row::{Field, FieldType, RowSchema, did_you_mean};
use crate::pipeline::{FileFormat, KeySelector, PipelineNode, SourceNode, SourceTimestamp, TimestampSelector};
use crate::runtime::records::record_format::RecordFormat;

/// A source with its columns.
#[derive(Clone, Copy)]
pub(super) struct DescribedSource<'a> {
    pub(super) node: &'a PipelineNode,
    pub(super) source: &'a SourceNode,
    pub(super) columns: Option<&'a [String]>,
    /// The schema of records of Avro.
    pub(super) avro: Option<&'a AvroReading>,
}

/// An input that reads the main output of a source.
pub(super) struct SourceConsumer<'a> {
    pub(super) node: &'a PipelineNode,
    /// The setting of the input.
    pub(super) key: &'static str,
    pub(super) need: &'a InputNeed,
}

/// What one consumer wants of a source.
enum Wanted {
    Text,
    Rows(Vec<DecodedField>),
}

/// Returns what a source decodes, and the index of the output that each consumer reads. Error: `schema-mismatch` if the source lacks a
/// field that a consumer needs.
pub(super) fn plan_source(
    source: DescribedSource<'_>,
    consumers: &[SourceConsumer<'_>],
) -> Result<(SourceDecoding, Vec<usize>)> {
    let wanted: Vec<Wanted> = consumers.iter().map(|consumer| source.wanted(consumer)).collect::<Result<_>>()?;
    let mut rows: Vec<Vec<DecodedField>> = Vec::new();
    let mut row_of: Vec<Option<usize>> = vec![None; consumers.len()];
    // Consumers with declarations come first, so that rows begin with the fields of a function in its order.
    let mut order: Vec<usize> = (0..consumers.len()).collect();
    order.sort_by_key(|&index| consumers[index].need.is_whole());
    for index in order {
        let Wanted::Rows(fields) = &wanted[index] else { continue };
        let joined = rows.iter_mut().position(|row| merge_fields(row, fields.clone()).is_ok());
        row_of[index] = Some(match joined {
            Some(row) => row,
            None => {
                let mut row = Vec::new();
                merge_fields(&mut row, fields.clone()).map_err(|name| source.conflict(&consumers[index], &name))?;
                rows.push(row);
                rows.len() - 1
            }
        });
    }
    let schema = |row: Vec<DecodedField>| {
        let fields = row.into_iter().map(|field| field.field).collect();
        RowSchema::new(fields).map(Arc::new).map_err(|defect| source.invalid_schema(&defect.to_string()))
    };
    let (raw, wants_raw) = (rows.len(), row_of.iter().any(Option::is_none));
    let rows = rows.into_iter().map(schema).collect::<Result<Vec<_>>>()?;
    let SourceNode { connector, decoding, timestamp, on_undecodable, keep_raw, wants_keys, .. } = source.source;
    let decoding = SourceDecoding {
        format: connector.format().0,
        settings: decoding.clone(),
        avro: source.avro.cloned(),
        rows,
        wants_raw,
        timestamp: timestamp.as_ref().and_then(SourceTimestamp::selector).cloned(),
        record_timestamps: *timestamp == Some(SourceTimestamp::Record),
        record_keys: *wants_keys,
        on_undecodable: *on_undecodable,
        keep_raw: *keep_raw,
    };
    Ok((decoding, row_of.into_iter().map(|row| row.unwrap_or(raw)).collect()))
}

/// Returns the format of an output of a source. Records as they are count as JSON if they have that format and their consumer does not
/// ask for bytes.
pub(super) fn source_format(decoding: &SourceDecoding, output: usize, wants_bytes: bool) -> RecordFormat {
    match decoding.rows.get(output) {
        Some(schema) => RecordFormat::Row(schema.clone()),
        None if decoding.dead_letter_output() == Some(output) => RecordFormat::Json,
        None if decoding.format == FileFormat::Ndjson && !wants_bytes => RecordFormat::Json,
        None => RecordFormat::Raw,
    }
}

impl DescribedSource<'_> {
    fn format(&self) -> FileFormat {
        self.source.connector.format().0
    }

    fn wanted(&self, consumer: &SourceConsumer<'_>) -> Result<Wanted> {
        let format = self.format();
        let (fields, rest) = match consumer.need {
            InputNeed::Nothing | InputNeed::Raw => return Ok(Wanted::Text),
            InputNeed::Json if !matches!(format, FileFormat::Csv | FileFormat::Avro) => return Ok(Wanted::Text),
            InputNeed::Json => (&[][..], OtherFields::All),
            InputNeed::Rows { fields, rest } => (&fields[..], *rest),
        };
        match format {
            FileFormat::Raw if fields.is_empty() => return Ok(Wanted::Text),
            FileFormat::Lines if fields.is_empty() && rest != OtherFields::All => return Ok(Wanted::Text),
            // The names of the fields are not known, so the whole text passes on.
            FileFormat::Ndjson if rest != OtherFields::None && self.source.decoding.fields.is_empty() => {
                return Ok(Wanted::Text);
            }
            FileFormat::Csv if rest != OtherFields::None && self.columns.is_none() => return Ok(Wanted::Text),
            _ => {}
        }
        if rest != OtherFields::None
            && let Some(name) = self.columns.and_then(repeated)
        {
            return Err(self.invalid_schema(&format!("two of them have the name `{name}`")));
        }
        let mut wanted = fields.iter().map(|field| self.decoded(field, consumer)).filter_map(Result::transpose);
        let mut decoded = wanted.by_ref().collect::<Result<Vec<_>>>()?;
        if rest != OtherFields::None {
            for name in self.all_names() {
                if decoded.iter().all(|field| field.field.name != name) {
                    decoded.push(self.untyped(&name));
                }
            }
        }
        Ok(if decoded.is_empty() { Wanted::Text } else { Wanted::Rows(decoded) })
    }

    /// Returns the names of all fields, as far as they are known.
    fn all_names(&self) -> Vec<String> {
        match (self.format(), self.columns) {
            (FileFormat::Csv | FileFormat::Avro, Some(columns)) => columns.to_vec(),
            (FileFormat::Lines, _) => vec!["line".to_owned()],
            _ => self.source.decoding.fields.iter().map(|field| field.name.clone()).collect(),
        }
    }

    /// Returns a field with the type that the source fixes, or with the default type of the format.
    fn untyped(&self, name: &str) -> DecodedField {
        if let Some(fixed) = self.source.decoding.fields.iter().find(|field| field.name == name) {
            return DecodedField { field: fixed.clone(), is_typed: true };
        }
        let fields = self.avro.map(|avro| avro.schema.row_fields()).unwrap_or_default();
        if let Some(field) = fields.into_iter().find(|field| field.names().any(|own| own == name)) {
            let field = Field { name: name.to_owned(), aliases: Vec::new(), ..field };
            return DecodedField { field, is_typed: false };
        }
        let (value, nullable) = match self.format() {
            FileFormat::Csv => (FieldType::String, true),
            FileFormat::Ndjson | FileFormat::Avro => (FieldType::Json, true),
            FileFormat::Lines | FileFormat::Raw => (FieldType::String, false),
        };
        DecodedField { field: Field::new(name, value, nullable), is_typed: false }
    }

    /// Returns how a field is decoded. `None` if the source lacks it and the consumer does not require it.
    fn decoded(&self, needed: &NeededField, consumer: &SourceConsumer<'_>) -> Result<Option<DecodedField>> {
        let known = self.known_name(needed);
        let Some(name) = known else {
            return if needed.optional { Ok(None) } else { Err(self.missing(needed, consumer)) };
        };
        let default = self.untyped(&name);
        let is_fixed = default.is_typed;
        Ok(Some(match &needed.value {
            Some(value) if !is_fixed => {
                // Each record may have another of the names.
                let has_aliases = matches!(self.format(), FileFormat::Ndjson | FileFormat::Avro);
                let aliases = if has_aliases { needed.names[1..].to_vec() } else { Vec::new() };
                let default = needed.default.clone().filter(|_| has_aliases);
                let field = Field { aliases, default, ..Field::new(name, value.clone(), needed.nullable) };
                if let Some(avro) = self.avro {
                    check_field(&avro.schema, &field).map_err(|why| self.unfit(&why, needed, consumer))?;
                }
                DecodedField { field, is_typed: true }
            }
            _ => default,
        }))
    }

    /// Returns the first name of a field that the source has. Any name may be a field of JSON.
    fn known_name(&self, needed: &NeededField) -> Option<String> {
        let mut names = needed.names.iter();
        let found = match (self.format(), self.columns) {
            (FileFormat::Csv, Some(columns)) => names.find(|name| columns.contains(name)),
            (FileFormat::Avro, _) => names.find(|name| self.avro.is_some_and(|avro| avro.schema.has_field(name))),
            (FileFormat::Csv, None) if self.source.connector.format().1 => None,
            (FileFormat::Csv, None) => names.find(|name| unnamed_column(name).is_some()),
            (FileFormat::Lines, _) => names.find(|name| *name == "line"),
            (FileFormat::Raw, _) => None,
            (FileFormat::Ndjson, _) => names.next(),
        };
        found.cloned()
    }

    #[cold]
    fn missing(&self, needed: &NeededField, consumer: &SourceConsumer<'_>) -> Error {
        let (name, id) = (&needed.names[0], &self.node.id);
        let all = self.all_names();
        let known = all.iter().map(String::as_str);
        let (format, has_header) = self.source.connector.format();
        let (reason, hint) = match (format, self.columns, has_header) {
            (FileFormat::Csv, None, true) => (
                format!("the input of source `{id}` is empty and has no header row, so it has no column `{name}`"),
                "write the header row into the file, or name the columns: `columns = [\"a\", \"b\"]`",
            ),
            (FileFormat::Csv, None, false) => (
                format!("its columns have no names, so there is no column `{name}`"),
                "name the columns of the source: `columns = [\"a\", \"b\"]`",
            ),
            (FileFormat::Raw, ..) => {
                let reason = format!("its records have no fields, so there is no field `{name}`");
                (reason, "set the source's `format` to \"csv\" or \"ndjson\"")
            }
            (FileFormat::Lines, ..) => {
                let reason = format!("a line has only the field `line`, so there is no field `{name}`");
                (reason, "set the source's `format` to \"csv\" or \"ndjson\"")
            }
            (FileFormat::Avro, ..) => {
                let reason = format!("its schema has no field `{name}`{}", did_you_mean(name, known.clone()));
                (reason, "correct the name, or make the field optional")
            }
            _ => {
                let reason = format!("it has no column `{name}`{}", did_you_mean(name, known.clone()));
                (reason, "correct the name, or make the field optional")
            }
        };
        let listed = match all.is_empty() {
            true => "no known fields".to_owned(),
            false => all.join(", "),
        };
        let needs = needed_text(consumer.need);
        let error = schema_mismatch(consumer.node, id, &reason).hint(hint);
        with_formats(error, consumer.node, id, (&listed, &needs)).about(&consumer.node.id, consumer.key)
    }

    /// The type of a field is not one that its type in the schema of Avro can be read as.
    #[cold]
    fn unfit(&self, why: &str, needed: &NeededField, consumer: &SourceConsumer<'_>) -> Error {
        let id = &self.node.id;
        let field = self.untyped(&needed.names[0]).field;
        let sign = if field.nullable { "?" } else { "" };
        let emitted = format!("{{{}:{}{sign}}}", field.name, field.value);
        let error = schema_mismatch(consumer.node, id, why).hint("declare the field with the type that the source has");
        with_formats(error, consumer.node, id, (&emitted, &needed_text(consumer.need)))
            .about(&consumer.node.id, consumer.key)
    }

    /// Checks that the timestamp and the fields can be decoded: a column may be missing, or its name may occur twice.
    pub(super) fn check_decoder(&self, decoding: &SourceDecoding) -> Result<()> {
        let by_name = matches!(&decoding.timestamp, Some(TimestampSelector { at: KeySelector::Field(_), .. }));
        if by_name && self.columns.is_none() && self.source.connector.format() == (FileFormat::Csv, true) {
            let why = format!("the input of source `{}` is empty and has no header row", self.node.id);
            let hint = "write the header row into the file, or name the columns: `columns = [\"a\", \"b\"]`";
            return Err(self.undecodable("timestamp", &why).hint(hint));
        }
        let of_timestamp = SourceDecoding { rows: Vec::new(), ..decoding.clone() };
        self.compile_decoder(&of_timestamp).map_err(|why| self.undecodable("timestamp", &why))?;
        self.compile_decoder(decoding).map_err(|why| self.undecodable("connector", &why))
    }

    fn compile_decoder(&self, decoding: &SourceDecoding) -> Result<(), String> {
        let (_, has_header) = self.source.connector.format();
        let mut decoder = RecordDecoder::compile(decoding, has_header)?;
        match self.columns.filter(|_| has_header) {
            Some(columns) => decoder.set_columns(columns),
            None => Ok(()),
        }
    }

    #[cold]
    fn undecodable(&self, key: &'static str, why: &str) -> Error {
        let error = error::manifest_key(format!("source `{}`: {why}", self.node.id)).about(&self.node.id, key);
        match self.source.connector.format().0 {
            FileFormat::Csv => {
                error.hint("name the columns: `columns = [\"a\", \"b\"]`; they replace the names in a header")
            }
            _ => error,
        }
    }

    #[cold]
    fn conflict(&self, consumer: &SourceConsumer<'_>, name: &str) -> Error {
        let reason = format!("two of its consumers declare the field `{name}` with different types");
        schema_mismatch(consumer.node, &self.node.id, &reason)
            .hint(format!(
                "let both declare the same type, or fix it: fields = {{ {name} = \"string?\" }} in [source.{}]",
                self.node.id
            ))
            .about(&consumer.node.id, consumer.key)
    }

    #[cold]
    fn invalid_schema(&self, defect: &str) -> Error {
        error::schema_mismatch(format!("the columns of source `{}` cannot be fields: {defect}", self.node.id))
            .hint("name the columns: `columns = [\"a\", \"b\"]`; they replace those of a header")
            .about(&self.node.id, "columns")
    }
}

/// Returns a name that occurs twice.
fn repeated(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)).map(|(_, name)| name)
}

/// Returns the index of a column without a name, which is called `column0`, `column1` and so on.
pub(in crate::runtime::plan) fn unnamed_column(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("column")?;
    digits.parse().ok().filter(|index: &usize| index.to_string() == digits)
}

/// Lists the fields that a consumer needs.
fn needed_text(need: &InputNeed) -> String {
    let InputNeed::Rows { fields, .. } = need else { return "all fields".to_owned() };
    let text = |field: &NeededField| match &field.value {
        Some(value) => format!("{}:{value}{}", field.names[0], if field.nullable { "?" } else { "" }),
        None => field.names[0].clone(),
    };
    format!("{{{}}}", fields.iter().map(text).collect::<Vec<_>>().join(","))
}
