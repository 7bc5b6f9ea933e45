//! Tests of quick copies against the layouts of the fields.

use proptest::prelude::*;

use super::encoding::{RowBytes, RowDefect, ValueLayout};
use super::quick_copy::{QuickCopy, QuickStarts, RowPart};
use super::testing::any_json;
use super::{Field, FieldType, RowSchema, read_json};

/// Schemas with up to 40 fields, and a row.
fn any_row() -> impl Strategy<Value = (RowSchema, Vec<u8>)> {
    use FieldType::*;
    let simple = prop::sample::select(vec![Bool, U8, F32, F64, I64, U16, String, Bytes, Timestamp]);
    let list = "list<i32?>".parse::<FieldType>().unwrap();
    let value = prop_oneof![8 => simple, 1 => Just(list)];
    let schema = prop::collection::vec((value, any::<bool>()), 1..40).prop_map(|fields| {
        let named = |(index, (value, nullable))| Field::new(format!("f{index}"), value, nullable);
        RowSchema::new(fields.into_iter().enumerate().map(named).collect()).unwrap()
    });
    schema.prop_flat_map(|schema| {
        let values: Vec<_> = schema.fields().iter().map(|field| any_json(&field.value, field.nullable)).collect();
        values.prop_map(move |values| {
            let named = schema.fields().iter().zip(values).map(|(field, value)| (field.name.clone(), value));
            let json = serde_json::Value::Object(named.collect()).to_string();
            let mut row = Vec::new();
            read_json(&schema, json.as_bytes(), &mut row).unwrap();
            (schema.clone(), row)
        })
    })
}

const CONSTANT: [u8; 40] = [7; 40];

/// Copies with the layouts alone.
fn copied(layouts: &[ValueLayout], parts: &[RowPart<'_>], whole: bool, row: &[u8]) -> Result<Vec<u8>, RowDefect> {
    let (mut bytes, mut starts) = (RowBytes::new(row), vec![0]);
    for layout in layouts {
        layout.skip(&mut bytes)?;
        starts.push(row.len() - bytes.rest.len());
    }
    if whole {
        bytes.end()?;
    }
    let bytes = |part: &RowPart<'_>| match part {
        RowPart::Fields { from, to } => row[starts[*from]..starts[*to]].to_vec(),
        RowPart::Constant(bytes) => bytes.to_vec(),
    };
    Ok(parts.iter().flat_map(bytes).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_quick_copy_takes_valid_rows_and_refuses_others(
        (schema, row) in any_row(),
        picks in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index, Option<u8>)>(), 0..10),
        (place, cut, byte) in any::<(prop::sample::Index, prop::sample::Index, u8)>(),
    ) {
        let layouts: Vec<_> = schema.fields().iter().map(ValueLayout::of_field).collect();
        let part = |(one, other, constant): &(prop::sample::Index, prop::sample::Index, Option<u8>)| {
            if let Some(length) = constant {
                return RowPart::Constant(&CONSTANT[..usize::from(*length) % CONSTANT.len()]);
            }
            let [one, other] = [one, other].map(|index| index.index(schema.len()));
            RowPart::Fields { from: one.min(other), to: one.max(other) + 1 }
        };
        let parts: Vec<_> = picks.iter().map(part).collect();
        let end = |part: &RowPart<'_>| if let RowPart::Fields { to, .. } = part { *to } else { 0 };
        let needed = parts.iter().map(end).max().unwrap_or(0);
        let (layouts, whole) = (&layouts[..needed], needed == schema.len());
        let Some(quick) = QuickCopy::new(layouts, &parts, whole) else {
            prop_assert!(needed > 31);
            return Ok(());
        };
        let mut changed = row.clone();
        if let Some(place) = (!row.is_empty()).then(|| place.index(row.len())) {
            changed[place] = byte;
        }
        let shorter = &row[..cut.index(row.len() + 1)];
        let longer = [&row[..], &[byte]].concat();
        let mut starts = QuickStarts::default();
        for row in [&row[..], &changed, shorter, &longer] {
            let mut to = b"before".to_vec();
            let taken = quick.copy(row, &mut starts, &mut to);
            match copied(layouts, &parts, whole, row) {
                Ok(expected) => prop_assert_eq!((taken, &to[6..]), (true, &expected[..])),
                // The reader of the field compares a number with the limit of its type.
                Err(defect) => prop_assert!(!taken || defect == RowDefect::NumberTooLarge, "{defect}"),
            }
            prop_assert!(to.starts_with(b"before") && (taken || to.len() == 6));
        }
    }
}
