//! The record formats of sources and sinks, and the settings that belong to them.

use super::avro_settings::{AvroSettings, avro};
use super::setting::{Setting, SettingKind};
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::Result;
use crate::model::row::{ElementType, Field, RowSchema};

/// The format of a source's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Each line is a record, with one field, `line`.
    Lines,
    /// Each CSV row is a record.
    Csv,
    /// Each line is a JSON document.
    Ndjson,
    /// Each line is a record without fields.
    Raw,
    /// Each message is a record of Avro.
    Avro,
}

impl FileFormat {
    /// All formats with their names in a pipeline file.
    const ALL: [(&'static str, FileFormat); 5] = [
        ("lines", FileFormat::Lines),
        ("csv", FileFormat::Csv),
        ("ndjson", FileFormat::Ndjson),
        ("raw", FileFormat::Raw),
        ("avro", FileFormat::Avro),
    ];

    /// Returns its name in a pipeline file.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

/// How a source reads the fields of its records.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodingSettings {
    /// The names of the columns of CSV rows, in their order. They replace those of a header.
    pub columns: Option<Vec<String>>,
    /// The texts of CSV columns that mean null.
    pub null_values: Vec<String>,
    /// The types of fields, where the source fixes them.
    pub fields: Vec<Field>,
    /// Where the schema of records of Avro is found.
    pub avro: Option<AvroSettings>,
}

impl Default for DecodingSettings {
    fn default() -> Self {
        DecodingSettings { columns: None, null_values: vec![String::new()], fields: Vec::new(), avro: None }
    }
}

/// How a sink writes its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodingSettings {
    /// The format, or `None` if rows are written as NDJSON and other records as they are.
    pub format: Option<SinkFormat>,
    /// Whether CSV begins with the names of the columns.
    pub header: bool,
    /// The fields to write, in this order, or `None` for all.
    pub columns: Option<Vec<String>>,
    /// Where the schema of records of Avro is found.
    pub avro: Option<AvroSettings>,
}

/// The format in which a sink writes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkFormat {
    /// Each record is a JSON object on a line.
    Ndjson,
    /// Each record is a CSV row.
    Csv,
    /// Each record is written as it is.
    Raw,
    /// Each record is written as Avro.
    Avro,
}

/// The settings that [`decoding`] reads.
pub const DECODING_SETTINGS: &[Setting] = &[
    Setting::new("columns", SettingKind::Names, "those of the header"),
    Setting::new("null_values", SettingKind::Texts, "`[\"\"]`"),
    Setting::new("fields", SettingKind::map_of(&SettingKind::Text), "empty"),
];

/// The settings that [`encoding`] reads.
pub const ENCODING_SETTINGS: &[Setting] = &[
    Setting::new(
        "format",
        SettingKind::Choice(&["ndjson", "csv", "raw", "avro"]),
        "rows as NDJSON, other records as they are",
    ),
    Setting::new("header", SettingKind::Boolean, "`true`"),
    Setting::new("columns", SettingKind::Names, "all fields"),
];

/// Reads `format` of a source.
pub fn source_format(section: &TomlSection<'_>) -> Result<Option<FileFormat>> {
    section.get("format").map(|item| item.choose(&FileFormat::ALL)).transpose()
}

/// Reads `columns`, `null_values` and `fields` of a source of this format.
pub(super) fn decoding(section: &TomlSection<'_>, format: FileFormat) -> Result<DecodingSettings> {
    for key in ["columns", "null_values"] {
        if let Some(item) = section.get(key).filter(|_| format != FileFormat::Csv) {
            return Err(item.invalid("has no effect without format = \"csv\""));
        }
    }
    let columns = section.get("columns").map(|item| names(&item)).transpose()?;
    let null_values = section.get("null_values").map(|item| texts(&item)).transpose()?;
    let fields = section.get("fields").map(|item| fields(&item, format, columns.as_deref())).transpose()?;
    let defaults = DecodingSettings::default();
    Ok(DecodingSettings {
        columns,
        null_values: null_values.unwrap_or(defaults.null_values),
        fields: fields.unwrap_or_default(),
        avro: avro(section, format == FileFormat::Avro, false)?,
    })
}

/// Reads a list of texts, which may be empty.
fn texts(item: &TomlItem<'_>) -> Result<Vec<String>> {
    let elements = item.elements().ok_or_else(|| item.invalid("must be a list of texts"))?;
    let text = |item: &TomlItem<'_>| match item.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(item.invalid("must be a text in quotes")),
    };
    elements.iter().map(text).collect()
}

/// Reads a list of different names, at least one.
pub(super) fn names(item: &TomlItem<'_>) -> Result<Vec<String>> {
    let elements = item.elements().ok_or_else(|| item.invalid("must be a list of names"))?;
    if elements.is_empty() {
        return Err(item.invalid("must have at least one name"));
    }
    let mut names: Vec<String> = Vec::with_capacity(elements.len());
    for element in &elements {
        let name = element.string()?;
        if names.iter().any(|other| other == name) {
            return Err(element.invalid(format_args!("is `{name}`, which occurs twice")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Reads the types of fields, such as `{ delay = "i32?" }`.
fn fields(item: &TomlItem<'_>, format: FileFormat, columns: Option<&[String]>) -> Result<Vec<Field>> {
    if matches!(format, FileFormat::Raw | FileFormat::Lines | FileFormat::Avro) {
        return Err(item.invalid("has no effect without format = \"csv\" or format = \"ndjson\""));
    }
    let mut fields = Vec::new();
    for (name, span, item) in item.section()?.entries() {
        let text = item.string()?;
        let parsed = text.parse::<ElementType>();
        let ElementType { value, nullable } = parsed.map_err(|defect| {
            item.invalid(format_args!("is `{text}`, which is not a type: {defect}"))
                .hint("a type is bool, i8 to i64, u8 to u64, f32, f64, string, bytes, timestamp, date, json or list<T>; a `?` after it allows null")
        })?;
        if columns.is_some_and(|columns| columns.iter().all(|column| column != name)) {
            let error = item.invalid("is not one of the `columns`");
            return Err(error.at(item.text.location(&span)));
        }
        fields.push(Field::new(name, value, nullable));
    }
    RowSchema::new(fields.clone()).map_err(|defect| item.invalid(format_args!("cannot be used: {defect}")))?;
    Ok(fields)
}

/// Reads `format`, `header` and `columns` of a sink.
pub(super) fn encoding(section: &TomlSection<'_>) -> Result<EncodingSettings> {
    let formats = [
        ("ndjson", SinkFormat::Ndjson),
        ("csv", SinkFormat::Csv),
        ("raw", SinkFormat::Raw),
        ("avro", SinkFormat::Avro),
    ];
    let format = section.get("format").map(|item| item.choose(&formats)).transpose()?;
    let header = match section.get("header") {
        Some(item) if format != Some(SinkFormat::Csv) => {
            return Err(item.invalid("has no effect without format = \"csv\""));
        }
        Some(item) => item.bool()?,
        None => format == Some(SinkFormat::Csv),
    };
    let columns = match section.get("columns") {
        Some(item) if matches!(format, None | Some(SinkFormat::Raw)) => {
            return Err(item.invalid("has no effect without format = \"csv\" or format = \"ndjson\""));
        }
        Some(item) => Some(names(&item)?),
        None => None,
    };
    let avro = avro(section, format == Some(SinkFormat::Avro), true)?;
    Ok(EncodingSettings { format, header, columns, avro })
}
