//! Native aggregates: their results, and records without a number.

use std::sync::Arc;

use serde_json::{Value, json};

use super::native_guest::native_aggregate;
use crate::model::{Column, FaultCode, Keys, Windows};
use crate::pipeline::{Aggregate, KeySelector, NumericAggregate};
use crate::turn::{Guest, Turn, TurnContext, TurnFailure};

fn guest(what: NumericAggregate) -> Box<dyn Guest> {
    native_aggregate(
        &Aggregate::Numeric { function: what, field: KeySelector::Value },
        Arc::new(|value, _| Some(value)),
    )
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
    let what = Aggregate::Numeric { function: NumericAggregate::Top(9), field: KeySelector::Value };
    native_aggregate(&what, Arc::new(|_, _| Some(&b"1"[..])))
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
    let mut count = native_aggregate(&Aggregate::Count, Arc::new(|_, _| None));
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
    let mut top = top_of_ones();
    let mut turn = Turn::stateless(TurnContext::default());
    let folded = top.add(&mut turn, &[""].into_iter().collect(), &[0], &values, &[0]).unwrap();
    assert!(finish(&mut *top, &folded)[0].contains(record));
}

#[test]
fn a_count_counts_the_records_of_each_window() {
    let mut guest = native_aggregate(&Aggregate::Count, Arc::new(|_, _| None));
    let folded = fold(&mut *guest, ["", "", ""].into_iter().collect(), &[0, 2, 0], &["", "", ""]).unwrap();
    let results = finish(&mut *guest, &folded);
    assert!(results.iter().zip([2, 0, 1]).all(|(result, count)| result.contains(&format!(r#""count":{count}"#))));
}
