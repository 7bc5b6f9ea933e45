//! Types of fields as text: in the contract's form, and in that of a state's fingerprint.

use super::RecordField;
use crate::bindings::exports::cofferdam::function::guest::Field;
use std::fmt::Write;

/// How deeply types may be nested. The host has the same limit.
const DEPTH_MAX: usize = 16;

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowType {
    Simple(&'static str),
    Nullable(Box<RowType>),
    List(Box<RowType>),
    Map(Box<RowType>),
    Record(Vec<RowField>),
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowField {
    name: &'static str,
    value: RowType,
    aliases: &'static [&'static str],
    default: Option<&'static str>,
}

impl RowField {
    /// Describes a field of type `T`. `depth` types contain it.
    pub fn of<'row, T: RecordField<'row>>(
        depth: usize,
        name: &'static str,
        aliases: &'static [&'static str],
        default: Option<&'static str>,
    ) -> RowField {
        const {
            assert!(T::IS_PLAIN, "a record inside of another record cannot have fields with `alias` or `default`");
        }
        RowField { name, value: T::row_type(depth), aliases, default }
    }

    /// Describes the field for the contract.
    pub(crate) fn describe(&self) -> Field {
        let (value, nullable) = match &self.value {
            RowType::Nullable(value) => (&**value, true),
            value => (value, false),
        };
        Field {
            name: self.name.to_owned(),
            field_type: value.text(),
            nullable,
            aliases: self.aliases.iter().map(|&alias| alias.to_owned()).collect(),
            default_value: self.default.map(str::to_owned),
        }
    }
}

impl RowType {
    pub(super) fn nullable(value: RowType) -> RowType {
        RowType::Nullable(Box::new(value))
    }

    pub(super) fn list(element: RowType) -> RowType {
        RowType::List(Box::new(element))
    }

    pub(super) fn map(value: RowType) -> RowType {
        RowType::Map(Box::new(value))
    }

    /// Describes a record inside of `depth` types. `fields` gets the depth of its fields.
    ///
    /// # Panics
    /// Panics if types are nested too deeply, such as those of a record that contains itself.
    pub fn record(depth: usize, fields: impl FnOnce(usize) -> Vec<RowField>) -> RowType {
        assert!(depth < DEPTH_MAX, "a record contains itself, or types nested more than {DEPTH_MAX} deep");
        RowType::Record(fields(depth + 1))
    }

    /// Returns the fields of a record.
    pub(crate) fn fields(&self) -> &[RowField] {
        match self {
            RowType::Record(fields) => fields,
            _ => &[],
        }
    }

    /// Returns the canonical text, such as `{tailnum:string,dep_delay:i32?}`.
    pub(crate) fn text(&self) -> String {
        match self {
            RowType::Simple(name) => (*name).to_owned(),
            RowType::Nullable(value) => format!("{}?", value.text()),
            RowType::List(element) => format!("list<{}>", element.text()),
            RowType::Map(value) => format!("map<{}>", value.text()),
            RowType::Record(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|field| format!("{}:{}", quoted(field.name), field.value.text())).collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }

    /// Returns the shape that serde's types have in a fingerprint: see [`StateType`](crate::StateType).
    pub(crate) fn shape(&self) -> String {
        match self {
            RowType::Simple(name) => match *name {
                "timestamp" => "i64".to_owned(),
                "date" => "i32".to_owned(),
                "json" => "string".to_owned(),
                "bytes" => "list<u8,>".to_owned(),
                name => name.to_owned(),
            },
            RowType::Nullable(value) => format!("option<{},>", value.shape()),
            RowType::List(element) => format!("list<{},>", element.shape()),
            RowType::Map(value) => format!("map<string,{},>", value.shape()),
            RowType::Record(fields) => {
                let fields: String = fields.iter().fold(String::new(), |mut text, field| {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "{}:{},", field.name, field.value.shape());
                    text
                });
                format!("{{{fields}}}")
            }
        }
    }
}

/// Writes a name as it is if it consists of letters, digits and `_`, or as a JSON string.
fn quoted(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return name.to_owned();
    }
    serde_json::Value::from(name).to_string()
}
