//! The row types of a schema's fields, and the schema of rows.

use serde_json::{Value, json};

use super::schema::{AvroMeaning, AvroSchema, AvroShape, TypeId};
use crate::model::row::{ElementType, FIELDS_MAX, Field, FieldType, NAME_BYTES_MAX, RowSchema};

/// Lists, maps and records that are nested deeper are JSON in rows.
const TYPE_DEPTH: usize = 6;

impl AvroSchema {
    /// Returns the fields of a row with everything in a record, each with the row type that fits it best.
    pub fn row_fields(&self) -> Vec<Field> {
        let mut types = RowTypes { schema: self, open: vec![self.root()], depth: 0, fields: 0 };
        types.fields(self.fields())
    }

    /// Returns whether the record has a field of this name, or one that had it before.
    pub fn has_field(&self, name: &str) -> bool {
        self.field_named(name).is_some()
    }

    /// Returns the field of this name, or the one that had it before.
    pub(super) fn field_named(&self, name: &str) -> Option<usize> {
        named(self.fields(), name)
    }
}

/// Returns the index of the field of this name, or of the one that had it before.
pub(super) fn named(fields: &[super::schema::AvroField], name: &str) -> Option<usize> {
    let own = fields.iter().position(|field| field.name == name);
    own.or_else(|| fields.iter().position(|field| field.aliases.iter().any(|alias| alias == name)))
}

/// Derives row types.
struct RowTypes<'a> {
    schema: &'a AvroSchema,
    /// The records that contain the current value.
    open: Vec<TypeId>,
    /// Number of lists, maps and records that contain it.
    depth: usize,
    /// Number of fields so far.
    fields: usize,
}

impl RowTypes<'_> {
    fn fields(&mut self, fields: &[super::schema::AvroField]) -> Vec<Field> {
        self.fields += fields.len();
        let field = |field: &super::schema::AvroField| {
            let ElementType { value, nullable } = self.of_value(field.value);
            Field { aliases: field.aliases.clone(), ..Field::new(field.name.clone(), value, nullable) }
        };
        fields.iter().map(field).collect()
    }

    fn of_value(&mut self, id: TypeId) -> ElementType {
        let branches = self.schema.branches(id);
        let is_null = |id: &&TypeId| matches!(self.schema.type_of(**id).shape, AvroShape::Null);
        let nullable = branches.iter().any(|branch| is_null(&branch));
        let mut others = branches.iter().filter(|branch| !is_null(branch));
        let value = match (branches.is_empty(), others.next(), others.next()) {
            (true, ..) => self.of_type(id),
            (false, Some(only), None) => self.of_type(*only),
            _ => FieldType::Json,
        };
        ElementType { value, nullable: nullable || is_null(&&id) }
    }

    fn of_type(&mut self, id: TypeId) -> FieldType {
        let of_type = self.schema.type_of(id);
        match (&of_type.shape, of_type.meaning) {
            (_, AvroMeaning::Timestamp { .. }) => FieldType::Timestamp,
            (_, AvroMeaning::Date) => FieldType::Date,
            (_, AvroMeaning::Decimal { .. } | AvroMeaning::Uuid) => FieldType::String,
            (AvroShape::Boolean, _) => FieldType::Bool,
            (AvroShape::Int, _) => FieldType::I32,
            (AvroShape::Long, _) => FieldType::I64,
            (AvroShape::Float, _) => FieldType::F32,
            (AvroShape::Double, _) => FieldType::F64,
            (AvroShape::Bytes | AvroShape::Fixed(_), _) => FieldType::Bytes,
            (AvroShape::Text | AvroShape::Enum(_), _) => FieldType::String,
            (AvroShape::Null | AvroShape::Union(_), _) => FieldType::Json,
            (AvroShape::Array(element), _) => self.nested(*element, |element| FieldType::List(Box::new(element))),
            (AvroShape::Map(element), _) => self.nested(*element, |element| FieldType::Map(Box::new(element))),
            (AvroShape::Record(fields), _) => {
                let is_recursive = self.open.contains(&id);
                let is_large = self.fields + fields.len() > FIELDS_MAX / 2 || self.depth >= TYPE_DEPTH;
                let has_names = fields.iter().all(|field| field.name.len() <= NAME_BYTES_MAX);
                if is_recursive || is_large || fields.is_empty() || !has_names {
                    return FieldType::Json;
                }
                self.open.push(id);
                self.depth += 1;
                let fields = self.fields(fields);
                self.depth -= 1;
                self.open.pop();
                FieldType::Record(fields)
            }
        }
    }

    fn nested(&mut self, element: TypeId, collection: impl Fn(ElementType) -> FieldType) -> FieldType {
        if self.depth >= TYPE_DEPTH {
            return FieldType::Json;
        }
        self.depth += 1;
        let element = self.of_value(element);
        self.depth -= 1;
        collection(element)
    }
}

/// Returns the text of a schema whose records hold rows. `name` is that of the record. Error: a sentence about a name that Avro does not
/// allow.
pub(super) fn schema_of_rows(rows: &RowSchema, name: &str) -> Result<String, String> {
    record_json(rows.fields(), name).map(|json| json.to_string())
}

fn record_json(fields: &[Field], name: &str) -> Result<Value, String> {
    let field = |field: &Field| {
        if !is_name(&field.name) {
            return Err(format!("`{}` is not a name of Avro, which has letters, digits and `_` only", field.name));
        }
        let value = value_json(&field.value, field.nullable, &format!("{name}_{}", field.name))?;
        Ok(match field.nullable {
            true => json!({ "name": field.name, "type": value, "default": null }),
            false => json!({ "name": field.name, "type": value }),
        })
    };
    let fields = fields.iter().map(field).collect::<Result<Vec<_>, String>>()?;
    Ok(json!({ "type": "record", "name": name, "fields": fields }))
}

fn value_json(value: &FieldType, nullable: bool, name: &str) -> Result<Value, String> {
    let element = |element: &ElementType| value_json(&element.value, element.nullable, name);
    let json = match value {
        FieldType::Bool => json!("boolean"),
        FieldType::I8 | FieldType::U8 | FieldType::I16 | FieldType::U16 | FieldType::I32 => json!("int"),
        FieldType::U32 | FieldType::I64 | FieldType::U64 => json!("long"),
        FieldType::F32 => json!("float"),
        FieldType::F64 => json!("double"),
        FieldType::String | FieldType::Json => json!("string"),
        FieldType::Bytes => json!("bytes"),
        FieldType::Timestamp => json!({ "type": "long", "logicalType": "timestamp-millis" }),
        FieldType::Date => json!({ "type": "int", "logicalType": "date" }),
        FieldType::List(inner) => json!({ "type": "array", "items": element(inner)? }),
        FieldType::Map(inner) => json!({ "type": "map", "values": element(inner)? }),
        FieldType::Record(fields) => record_json(fields, name)?,
    };
    Ok(if nullable { json!(["null", json]) } else { json })
}

fn is_name(text: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(is_first) && text.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit())
}

/// Returns a name of Avro for a text: other characters become `_`.
pub(super) fn name_from(text: &str) -> String {
    let allowed = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let name: String = text.chars().map(allowed).collect();
    if is_name(&name) { name } else { format!("_{name}") }
}
