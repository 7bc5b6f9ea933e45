//! Finds a field within encoded rows.

use super::encoding::{RowBytes, RowDefect, ValueLayout, largest_varint};
use super::field_type::{Field, FieldType};
use super::nearest::did_you_mean;
use super::schema::RowSchema;
use super::type_text::SchemaDefect;
use crate::escape::shown;

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowValue<'a> {
    /// A boolean.
    Bool(bool),
    /// A signed integer of any size.
    Signed(i64),
    /// An unsigned integer of any size.
    Unsigned(u64),
    /// A floating-point number of 32 bits.
    F32(f32),
    /// A floating-point number of 64 bits.
    F64(f64),
    /// A string.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    /// Days since 1970-01-01.
    Date(i32),
    /// JSON text.
    Json(&'a str),
    /// A list, a map or a nested record, encoded.
    Nested(&'a [u8]),
}

/// The way to one field in rows of a schema, also to a field of nested records.
#[derive(Clone, Debug)]
pub struct FieldLocator {
    levels: Vec<LocatorLevel>,
    value: FieldType,
    layout: ValueLayout,
    nullable: bool,
}

#[derive(Clone, Debug)]
struct LocatorLevel {
    /// The values in front of the field.
    skipped: Box<[ValueLayout]>,
    nullable: bool,
}

impl FieldLocator {
    /// Finds the field at `path`: a name, or names of nested records and a field, joined by dots. A field whose own name
    /// contains dots is found too. Error: there is no such field.
    pub fn compile(schema: &RowSchema, path: &str) -> Result<FieldLocator, SchemaDefect> {
        let mut levels = Vec::new();
        let mut fields = schema.fields();
        let mut rest = path;
        loop {
            let Some((index, field, behind)) = field_at(fields, rest) else {
                let name = rest.split('.').next().unwrap_or(rest);
                let hint = did_you_mean(name, fields.iter().map(|field| field.name.as_str()));
                return Err(SchemaDefect(format!("there is no field `{}`{hint}", shown(path.as_bytes()))));
            };
            let skipped = fields[..index].iter().map(ValueLayout::of_field).collect();
            levels.push(LocatorLevel { skipped, nullable: field.nullable });
            let Some(behind) = behind else {
                let nullable = levels.iter().any(|level| level.nullable);
                let layout = ValueLayout::new(&field.value, false);
                return Ok(FieldLocator { levels, value: field.value.clone(), layout, nullable });
            };
            let FieldType::Record(inner) = &field.value else {
                let (name, value) = (shown(field.name.as_bytes()), &field.value);
                return Err(SchemaDefect(format!("the field `{name}` is `{value}`, which has no fields")));
            };
            fields = inner;
            rest = behind;
        }
    }

    /// Returns the type of the field.
    pub fn field_type(&self) -> &FieldType {
        &self.value
    }

    /// Returns whether the field, or a record that contains it, may be null.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// Returns the encoded value, without the flag of a nullable one. `None` if it is null.
    #[inline]
    pub fn locate<'a>(&self, row: &'a [u8]) -> Result<Option<&'a [u8]>, RowDefect> {
        match self.start(row)? {
            Some(mut row) => row.value(&self.layout).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the value, or `None` if it is null.
    #[inline]
    pub fn value<'a>(&self, row: &'a [u8]) -> Result<Option<RowValue<'a>>, RowDefect> {
        let Some(mut row) = self.start(row)? else { return Ok(None) };
        typed_value(&self.value, &self.layout, &mut row).map(Some)
    }

    #[inline]
    fn start<'a>(&self, row: &'a [u8]) -> Result<Option<RowBytes<'a>>, RowDefect> {
        let mut row = RowBytes::new(row);
        for level in &self.levels {
            level.skipped.iter().try_for_each(|layout| layout.skip(&mut row))?;
            if level.nullable && !row.flag()? {
                return Ok(None);
            }
        }
        Ok(Some(row))
    }
}

/// Reads a value that is not null. `layout` is that of its type.
#[inline]
fn typed_value<'a>(value: &FieldType, layout: &ValueLayout, row: &mut RowBytes<'a>) -> Result<RowValue<'a>, RowDefect> {
    Ok(match value {
        FieldType::Bool => RowValue::Bool(row.flag()?),
        FieldType::I8 => RowValue::Signed(i64::from(row.byte()? as i8)),
        FieldType::U8 => RowValue::Unsigned(u64::from(row.byte()?)),
        number @ (FieldType::I16 | FieldType::I32 | FieldType::I64) => {
            RowValue::Signed(row.signed(largest_varint(number))?)
        }
        number @ (FieldType::U16 | FieldType::U32 | FieldType::U64) => {
            RowValue::Unsigned(row.unsigned(largest_varint(number))?)
        }
        FieldType::F32 => RowValue::F32(f32::from_le_bytes(row.array()?)),
        FieldType::F64 => RowValue::F64(f64::from_le_bytes(row.array()?)),
        FieldType::String => RowValue::Text(row.text()?),
        FieldType::Bytes => RowValue::Bytes(row.bytes()?),
        FieldType::Timestamp => RowValue::Timestamp(row.signed(u64::MAX)?),
        FieldType::Date => RowValue::Date(row.signed(u64::from(u32::MAX))? as i32),
        FieldType::Json => RowValue::Json(row.text()?),
        FieldType::List(_) | FieldType::Map(_) | FieldType::Record(_) => RowValue::Nested(row.value(layout)?),
    })
}

/// Reads all values of rows of a schema.
#[derive(Clone, Debug)]
pub struct RowValues {
    fields: Vec<(Field, ValueLayout)>,
}

impl RowValues {
    /// Compiles the reader for rows of a schema.
    pub fn new(schema: &RowSchema) -> RowValues {
        let fields = schema.fields().iter();
        RowValues { fields: fields.map(|field| (field.clone(), ValueLayout::new(&field.value, false))).collect() }
    }

    /// Calls `visit` with each field and its value, which is `None` if it is null.
    pub fn visit<'a, E: From<RowDefect>>(
        &self,
        row: &'a [u8],
        mut visit: impl FnMut(&Field, Option<RowValue<'a>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut row = RowBytes::new(row);
        for (field, layout) in &self.fields {
            let is_null = field.nullable && !row.flag()?;
            let value = if is_null { None } else { Some(typed_value(&field.value, layout, &mut row)?) };
            visit(field, value)?;
        }
        Ok(row.end()?)
    }
}

/// Returns the field with the longest name that `path` begins with, and the path behind its dot.
fn field_at<'f, 'p>(fields: &'f [Field], path: &'p str) -> Option<(usize, &'f Field, Option<&'p str>)> {
    let behind = |field: &'f Field| match path.strip_prefix(field.name.as_str())? {
        "" => Some(None),
        rest => rest.strip_prefix('.').map(Some),
    };
    let matching = |(index, field): (usize, &'f Field)| behind(field).map(|behind| (index, field, behind));
    fields.iter().enumerate().filter_map(matching).max_by_key(|(_, field, _)| field.name.len())
}
