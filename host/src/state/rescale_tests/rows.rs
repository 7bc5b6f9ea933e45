//! Restores after the fields of stored rows have changed: elements of windows, records of joins, and rows in states of functions.

use serde_json::{Value, json};

use super::*;
use crate::error::Error;
use crate::model::row::testing::any_record;
use crate::model::row::{Field, FieldType, RowSchema, read_json, write_json};
use crate::state::internal::{JOIN_SIDES, WINDOW_ELEMENTS};

fn row(schema: &RowSchema, json: &Value) -> Vec<u8> {
    let mut row = Vec::new();
    read_json(schema, json.to_string().as_bytes(), &mut row).unwrap();
    row
}

fn rows(text: &str) -> Option<Arc<RowSchema>> {
    Some(Arc::new(text.parse().unwrap()))
}

/// The stored form of an element of a window, without its row.
const ELEMENT_HEADS: [[u8; 9]; 2] = [[2, 7, 0, 0, 0, 0, 0, 0, 0], [3, 7, 0, 0, 0, 0, 0, 0, 0x80]];

/// States that hold rows of the given schemas, and an entry in each: a window's elements of both inputs, both sides of a join,
/// and the values of a function.
fn all_states(inputs: [&Option<Arc<RowSchema>>; 2], json: [&Value; 2]) -> (StateLayout, StateContents) {
    let elements = StateDescription::new(WINDOW_ELEMENTS, StateKind::List, "raw", "element");
    let mut layout = vec![elements.with_rows(inputs.map(Clone::clone).to_vec())];
    for (name, input) in JOIN_SIDES.iter().zip(inputs) {
        let side = StateDescription::new(name, StateKind::Map, "raw", "record").with_rows(vec![input.clone()]);
        layout.push(StateDescription { map_key: "raw".into(), ..side });
    }
    let text = inputs[0].as_ref().map(ToString::to_string).unwrap_or_default();
    let ttl = Some(HOUR);
    layout
        .extend(KINDS.map(|kind| StateDescription { ttl, ..StateDescription::new(kind.as_str(), kind, "row", &text) }));

    let encoded = [0, 1].map(|input| inputs[input].as_ref().map_or(b"raw".to_vec(), |schema| row(schema, json[input])));
    let mut contents = one_entry_per_kind(&[&encoded[0]], Some(5));
    let element = |input: usize| [&ELEMENT_HEADS[input][..], &encoded[input]].concat();
    let mut list = Vec::new();
    [1, 0, 0].into_iter().for_each(|input| list::push_element(&mut list, &[], &element(input)));
    contents.insert((WINDOW_ELEMENTS.to_owned(), b"key".to_vec(), Vec::new()), list);
    for (name, row) in JOIN_SIDES.iter().zip(encoded) {
        contents.insert(((*name).to_owned(), b"key".to_vec(), b"time".to_vec()), row);
    }
    (layout, contents)
}

/// Restores states of the rows `from` as states of the rows `to`.
fn check_restore(
    from: [&Option<Arc<RowSchema>>; 2],
    json: [&Value; 2],
    to: [&Option<Arc<RowSchema>>; 2],
    check: impl Fn(Result<StateContents>),
) {
    let (old, contents) = all_states(from, json);
    let (new, _) = all_states(to, json);
    for_all_backends(&old, &contents, &new, |restored, tenfold| {
        assert_eq!(tenfold.asked, [], "the host converts rows by itself");
        check(restored);
    });
}

#[test]
fn rows_are_converted_when_fields_are_reordered_removed_or_added() {
    let (old, new) = (rows("{a:string,b:i64,c:u8}"), rows("{c:u8,a:string,d:i32?}"));
    let raw = None;
    let value = json!({"a": "x", "b": -5, "c": 7});
    let (_, expected) = all_states([&new, &raw], [&value, &json!(null)]);
    check_restore([&old, &raw], [&value, &json!(null)], [&new, &raw], |restored| {
        assert_eq!(restored.unwrap(), expected);
    });
}

#[test]
fn aliases_and_defaults_of_an_input_convert_what_the_host_stores() {
    let old = rows("{a:string}");
    let alias = Field { aliases: vec!["a".into()], ..Field::new("b", FieldType::String, false) };
    let default = Field { default: Some("3".into()), ..Field::new("n", FieldType::I64, false) };
    let new = Some(Arc::new(RowSchema::new(vec![default, alias]).unwrap()));
    let elements = |rows: &Option<_>| {
        let state = StateDescription::new(WINDOW_ELEMENTS, StateKind::List, "raw", "element");
        vec![state.with_rows(vec![rows.clone()])]
    };
    let contents = |rows: &Option<Arc<RowSchema>>, json: Value| {
        let element = [&ELEMENT_HEADS[0][..], &row(rows.as_ref().unwrap(), &json)].concat();
        let key = (WINDOW_ELEMENTS.to_owned(), b"key".to_vec(), Vec::new());
        StateContents::from([(key, stored(StateKind::List, &[&element], None))])
    };
    let expected = contents(&new, json!({"b": "x", "n": 3}));
    for_all_backends(&elements(&old), &contents(&old, json!({"a": "x"})), &elements(&new), |restored, _| {
        assert_eq!(restored.unwrap(), expected);
    });
}

#[test]
fn other_changes_are_refused_with_both_schemas() {
    let old = rows("{a:string,b:i64}");
    let value = json!({"a": "x", "b": -5, "c": 1});
    let refused = |to: &Option<Arc<RowSchema>>, parts: &[&str]| {
        check_restore([&old, &old], [&value, &value], [&old, to], |restored| {
            let error: Error = restored.unwrap_err();
            assert_eq!(error.code, "checkpoint-mismatch");
            assert!(parts.iter().all(|part| error.message.contains(part)), "{}", error.message);
        });
    };
    refused(&rows("{a:string,b:i32}"), &["`@elements`", "`b`", "{a:string,b:i64}", "{a:string,b:i32}"]);
    refused(&rows("{a:string,b:i64,c:u8}"), &["`c`", "{a:string,b:i64}", "{a:string,b:i64,c:u8}"]);
    refused(&None, &["{a:string,b:i64}", "no rows"]);
}

#[test]
fn a_migration_by_the_function_takes_precedence() {
    let state = |schema: &str| StateDescription::new("v", StateKind::Value, "row", schema);
    let contents = StateContents::from([(("v".to_owned(), b"key".to_vec(), Vec::new()), vec![1])]);
    let mut new = state("{b:u8?,a:u8}");
    new.reads = vec![ReadableForm::new("row", "{a:u8}")];
    for_all_backends(&vec![state("{a:u8}")], &contents, &vec![new], |restored, tenfold| {
        assert_eq!(tenfold.asked, [(0, "{a:u8}".to_owned(), 1)]);
        assert_eq!(restored.unwrap().into_values().next().unwrap(), b"\x010");
    });
}

#[test]
fn damaged_rows_are_refused_with_the_name_of_their_state() {
    let state = |schema: &str| StateDescription::new("v", StateKind::Value, "row", schema);
    let contents = StateContents::from([(("v".to_owned(), b"key".to_vec(), Vec::new()), vec![9, b'x'])]);
    for_all_backends(&vec![state("{a:string}")], &contents, &vec![state("{b:u8?,a:string}")], |restored, _| {
        let error = restored.unwrap_err();
        assert_eq!(error.code, "checkpoint-corrupt");
        assert!(error.message.contains("state `v`"), "{}", error.message);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn stored_rows_are_those_that_the_function_would_read_now(
        (schema, value) in any_record(),
        order in any::<u64>(),
        added in prop::option::of("[a-z]{8,12}"),
    ) {
        prop_assume!(!schema.is_empty());
        // Keeps every other field, rotates the rest, and adds an optional one.
        let mut fields: Vec<Field> = schema.fields().iter().enumerate()
            .filter(|(index, _)| order >> index & 1 == 0).map(|(_, field)| field.clone()).collect();
        let turns = if fields.is_empty() { 0 } else { order as usize % fields.len() };
        fields.rotate_left(turns);
        fields.extend(added.map(|name| Field::new(name, FieldType::I64, true)));
        let names: std::collections::BTreeSet<&str> = fields.iter().map(|field| &field.name[..]).collect();
        prop_assume!(names.len() == fields.len() && !fields.is_empty());
        let new = Some(Arc::new(RowSchema::new(fields).unwrap()));
        let old = Some(Arc::new(schema));
        // The row as the old function would have read it, without the fields that the new one does not read.
        let mut json = Vec::new();
        write_json(old.as_ref().unwrap(), &row(old.as_ref().unwrap(), &value), &mut json).unwrap();
        let (_, expected) = all_states([&new, &old], [&serde_json::from_slice(&json).unwrap(), &value]);
        check_restore([&old, &old], [&value, &value], [&new, &old], |restored| {
            assert_eq!(restored.unwrap(), expected);
        });
    }
}
