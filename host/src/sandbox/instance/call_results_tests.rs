//! Outputs of calls, well formed and malformed. A malformed one is the fault `invalid-output`, never a panic.

use std::sync::Arc;

use proptest::prelude::*;

use super::call_results::{CallItems, check_column, check_count, check_outputs, check_values};
use crate::model::{Batch, Column, Fault, FaultCode, JoinedPairs, Keys, NO_TIMESTAMP, PairSide, Windows};
use crate::pipeline::GuestLimits;
use crate::sandbox::bindings::cofferdam::function::types::{
    ColumnResult, FieldColumnResult, FieldDataResult, Output, RecordValuesResult, TimestampsResult,
};
use crate::sandbox::description::PortDescription;
use crate::turn::OutputId;

fn column(values: &[&str]) -> ColumnResult {
    let (bytes, offsets) = values.iter().collect::<Column>().into_parts();
    ColumnResult { bytes, offsets }
}

fn output(values: &[&str], timestamps: TimestampsResult) -> Output {
    let values = RecordValuesResult::Packed(column(values));
    Output { index: 0, values, timestamps, origins: Vec::new(), keys: None, attributes: None }
}

fn check_one(output: Output, items: CallItems<'_>) -> Result<Batch, Fault> {
    let row =
        PortDescription { schema: Some(Arc::new("{a:i64}".parse().unwrap())), ..PortDescription::new("out", "row") };
    let ports = [row, PortDescription::new("side", "raw")];
    let mut outputs = check_outputs(vec![output], items, &ports, &GuestLimits::default())?;
    Ok(outputs.remove(0).batch)
}

const TIMES: CallItems<'static> = CallItems::Times(&[10, NO_TIMESTAMP, 30]);

#[test]
fn timestamps_are_missing_explicit_or_inherited() {
    let inherited = |origins| Output { origins, ..output(&["a", "b"], TimestampsResult::Inherited) };
    for (output, timestamps) in [
        (output(&["a", "b"], TimestampsResult::None), [NO_TIMESTAMP; 2]),
        (output(&["a", "b"], TimestampsResult::Every(vec![1, -1])), [1, -1]),
        (output(&["a", "b"], TimestampsResult::Some(vec![None, Some(i64::MAX)])), [NO_TIMESTAMP, i64::MAX]),
        (inherited(vec![2, 0]), [30, 10]),
        (inherited(vec![1, 1]), [NO_TIMESTAMP; 2]),
        (Output { origins: vec![0, 0], ..output(&["a", "b"], TimestampsResult::Every(vec![5, 6])) }, [5, 6]),
    ] {
        let batch = check_one(output, TIMES).unwrap();
        assert_eq!((&batch.timestamps[..], batch.values.value(1)), (&timestamps[..], &b"b"[..]));
        assert!(batch.schema.is_some() && batch.keys.is_none());
    }
}

#[test]
fn windows_and_pairs_pass_on_their_own_timestamps() {
    let windows = Windows { keys: Keys::default(), starts: vec![0, i64::MIN], ends: vec![10, i64::MAX] };
    let inherited = || Output { origins: vec![1, 0], ..output(&["a", "b"], TimestampsResult::Inherited) };
    let batch = check_one(inherited(), CallItems::Windows(&windows)).unwrap();
    assert_eq!(batch.timestamps, [i64::MAX, 9], "a window's timestamp is its last millisecond");

    let side = |timestamps: &[i64], value_of: &[u32]| PairSide {
        values: Column::new(),
        timestamps: timestamps.to_vec(),
        value_of: value_of.to_vec(),
    };
    let keys = Keys { key_of: vec![0, 0], ..Keys::default() };
    let pairs = JoinedPairs { keys, left: side(&[5], &[0, 0]), right: side(&[3, 8], &[1, 0]) };
    let batch = check_one(inherited(), CallItems::Pairs(&pairs)).unwrap();
    assert_eq!(batch.timestamps, [5, 8], "a pair's timestamp is the later one");
}

#[test]
fn a_malformed_output_is_a_fault() {
    let none = || output(&["a", "b"], TimestampsResult::None);
    let fields = |count| {
        RecordValuesResult::Fields(vec![
            FieldColumnResult {
                present: Vec::new(),
                data: FieldDataResult::Booleans(Vec::new())
            };
            count
        ])
    };
    let packed = |bytes: &[u8], offsets: &[u32]| {
        RecordValuesResult::Packed(ColumnResult { bytes: bytes.to_vec(), offsets: offsets.to_vec() })
    };
    for (defect, part) in [
        (Output { index: 2, ..none() }, "output 2: the function has 2 outputs"),
        (Output { index: u32::MAX, ..none() }, "output 4294967295"),
        (Output { values: fields(1), ..none() }, "the layout `fields`"),
        (Output { values: fields(0), ..none() }, "the layout `fields`"),
        (Output { values: packed(b"a", &[1]), ..none() }, "the first offset is 1"),
        (Output { values: packed(b"ab", &[0, 2, 1]), ..none() }, "offset 2 is smaller"),
        (Output { values: packed(b"ab", &[0, 3]), ..none() }, "the last offset is 3"),
        (Output { values: packed(b"ab", &[]), ..none() }, "the last offset is 0"),
        (output(&["a"], TimestampsResult::Every(vec![])), "1 values with 0 timestamps"),
        (output(&[], TimestampsResult::Every(vec![1])), "0 values with 1 timestamps"),
        (output(&["a"], TimestampsResult::Some(vec![None; 2])), "1 values with 2 timestamps"),
        (output(&["a"], TimestampsResult::Every(vec![NO_TIMESTAMP])), "the smallest 64-bit integer"),
        (output(&["a"], TimestampsResult::Some(vec![Some(NO_TIMESTAMP)])), "the smallest 64-bit integer"),
        (output(&["a"], TimestampsResult::Inherited), "1 values with 0 origins"),
        (Output { origins: vec![0], ..output(&["a", "b"], TimestampsResult::Inherited) }, "2 values with 1 origins"),
        (Output { origins: vec![0, 3], ..output(&["a", "b"], TimestampsResult::Inherited) }, "origin 3 does not exist"),
        (Output { origins: vec![0; 3], ..none() }, "2 values with 3 origins"),
        (Output { origins: vec![u32::MAX; 2], ..none() }, "the call has 3 items"),
        (Output { keys: Some(column(&["k"])), ..none() }, "2 values with 1 keys"),
        (Output { keys: Some(ColumnResult { bytes: vec![1], offsets: vec![] }), ..none() }, "its keys"),
        (Output { attributes: Some(column(&["\0"; 3])), ..none() }, "2 values with 3 attributes"),
        (Output { attributes: Some(ColumnResult { bytes: vec![], offsets: vec![7] }), ..none() }, "its attributes"),
    ] {
        let fault = check_one(defect, TIMES).unwrap_err();
        assert_eq!(fault.code, FaultCode::InvalidOutput);
        assert!(fault.message.contains(part), "{}", fault.message);
    }
    let on_nothing = Output { origins: vec![0], ..output(&["a"], TimestampsResult::Inherited) };
    assert!(check_one(on_nothing, CallItems::Times(&[])).unwrap_err().message.contains("has 0 items"));
}

#[test]
fn attributes_and_keys_stay_with_their_records() {
    let (keys, attributes) = (Some(column(&["k", "l"])), Some(column(&["\0", "\u{1}\u{1}a\u{1}b"])));
    let batch = check_one(Output { keys, attributes, ..output(&["a", "b"], TimestampsResult::None) }, TIMES).unwrap();
    assert_eq!(batch.chosen_keys.unwrap().value(1), b"l");
    assert_eq!(batch.attributes.unwrap().value(1), b"\x01\x01a\x01b");
}

#[test]
fn all_columns_of_the_outputs_count_towards_the_limit() {
    let limits = GuestLimits { output_bytes: 1000, ..GuestLimits::default() };
    let ports = [PortDescription::new("out", "raw")];
    let long = "x".repeat(600);
    let check = |outputs| check_outputs(outputs, TIMES, &ports, &limits).map_err(|fault| fault.code);
    let one = || output(&[&long], TimestampsResult::None);
    assert!(check(vec![one()]).is_ok());
    assert_eq!(check(vec![one(), one()]), Err(FaultCode::OutputExceeded));
    for exceeding in
        [Output { keys: Some(column(&[&long])), ..one() }, Output { attributes: Some(column(&[&long])), ..one() }]
    {
        assert_eq!(check(vec![exceeding]), Err(FaultCode::OutputExceeded));
    }
    let results: Column = ["a", "b"].iter().collect();
    assert_eq!(check_count(results.clone(), 3, &limits).unwrap_err().code, FaultCode::InvalidOutput);
    let results = check_count(results, 2, &GuestLimits { output_bytes: 13, ..limits });
    assert_eq!(results.unwrap_err().code, FaultCode::OutputExceeded);
}

fn any_column() -> impl Strategy<Value = ColumnResult> {
    let valid = proptest::collection::vec("[a-z]{0,3}", 0..4)
        .prop_map(|values| column(&values.iter().map(String::as_str).collect::<Vec<_>>()));
    let offsets = proptest::collection::vec(prop_oneof![0..5u32, any::<u32>()], 0..5);
    let other = (proptest::collection::vec(any::<u8>(), 0..5), offsets)
        .prop_map(|(bytes, offsets)| ColumnResult { bytes, offsets });
    prop_oneof![3 => valid, 1 => other]
}

fn any_values() -> impl Strategy<Value = RecordValuesResult> {
    prop_oneof![
        9 => any_column().prop_map(RecordValuesResult::Packed),
        1 => Just(RecordValuesResult::Fields(Vec::new())),
    ]
}

fn any_timestamps() -> impl Strategy<Value = TimestampsResult> {
    let time = || prop_oneof![9 => any::<i64>(), 1 => Just(NO_TIMESTAMP)];
    prop_oneof![
        Just(TimestampsResult::None),
        proptest::collection::vec(time(), 0..4).prop_map(TimestampsResult::Every),
        proptest::collection::vec(proptest::option::of(time()), 0..4).prop_map(TimestampsResult::Some),
        Just(TimestampsResult::Inherited),
    ]
}

fn any_output() -> impl Strategy<Value = Output> {
    let origins = proptest::collection::vec(prop_oneof![9 => 0..4u32, 1 => any::<u32>()], 0..4);
    let optional = || proptest::option::weighted(0.3, any_column());
    let index = prop_oneof![9 => 0..3u32, 1 => any::<u32>()];
    (index, any_values(), any_timestamps(), origins, optional(), optional()).prop_map(
        |(index, values, timestamps, origins, keys, attributes)| Output {
            index,
            values,
            timestamps,
            origins,
            keys,
            attributes,
        },
    )
}

proptest! {
    #[test]
    fn outputs_are_well_formed_batches_or_faults(
        outputs in proptest::collection::vec(any_output(), 0..4),
        times in proptest::collection::vec(any::<i64>(), 0..4),
    ) {
        let ports = [PortDescription::new("out", "raw"), PortDescription::new("side", "json")];
        let count = outputs.len();
        match check_outputs(outputs, CallItems::Times(&times), &ports, &GuestLimits::default()) {
            Err(fault) => prop_assert_eq!(fault.code, FaultCode::InvalidOutput),
            Ok(checked) => {
                prop_assert_eq!(checked.len(), count);
                for output in checked {
                    let records = output.batch.values.len();
                    prop_assert!(output.output < OutputId::Declared(ports.len()));
                    prop_assert_eq!(output.batch.timestamps.len(), records);
                    let columns = output.batch.chosen_keys.iter().chain(&output.batch.attributes);
                    columns.for_each(|column| assert_eq!(column.len(), records));
                    // Reads every value: no offset is out of bounds.
                    output.batch.values.iter().for_each(|value| drop(value.to_vec()));
                }
            }
        }
    }

    #[test]
    fn columns_and_values_are_checked_alike(column in any_column()) {
        let ColumnResult { bytes, offsets } = &column;
        let again = ColumnResult { bytes: bytes.clone(), offsets: offsets.clone() };
        let values = check_values(RecordValuesResult::Packed(again));
        prop_assert_eq!(check_column(column), values);
    }
}
