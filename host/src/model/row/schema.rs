//! The schema of a row.
//!
//! Invariant: the names of a record's fields differ, nested records have fields, and depth, number and names of fields are
//! within their limits. Code that reads rows relies on it: its recursion is bounded, and every element has at least one byte.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::field_type::{ElementType, Field, FieldType};
use super::type_text::{SchemaDefect, TYPE_DEPTH_MAX, parse_fields, write_fields};
use crate::escape::shown;

/// Maximum number of fields, including those of nested records.
pub const FIELDS_MAX: usize = 4096;

/// Maximum length of a field's name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// The fields of a row in their order.
///
/// Two schemas are equal if rows of one are rows of the other: aliases and defaults do not count.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct RowSchema {
    fields: Vec<Field>,
}

impl RowSchema {
    /// Checks fields. Error: two fields have the same name, a nested record has no fields, or a limit is exceeded.
    pub fn new(fields: Vec<Field>) -> Result<RowSchema, SchemaDefect> {
        let mut count = 0;
        check_fields(&fields, 0, &mut count)?;
        Ok(RowSchema { fields })
    }

    /// Returns the fields.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Returns a field and its index.
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name == name)
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Returns whether the schema has no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl fmt::Display for RowSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_fields(f, &self.fields)
    }
}

impl FromStr for RowSchema {
    type Err = SchemaDefect;

    fn from_str(text: &str) -> Result<RowSchema, SchemaDefect> {
        RowSchema::new(parse_fields(text)?)
    }
}

fn check_fields(fields: &[Field], depth: usize, count: &mut usize) -> Result<(), SchemaDefect> {
    *count += fields.len();
    if *count > FIELDS_MAX {
        return Err(SchemaDefect(format!("there are more than {FIELDS_MAX} fields")));
    }
    let mut names = BTreeSet::new();
    for field in fields {
        for name in field.names() {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                let shown = shown(name.as_bytes());
                return Err(SchemaDefect(format!("the field name `{shown}` is not 1 to {NAME_BYTES_MAX} bytes long")));
            }
        }
        if !names.insert(field.name.as_str()) {
            return Err(SchemaDefect(format!("two fields have the name `{}`", shown(field.name.as_bytes()))));
        }
        check_type(&field.value, depth + 1, count)?;
    }
    Ok(())
}

fn check_type(value: &FieldType, depth: usize, count: &mut usize) -> Result<(), SchemaDefect> {
    if depth > TYPE_DEPTH_MAX {
        return Err(SchemaDefect(format!("types are nested more than {TYPE_DEPTH_MAX} deep")));
    }
    match value {
        FieldType::List(element) | FieldType::Map(element) => {
            let ElementType { value, .. } = &**element;
            check_type(value, depth + 1, count)
        }
        FieldType::Record(fields) if fields.is_empty() => Err(SchemaDefect("a nested record has no fields".to_owned())),
        FieldType::Record(fields) => check_fields(fields, depth, count),
        _ => Ok(()),
    }
}
