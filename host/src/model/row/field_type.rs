//! The types of fields.

/// The type of a field's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// `true` or `false`: one byte.
    Bool,
    /// A signed integer of one byte.
    I8,
    /// A signed integer, as zigzag LEB128.
    I16,
    /// A signed integer, as zigzag LEB128.
    I32,
    /// A signed integer, as zigzag LEB128.
    I64,
    /// An unsigned integer of one byte.
    U8,
    /// An unsigned integer, as LEB128.
    U16,
    /// An unsigned integer, as LEB128.
    U32,
    /// An unsigned integer, as LEB128.
    U64,
    /// A floating-point number: four bytes, little-endian.
    F32,
    /// A floating-point number: eight bytes, little-endian.
    F64,
    /// UTF-8: its length as LEB128, and its bytes.
    String,
    /// Bytes: their length as LEB128, and the bytes.
    Bytes,
    /// Milliseconds since the Unix epoch, as an `i64`.
    Timestamp,
    /// Days since 1970-01-01, as an `i32`.
    Date,
    /// JSON text, as a string.
    Json,
    /// The number of elements as LEB128, and the elements.
    List(Box<ElementType>),
    /// The number of entries as LEB128, and for each entry a string and an element.
    Map(Box<ElementType>),
    /// The values of the fields, one after the other. A nested record has at least one field.
    Record(Vec<Field>),
}

impl FieldType {
    /// Returns whether the type is an integer, whatever its size and sign.
    pub fn is_integer(&self) -> bool {
        use FieldType::{I8, I16, I32, I64, U8, U16, U32, U64};
        matches!(self, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
    }

    /// Returns whether a key may have the type. Floats are no keys, because equal floats may have different bytes.
    pub fn is_key(&self) -> bool {
        self.is_integer()
            || matches!(self, FieldType::Bool | FieldType::String | FieldType::Bytes | FieldType::Timestamp)
    }
}

/// The type of the elements of a list, or of the values of a map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ElementType {
    /// The type of the value.
    pub value: FieldType,
    /// Whether an element may be null. A nullable value is 0, or 1 and the value.
    pub nullable: bool,
}

/// A named field.
#[derive(Clone, Debug)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The type of the value.
    pub value: FieldType,
    /// Whether the field may be null. A nullable value is 0, or 1 and the value.
    pub nullable: bool,
    /// Older names of the field. The first name that the producer has counts.
    pub aliases: Vec<String>,
    /// The value, as JSON, for a producer that has no such field.
    pub default: Option<String>,
}

impl Field {
    /// Returns a field without aliases and default.
    pub fn new(name: impl Into<String>, value: FieldType, nullable: bool) -> Field {
        Field { name: name.into(), value, nullable, aliases: Vec::new(), default: None }
    }

    /// Returns the name and the aliases, in the order in which a producer's fields are searched.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// Two fields are equal if their values are written alike under the same name. Aliases and defaults do not count: they say how
/// a consumer reads rows of another schema.
impl PartialEq for Field {
    fn eq(&self, other: &Field) -> bool {
        (&self.name, &self.value, self.nullable) == (&other.name, &other.value, other.nullable)
    }
}

impl Eq for Field {}

impl std::hash::Hash for Field {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, &self.value, self.nullable).hash(state);
    }
}
