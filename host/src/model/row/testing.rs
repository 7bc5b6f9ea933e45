//! Arbitrary schemas for tests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil;
use proptest::prelude::*;
use serde_json::Value;

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

/// A value of a type as the JSON that [`super::write_json`] writes for it.
pub fn any_json(value: &FieldType, nullable: bool) -> BoxedStrategy<Value> {
    let plain: BoxedStrategy<Value> = match value {
        FieldType::Bool => any::<bool>().prop_map_into().boxed(),
        FieldType::I8 => any::<i8>().prop_map_into().boxed(),
        FieldType::I16 => any::<i16>().prop_map_into().boxed(),
        FieldType::I32 => any::<i32>().prop_map_into().boxed(),
        FieldType::I64 => any::<i64>().prop_map_into().boxed(),
        FieldType::U8 => any::<u8>().prop_map_into().boxed(),
        FieldType::U16 => any::<u16>().prop_map_into().boxed(),
        FieldType::U32 => any::<u32>().prop_map_into().boxed(),
        FieldType::U64 => any::<u64>().prop_map_into().boxed(),
        FieldType::F32 => any::<f32>().prop_filter_map("finite", exact_number).boxed(),
        FieldType::F64 => any::<f64>().prop_filter_map("finite", exact_number).boxed(),
        FieldType::String => any::<String>().prop_map_into().boxed(),
        FieldType::Bytes => any::<Vec<u8>>().prop_map(|bytes| STANDARD.encode(bytes).into()).boxed(),
        FieldType::Timestamp => (-62_167_219_200_000..=253_402_207_200_000_i64)
            .prop_map(|ms| {
                let time = jiff::Timestamp::from_millisecond(ms).unwrap();
                if ms % 1_000 == 0 { time.to_string().into() } else { format!("{time:.3}").into() }
            })
            .boxed(),
        FieldType::Date => (-719_528..=2_932_896_i64)
            .prop_map(|days| (civil::date(1970, 1, 1) + jiff::Span::new().days(days)).to_string().into())
            .boxed(),
        FieldType::Json => prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(|text| serde_json::json!({ "a": [text, null] })),
        ]
        .boxed(),
        FieldType::List(element) => {
            prop::collection::vec(any_json(&element.value, element.nullable), 0..4).prop_map(Value::from).boxed()
        }
        FieldType::Map(element) => {
            let value = any_json(&element.value, element.nullable);
            prop::collection::btree_map(any::<String>(), value, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect()))
                .boxed()
        }
        FieldType::Record(fields) => any_object(fields),
    };
    if nullable { prop_oneof![1 => Just(Value::Null), 3 => plain].boxed() } else { plain }
}

/// A number as JSON, unless `serde_json` reads it as another one: it does not always round correctly.
fn exact_number(number: impl serde::Serialize) -> Option<Value> {
    let text = serde_json::to_string(&number).ok()?;
    let value: Value = serde_json::from_str(&text).ok()?;
    (!value.is_null() && serde_json::to_string(&value).ok()? == text).then_some(value)
}

fn any_object(fields: &[Field]) -> BoxedStrategy<Value> {
    let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
    let values: Vec<_> = fields.iter().map(|field| any_json(&field.value, field.nullable)).collect();
    values.prop_map(move |values| Value::Object(names.iter().cloned().zip(values).collect())).boxed()
}

/// A schema, and a record as JSON.
pub fn any_record() -> impl Strategy<Value = (RowSchema, Value)> {
    any_schema().prop_flat_map(|schema| {
        let object = any_object(schema.fields());
        (Just(schema), object)
    })
}
