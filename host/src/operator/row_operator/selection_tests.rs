//! Which fields a selection lets pass, and what the native function does with a batch.

use std::sync::Arc;

use serde_json::{Value, json};

use super::predicate::RowPredicate;
use super::row_guest::{FilteredFormat, RowGuest, RowProgram};
use super::selection::RowSelection;
use crate::model::row::{RowSchema, read_json, write_json};
use crate::model::{Batch, FaultCode};
use crate::pipeline::{Comparison, FieldRename, FieldSelection, FilterExpression, FilterOperand, FilterTerm};
use crate::turn::{Guest, OutputId, Turn, TurnContext, TurnFailure};

const SCHEMA: &str = "{a:i32,b:string?,c:bool,d:{x:i64}}";

fn schema() -> RowSchema {
    SCHEMA.parse().unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn renames(renames: &[(&str, &str)]) -> Vec<FieldRename> {
    renames.iter().map(|(new, old)| FieldRename { new: (*new).to_owned(), old: (*old).to_owned() }).collect()
}

fn encoded(record: &Value) -> Vec<u8> {
    let mut row = Vec::new();
    read_json(&schema(), record.to_string().as_bytes(), &mut row).unwrap();
    row
}

fn selected(select: &FieldSelection) -> (String, String) {
    let selection = RowSelection::compile(select, &schema(), true).unwrap();
    let (mut row, mut json) = (Vec::new(), Vec::new());
    selection.write(&encoded(&json!({"a": 7, "b": "x", "c": true, "d": {"x": 9}})), &mut row).unwrap();
    write_json(selection.output(), &row, &mut json).unwrap();
    (selection.output().to_string(), String::from_utf8(json).unwrap())
}

#[test]
fn fields_are_kept_in_the_order_of_keep_or_dropped_or_renamed() {
    let keep = FieldSelection { keep: Some(names(&["c", "a"])), ..FieldSelection::default() };
    assert_eq!(selected(&keep), ("{c:bool,a:i32}".into(), r#"{"c":true,"a":7}"#.into()));
    let drop = FieldSelection { drop: names(&["b", "d"]), ..FieldSelection::default() };
    assert_eq!(selected(&drop), ("{a:i32,c:bool}".into(), r#"{"a":7,"c":true}"#.into()));
    let rename = FieldSelection { rename: renames(&[("a", "b"), ("b", "a")]), ..FieldSelection::default() };
    let (schema, json) = selected(&rename);
    assert_eq!(schema, "{b:i32,a:string?,c:bool,d:{x:i64}}", "two names may be swapped");
    assert_eq!(json, r#"{"b":7,"a":"x","c":true,"d":{"x":9}}"#);
    let both =
        FieldSelection { keep: Some(names(&["d"])), rename: renames(&[("a", "d")]), ..FieldSelection::default() };
    assert_eq!(selected(&both).1, r#"{"a":{"x":9}}"#, "a new name may be that of a field that is not kept");
}

#[test]
fn unknown_and_repeated_names_are_refused() {
    let refused = |select: FieldSelection, is_whole| RowSelection::compile(&select, &schema(), is_whole).unwrap_err();
    let keep = |keep: &[&str]| FieldSelection { keep: Some(names(keep)), ..FieldSelection::default() };
    let drop = |drop: &[&str]| FieldSelection { drop: names(drop), ..FieldSelection::default() };
    assert!(refused(keep(&["e"]), false).contains("there is no field `e`; "));
    assert!(refused(drop(&["e"]), true).contains("there is no field `e`"));
    assert!(RowSelection::compile(&drop(&["e"]), &schema(), false).is_ok(), "the field was not decoded");
    assert!(refused(drop(&["a", "b", "c", "d"]), true).contains("no field is left"));
    let taken = FieldSelection { rename: renames(&[("b", "a")]), ..FieldSelection::default() };
    assert!(refused(taken, true).contains("two fields have the name `b`"));
}

fn a_above(number: i128) -> FilterExpression {
    let root =
        FilterTerm::Compare(FilterOperand::Field("a".into()), Comparison::Greater, FilterOperand::Integer(number));
    FilterExpression { text: String::new(), root }
}

fn run(program: RowProgram, batch: &Batch) -> Result<(Batch, Turn), TurnFailure> {
    let mut turn = Turn::stateless(TurnContext::default());
    turn.begin(None, 0, 0);
    let mut outputs = RowGuest::new(Arc::new(program)).process(&mut turn, 0, batch)?;
    turn.commit().unwrap();
    assert_eq!((outputs.len(), outputs[0].output), (1, OutputId::MAIN));
    Ok((outputs.remove(0).batch, turn))
}

#[test]
fn a_batch_is_filtered_and_then_selected_and_what_is_left_out_is_counted() {
    let input = Arc::new(schema());
    let mut batch = Batch { schema: Some(input.clone()), ..Batch::default() };
    for a in 0..6 {
        batch.push(&encoded(&json!({"a": a, "c": true, "d": {"x": a}})), a + 100);
    }
    let select =
        FieldSelection { keep: Some(names(&["a"])), rename: renames(&[("n", "a")]), ..FieldSelection::default() };
    let select = RowSelection::compile(&select, &input, true).unwrap();
    let predicate = RowPredicate::compile(&a_above(3), &input).unwrap();
    let program = RowProgram { filter: Some((predicate, FilteredFormat::Rows)), select: Some(select) };
    let (output, turn) = run(program, &batch).unwrap();
    assert_eq!(output.timestamps, [104, 105]);
    assert_eq!(output.schema.as_ref().unwrap().to_string(), "{n:i32}");
    let mut json = Vec::new();
    write_json(output.schema.as_ref().unwrap(), output.values.value(1), &mut json).unwrap();
    assert_eq!(json, br#"{"n":5}"#);
    assert_eq!(turn.metrics().counters["numRecordsFiltered"], 4);
}

#[test]
fn a_filter_reads_json_and_passes_it_on_unchanged() {
    let fields: RowSchema = "{a:json?}".parse().unwrap();
    let program = || RowProgram {
        filter: Some((RowPredicate::compile(&a_above(3), &fields).unwrap(), FilteredFormat::Json(fields.clone()))),
        select: None,
    };
    let mut batch = Batch::default();
    for record in [r#"{"a":4, "z":[1]}"#, r#"{"a":"4"}"#, "{}", r#"{"a":3.5}"#] {
        batch.push(record.as_bytes(), 0);
    }
    let (output, _) = run(program(), &batch).unwrap();
    let passed: Vec<&[u8]> = output.values.iter().collect();
    assert_eq!(passed, [&br#"{"a":4, "z":[1]}"#[..], br#"{"a":3.5}"#]);
    batch.push(b"no JSON", 0);
    let Err(TurnFailure::Fault(fault)) = run(program(), &batch) else { panic!("no fault") };
    assert_eq!(fault.code, FaultCode::RecordInvalid);
}
