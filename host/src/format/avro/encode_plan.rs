//! Compiles how a row becomes a record of a schema.

use serde_json::Value;

use super::row_fields::named;
use super::schema::{AvroField, AvroMeaning, AvroSchema, AvroShape, TypeId};
use super::varint::write_long;
use crate::escape::shown;
use crate::model::row::{ElementType, Field, FieldType, ValueLayout, did_you_mean, largest_varint};

/// How a row, or a nested record of one, becomes a record.
#[derive(Clone, Debug)]
pub(super) struct RecordWrite {
    /// The fields of the row.
    pub(super) row: Box<[ValueLayout]>,
    /// The fields of the record.
    pub(super) fields: Box<[EncodedFieldSource]>,
}

/// Where the value of a record's field comes from.
#[derive(Clone, Debug)]
pub(super) enum EncodedFieldSource {
    /// The row lacks the field: its default, or null.
    Constant(Box<[u8]>),
    /// The field of the row with this index.
    Row { index: usize, name: String, value: ValueWrite },
}

/// How a value of a row is written.
#[derive(Clone, Debug)]
pub(super) struct ValueWrite {
    pub(super) nullable: bool,
    /// The branches of null and of other values, if the type is a union.
    pub(super) union: Option<UnionBranches>,
    pub(super) kind: WriteKind,
}

/// The branches of a union that are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnionBranches {
    pub(super) null: Option<i64>,
    pub(super) value: i64,
}

/// How a value that is not null is written.
#[derive(Clone, Debug)]
pub(super) enum WriteKind {
    Boolean,
    Whole {
        from: RowWhole,
        is_int: bool,
    },
    F32,
    F64,
    F32ToF64,
    /// A string, bytes or JSON, with its length.
    Prefixed,
    Fixed(usize),
    Symbol(Box<[String]>),
    Timestamp {
        per_ms: i64,
    },
    Date,
    Decimal {
        scale: u32,
        length: Option<usize>,
    },
    List(Box<ValueWrite>),
    Map(Box<ValueWrite>),
    Record(Box<RecordWrite>),
}

/// How an integer of a row is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowWhole {
    SignedByte,
    UnsignedByte,
    Signed { max: u64 },
    Unsigned { max: u64 },
}

/// Compiles the plan of a row. Error: a sentence about the field that does not fit.
pub(super) fn compile(schema: &AvroSchema, rows: &[Field]) -> Result<RecordWrite, String> {
    record(schema, schema.fields(), rows)
}

fn record(schema: &AvroSchema, fields: &[AvroField], rows: &[Field]) -> Result<RecordWrite, String> {
    if let Some(extra) = rows.iter().find(|row| named(fields, &row.name).is_none()) {
        let hint = did_you_mean(&extra.name, fields.iter().map(|field| field.name.as_str()));
        return Err(format!("the schema has no field `{}`{hint}", shown(extra.name.as_bytes())));
    }
    let source = |(at, field): (usize, &AvroField)| {
        let Some(index) = rows.iter().position(|row| named(fields, &row.name) == Some(at)) else {
            let constant = absent(schema, field);
            return constant.map(|bytes| EncodedFieldSource::Constant(bytes.into())).ok_or_else(|| {
                format!("the schema has the field `{}`, which has no default and is not in the row", field.name)
            });
        };
        let row = &rows[index];
        let value = value(schema, field.value, &row.value, row.nullable)
            .map_err(|why| format!("the field `{}` {why}", shown(row.name.as_bytes())))?;
        Ok(EncodedFieldSource::Row { index, name: row.name.clone(), value })
    };
    Ok(RecordWrite {
        row: rows.iter().map(ValueLayout::of_field).collect(),
        fields: fields.iter().enumerate().map(source).collect::<Result<_, String>>()?,
    })
}

fn value(schema: &AvroSchema, id: TypeId, from: &FieldType, nullable: bool) -> Result<ValueWrite, String> {
    let branches = schema.branches(id);
    let is_null = |id: &TypeId| matches!(schema.type_of(*id).shape, AvroShape::Null);
    if branches.is_empty() {
        return match nullable {
            true => Err(format!("may be null in the row, and is `{}` in the schema", schema.type_name(id))),
            false => Ok(ValueWrite { nullable, union: None, kind: kind(schema, id, from)? }),
        };
    }
    let null = branches.iter().position(is_null);
    if nullable && null.is_none() {
        return Err("may be null in the row, and in the schema it is a union without null".to_owned());
    }
    let fitting = branches.iter().enumerate().filter(|(_, branch)| !is_null(branch));
    let mut fitting = fitting.map(|(index, branch)| Ok::<_, String>((index, kind(schema, *branch, from)?)));
    let mut first_error = None;
    let found = fitting.find_map(|found| found.map_err(|why| first_error.get_or_insert(why).clone()).ok());
    let Some((index, kind)) = found else {
        return Err(first_error.unwrap_or_else(|| "is null in the schema".to_owned()));
    };
    let union = UnionBranches { null: null.map(|index| index as i64), value: index as i64 };
    Ok(ValueWrite { nullable, union: Some(union), kind })
}

fn kind(schema: &AvroSchema, id: TypeId, from: &FieldType) -> Result<WriteKind, String> {
    let of_type = schema.type_of(id);
    let element =
        |element: TypeId, from: &ElementType| value(schema, element, &from.value, from.nullable).map(Box::new);
    Ok(match (&of_type.shape, of_type.meaning, from) {
        (AvroShape::Boolean, _, FieldType::Bool) => WriteKind::Boolean,
        (AvroShape::Long, AvroMeaning::Timestamp { per_ms }, FieldType::Timestamp) => WriteKind::Timestamp { per_ms },
        (AvroShape::Long, AvroMeaning::Plain, FieldType::Timestamp) => WriteKind::Timestamp { per_ms: 1 },
        (AvroShape::Int, AvroMeaning::Date, FieldType::Date) => WriteKind::Date,
        (AvroShape::Int | AvroShape::Long, _, from) if row_whole(from).is_some() => {
            let from = row_whole(from).unwrap_or(RowWhole::SignedByte);
            WriteKind::Whole { from, is_int: matches!(of_type.shape, AvroShape::Int) }
        }
        (AvroShape::Float, _, FieldType::F32) => WriteKind::F32,
        (AvroShape::Double, _, FieldType::F64) => WriteKind::F64,
        (AvroShape::Double, _, FieldType::F32) => WriteKind::F32ToF64,
        (AvroShape::Bytes, AvroMeaning::Decimal { scale }, FieldType::String) => {
            WriteKind::Decimal { scale, length: None }
        }
        (AvroShape::Fixed(length), AvroMeaning::Decimal { scale }, FieldType::String) => {
            WriteKind::Decimal { scale, length: Some(*length) }
        }
        (AvroShape::Text, _, FieldType::String | FieldType::Json) => WriteKind::Prefixed,
        (AvroShape::Bytes, _, FieldType::Bytes | FieldType::String) => WriteKind::Prefixed,
        (AvroShape::Fixed(length), _, FieldType::Bytes) => WriteKind::Fixed(*length),
        (AvroShape::Enum(symbols), _, FieldType::String) => WriteKind::Symbol(symbols.clone()),
        (AvroShape::Array(inner), _, FieldType::List(from)) => WriteKind::List(element(*inner, from)?),
        (AvroShape::Map(inner), _, FieldType::Map(from)) => WriteKind::Map(element(*inner, from)?),
        (AvroShape::Record(fields), _, FieldType::Record(from)) => {
            WriteKind::Record(Box::new(record(schema, fields, from).map_err(|why| format!("has other fields: {why}"))?))
        }
        _ => {
            return Err(format!("is `{from}` in the row, which cannot be written as `{}`", schema.type_name(id)));
        }
    })
}

fn row_whole(from: &FieldType) -> Option<RowWhole> {
    match from {
        FieldType::I8 => Some(RowWhole::SignedByte),
        FieldType::U8 => Some(RowWhole::UnsignedByte),
        FieldType::I16 | FieldType::I32 | FieldType::I64 => Some(RowWhole::Signed { max: largest_varint(from) }),
        FieldType::U16 | FieldType::U32 | FieldType::U64 => Some(RowWhole::Unsigned { max: largest_varint(from) }),
        _ => None,
    }
}

/// Returns the bytes of a field that the row lacks.
fn absent(schema: &AvroSchema, field: &AvroField) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match &field.default {
        Some(default) => write_default(schema, field.value, default, &mut bytes)?,
        None => {
            let is_null = |id: &TypeId| matches!(schema.type_of(*id).shape, AvroShape::Null);
            let null = schema.branches(field.value).iter().position(is_null)?;
            write_long(&mut bytes, null as i64);
        }
    }
    Some(bytes)
}

/// Appends the bytes of a default. That of a union is of its first branch.
fn write_default(schema: &AvroSchema, id: TypeId, json: &Value, to: &mut Vec<u8>) -> Option<()> {
    match &schema.type_of(id).shape {
        AvroShape::Null => json.is_null().then_some(())?,
        AvroShape::Boolean => to.push(u8::from(json.as_bool()?)),
        AvroShape::Int => write_long(to, i32::try_from(json.as_i64()?).ok()?.into()),
        AvroShape::Long => write_long(to, json.as_i64()?),
        AvroShape::Float => to.extend_from_slice(&(json.as_f64()? as f32).to_le_bytes()),
        AvroShape::Double => to.extend_from_slice(&json.as_f64()?.to_le_bytes()),
        AvroShape::Text => {
            write_long(to, json.as_str()?.len() as i64);
            to.extend_from_slice(json.as_str()?.as_bytes());
        }
        AvroShape::Bytes | AvroShape::Fixed(_) => {
            // Each character is a byte.
            let bytes = json.as_str()?.chars().map(|character| u8::try_from(u32::from(character)).ok());
            let bytes = bytes.collect::<Option<Vec<u8>>>()?;
            match schema.type_of(id).shape {
                AvroShape::Fixed(length) => (bytes.len() == length).then_some(())?,
                _ => write_long(to, bytes.len() as i64),
            }
            to.extend_from_slice(&bytes);
        }
        AvroShape::Enum(symbols) => {
            let index = symbols.iter().position(|symbol| Some(symbol.as_str()) == json.as_str())?;
            write_long(to, index as i64);
        }
        AvroShape::Union(branches) => {
            write_long(to, 0);
            write_default(schema, *branches.first()?, json, to)?;
        }
        AvroShape::Array(element) => {
            for value in json.as_array()? {
                write_long(to, 1);
                write_default(schema, *element, value, to)?;
            }
            to.push(0);
        }
        AvroShape::Map(element) => {
            for (name, value) in json.as_object()? {
                write_long(to, 1);
                write_long(to, name.len() as i64);
                to.extend_from_slice(name.as_bytes());
                write_default(schema, *element, value, to)?;
            }
            to.push(0);
        }
        AvroShape::Record(fields) => {
            let object = json.as_object()?;
            for field in fields {
                match object.get(&field.name).or(field.default.as_ref()) {
                    Some(value) => write_default(schema, field.value, value, to)?,
                    None => return None,
                }
            }
        }
    }
    Some(())
}
