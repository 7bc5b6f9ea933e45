//! Compiles how a value of a schema becomes a value of a row.

use super::row_fields::named;
use super::schema::{AvroField, AvroMeaning, AvroSchema, AvroShape, TypeId};
use crate::escape::shown;
use crate::model::row::{ElementType, Field, FieldType, did_you_mean, read_field};

/// How a record becomes the fields of a row, or of a nested record.
#[derive(Clone, Debug)]
pub(super) struct AvroRecordPlan {
    /// The types of the record's fields, in their order.
    pub(super) fields: Box<[TypeId]>,
    /// What to write, in the order of the row.
    pub(super) writes: Box<[FieldWrite]>,
}

/// How one field of a row is written.
#[derive(Clone, Debug)]
pub(super) struct FieldWrite {
    /// The field, for messages.
    pub(super) name: String,
    pub(super) from: WriteFrom,
}

/// Where the value of a field comes from.
#[derive(Clone, Debug)]
pub(super) enum WriteFrom {
    /// The record lacks the field: null, or its default.
    Constant(Box<[u8]>),
    /// The field of the record with this index.
    Field(usize, ValuePlan),
}

/// How a value is converted.
#[derive(Clone, Debug)]
pub(super) enum ValuePlan {
    /// `flag` tells that the row's value is nullable.
    Plain { flag: bool, read: ValueRead },
    /// The reading of each branch. `None` for null.
    Union { flag: bool, branches: Box<[Option<ValueRead>]> },
}

/// How a value that is not null is converted.
#[derive(Clone, Debug)]
pub(super) enum ValueRead {
    /// The type is null, and the value of the row is nullable.
    Null,
    Boolean,
    /// A whole number in this range.
    Signed {
        min: i64,
        max: i64,
    },
    Unsigned {
        max: i64,
    },
    SignedByte,
    UnsignedByte,
    WholeToF32,
    WholeToF64,
    F32,
    F64,
    F32ToF64,
    /// A string, or bytes that are checked to be UTF-8.
    Text,
    Bytes,
    Fixed(usize),
    Symbol(Box<[String]>),
    Timestamp {
        per_ms: i64,
    },
    /// RFC 3339.
    TimestampText,
    DecimalText {
        scale: u32,
        length: Option<usize>,
    },
    DecimalToF64 {
        scale: u32,
        length: Option<usize>,
    },
    Uuid,
    Json(TypeId),
    List {
        element: Box<ValuePlan>,
        of: TypeId,
    },
    Map {
        element: Box<ValuePlan>,
        of: TypeId,
    },
    Record(Box<AvroRecordPlan>),
}

/// Compiles plans for records of one schema.
#[derive(Clone, Copy)]
pub(super) struct PlanCompiler<'a> {
    pub(super) writer: &'a AvroSchema,
    /// The schema with the names and defaults that the pipeline was planned with.
    pub(super) reader: &'a AvroSchema,
}

/// Checks whether a field of records of a schema can be read as `field`. Error: a sentence.
pub fn check_field(schema: &AvroSchema, field: &Field) -> Result<(), String> {
    PlanCompiler { writer: schema, reader: schema }.row(std::slice::from_ref(field)).map(drop)
}

impl PlanCompiler<'_> {
    /// Compiles the plan of a row. Error: a sentence about the field that does not fit.
    pub(super) fn row(&self, fields: &[Field]) -> Result<AvroRecordPlan, String> {
        self.record(self.writer.fields(), Some(self.reader.fields()), fields)
    }

    /// `reader` has the fields with the defaults that the pipeline was planned with.
    fn record(
        &self,
        from: &[AvroField],
        reader: Option<&[AvroField]>,
        fields: &[Field],
    ) -> Result<AvroRecordPlan, String> {
        let write = |field: &Field| {
            let from = self.source(from, reader, field)?;
            Ok(FieldWrite { name: field.name.clone(), from })
        };
        let writes = fields.iter().map(write).collect::<Result<_, String>>()?;
        Ok(AvroRecordPlan { fields: from.iter().map(|field| field.value).collect(), writes })
    }

    fn source(&self, from: &[AvroField], reader: Option<&[AvroField]>, field: &Field) -> Result<WriteFrom, String> {
        // The writer may know the field by another name that the planned schema lists.
        let planned = reader.and_then(|reader| field.names().find_map(|name| Some(&reader[named(reader, name)?])));
        let aliases = planned.into_iter().flat_map(|planned| std::iter::once(&planned.name).chain(&planned.aliases));
        let found = field.names().chain(aliases.map(String::as_str)).find_map(|name| named(from, name));
        let name = shown(field.name.as_bytes());
        if let Some(index) = found {
            let plan = self.value(from[index].value, &field.value, field.nullable);
            return plan.map(|plan| WriteFrom::Field(index, plan)).map_err(|why| format!("the field `{name}` {why}"));
        }
        let planned_default = planned.and_then(|planned| planned.default.as_ref()).map(ToString::to_string);
        let default = field.default.clone().or(planned_default);
        let with_default = Field { default, ..field.clone() };
        let mut constant = Vec::new();
        match read_field(&with_default, &[], &mut constant) {
            Ok(()) => Ok(WriteFrom::Constant(constant.into())),
            Err(_) if with_default.default.is_some() => {
                Err(format!("the default of the field `{name}` is not of its type"))
            }
            Err(_) => {
                let hint = did_you_mean(&field.name, from.iter().map(|field| field.name.as_str()));
                Err(format!("there is no field `{name}`{hint}"))
            }
        }
    }

    /// Error: the end of a sentence that begins with the field.
    pub(super) fn value(&self, id: TypeId, to: &FieldType, nullable: bool) -> Result<ValuePlan, String> {
        let is_null = |id: TypeId| matches!(self.writer.type_of(id).shape, AvroShape::Null);
        let branches = match self.writer.branches(id) {
            [] => std::slice::from_ref(&id),
            branches => branches,
        };
        if !nullable && branches.iter().any(|branch| is_null(*branch)) {
            if *to == FieldType::Json {
                return Ok(ValuePlan::Plain { flag: false, read: ValueRead::Json(id) });
            }
            return Err(format!("may be null in the schema, and is read as `{to}`; make it optional"));
        }
        let read = |branch: &TypeId| match is_null(*branch) {
            true => Ok(None),
            false => self.read(*branch, to).map(Some),
        };
        let mut reads = branches.iter().map(read).collect::<Result<Vec<_>, String>>()?;
        match self.writer.branches(id).is_empty() {
            true => match reads.pop().flatten() {
                Some(read) => Ok(ValuePlan::Plain { flag: nullable, read }),
                // A field whose type is null.
                None => Ok(ValuePlan::Plain { flag: false, read: ValueRead::Null }),
            },
            false => Ok(ValuePlan::Union { flag: nullable, branches: reads.into() }),
        }
    }

    fn read(&self, id: TypeId, to: &FieldType) -> Result<ValueRead, String> {
        let of_type = self.writer.type_of(id);
        let element = |element: TypeId, to: &ElementType| self.value(element, &to.value, to.nullable).map(Box::new);
        Ok(match (&of_type.shape, of_type.meaning, to) {
            (_, _, FieldType::Json) => ValueRead::Json(id),
            (AvroShape::Boolean, _, FieldType::Bool) => ValueRead::Boolean,
            (AvroShape::Long, AvroMeaning::Timestamp { per_ms }, FieldType::Timestamp) => {
                ValueRead::Timestamp { per_ms }
            }
            (AvroShape::Long, AvroMeaning::Plain, FieldType::Timestamp) => ValueRead::Timestamp { per_ms: 1 },
            (AvroShape::Text, _, FieldType::Timestamp) => ValueRead::TimestampText,
            (AvroShape::Int, AvroMeaning::Date, FieldType::Date) => {
                whole(&FieldType::I32).ok_or_else(|| self.unfit(id, to))?
            }
            (AvroShape::Int | AvroShape::Long, _, FieldType::F64) => ValueRead::WholeToF64,
            (AvroShape::Int | AvroShape::Long, _, FieldType::F32) => ValueRead::WholeToF32,
            (AvroShape::Int | AvroShape::Long, _, to) => whole(to).ok_or_else(|| self.unfit(id, to))?,
            (AvroShape::Float, _, FieldType::F32) => ValueRead::F32,
            (AvroShape::Float, _, FieldType::F64) => ValueRead::F32ToF64,
            (AvroShape::Double, _, FieldType::F64) => ValueRead::F64,
            (AvroShape::Bytes, AvroMeaning::Decimal { scale }, FieldType::String) => {
                ValueRead::DecimalText { scale, length: None }
            }
            (AvroShape::Bytes, AvroMeaning::Decimal { scale }, FieldType::F64) => {
                ValueRead::DecimalToF64 { scale, length: None }
            }
            (AvroShape::Fixed(length), AvroMeaning::Decimal { scale }, FieldType::String) => {
                ValueRead::DecimalText { scale, length: Some(*length) }
            }
            (AvroShape::Fixed(length), AvroMeaning::Decimal { scale }, FieldType::F64) => {
                ValueRead::DecimalToF64 { scale, length: Some(*length) }
            }
            (AvroShape::Fixed(_), AvroMeaning::Uuid, FieldType::String) => ValueRead::Uuid,
            (AvroShape::Text | AvroShape::Bytes, _, FieldType::String) => ValueRead::Text,
            (AvroShape::Text | AvroShape::Bytes, _, FieldType::Bytes) => ValueRead::Bytes,
            (AvroShape::Fixed(length), _, FieldType::Bytes) => ValueRead::Fixed(*length),
            (AvroShape::Enum(symbols), _, FieldType::String) => ValueRead::Symbol(symbols.clone()),
            (AvroShape::Array(inner), _, FieldType::List(to)) => {
                ValueRead::List { element: element(*inner, to)?, of: *inner }
            }
            (AvroShape::Map(inner), _, FieldType::Map(to)) => {
                ValueRead::Map { element: element(*inner, to)?, of: *inner }
            }
            (AvroShape::Record(fields), _, FieldType::Record(to)) => ValueRead::Record(Box::new(
                self.record(fields, None, to).map_err(|why| format!("has other fields: {why}"))?,
            )),
            _ => return Err(self.unfit(id, to)),
        })
    }

    #[cold]
    fn unfit(&self, id: TypeId, to: &FieldType) -> String {
        format!("is `{}` in the schema, which cannot be read as `{to}`", self.writer.type_name(id))
    }
}

/// Returns how a whole number is read as an integer of a row.
fn whole(to: &FieldType) -> Option<ValueRead> {
    let signed = |min: i64, max: i64| ValueRead::Signed { min, max };
    Some(match to {
        FieldType::I8 => ValueRead::SignedByte,
        FieldType::U8 => ValueRead::UnsignedByte,
        FieldType::I16 => signed(i16::MIN.into(), i16::MAX.into()),
        FieldType::I32 => signed(i32::MIN.into(), i32::MAX.into()),
        FieldType::I64 => signed(i64::MIN, i64::MAX),
        FieldType::U16 => ValueRead::Unsigned { max: u16::MAX.into() },
        FieldType::U32 => ValueRead::Unsigned { max: u32::MAX.into() },
        FieldType::U64 => ValueRead::Unsigned { max: i64::MAX },
        _ => return None,
    })
}

impl AvroSchema {
    /// Returns the name of a type for a message.
    pub(super) fn type_name(&self, id: TypeId) -> &'static str {
        let of_type = self.type_of(id);
        match (of_type.meaning, &of_type.shape) {
            (AvroMeaning::Timestamp { .. }, _) => "timestamp",
            (AvroMeaning::Date, _) => "date",
            (AvroMeaning::Decimal { .. }, _) => "decimal",
            (AvroMeaning::Uuid, _) => "uuid",
            (_, AvroShape::Null) => "null",
            (_, AvroShape::Boolean) => "boolean",
            (_, AvroShape::Int) => "int",
            (_, AvroShape::Long) => "long",
            (_, AvroShape::Float) => "float",
            (_, AvroShape::Double) => "double",
            (_, AvroShape::Bytes) => "bytes",
            (_, AvroShape::Text) => "string",
            (_, AvroShape::Fixed(_)) => "fixed",
            (_, AvroShape::Enum(_)) => "enum",
            (_, AvroShape::Array(_)) => "array",
            (_, AvroShape::Map(_)) => "map",
            (_, AvroShape::Union(_)) => "union",
            (_, AvroShape::Record(_)) => "record",
        }
    }
}
