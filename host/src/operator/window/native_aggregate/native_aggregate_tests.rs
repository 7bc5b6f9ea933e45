//! Native aggregates: their results, and records without a number.

use std::sync::Arc;

use serde_json::{Value, json};

use super::aggregate_result::AggregateKey;
use super::native_definition::NativeAggregate;
use super::number_field::FieldExtractor;
use crate::model::row::{FieldType, RowSchema, read_json, write_json};
use crate::model::{Column, FaultCode, Keys, Windows};
use crate::operator::window::testing::JsonResults;
use crate::pipeline::{Aggregate, KeySelector, NumericAggregate};
use crate::turn::{Guest, Turn, TurnContext, TurnFailure};

fn numeric(function: NumericAggregate) -> Aggregate {
    Aggregate::Numeric { function, field: KeySelector::Value }
}

fn guest(what: NumericAggregate) -> Box<dyn Guest> {
    JsonResults::of_values(&numeric(what))
}

fn fold(guest: &mut dyn Guest, accumulators: Column, of: &[u32], values: &[&str]) -> Result<Column, TurnFailure> {
    let values: Column = values.iter().collect();
    let mut turn = Turn::stateless(TurnContext::default());
    guest.add(&mut turn, &accumulators, of, &values, &vec![0; values.len()])
}

fn windows(count: usize) -> Windows {
    let keys = Keys { distinct: ["k"].into_iter().collect(), groups: vec![0], key_of: vec![0; count] };
    Windows { keys, starts: vec![0; count], ends: vec![10; count] }
}

fn finish(guest: &mut dyn Guest, accumulators: &Column) -> Vec<String> {
    let windows = windows(accumulators.len());
    let results = guest.finish(&mut Turn::stateless(TurnContext::default()), accumulators, &windows).unwrap();
    results.iter().map(|result| String::from_utf8(result.to_vec()).unwrap()).collect()
}

fn result(what: NumericAggregate, values: &[&str]) -> String {
    let mut guest = guest(what);
    let none: Column = [""].into_iter().collect();
    let whole = fold(&mut *guest, none.clone(), &vec![0; values.len()], values).unwrap();
    // Two merged parts give the same result.
    let (left, right) = values.split_at(values.len() / 2);
    let [left, right] = [left, right].map(|part| fold(&mut *guest, none.clone(), &vec![0; part.len()], part).unwrap());
    let merged = guest.merge(&mut Turn::stateless(TurnContext::default()), &left, &right).unwrap();
    let [of_whole, of_merged] = [whole, merged].map(|accumulators| finish(&mut *guest, &accumulators).remove(0));
    assert_eq!(of_whole, of_merged);
    of_whole
}

#[test]
fn numbers_stay_whole_as_long_as_they_fit() {
    let values = ["3", "-1", " 7 ", "3"];
    for (what, expected) in [
        (NumericAggregate::Sum, r#""sum":12"#),
        (NumericAggregate::Min, r#""min":-1"#),
        (NumericAggregate::Max, r#""max":7"#),
        (NumericAggregate::Average, r#""average":3.0"#),
        (NumericAggregate::Top(2), r#""top":[" 7 ","3"]"#),
    ] {
        let result = result(what, &values);
        assert!(
            result.contains(expected) && result.contains(r#""key":"k""#) && result.contains(r#""end":10"#),
            "{result}"
        );
    }
    assert!(result(NumericAggregate::Sum, &["1.5", "2"]).contains(r#""sum":3.5"#));
    let max = i64::MAX.to_string();
    let sum: Value = serde_json::from_str(&result(NumericAggregate::Sum, &[&max, "1"])).unwrap();
    assert!(sum["sum"].is_f64() && sum["sum"] == 9_223_372_036_854_775_808.0);
}

#[test]
fn among_equal_numbers_the_earlier_record_comes_first() {
    let (mut guest, none) = (guest(NumericAggregate::Top(2)), [""].into_iter().collect());
    let folded = fold(&mut *guest, none, &[0, 0, 0], &["2", "2.0", "02"]).unwrap();
    assert!(finish(&mut *guest, &folded)[0].contains(r#"["2","2.0"]"#));
}

#[test]
fn a_record_without_a_number_is_a_fault_and_damaged_state_is_an_error() {
    for text in ["", "x", "NaN", "inf"] {
        let failed = fold(&mut *guest(NumericAggregate::Sum), [""].into_iter().collect(), &[0], &[text]);
        assert!(matches!(failed, Err(TurnFailure::Fault(fault)) if fault.code == FaultCode::NumberMissing), "{text}");
    }
    let damaged = fold(&mut *guest(NumericAggregate::Sum), ["abc"].into_iter().collect(), &[0], &["1"]);
    assert!(matches!(damaged, Err(TurnFailure::Error(_))));
}

#[test]
fn a_sum_that_overflows_is_a_fault_and_never_null() {
    let none = || -> Column { [""].into_iter().collect() };
    for what in [NumericAggregate::Sum, NumericAggregate::Average] {
        // A record makes the sum overflow, in either direction.
        for values in [["1e308", "1e308"], ["-1e308", "-1e308"]] {
            let failed = fold(&mut *guest(what), none(), &[0, 0], &values);
            assert!(
                matches!(failed, Err(TurnFailure::Fault(fault)) if fault.code == FaultCode::NumberOverflow),
                "{what:?}"
            );
        }
        // A merge makes the sum of a window overflow.
        let mut guest = guest(what);
        let part = fold(&mut *guest, none(), &[0], &["1e308"]).unwrap();
        let merged = guest.merge(&mut Turn::stateless(TurnContext::default()), &part, &part).unwrap();
        let more = fold(&mut *guest, merged, &[0], &["1"]).unwrap();
        let windows = windows(1);
        let failed = guest.finish(&mut Turn::stateless(TurnContext::default()), &more, &windows);
        assert!(
            matches!(failed, Err(TurnFailure::Fault(fault)) if fault.code == FaultCode::NumberOverflow),
            "{what:?}"
        );
    }
    let largest = f64::MAX.to_string();
    assert!(result(NumericAggregate::Max, &[&largest, "1"]).contains("1.7976931348623157e+308"));
}

/// An aggregate of the top records that finds the number 1 in every record.
fn top_of_ones() -> Box<dyn Guest> {
    let (what, extract): (_, FieldExtractor) = (numeric(NumericAggregate::Top(9)), Arc::new(|_, _| Some(&b"1"[..])));
    Box::new(JsonResults::new(&NativeAggregate::of_text(&what, extract, AggregateKey::Untyped, true)))
}

#[test]
fn bytes_and_text_of_their_hex_digits_have_different_json_forms() {
    let values: Column = [&b"\xff\xfe"[..], b"fffe", b"{\"hex\":\"fffe\"}"].into_iter().collect();
    let mut turn = Turn::stateless(TurnContext::default());
    let mut top = top_of_ones();
    let folded = top.add(&mut turn, &[""].into_iter().collect(), &[0, 0, 0], &values, &[0; 3]).unwrap();
    let top: Value = serde_json::from_str(&finish(&mut *top, &folded)[0]).unwrap();
    assert_eq!(top["top"], json!([{"hex": "fffe"}, "fffe", {"hex": hex::encode(values.value(2))}]));

    let keys: Column = [&b"\xff\xfe"[..], b"fffe"].into_iter().collect();
    let windows = Windows {
        keys: Keys { distinct: keys, groups: vec![0, 0], key_of: vec![0, 1] },
        starts: vec![0, 0],
        ends: vec![10, 10],
    };
    let mut count = JsonResults::of_values(&Aggregate::Count);
    let counts: Column = [1_u64.to_le_bytes(), 1_u64.to_le_bytes()].into_iter().collect();
    let results = count.finish(&mut turn, &counts, &windows).unwrap();
    let keys: Vec<Value> =
        results.iter().map(|result| serde_json::from_slice::<Value>(result).unwrap()["key"].clone()).collect();
    assert_eq!(keys, [json!({"hex": "fffe"}), json!("fffe")]);
}

#[test]
fn a_json_record_keeps_the_digits_of_its_numbers() {
    let record = r#"{"id": 123456789012345678901, "x":1.10, "y":1e400}"#;
    let values: Column = [record].into_iter().collect();
    let (what, extract): (_, FieldExtractor) = (numeric(NumericAggregate::Top(9)), Arc::new(|_, _| Some(&b"1"[..])));
    let aggregate = NativeAggregate::of_text(&what, extract, AggregateKey::Untyped, true);
    let (mut top, mut turn) = (aggregate.guest(), Turn::stateless(TurnContext::default()));
    let folded = top.add(&mut turn, &[""].into_iter().collect(), &[0], &values, &[0]).unwrap();
    let keys = Keys { distinct: ["k"].into_iter().collect(), groups: vec![0], key_of: vec![0] };
    let results = top.finish(&mut turn, &folded, &Windows { keys, starts: vec![0], ends: vec![10] }).unwrap();
    let mut json = Vec::new();
    write_json(&aggregate.result_schema().unwrap(), results.value(0), &mut json).unwrap();
    let json = String::from_utf8(json).unwrap();
    assert!(json.contains(record), "{json}");
}

#[test]
fn a_count_counts_the_records_of_each_window() {
    let mut guest = JsonResults::of_values(&Aggregate::Count);
    let folded = fold(&mut *guest, ["", "", ""].into_iter().collect(), &[0, 2, 0], &["", "", ""]).unwrap();
    let results = finish(&mut *guest, &folded);
    assert!(results.iter().zip([2, 0, 1]).all(|(result, count)| result.contains(&format!(r#""count":{count}"#))));
}

/// The results of an aggregate of the field `n` of rows that are given as JSON, for the key `3:ann1:7`, as JSON.
fn result_of_rows(what: NumericAggregate, schema: &str, rows: &[Value]) -> Result<(String, String), TurnFailure> {
    let schema: RowSchema = schema.parse().unwrap();
    let key = vec![("name".to_owned(), FieldType::String), ("id".to_owned(), FieldType::I32)];
    let aggregate = NativeAggregate::of_rows(&numeric(what), &schema, "n", AggregateKey::Fields(key), true).unwrap();
    let mut values = Column::new();
    for row in rows {
        values.push_with(|bytes| read_json(&schema, row.to_string().as_bytes(), bytes).unwrap());
    }
    let (mut guest, mut turn) = (aggregate.guest(), Turn::stateless(TurnContext::default()));
    let none: Column = [""].into_iter().collect();
    let of = vec![0; values.len()];
    let folded = guest.add(&mut turn, &none, &of, &values, &vec![0; values.len()])?;
    let keys = Keys { distinct: ["3:ann1:7"].into_iter().collect(), groups: vec![0], key_of: vec![0] };
    let results = guest.finish(&mut turn, &folded, &Windows { keys, starts: vec![0], ends: vec![1500] })?;
    let (schema, mut json) = (aggregate.result_schema().unwrap(), Vec::new());
    write_json(&schema, results.value(0), &mut json).unwrap();
    Ok((schema.to_string(), String::from_utf8(json).unwrap()))
}

#[test]
fn a_result_is_a_row_of_the_key_the_window_and_the_aggregate() {
    use NumericAggregate::{Average, Max, Min, Sum, Top};
    let rows = [json!({"n": 3, "s": "a"}), json!({"n": 200, "s": "b"})];
    let window = r#"{"name":"ann","id":7,"start":"1970-01-01T00:00:00Z","end":"1970-01-01T00:00:01.500Z","#;
    for (what, field, type_, value) in [
        (Sum, "u8", "sum:u64", "\"sum\":203"),
        (Sum, "i16", "sum:i64", "\"sum\":203"),
        (Sum, "f32", "sum:f64", "\"sum\":203.0"),
        (Sum, "json", "sum:json", "\"sum\":203"),
        (Min, "u8", "min:u8", "\"min\":3"),
        (Max, "u64", "max:u64", "\"max\":200"),
        (Max, "f32", "max:f32", "\"max\":200.0"),
        (Average, "i64", "average:f64", "\"average\":101.5"),
        (Top(1), "i64", "top:list<json>", "\"top\":[{\"n\":200,\"s\":\"b\"}]"),
    ] {
        let (schema, json) = result_of_rows(what, &format!("{{n:{field},s:string}}"), &rows).unwrap();
        assert_eq!(schema, format!("{{name:string,id:i32,start:timestamp,end:timestamp,{type_}}}"));
        assert_eq!(json, format!("{window}{value}}}"), "{what:?} of {field}");
    }
    let text = [json!({"n": "3"}), json!({"n": "0.5"})];
    assert!(result_of_rows(Sum, "{n:string}", &text).unwrap().1.ends_with("\"sum\":3.5}"));
    let dates = [json!({"n": "2013-01-02"}), json!({"n": "2013-01-01"})];
    assert!(result_of_rows(Min, "{n:date}", &dates).unwrap().1.ends_with("\"min\":\"2013-01-01\"}"));
}

#[test]
fn sums_of_whole_numbers_are_exact_or_a_fault() {
    let sum = |type_: &str, numbers: &[Value]| {
        let rows: Vec<Value> = numbers.iter().map(|number| json!({"n": number})).collect();
        result_of_rows(NumericAggregate::Sum, &format!("{{n:{type_}}}"), &rows)
    };
    let exact = sum("i64", &[json!(i64::MAX), json!(i64::MIN)]).unwrap().1;
    assert!(exact.ends_with("\"sum\":-1}"), "{exact}");
    let large = sum("u64", &[json!(u64::MAX - 1), json!(1)]).unwrap().1;
    assert!(large.ends_with("\"sum\":18446744073709551615}"), "{large}");
    for (type_, numbers) in [("i64", [json!(i64::MAX), json!(1)]), ("u64", [json!(u64::MAX), json!(1)])] {
        let failed = sum(type_, &numbers);
        assert!(
            matches!(&failed, Err(TurnFailure::Fault(fault)) if fault.code == FaultCode::NumberOverflow),
            "{type_}: {failed:?}"
        );
    }
    let missing = sum("i64?", &[json!(1), json!(null)]);
    assert!(matches!(missing, Err(TurnFailure::Fault(fault)) if fault.code == FaultCode::NumberMissing));
}

#[test]
fn fields_that_are_no_numbers_are_refused() {
    let refused = |schema: &str, function| {
        let schema: RowSchema = schema.parse().unwrap();
        NativeAggregate::of_rows(&numeric(function), &schema, "n", AggregateKey::Untyped, true).err().unwrap()
    };
    assert!(refused("{n:bool}", NumericAggregate::Max).contains("`n` is `bool`"));
    assert!(refused("{n:timestamp}", NumericAggregate::Sum).contains("`n` is `timestamp`"));
    assert!(refused("{m:i64}", NumericAggregate::Sum).contains("there is no field `n`"));
    let schema: RowSchema = "{n:i64}".parse().unwrap();
    let key = AggregateKey::Fields(vec![("sum".to_owned(), FieldType::String)]);
    let aggregate = NativeAggregate::of_rows(&numeric(NumericAggregate::Sum), &schema, "n", key, true).unwrap();
    assert!(aggregate.result_schema().is_err(), "two fields `sum`");
}
