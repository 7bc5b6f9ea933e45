//! Tests of rows: JSON, copy plans, locators and keys, against `serde_json` and postcard.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::encoding::{RowBytes, ValueLayout};
use super::testing::{any_record, any_schema};
use super::*;

fn schema(text: &str) -> RowSchema {
    text.parse().unwrap()
}

fn row(schema: &RowSchema, value: &Value) -> Vec<u8> {
    let mut row = Vec::new();
    read_json(schema, value.to_string().as_bytes(), &mut row).unwrap();
    row
}

fn json_of(schema: &RowSchema, row: &[u8]) -> Value {
    let mut json = Vec::new();
    write_json(schema, row, &mut json).unwrap();
    assert!(!json.contains(&b'\n'));
    serde_json::from_slice(&json).unwrap()
}

/// Fails if the bytes are not one row. Does not check that texts are UTF-8.
fn check(schema: &RowSchema, row: &[u8]) -> Result<(), RowDefect> {
    let mut row = RowBytes::new(row);
    schema.fields().iter().try_for_each(|field| ValueLayout::of_field(field).skip(&mut row))?;
    row.end()
}

/// A projection of a schema: some of its fields in another order, some made nullable, and some that it lacks.
fn projection(from: &RowSchema, picks: &[(prop::sample::Index, bool)], added: bool) -> RowSchema {
    let mut fields: Vec<Field> = Vec::new();
    for (index, nullable) in picks {
        if from.is_empty() {
            break;
        }
        let mut field = index.get(from.fields()).clone();
        if fields.iter().all(|other| other.name != field.name) {
            field.nullable |= nullable;
            fields.push(field);
        }
    }
    if added {
        fields.insert(fields.len() / 2, Field::new("added: null", FieldType::I64, true));
        let default =
            Field { default: Some("[7]".into()), ..Field::new("added: 7", "list<u8>".parse().unwrap(), false) };
        fields.push(default);
    }
    RowSchema::new(fields).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_row_holds_what_json_said((schema, value) in any_record()) {
        let row = row(&schema, &value);
        prop_assert_eq!(json_of(&schema, &row), value);
        prop_assert_eq!(check(&schema, &row), Ok(()));
    }

    #[test]
    fn a_copy_holds_the_fields_of_the_consumer(
        (from, value) in any_record(),
        picks in prop::collection::vec(any::<(prop::sample::Index, bool)>(), 0..6),
        added: bool,
    ) {
        let to = projection(&from, &picks, added);
        let row = row(&from, &value);
        let mut copy = Vec::new();
        match CopyPlan::compile(&from, &to).unwrap() {
            Some(plan) => plan.copy(&row, &mut copy).unwrap(),
            None => copy.extend_from_slice(&row),
        }
        let mut expected = value.as_object().unwrap().clone();
        expected.retain(|name, _| to.field(name).is_some());
        if added {
            expected.insert("added: null".into(), Value::Null);
            expected.insert("added: 7".into(), json!([7]));
        }
        prop_assert_eq!(json_of(&to, &copy), Value::Object(expected));
    }

    #[test]
    fn a_locator_finds_the_value_of_its_field((schema, value) in any_record()) {
        let row = row(&schema, &value);
        for field in schema.fields() {
            let locator = FieldLocator::compile(&schema, &field.name).unwrap();
            let located = locator.locate(&row).unwrap();
            prop_assert_eq!(located.is_none(), value[&field.name].is_null() && field.nullable);
            if let Some(bytes) = located {
                let alone = RowSchema::new(vec![Field::new(&field.name, field.value.clone(), false)]).unwrap();
                prop_assert_eq!(&json_of(&alone, bytes)[&field.name], &value[&field.name]);
            }
        }
    }

    #[test]
    fn malformed_rows_are_refused(
        schema in any_schema(),
        bytes in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255), any::<u8>()], 0..64),
    ) {
        let is_row = check(&schema, &bytes).is_ok();
        let written = write_json(&schema, &bytes, &mut Vec::new());
        if is_row {
            prop_assert!(matches!(written, Ok(()) | Err(RowDefect::NotUtf8 | RowDefect::NotJson)), "{written:?}");
        } else {
            prop_assert!(written.is_err());
        }
        for field in schema.fields() {
            let locator = FieldLocator::compile(&schema, &field.name).unwrap();
            if is_row {
                prop_assert!(locator.locate(&bytes).is_ok());
            }
            let _ = locator.value(&bytes);
        }
    }

    #[test]
    fn malformed_json_is_refused(schema in any_schema(), json in "[\\[\\]{}\",:0-9a\\\\ tnull.e+-]{0,40}") {
        let _ = read_json(&schema, json.as_bytes(), &mut Vec::new());
    }
}

#[test]
fn a_row_is_postcard_of_a_struct() {
    #[derive(serde::Serialize)]
    struct Sample {
        bool: bool,
        small: i8,
        int: i64,
        count: u16,
        float: f32,
        double: f64,
        text: &'static str,
        none: Option<u64>,
        some: Option<i32>,
        list: Vec<Option<u8>>,
        map: BTreeMap<&'static str, i16>,
        inner: (u8, bool),
    }
    let sample = Sample {
        bool: true,
        small: -2,
        int: i64::MIN,
        count: 300,
        float: 0.5,
        double: -1e300,
        text: "ü",
        none: None,
        some: Some(-5),
        list: vec![Some(1), None],
        map: BTreeMap::from([("a", -1)]),
        inner: (7, false),
    };
    let schema = schema(
        "{bool:bool,small:i8,int:i64,count:u16,float:f32,double:f64,text:string,none:u64?,some:i32?,list:list<u8?>,\
         map:map<i16>,inner:{a:u8,b:bool}}",
    );
    let bytes = postcard::to_stdvec(&sample).unwrap();
    let expected = json!({
        "bool": true, "small": -2, "int": i64::MIN, "count": 300, "float": 0.5, "double": -1e300, "text": "ü",
        "none": null, "some": -5, "list": [1, null], "map": {"a": -1}, "inner": {"a": 7, "b": false},
    });
    assert_eq!(json_of(&schema, &bytes), expected);
    assert_eq!(row(&schema, &expected), bytes);
}

#[test]
fn nested_records_are_copied_by_name() {
    let from = schema("{id:u8,points:list<{x:i32,y:i32,label:string}>,where:{lat:f64,lon:f64}?,by:map<{n:u8,m:u8}>}");
    let to = schema("{by:map<{m:u8}?>,points:list<{y:i32,z:i64?,x:i32?}>,where:{lon:f64}?}");
    let value = json!({
        "id": 1, "points": [{"x": 1, "y": 2, "label": "a"}, {"x": -3, "y": 400, "label": ""}],
        "where": {"lat": 1.5, "lon": 2.5}, "by": {"k": {"n": 1, "m": 2}},
    });
    let plan = CopyPlan::compile(&from, &to).unwrap().unwrap();
    let mut copy = Vec::new();
    plan.copy(&row(&from, &value), &mut copy).unwrap();
    let expected = json!({
        "by": {"k": {"m": 2}}, "points": [{"y": 2, "z": null, "x": 1}, {"y": 400, "z": null, "x": -3}],
        "where": {"lon": 2.5},
    });
    assert_eq!(json_of(&to, &copy), expected);
}

/// Short records are copied with positions on the stack, long ones with positions of their own.
#[test]
fn records_of_any_number_of_fields_are_copied() {
    for count in [1, 2, 14, 15, 16, 17, 31, 32, 33, 40, 300] {
        let fields = (0..count).map(|number| {
            let value = if number % 3 == 0 { FieldType::String } else { FieldType::I64 };
            Field::new(format!("f{number}"), value, number % 2 == 0)
        });
        let from = RowSchema::new(fields.collect()).unwrap();
        let value =
            |number: usize| if number.is_multiple_of(3) { json!("x".repeat(number)) } else { json!(number * 99) };
        let record = (0..count).map(|number| (format!("f{number}"), value(number))).collect();
        let wanted = |number: &usize| count < 3 || number % 7 != 3;
        let kept = (0..count).rev().filter(wanted).map(|number| from.fields()[number].clone()).collect();
        let to = RowSchema::new([kept, vec![Field::new("added", FieldType::Bool, true)]].concat()).unwrap();
        let plan = CopyPlan::compile(&from, &to).unwrap().unwrap();
        let mut copy = Vec::new();
        let (row, mut copier) = (row(&from, &Value::Object(record)), plan.copier());
        copier.copy(&row, &mut Vec::new()).unwrap();
        copier.copy(&row, &mut copy).unwrap();
        let mut expected: serde_json::Map<_, _> =
            (0..count).filter(wanted).map(|number| (format!("f{number}"), value(number))).collect();
        expected.insert("added".into(), Value::Null);
        assert_eq!(json_of(&to, &copy), Value::Object(expected));
        let needed = row.len().min(copy.len()) / 2;
        assert!(plan.copy(&row[..needed.saturating_sub(1)], &mut Vec::new()).is_err(), "{count} fields");
    }
}

#[test]
fn a_field_is_found_by_its_alias() {
    let from = schema("{new:i64,old:i64}");
    let aliased = |aliases: &[&str]| {
        let aliases = aliases.iter().map(|&alias| alias.into()).collect();
        RowSchema::new(vec![Field { aliases, ..Field::new("newest", FieldType::I64, false) }]).unwrap()
    };
    let mut copy = Vec::new();
    let plan = CopyPlan::compile(&from, &aliased(&["missing", "old", "new"])).unwrap().unwrap();
    plan.copy(&row(&from, &json!({"new": 1, "old": 2})), &mut copy).unwrap();
    assert_eq!(copy, [4]);
    assert!(CopyPlan::compile(&from, &aliased(&["missing"])).is_err());
}

#[test]
fn a_mismatch_names_the_field_and_both_schemas() {
    let from = schema("{tailnum:string,dep_delay:i32?}");
    let cases = [
        ("{tail_num:string}", "the producer has no field `tail_num`; did you mean `tailnum`?"),
        ("{origin:string}", "the producer has no field `origin`; the fields are `tailnum`, `dep_delay`"),
        ("{dep_delay:i32}", "the field `dep_delay` is `i32?` in the producer, and `i32` in the consumer"),
        ("{dep_delay:i64?}", "the field `dep_delay` is `i32?` in the producer, and `i64?` in the consumer"),
    ];
    for (to, reason) in cases {
        let mismatch = CopyPlan::compile(&from, &schema(to)).unwrap_err();
        assert_eq!(mismatch.reason, reason);
        assert_eq!((mismatch.from.as_str(), mismatch.to.as_str()), ("{tailnum:string,dep_delay:i32?}", to));
    }
    assert!(CopyPlan::compile(&from, &from).unwrap().is_none());
}

#[test]
fn a_path_names_a_field_of_nested_records() {
    let schema = schema("{\"a.b\":u8,a:{b:u16,c:{d:string}?},l:list<u8>}");
    let row = row(&schema, &json!({"a.b": 1, "a": {"b": 2, "c": {"d": "x"}}, "l": []}));
    let value = |path: &str| FieldLocator::compile(&schema, path).unwrap().value(&row).unwrap();
    assert_eq!(value("a.b"), Some(RowValue::Unsigned(1)));
    assert_eq!(value("a.c.d"), Some(RowValue::Text("x")));
    assert!(FieldLocator::compile(&schema, "a.c.d").unwrap().is_nullable());
    for (path, expected) in [("a.x", "there is no field `a.x`"), ("l.x", "which has no fields"), ("", "no field")] {
        let defect = FieldLocator::compile(&schema, path).unwrap_err().to_string();
        assert!(defect.contains(expected), "{path}: {defect}");
    }
}

#[test]
fn keys_have_the_bytes_that_functions_read() {
    let schema = schema("{name:string,number:i64,flag:bool,at:timestamp,raw:bytes,maybe:u8?,x:f64}");
    let value = json!({"name": "ann", "number": -42, "flag": true, "at": "1970-01-01T00:00:01Z", "raw": "/w==", "maybe": null, "x": 1});
    let row = row(&schema, &value);
    let key = |paths: &[&str]| {
        let mut key = b"before".to_vec();
        let written = RowKey::compile(&schema, paths).unwrap().write(&row, &mut key).unwrap();
        assert!(key.starts_with(b"before"));
        written.then(|| key[6..].to_vec())
    };
    assert_eq!(key(&["name"]).unwrap(), b"ann");
    assert_eq!(key(&["number"]).unwrap(), b"-42");
    assert_eq!(key(&["flag"]).unwrap(), b"true");
    assert_eq!(key(&["at"]).unwrap(), b"1000");
    assert_eq!(key(&["raw"]).unwrap(), [255]);
    assert_eq!(key(&["name", "number"]).unwrap(), b"3:ann3:-42");
    assert_eq!(key(&["maybe"]), None);
    assert_eq!(key(&["name", "maybe"]), None);
    assert_eq!(RowKey::compile(&schema, &["name", "number"]).unwrap().key_type(), "(string,i64)");
    assert_eq!(RowKey::compile(&schema, &["maybe"]).unwrap().key_type(), "u8");
    let defect = RowKey::compile(&schema, &["x"]).unwrap_err().to_string();
    assert!(defect.contains("the field `x` is `f64`, but keys are"), "{defect}");
}

#[test]
fn values_of_another_type_are_refused_with_field_value_and_type() {
    let schema =
        schema("{id:u8,inner:{list:list<i16>}?,text:string?,at:timestamp?,day:date?,raw:bytes?,f:f32?,j:json?}");
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(1000));
    let cases = [
        (r#"{"id":256}"#, "the field `id` is `256`, which is not `u8`"),
        (r#"{"id":-1}"#, "is `-1`, which is not `u8`"),
        (r#"{"id":1.0}"#, "is `1.0`, which is not `u8`"),
        (r#"{"id":01}"#, "is `01`, which is not `u8`"),
        (r#"{"id":"1"}"#, r#"is `"1"`, which is not `u8`"#),
        (r#"{"id":null}"#, "is `null`, which is not `u8`"),
        (r#"{"id":99999999999999999999999999999999999999999999}"#, "which is not `u8`"),
        (r#"{}"#, "the field `id` is missing; expected `u8`"),
        (r#"{"id":1,"inner":{"list":[1,true]}}"#, "the field `inner.list` is `true`, which is not `i16`"),
        (r#"{"id":1,"inner":[]}"#, "the field `inner` is not JSON: no object at byte 0"),
        (r#"{"id":1,"text":"\ud800"}"#, r#"the field `text` is `"\ud800"`, which is not `string?`"#),
        ("{\"id\":1,\"text\":\"a\nb\"}", "which is not `string?`"),
        (r#"{"id":1,"at":"yesterday"}"#, "which is not `timestamp?`"),
        (r#"{"id":1,"day":"2013-02-29"}"#, "which is not `date?`"),
        (r#"{"id":1,"raw":"*"}"#, "which is not `bytes?`"),
        (r#"{"id":1,"f":1e39}"#, "which is not `f32?`"),
        (r#"{"id":1,"j":{"a":}}"#, "which is not `json?`"),
        (r#"{"id":1} x"#, "is not JSON: text behind the object at byte 9"),
        (r#"{"id":1"#, "no `,` or `}` at byte 7"),
        (r#"{"id":1,"x":[1,{]}"#, "is not JSON: another closing bracket at byte 16"),
        (r#"{"id":1,"x":"a"#, "a string without an end at byte 12"),
        (r#"{"id":NaN}"#, "no value at byte 6"),
        (r#"[1]"#, "no object at byte 0"),
        ("", "no object at byte 0"),
        (&long, "…`, which is not `u8`"),
    ];
    for (json, expected) in cases {
        let defect = read_json(&schema, json.as_bytes(), &mut Vec::new()).unwrap_err().to_string();
        assert!(defect.contains(expected), "{json}: {defect}");
        assert!(defect.len() < 200, "{defect}");
    }
}

#[test]
fn the_last_of_repeated_names_counts() {
    let schema = schema("{a:u8,m:map<u8>}");
    let mut row = Vec::new();
    read_json(&schema, br#"{"a":"x","m":{"k":1,"j":2,"k":3},"a":1,"\u0061":2}"#, &mut row).unwrap();
    assert_eq!(json_of(&schema, &row), json!({"a": 2, "m": {"k": 3, "j": 2}}));
}

#[test]
fn deep_json_is_refused_without_recursion() {
    let schema = schema("{a:u8?}");
    for (depth, readable) in [(JSON_DEPTH_MAX as usize, true), (JSON_DEPTH_MAX as usize + 1, false), (1 << 20, false)] {
        let json = format!("{{\"b\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(read_json(&schema, json.as_bytes(), &mut Vec::new()).is_ok(), readable, "{depth}");
    }
}

#[test]
fn floats_and_times_without_json_are_null_or_numbers() {
    let schema = schema("{f:f64,g:f32,at:timestamp,day:date,j:json}");
    let mut row = [f64::NAN.to_le_bytes().as_slice(), &f32::INFINITY.to_le_bytes()].concat();
    write_signed(&mut row, i64::MAX);
    write_signed(&mut row, i32::MIN.into());
    write_bytes(&mut row, b" {\"a\":\n1}\r\n");
    let mut json = Vec::new();
    write_json(&schema, &row, &mut json).unwrap();
    let text = String::from_utf8(json).unwrap();
    assert_eq!(text, r#"{"f":null,"g":null,"at":9223372036854775807,"day":-2147483648,"j":{"a": 1}}"#);
}
