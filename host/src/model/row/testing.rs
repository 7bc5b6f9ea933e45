//! Arbitrary schemas for tests.

use proptest::prelude::*;

use super::field_type::{ElementType, Field, FieldType};
use super::schema::RowSchema;

/// A type, nested at most three deep.
pub fn any_type() -> impl Strategy<Value = FieldType> {
    use FieldType::*;
    let simple = prop::sample::select(vec![
        Bool, I8, I16, I32, I64, U8, U16, U32, U64, F32, F64, String, Bytes, Timestamp, Date, Json,
    ]);
    simple.prop_recursive(3, 12, 3, |inner| {
        let element =
            (inner.clone(), any::<bool>()).prop_map(|(value, nullable)| Box::new(ElementType { value, nullable }));
        prop_oneof![
            element.clone().prop_map(FieldType::List),
            element.prop_map(FieldType::Map),
            any_fields(inner, 1..4).prop_map(FieldType::Record),
        ]
    })
}

fn any_fields(
    value: impl Strategy<Value = FieldType>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<Field>> {
    let names = prop_oneof![4 => "[a-z_][a-z0-9_]{0,6}", 1 => "\\PC{1,6}"];
    prop::collection::btree_map(names, (value, any::<bool>()), count)
        .prop_map(|fields| {
            fields.into_iter().map(|(name, (value, nullable))| Field::new(name, value, nullable)).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

/// A schema with up to seven fields.
pub fn any_schema() -> impl Strategy<Value = RowSchema> {
    any_fields(any_type(), 0..8).prop_map(|fields| RowSchema::new(fields).unwrap())
}
