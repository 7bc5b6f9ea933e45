//! Rows in states: shown by their schema, and read again to the same bytes.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::row_json::RowCodec;
use super::value_codec::ValueCodec;
use crate::model::row::testing::any_record;
use crate::model::row::{RowSchema, read_json};
use crate::state::internal::{JOIN_SIDES, WINDOW_ELEMENTS};
use crate::state::{StateDescription, StateKind};

fn row(schema: &RowSchema, json: &Value) -> Vec<u8> {
    let mut row = Vec::new();
    read_json(schema, json.to_string().as_bytes(), &mut row).unwrap();
    row
}

fn schema(text: &str) -> Arc<RowSchema> {
    Arc::new(text.parse().unwrap())
}

/// The elements of a co-group whose second input reads no rows.
fn elements(rows: &Arc<RowSchema>) -> StateDescription {
    StateDescription::new(WINDOW_ELEMENTS, StateKind::List, "raw", "element").with_rows(vec![Some(rows.clone()), None])
}

fn shown(state: &StateDescription, value: &[u8]) -> Value {
    serde_json::from_str(ValueCodec::of(state).show(value).unwrap().get()).unwrap()
}

fn read(state: &StateDescription, value: &Value) -> Result<Vec<u8>, String> {
    ValueCodec::of(state).encode(&RawValue::from_string(value.to_string()).unwrap())
}

#[test]
fn rows_are_shown_by_their_schema_wherever_they_are_stored() {
    let rows = schema("{tail:string,delay:i32?}");
    let json = json!({"tail": "N1", "delay": -5});
    let value = row(&rows, &json);
    let of_function = StateDescription::new("last", StateKind::Value, "row", &rows.to_string());
    let side =
        StateDescription::new(JOIN_SIDES[1], StateKind::Map, "raw", "record").with_rows(vec![Some(rows.clone())]);
    for state in [&of_function, &side] {
        assert_eq!(shown(state, &value), json);
        assert_eq!(read(state, &json).unwrap(), value);
        // A value that is left out is null. Bytes that are not a row are shown in hex.
        assert_eq!(read(state, &json!({"tail": "x"})).unwrap(), b"\x01x\0");
        assert_eq!(shown(state, b"\x09"), json!({"hex": "09"}));
        assert_eq!(read(state, &json!({"hex": "09"})).unwrap(), b"\x09");
        let error = read(state, &json!({"tail": 7})).unwrap_err();
        assert!(error.contains("`tail`") && error.contains("{tail:string,delay:i32?}"), "{error}");
    }
}

#[test]
fn an_element_of_a_window_is_shown_by_the_schema_of_its_input() {
    let rows = schema("{tail:string,delay:i32?}");
    let state = elements(&rows);
    let json = json!({"tail": "N1", "delay": null});
    let head = |number: u8| [&[number][..], &9_i64.to_le_bytes()].concat();
    for (bytes, value) in [
        ([head(2), row(&rows, &json)].concat(), json!({"input": 0, "place": 1, "timestamp": 9, "value": json})),
        ([head(1), b"raw".to_vec()].concat(), json!({"input": 1, "place": 0, "timestamp": 9, "value": "raw"})),
        ([head(0), b"\xff".to_vec()].concat(), json!({"input": 0, "place": 0, "timestamp": 9, "value": {"hex": "ff"}})),
    ] {
        assert_eq!(shown(&state, &bytes), value);
        assert_eq!(read(&state, &value).unwrap(), bytes);
    }
    assert_eq!(shown(&state, b"\x80"), json!({"hex": "80"}));
    for wrong in [json!({"tail": "N1"}), json!({"input": 2, "place": 0, "timestamp": 9, "value": "x"})] {
        assert!(read(&state, &wrong).is_err());
    }
}

#[test]
fn a_row_that_looks_like_bytes_in_hex_is_shown_in_hex() {
    let state = StateDescription::new("s", StateKind::Value, "row", "{hex:string}");
    assert_eq!(shown(&state, b"\x0200"), json!({"hex": "023030"}));
}

#[test]
fn states_without_rows_have_no_codec_for_rows() {
    let state = |name: &str, codec: &str, schema: &str| StateDescription::new(name, StateKind::List, codec, schema);
    for state in [
        state(WINDOW_ELEMENTS, "raw", "element"),
        state(WINDOW_ELEMENTS, "raw", "element[1]"),
        state(JOIN_SIDES[0], "raw", "record"),
        state("s", "row", "{a:"),
        state("s", "postcard", "{a:u8}"),
    ] {
        assert!(RowCodec::of(&state).is_none(), "{state:?}");
    }
}

proptest! {
    #[test]
    fn every_row_is_read_again_to_the_same_bytes((rows, value) in any_record(), place in 0_u64..1000, timestamp: i64) {
        let rows = Arc::new(rows);
        let bytes = row(&rows, &value);
        let state = StateDescription::new("s", StateKind::Value, "row", &rows.to_string());
        let shown = ValueCodec::of(&state).show(&bytes).unwrap();
        prop_assert_eq!(ValueCodec::of(&state).encode(&shown).unwrap(), bytes.clone());
        let mut element = postcard::to_stdvec(&(place << 1)).unwrap();
        element.extend_from_slice(&timestamp.to_le_bytes());
        element.extend_from_slice(&bytes);
        let codec = ValueCodec::of(&elements(&rows));
        prop_assert_eq!(codec.encode(&codec.show(&element).unwrap()).unwrap(), element);
    }

    #[test]
    fn showing_never_panics(bytes: Vec<u8>, (rows, _) in any_record()) {
        for state in [elements(&Arc::new(rows.clone())), StateDescription::new("s", StateKind::Value, "row", &rows.to_string())] {
            let _ = ValueCodec::of(&state).show(&bytes).unwrap();
        }
    }
}
