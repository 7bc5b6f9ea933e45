//! Types as text: `i64`, `list<string?>`, `{tailnum:string,dep_delay:i32?}`.
//!
//! The canonical text has no spaces. Names other than letters, digits and `_` are JSON strings: `{"dep delay":i32}`. The parser
//! also accepts spaces around names, types and signs. Text comes from guests and files, so the depth of types is limited.

use std::fmt;
use std::str::FromStr;

use super::field_type::{ElementType, Field, FieldType};
use crate::escape::shown;

/// How deeply types may be nested. The fields of a row have depth 1.
pub const TYPE_DEPTH_MAX: usize = 16;

/// Why a schema, a type or a path is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaDefect(pub(super) String);

/// The types without parameters.
const SIMPLE_TYPES: [(&str, FieldType); 16] = [
    ("bool", FieldType::Bool),
    ("i8", FieldType::I8),
    ("i16", FieldType::I16),
    ("i32", FieldType::I32),
    ("i64", FieldType::I64),
    ("u8", FieldType::U8),
    ("u16", FieldType::U16),
    ("u32", FieldType::U32),
    ("u64", FieldType::U64),
    ("f32", FieldType::F32),
    ("f64", FieldType::F64),
    ("string", FieldType::String),
    ("bytes", FieldType::Bytes),
    ("timestamp", FieldType::Timestamp),
    ("date", FieldType::Date),
    ("json", FieldType::Json),
];

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldType::List(element) => write!(f, "list<{element}>"),
            FieldType::Map(element) => write!(f, "map<{element}>"),
            FieldType::Record(fields) => write_fields(f, fields),
            simple => {
                let name = SIMPLE_TYPES.iter().find(|(_, value)| value == simple).map_or("", |(name, _)| name);
                f.write_str(name)
            }
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.value, if self.nullable { "?" } else { "" })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(&self.name) {
            f.write_str(&self.name)?;
        } else {
            f.write_str(&serde_json::to_string(&self.name).map_err(|_| fmt::Error)?)?;
        }
        write!(f, ":{}{}", self.value, if self.nullable { "?" } else { "" })
    }
}

/// Writes `{a:i32,b:string?}`.
pub(super) fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[Field]) -> fmt::Result {
    f.write_str("{")?;
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        write!(f, "{field}")?;
    }
    f.write_str("}")
}

/// Parses `{a:i32,b:string?}`.
pub(super) fn parse_fields(text: &str) -> Result<Vec<Field>, SchemaDefect> {
    let mut parser = TypeParser::new(text);
    parser.sign('{')?;
    let fields = parser.fields(0)?;
    parser.end()?;
    Ok(fields)
}

/// Parses a type without `?`.
impl FromStr for FieldType {
    type Err = SchemaDefect;

    fn from_str(text: &str) -> Result<FieldType, SchemaDefect> {
        let mut parser = TypeParser::new(text);
        let value = parser.value(1)?;
        parser.end()?;
        Ok(value)
    }
}

/// Parses a type with an optional `?`.
impl FromStr for ElementType {
    type Err = SchemaDefect;

    fn from_str(text: &str) -> Result<ElementType, SchemaDefect> {
        let mut parser = TypeParser::new(text);
        let element = parser.element(1)?;
        parser.end()?;
        Ok(element)
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

struct TypeParser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> TypeParser<'a> {
    fn new(text: &'a str) -> TypeParser<'a> {
        TypeParser { text, rest: text }
    }

    fn defect(&self, expected: &str) -> SchemaDefect {
        let at = self.text.len() - self.rest.len();
        SchemaDefect(format!("`{}` is not a type: expected {expected} at byte {at}", shown(self.text.as_bytes())))
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn accept(&mut self, sign: char) -> bool {
        self.skip_spaces();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sign(&mut self, sign: char) -> Result<(), SchemaDefect> {
        if self.accept(sign) { Ok(()) } else { Err(self.defect(&format!("`{sign}`"))) }
    }

    fn end(&mut self) -> Result<(), SchemaDefect> {
        self.skip_spaces();
        if self.rest.is_empty() { Ok(()) } else { Err(self.defect("the end")) }
    }

    /// Takes letters, digits and `_`.
    fn word(&mut self) -> &'a str {
        self.skip_spaces();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn name(&mut self) -> Result<String, SchemaDefect> {
        self.skip_spaces();
        if !self.rest.starts_with('"') {
            let name = self.word();
            return if name.is_empty() { Err(self.defect("the name of a field")) } else { Ok(name.to_owned()) };
        }
        let mut names = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let Some(Ok(name)) = names.next() else { return Err(self.defect("a name in quotes")) };
        self.rest = &self.rest[names.byte_offset()..];
        Ok(name)
    }

    /// Parses the fields behind `{`, and the `}`. `depth` is that of the record.
    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, SchemaDefect> {
        let mut fields = Vec::new();
        if self.accept('}') {
            return Ok(fields);
        }
        loop {
            let name = self.name()?;
            self.sign(':')?;
            let ElementType { value, nullable } = self.element(depth + 1)?;
            fields.push(Field::new(name, value, nullable));
            if !self.accept(',') {
                self.sign('}')?;
                return Ok(fields);
            }
        }
    }

    fn element(&mut self, depth: usize) -> Result<ElementType, SchemaDefect> {
        let value = self.value(depth)?;
        Ok(ElementType { value, nullable: self.accept('?') })
    }

    fn value(&mut self, depth: usize) -> Result<FieldType, SchemaDefect> {
        if depth > TYPE_DEPTH_MAX {
            return Err(SchemaDefect(format!("types are nested more than {TYPE_DEPTH_MAX} deep")));
        }
        if self.accept('{') {
            return self.fields(depth).map(FieldType::Record);
        }
        let start = self.rest;
        let word = self.word();
        if let Some((_, value)) = SIMPLE_TYPES.iter().find(|(name, _)| *name == word) {
            return Ok(value.clone());
        }
        let make = match word {
            "list" => FieldType::List,
            "map" => FieldType::Map,
            _ => {
                self.rest = start;
                return Err(self.defect("a type such as `i64`, `string`, `list<T>`, `map<T>` or `{name: T}`"));
            }
        };
        self.sign('<')?;
        let element = self.element(depth + 1)?;
        self.sign('>')?;
        Ok(make(Box::new(element)))
    }
}
