//! A schema as a table of types, in which types that contain themselves refer to their own entry.

use std::collections::HashMap;

use apache_avro::schema::{InnerDecimalSchema, Name, RecordSchema, Schema, UuidSchema};
use serde_json::Value;

/// Maximum length of the text of a schema, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;
/// Maximum number of types of a schema, those of its fields included.
const TYPES_MAX: usize = 16_384;

/// Maximum number of values without bytes, such as null, that follow each other.
const EMPTY_VALUES_MAX: u64 = 10_000;

/// The index of a type in its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TypeId(u32);

impl TypeId {
    #[inline]
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A type: how its values are written, and what they mean.
#[derive(Clone, Debug)]
pub(super) struct AvroType {
    pub(super) shape: AvroShape,
    pub(super) meaning: AvroMeaning,
}

/// How the values of a type are written.
#[derive(Clone, Debug)]
pub(super) enum AvroShape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Box<[String]>),
    Array(TypeId),
    Map(TypeId),
    Union(Box<[TypeId]>),
    Record(Box<[AvroField]>),
}

/// The logical type, as far as it matters for rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AvroMeaning {
    Plain,
    /// A time, in units of which this many are a millisecond.
    Timestamp {
        per_ms: i64,
    },
    Date,
    Decimal {
        scale: u32,
    },
    Uuid,
}

/// A field of a record.
#[derive(Clone, Debug)]
pub(super) struct AvroField {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) value: TypeId,
    /// The value for records that lack the field.
    pub(super) default: Option<Value>,
}

/// A schema of records.
#[derive(Clone, Debug)]
pub struct AvroSchema {
    text: String,
    pub(super) types: Vec<AvroType>,
    root: TypeId,
}

/// Two schemas are equal if their texts are.
impl PartialEq for AvroSchema {
    fn eq(&self, other: &AvroSchema) -> bool {
        self.text == other.text
    }
}

impl AvroSchema {
    /// Parses the JSON text of a schema, which must be a record. Error: a sentence.
    pub fn parse(text: &str) -> Result<AvroSchema, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("it is longer than {TEXT_BYTES_MAX} bytes"));
        }
        let parsed = Schema::parse_str(text).map_err(|error| format!("it is not a schema of Avro: {error}"))?;
        let mut table = TypeTable::default();
        let root = table.add(&parsed, None)?;
        check_work(&table.types)?;
        match table.types[root.index()].shape {
            AvroShape::Record(_) => Ok(AvroSchema { text: text.to_owned(), types: table.types, root }),
            _ => Err("it is not the schema of a record".to_owned()),
        }
    }

    /// Returns the text of the schema.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the type of the record.
    pub(super) fn root(&self) -> TypeId {
        self.root
    }

    /// Returns the fields of the record.
    pub(super) fn fields(&self) -> &[AvroField] {
        self.fields_of(self.root)
    }

    /// Returns the fields of a record. None if the type is another.
    pub(super) fn fields_of(&self, id: TypeId) -> &[AvroField] {
        match &self.types[id.index()].shape {
            AvroShape::Record(fields) => fields,
            _ => &[],
        }
    }

    #[inline]
    pub(super) fn type_of(&self, id: TypeId) -> &AvroType {
        &self.types[id.index()]
    }

    /// Returns the types that a value may have: the branches of a union, or the type itself.
    pub(super) fn branches(&self, id: TypeId) -> &[TypeId] {
        match &self.type_of(id).shape {
            AvroShape::Union(branches) => branches,
            _ => &[],
        }
    }
}

/// The types that have been added so far.
#[derive(Default)]
struct TypeTable {
    types: Vec<AvroType>,
    /// Types with names, by their full names.
    named: HashMap<String, TypeId>,
}

impl TypeTable {
    fn reserve(&mut self) -> Result<TypeId, String> {
        if self.types.len() >= TYPES_MAX {
            return Err(format!("it has more than {TYPES_MAX} types"));
        }
        self.types.push(AvroType { shape: AvroShape::Null, meaning: AvroMeaning::Plain });
        Ok(TypeId(self.types.len() as u32 - 1))
    }

    fn name(&mut self, name: &Name, enclosing: Option<&str>, id: TypeId) {
        self.named.insert(name.fullname(enclosing), id);
    }

    /// Adds a type with all types in it. `enclosing` is the namespace of names without one.
    fn add(&mut self, schema: &Schema, enclosing: Option<&str>) -> Result<TypeId, String> {
        if let Schema::Ref { name } = schema {
            let full = name.fullname(enclosing);
            return self.named.get(&full).copied().ok_or_else(|| format!("it does not define the type `{full}`"));
        }
        let id = self.reserve()?;
        let timestamp = |per_ms| (AvroShape::Long, AvroMeaning::Timestamp { per_ms });
        let plain = |shape| (shape, AvroMeaning::Plain);
        let (shape, meaning) = match schema {
            Schema::Null | Schema::Ref { .. } => plain(AvroShape::Null),
            Schema::Boolean => plain(AvroShape::Boolean),
            Schema::Int | Schema::TimeMillis => plain(AvroShape::Int),
            Schema::Long | Schema::TimeMicros => plain(AvroShape::Long),
            Schema::Float => plain(AvroShape::Float),
            Schema::Double => plain(AvroShape::Double),
            Schema::Bytes | Schema::BigDecimal => plain(AvroShape::Bytes),
            Schema::String => plain(AvroShape::Text),
            Schema::Date => (AvroShape::Int, AvroMeaning::Date),
            Schema::TimestampMillis | Schema::LocalTimestampMillis => timestamp(1),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => timestamp(1_000),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => timestamp(1_000_000),
            Schema::Fixed(fixed) | Schema::Duration(fixed) => {
                self.name(&fixed.name, enclosing, id);
                plain(AvroShape::Fixed(fixed.size))
            }
            Schema::Decimal(decimal) => {
                let scale = u32::try_from(decimal.scale).ok().filter(|scale| *scale <= 38);
                let scale = scale.ok_or("it has a decimal number with a scale of more than 38")?;
                let shape = match &decimal.inner {
                    InnerDecimalSchema::Bytes => AvroShape::Bytes,
                    InnerDecimalSchema::Fixed(fixed) => {
                        self.name(&fixed.name, enclosing, id);
                        AvroShape::Fixed(fixed.size)
                    }
                };
                (shape, AvroMeaning::Decimal { scale })
            }
            Schema::Uuid(UuidSchema::String) => plain(AvroShape::Text),
            Schema::Uuid(UuidSchema::Bytes) => plain(AvroShape::Bytes),
            Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.name(&fixed.name, enclosing, id);
                let meaning = if fixed.size == 16 { AvroMeaning::Uuid } else { AvroMeaning::Plain };
                (AvroShape::Fixed(fixed.size), meaning)
            }
            Schema::Enum(symbols) => {
                self.name(&symbols.name, enclosing, id);
                plain(AvroShape::Enum(symbols.symbols.clone().into()))
            }
            Schema::Array(array) => plain(AvroShape::Array(self.add(&array.items, enclosing)?)),
            Schema::Map(map) => plain(AvroShape::Map(self.add(&map.types, enclosing)?)),
            Schema::Union(union) => {
                let branches = union.variants().iter().map(|branch| self.add(branch, enclosing));
                plain(AvroShape::Union(branches.collect::<Result<_, _>>()?))
            }
            Schema::Record(record) => {
                self.name(&record.name, enclosing, id);
                plain(self.record(record, enclosing)?)
            }
        };
        self.types[id.index()] = AvroType { shape, meaning };
        Ok(id)
    }

    fn record(&mut self, record: &RecordSchema, enclosing: Option<&str>) -> Result<AvroShape, String> {
        let namespace = record.name.namespace().or(enclosing);
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            fields.push(AvroField {
                name: field.name.clone(),
                aliases: field.aliases.clone(),
                value: self.add(&field.schema, namespace)?,
                default: field.default.clone(),
            });
        }
        Ok(AvroShape::Record(fields.into()))
    }
}

/// Refuses lists of values without bytes, and records with very many: a short record could claim any number of them.
fn check_work(types: &[AvroType]) -> Result<(), String> {
    let mut known = vec![None; types.len()];
    for index in 0..types.len() {
        let weight = empty_values(types, TypeId(index as u32), &mut known);
        if weight.is_some_and(|weight| weight > EMPTY_VALUES_MAX) {
            return Err(format!("it has a record of more than {EMPTY_VALUES_MAX} values without bytes"));
        }
    }
    for of_type in types {
        if let AvroShape::Array(element) = of_type.shape
            && known[element.index()].flatten().is_some()
        {
            return Err("it has a list of values without bytes, such as null".to_owned());
        }
    }
    Ok(())
}

/// Returns the number of values in a value of a type without bytes. `None` if its values have bytes.
///
/// A type refers to types that are known or in it, so that the recursion is bounded by the depth of the text.
fn empty_values(types: &[AvroType], id: TypeId, known: &mut [Option<Option<u64>>]) -> Option<u64> {
    if let Some(weight) = known[id.index()] {
        return weight;
    }
    // A record that contains itself has no value without bytes.
    known[id.index()] = Some(None);
    let weight = match &types[id.index()].shape {
        AvroShape::Null | AvroShape::Fixed(0) => Some(1),
        AvroShape::Record(fields) => fields
            .iter()
            .try_fold(1_u64, |sum, field| Some(sum.saturating_add(empty_values(types, field.value, known)?))),
        _ => None,
    };
    known[id.index()] = Some(weight);
    weight
}
