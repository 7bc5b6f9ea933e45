//! The plan of records: what sources decode, which formats meet, and every refusal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::pipeline::{InputRole, PipelineSpec};
use crate::runtime::plan::execution_plan::ExecutionPlan;
use crate::runtime::plan::functions::FunctionPlan;
use crate::runtime::records::record_format::RecordFormat;
use crate::runtime::testing::function;
use crate::sandbox::{FunctionKind, PortDescription};
use crate::turn::OutputId;

/// A folder with `flights.csv` and `flights.ndjson`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("flights.csv"), "carrier,tailnum,dep_delay,origin\nUA,N1,2,EWR\n").unwrap();
    std::fs::write(folder.path().join("flights.ndjson"), "{\"carrier\":\"UA\"}\n").unwrap();
    std::fs::write(folder.path().join("empty.csv"), "").unwrap();
    folder
}

const CSV: &str = "[source.flights]\nconnector = \"file\"\npath = \"flights.csv\"\nformat = \"csv\"\n";
const NDJSON: &str = "[source.flights]\nconnector = \"file\"\npath = \"flights.ndjson\"\nformat = \"ndjson\"\n";
const BARE: &str = "[source.flights]\nconnector = \"file\"\npath = \"flights.csv\"\nformat = \"csv\"\nheader = false\n";
const LINES: &str = "[source.flights]\nconnector = \"file\"\npath = \"flights.csv\"\nformat = \"lines\"\n";
const SINK: &str = "[sink.out]\ninput = \"track\"\nconnector = \"blackhole\"\n";

/// A port: rows of a schema in braces, or a codec.
fn port(text: &str, key_type: &str) -> PortDescription {
    let schema = text.starts_with('{').then(|| Arc::new(text.parse().unwrap()));
    let codec = if schema.is_some() { "row" } else { text };
    PortDescription { schema, key_type: key_type.into(), ..PortDescription::new("port", codec) }
}

/// A function with these ports.
fn with_ports(kind: FunctionKind, input: PortDescription, output: PortDescription) -> FunctionPlan {
    let mut description = function("f", kind, "raw");
    description.second_input = description.second_input.map(|_| input.clone());
    (description.input, description.outputs) = (input, vec![output]);
    FunctionPlan { description, make: Arc::new(|_| unreachable!()) }
}

fn process(input: &str, output: &str) -> FunctionPlan {
    with_ports(FunctionKind::Process, port(input, ""), port(output, ""))
}

fn keyed(input: &str, key_type: &str, output: &str) -> FunctionPlan {
    with_ports(FunctionKind::KeyedProcess, port(input, key_type), port(output, ""))
}

/// An operator that runs the function of the same id.
fn operator(id: &str, input: &str, settings: &str) -> String {
    format!("[operator.{id}]\ninput = \"{input}\"\ncomponent = \"c\"\nfunction = \"f\"\n{settings}\n")
}

fn plan(text: &str, functions: &[(&str, FunctionPlan)]) -> Result<ExecutionPlan> {
    let folder = folder();
    let functions: BTreeMap<_, _> =
        functions.iter().map(|(id, function)| ((*id).to_owned(), function.clone())).collect();
    let pipeline = PipelineSpec::parse(&format!("name = \"p\"\n{text}"), "pipeline.toml")?;
    ExecutionPlan::new(pipeline, functions, folder.path())
}

#[track_caller]
fn refused(text: &str, functions: &[(&str, FunctionPlan)], code: &str, message: &str) -> Error {
    let error = plan(text, functions).err().expect("the plan must be refused");
    assert_eq!(error.code, code, "{error}");
    assert!(error.to_string().contains(message), "{error}");
    error
}

/// What the source `flights` decodes: the schemas of its rows, and `raw`.
fn decoded(plan: &ExecutionPlan) -> Vec<String> {
    let decoding = &plan.records.decodings["flights"];
    let rows = decoding.rows.iter().map(|schema| schema.to_string());
    rows.chain(decoding.wants_raw.then(|| "raw".to_owned())).collect()
}

fn index_of(plan: &ExecutionPlan, id: &str) -> usize {
    plan.pipeline.nodes.iter().position(|node| node.id == id).unwrap()
}

/// The format of the first input of a node.
fn input_of(plan: &ExecutionPlan, id: &str) -> String {
    let format = plan.records.nodes[index_of(plan, id)].input(InputRole::First);
    format.map_or_else(|| "any".to_owned(), RecordFormat::to_string)
}

#[test]
fn a_source_decodes_the_fields_that_its_consumer_and_the_key_need() {
    let track = operator("track", "flights", "key = { field = \"tailnum\" }");
    let own_key = [("track", keyed("{tailnum:string,dep_delay:i32?}", "string", "{n:u64}"))];
    for (source, decodes) in [(CSV, "{tailnum:string,dep_delay:i32?}"), (NDJSON, "{tailnum:string,dep_delay:i32?}")] {
        let plan = plan(&format!("{source}{track}{SINK}"), &own_key).unwrap();
        assert_eq!(decoded(&plan), [decodes]);
        assert_eq!(input_of(&plan, "track"), decodes);
        assert_eq!(plan.records.key_types["track"], "string");
    }
    let other_key = [("track", keyed("{dep_delay:i32?}", "string", "{n:u64}"))];
    let plan = plan(&format!("{CSV}{track}{SINK}"), &other_key).unwrap();
    assert_eq!(decoded(&plan), ["{dep_delay:i32?,tailnum:string?}"], "the key is decoded as the function's type");
    assert_eq!(input_of(&plan, "track"), "{dep_delay:i32?}");
}

#[test]
fn optional_fields_may_be_missing_and_aliases_are_names() {
    let functions = [("track", process("{nothing:i32?,dep_delay:string}", "raw"))];
    let plan_ = plan(&format!("{CSV}{}{SINK}", operator("track", "flights", "")), &functions).unwrap();
    assert_eq!(decoded(&plan_), ["{dep_delay:string}"]);
    let mut aliased = process("{delay:string}", "raw");
    let mut field = aliased.description.input.schema.as_ref().unwrap().fields()[0].clone();
    field.aliases = vec!["late".into(), "dep_delay".into()];
    let schema = crate::model::row::RowSchema::new(vec![field]).unwrap();
    aliased.description.input.schema = Some(Arc::new(schema));
    let plan_ = plan(&format!("{CSV}{}{SINK}", operator("track", "flights", "")), &[("track", aliased)]).unwrap();
    assert_eq!(
        (decoded(&plan_), input_of(&plan_, "track")),
        (vec!["{dep_delay:string}".into()], "{delay:string}".into())
    );
}

#[test]
fn a_field_with_two_types_is_decoded_for_each_of_them() {
    let text = format!(
        "{CSV}{}{}[sink.out]\ninputs = [\"track\", \"other\"]\nconnector = \"blackhole\"\n",
        operator("track", "flights", ""),
        operator("other", "flights", "")
    );
    let same =
        [("track", process("{tailnum:string}", "raw")), ("other", process("{carrier:string,tailnum:string?}", "raw"))];
    assert_eq!(decoded(&plan(&text, &same).unwrap()), ["{tailnum:string,carrier:string}"]);
    let different = [("track", process("{dep_delay:i32}", "raw")), ("other", process("{dep_delay:string}", "raw"))];
    let plan_ = plan(&text, &different).unwrap();
    assert_eq!(decoded(&plan_), ["{dep_delay:i32}", "{dep_delay:string}"]);
    let ports = |id| plan_.records.nodes[index_of(&plan_, id)].ports.clone();
    assert_eq!((ports("track"), ports("other")), (vec![OutputId::MAIN], vec![OutputId::Declared(1)]));
    let and_raw = [("track", process("{dep_delay:i32}", "raw")), ("other", process("raw", "raw"))];
    let plan_ = plan(&text, &and_raw).unwrap();
    assert_eq!(decoded(&plan_), ["{dep_delay:i32}", "raw"]);
    assert_eq!(input_of(&plan_, "other"), "plain bytes");
}

#[test]
fn a_consumer_without_declarations_gets_all_columns() {
    let sink = |settings: &str| format!("[sink.out]\ninput = \"flights\"\nconnector = \"stdout\"\n{settings}");
    let strings = "{carrier:string?,tailnum:string?,dep_delay:string?,origin:string?}";
    assert_eq!(decoded(&plan(&format!("{CSV}{}", sink("")), &[]).unwrap()), [strings]);
    let fixed = format!("{CSV}fields = {{ dep_delay = \"i32?\" }}\n{}", sink(""));
    assert_eq!(
        decoded(&plan(&fixed, &[]).unwrap()),
        ["{carrier:string?,tailnum:string?,dep_delay:i32?,origin:string?}"]
    );
    for source in [NDJSON, LINES, BARE] {
        assert_eq!(decoded(&plan(&format!("{source}{}", sink("")), &[]).unwrap()), ["raw"], "{source}");
    }
    let fixed = format!("{NDJSON}fields = {{ dep_delay = \"i32?\" }}\n{}", sink(""));
    assert_eq!(decoded(&plan(&fixed, &[]).unwrap()), ["{dep_delay:i32?}"]);
    assert_eq!(decoded(&plan(&format!("{LINES}{}", sink("format = \"ndjson\"")), &[]).unwrap()), ["{line:string}"]);
    assert_eq!(decoded(&plan(&format!("{CSV}{}", sink("format = \"raw\"")), &[]).unwrap()), ["raw"]);
    let blackhole = format!("{CSV}[sink.out]\ninput = \"flights\"\nconnector = \"blackhole\"\n");
    assert_eq!(decoded(&plan(&blackhole, &[]).unwrap()), ["raw"], "nothing is decoded for nothing");
    let named = format!("{BARE}columns = [\"a\", \"b\"]\n{}", sink(""));
    assert_eq!(decoded(&plan(&named, &[]).unwrap()), ["{a:string?,b:string?}"]);
}

#[test]
fn a_source_with_dead_letters_has_an_output_for_them() {
    let text = format!(
        "{CSV}on_undecodable = \"dead-letter\"\n{}{SINK}[sink.bad]\ninput = \"flights.dead-letter\"\nconnector = \"stdout\"\n",
        operator("track", "flights", "")
    );
    let plan = plan(&text, &[("track", process("{dep_delay:i32}", "raw"))]).unwrap();
    assert_eq!(plan.records.decodings["flights"].dead_letter_output(), Some(1));
    assert_eq!(plan.records.nodes[index_of(&plan, "bad")].ports, [OutputId::Declared(1)]);
}

#[test]
fn a_missing_field_is_refused_with_both_sides_and_the_nearest_name() {
    let track = operator("track", "flights", "");
    let wrong = [("track", process("{dep_dely:i32}", "raw"))];
    let error = refused(&format!("{CSV}{track}{SINK}"), &wrong, "schema-mismatch", "did you mean `dep_delay`?");
    assert!(error.message.contains("`track`") && error.message.contains("`flights`"), "{error}");
    assert_eq!(
        error.details,
        ["`flights` emits: carrier, tailnum, dep_delay, origin", "`track` reads: {dep_dely:i32}"]
    );
    assert_eq!(error.subject, Some(("track".into(), "input")));
    let empty = CSV.replace("flights.csv", "empty.csv");
    refused(&format!("{empty}{track}{SINK}"), &wrong, "schema-mismatch", "source `flights` is empty");
    refused(&format!("{BARE}{track}{SINK}"), &wrong, "schema-mismatch", "`columns = [");
    refused(&format!("{LINES}{track}{SINK}"), &wrong, "schema-mismatch", "a line has only the field `line`");
    let raw = LINES.replace("\"lines\"", "\"raw\"");
    refused(&format!("{raw}{track}{SINK}"), &wrong, "schema-mismatch", "its records have no fields");
    // A function upstream lacks the field.
    let chain = format!(
        "{CSV}{track}{}[sink.out]\ninput = \"next\"\nconnector = \"blackhole\"\n",
        operator("next", "track", "")
    );
    let functions = [("track", process("{origin:string}", "{count:u64}")), ("next", process("{cuont:u64}", "raw"))];
    let error = refused(&chain, &functions, "schema-mismatch", "did you mean `count`?");
    assert_eq!(error.details, ["`track` emits: {count:u64}", "`next` reads: {cuont:u64}"]);
    let functions = [("track", process("{origin:string}", "{count:u64}")), ("next", process("{count:i64}", "raw"))];
    refused(
        &chain,
        &functions,
        "schema-mismatch",
        "the field `count` is `u64` in the producer, and `i64` in the consumer",
    );
}

#[test]
fn a_source_that_fixes_a_type_refuses_another() {
    let text = format!("{CSV}fields = {{ dep_delay = \"i64?\" }}\n{}{SINK}", operator("track", "flights", ""));
    refused(&text, &[("track", process("{dep_delay:i32?}", "raw"))], "schema-mismatch", "`i64?` in the producer");
    assert!(plan(&text, &[("track", process("{dep_delay:i64?}", "raw"))]).is_ok());
}

#[test]
fn json_and_rows_become_each_other_and_other_formats_do_not() {
    let text = format!(
        "{CSV}{}{}[sink.out]\ninput = \"next\"\nconnector = \"blackhole\"\n",
        operator("track", "flights", ""),
        operator("next", "track", "")
    );
    let between = |from: &str, to: &str| {
        plan(&text, &[("track", process("{origin:string}", from)), ("next", process(to, "raw"))])
    };
    for (from, to) in
        [("json", "{a:i32}"), ("{a:i32}", "json"), ("json", "json"), ("raw", "raw"), ("{b:u8,a:i32}", "{a:i32}")]
    {
        assert!(between(from, to).is_ok(), "{from} {to}");
    }
    for (from, to, message) in [
        ("raw", "{a:i32}", "`next` reads rows, but `track` emits plain bytes"),
        ("raw", "json", "`next` reads JSON, but `track` emits plain bytes"),
        ("{a:i32}", "raw", "`next` reads plain bytes, but `track` emits rows"),
        ("json", "raw", "`next` reads plain bytes, but `track` emits JSON"),
    ] {
        let error = between(from, to).err().unwrap();
        assert_eq!(error.code, "schema-mismatch");
        assert!(error.message.contains(message), "{error}");
    }
    let json_of_csv = format!("{CSV}{}{SINK}", operator("track", "flights", ""));
    let plan_ = plan(&json_of_csv, &[("track", process("json", "raw"))]).unwrap();
    assert_eq!(decoded(&plan_), ["{carrier:string?,tailnum:string?,dep_delay:string?,origin:string?}"]);
    let json_of_ndjson = json_of_csv.replace(CSV, NDJSON);
    assert_eq!(decoded(&plan(&json_of_ndjson, &[("track", process("json", "raw"))]).unwrap()), ["raw"]);
}

#[test]
fn keys_are_fields_of_rows_or_of_text_and_have_one_type() {
    let key = |settings: &str, function: FunctionPlan, source: &str| {
        plan(&format!("{source}{}{SINK}", operator("track", "flights", settings)), &[("track", function)])
    };
    let both = "key = { fields = [\"carrier\", \"dep_delay\"] }";
    let plan_ = key(both, keyed("{carrier:string,dep_delay:i32?}", "(string, i32)", "raw"), CSV).unwrap();
    assert_eq!(plan_.records.key_types["track"], "(string, i32)");
    // An undeclared field has the type of the key, so that CSV `007` and JSON `7` are one key.
    for source in [CSV, NDJSON] {
        let plan_ = key("key = { field = \"dep_delay\" }", keyed("{origin:string}", "i64", "raw"), source).unwrap();
        assert_eq!(decoded(&plan_), ["{origin:string,dep_delay:i64?}"]);
        let plan_ = key("key = { field = \"dep_delay\" }", keyed("raw", "i64", "raw"), source).unwrap();
        assert_eq!((decoded(&plan_), &plan_.records.key_types["track"][..]), (vec!["raw".into()], "i64"));
    }
    let column = key("key = { column = 2 }", keyed("{dep_delay:i32}", "i32", "raw"), CSV).unwrap();
    assert_eq!(decoded(&column), ["{dep_delay:i32}"]);
    let column = key("key = { column = 2 }", keyed("raw", "i32", "raw"), BARE).unwrap();
    assert_eq!(decoded(&column), ["raw"]);

    let track = |settings: &str| format!("{CSV}{}{SINK}", operator("track", "flights", settings));
    let other = [("track", keyed("{dep_delay:i32}", "i64", "raw"))];
    refused(
        &track("key = { field = \"dep_delay\" }"),
        &other,
        "schema-mismatch",
        "are `i32`, but the function reads keys of type `i64`",
    );
    let rows = [("track", keyed("{dep_delay:i32}", "", "raw"))];
    refused(&track("key = \"value\""), &rows, "manifest-key", "emits rows, which cannot be keys as a whole");
    refused(&track("key = { field = \"dep_dely\" }"), &rows, "schema-mismatch", "did you mean `dep_delay`?");
    refused(&track("key = { column = 9 }"), &rows, "manifest-key", "has no column 9");
    let float = [("track", keyed("{dep_delay:f64}", "", "raw"))];
    refused(
        &track("key = { field = \"dep_delay\" }"),
        &float,
        "manifest-key",
        "the field `dep_delay` is `f64`, but keys are",
    );
    let list = [("track", keyed("{dep_delay:list<i32>}", "", "raw"))];
    refused(&track("key = { field = \"dep_delay\" }"), &list, "manifest-key", "but keys are");
}

#[test]
fn emitted_keys_have_the_type_that_the_function_reads() {
    let text = format!(
        "{CSV}{}{}[sink.out]\ninput = \"next\"\nconnector = \"blackhole\"\n",
        operator("track", "flights", ""),
        operator("next", "track", "key = \"emitted\"")
    );
    let emitting = |key_type: &str| {
        let output = port("{a:i32}", key_type);
        with_ports(FunctionKind::Process, port("{origin:string}", ""), output)
    };
    let functions = |emitted| [("track", emitting(emitted)), ("next", keyed("{a:i32}", "(i64, string)", "raw"))];
    assert!(plan(&text, &functions("(i64,string)")).is_ok());
    assert!(plan(&text, &functions("")).is_ok(), "the function does not declare its keys");
    refused(
        &text,
        &functions("i64"),
        "schema-mismatch",
        "are `i64`, but the function reads keys of type `(i64, string)`",
    );
}

#[test]
fn the_inputs_of_a_union_are_rewritten_alike_and_have_keys_of_one_type() {
    let union = "[source.more]\nconnector = \"file\"\npath = \"flights.ndjson\"\nformat = \"ndjson\"\n\
                 [operator.track]\ninputs = [\"flights\", \"more\"]\nkey = { field = \"carrier\" }\ncomponent = \"c\"\nfunction = \"f\"\n";
    let functions = [("track", keyed("{origin:string?}", "string", "raw"))];
    let plan_ = plan(&format!("{CSV}{union}{SINK}"), &functions).unwrap();
    assert_eq!(decoded(&plan_), ["{origin:string?,carrier:string?}"]);
    assert_eq!(plan_.records.decodings["more"].rows[0].to_string(), "{origin:string?,carrier:string?}");
    let typed = union.replace("format = \"ndjson\"\n", "format = \"ndjson\"\nfields = { carrier = \"i64\" }\n");
    let undeclared = [("track", keyed("{origin:string?}", "", "raw"))];
    refused(&format!("{CSV}{typed}{SINK}"), &undeclared, "schema-mismatch", "have different types: `string` and `i64`");
}

#[test]
fn a_native_aggregate_reads_its_fields_and_emits_rows() {
    let windows = |aggregate: &str, rest: &str| {
        format!(
            "{CSV}[operator.track]\ninput = \"flights\"\nkey = {{ field = \"carrier\" }}\n\
             window = {{ type = \"tumbling\", size = \"1min\", time = \"processing\" }}\naggregate = {aggregate}\n{SINK}{rest}"
        )
    };
    let plan_ = plan(&windows("{ type = \"sum\", field = \"dep_delay\" }", ""), &[]).unwrap();
    assert_eq!(decoded(&plan_), ["{carrier:string?,dep_delay:string?}"]);
    let output = plan_.records.nodes[index_of(&plan_, "track")].output_schemas()[&OutputId::MAIN].clone();
    assert_eq!(output.to_string(), "{carrier:string,start:timestamp,end:timestamp,sum:json}");
    assert_eq!(decoded(&plan(&windows("{ type = \"count\" }", ""), &[]).unwrap()), ["{carrier:string?}"]);
    let all = ["{carrier:string?,tailnum:string?,dep_delay:string?,origin:string?}"];
    let late = "[sink.late]\ninput = \"track.late\"\nconnector = \"stdout\"\n";
    assert_eq!(decoded(&plan(&windows("{ type = \"count\" }", late), &[]).unwrap()).len(), all.len());
    assert_eq!(decoded(&plan(&windows("{ type = \"top\", n = 2, field = \"dep_delay\" }", ""), &[]).unwrap()).len(), 1);
    refused(&windows("{ type = \"sum\", field = \"delay\" }", ""), &[], "schema-mismatch", "`dep_delay`");
}

#[test]
fn needs_pass_through_filter_and_select() {
    let text = |rows: &str| {
        format!("{CSV}[operator.some]\ninput = \"flights\"\n{rows}\n{}{SINK}", operator("track", "some", ""))
    };
    let functions = [("track", process("{delay:i32}", "raw"))];
    let select = "select = { keep = [\"dep_delay\"], rename = { delay = \"dep_delay\" } }";
    let plan_ = plan(&text(&format!("filter = \"carrier = 'UA' and dep_delay > 3\"\n{select}")), &functions).unwrap();
    assert_eq!(decoded(&plan_), ["{dep_delay:i32,carrier:string?}"]);
    let output = plan_.records.nodes[index_of(&plan_, "some")].output_schemas()[&OutputId::MAIN].clone();
    assert_eq!((output.to_string(), input_of(&plan_, "track")), ("{delay:i32}".into(), "{delay:i32}".into()));
    let drop = plan(&text("select = { rename = { delay = \"dep_delay\" }, drop = [\"origin\"] }"), &functions).unwrap();
    assert_eq!(decoded(&drop), ["{dep_delay:i32}"]);
    let functions = [("track", process("{dep_delay:i32}", "raw"))];
    refused(&text("select = { drop = [\"dep_delay\"] }"), &functions, "schema-mismatch", "`dep_delay`");
    let error =
        refused(&text("filter = \"carrier > 3\""), &functions, "manifest-invalid", "`carrier`, which is a string");
    assert_eq!((error.subject, error.hint.unwrap().contains("fields = {")), (Some(("some".into(), "filter")), true));
    refused(&text("filter = \"carier = 'UA'\""), &functions, "schema-mismatch", "did you mean `carrier`?");
}

#[test]
fn filters_and_selections_without_typed_consumers_read_all_columns_or_json() {
    let text = |source: &str, rows: &str| {
        format!(
            "{source}[operator.some]\ninput = \"flights\"\n{rows}\n[sink.out]\ninput = \"some\"\nconnector = \"stdout\"\n"
        )
    };
    let plan_ = plan(&text(CSV, "filter = \"carrier = 'UA'\""), &[]).unwrap();
    assert_eq!(decoded(&plan_), ["{carrier:string?,tailnum:string?,dep_delay:string?,origin:string?}"]);
    let plan_ = plan(&text(NDJSON, "filter = \"carrier = 'UA' and a.b > 3\""), &[]).unwrap();
    assert_eq!((decoded(&plan_), input_of(&plan_, "some")), (vec!["raw".into()], "JSON".into()));
    let plan_ = plan(&text(NDJSON, "select = { keep = [\"carrier\"] }"), &[]).unwrap();
    assert_eq!(decoded(&plan_), ["{carrier:json?}"]);
    refused(
        &text(NDJSON, "select = { drop = [\"carrier\"] }"),
        &[],
        "manifest-invalid",
        "fields of these JSON records are not known",
    );
    refused(&text(CSV, "select = { drop = [\"carier\"] }"), &[], "manifest-invalid", "did you mean `carrier`?");
    refused(&text(LINES, "filter = \"x = 'UA'\""), &[], "schema-mismatch", "a line has only the field `line`");
    let plan_ = plan(&text(LINES, "filter = \"line != ''\""), &[]).unwrap();
    assert_eq!(decoded(&plan_), ["{line:string}"]);
}

#[test]
fn a_sink_writes_its_columns_in_their_order() {
    let sink = |source: &str, settings: &str| {
        plan(&format!("{source}[sink.out]\ninput = \"flights\"\nconnector = \"stdout\"\n{settings}"), &[])
    };
    let plan_ = sink(CSV, "format = \"csv\"\ncolumns = [\"origin\", \"carrier\"]").unwrap();
    assert_eq!(
        (decoded(&plan_), input_of(&plan_, "out")),
        (vec!["{origin:string?,carrier:string?}".into()], "{origin:string?,carrier:string?}".into())
    );
    let plan_ = sink(NDJSON, "format = \"csv\"\ncolumns = [\"origin\", \"carrier\"]").unwrap();
    assert_eq!(input_of(&plan_, "out"), "{origin:json?,carrier:json?}");
    assert_eq!(sink(NDJSON, "format = \"csv\"").err().unwrap().code, "schema-mismatch");
    assert_eq!(sink(BARE, "format = \"ndjson\"").err().unwrap().code, "schema-mismatch");
    let error = sink(CSV, "format = \"csv\"\ncolumns = [\"orign\"]").err().unwrap();
    assert!(error.code == "schema-mismatch" && error.to_string().contains("did you mean `origin`?"), "{error}");
    let track = format!(
        "{CSV}{}[sink.out]\ninput = \"track\"\nconnector = \"stdout\"\nformat = \"csv\"\ncolumns = [\"b\"]\n",
        operator("track", "flights", "")
    );
    refused(&track, &[("track", process("{origin:string}", "{a:i32}"))], "schema-mismatch", "it has no field `b`");
    refused(&track, &[("track", process("{origin:string}", "raw"))], "schema-mismatch", "plain bytes without fields");
}

#[test]
fn a_repeated_name_in_a_header_is_refused_only_where_all_columns_are_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("flights.csv"), "a,b,a\n1,2,3\n").unwrap();
    let plan = |text: &str, functions: BTreeMap<String, FunctionPlan>, base: &Path| {
        let pipeline = PipelineSpec::parse(&format!("name = \"p\"\n{text}"), "pipeline.toml").unwrap();
        ExecutionPlan::new(pipeline, functions, base)
    };
    let all = format!("{CSV}[sink.out]\ninput = \"flights\"\nconnector = \"stdout\"\n");
    let error = plan(&all, BTreeMap::new(), folder.path()).err().unwrap();
    assert!(error.code == "schema-mismatch" && error.message.contains("two of them have the name `a`"), "{error}");
    let some = format!("{CSV}{}{SINK}", operator("track", "flights", ""));
    let functions = BTreeMap::from([("track".to_owned(), process("{b:string}", "raw"))]);
    assert!(plan(&some, functions, folder.path()).is_ok());
}

#[test]
fn an_added_side_output_moves_neither_late_records_nor_dead_letters_nor_another_output() {
    let window = "key = { field = \"carrier\" }\nwindow = { type = \"tumbling\", size = \"1min\", time = \"processing\" }\n\
                  on_fault = \"dead-letter\"";
    let sink = |id: &str, input: &str| format!("[sink.{id}]\ninput = \"track.{input}\"\nconnector = \"blackhole\"\n");
    let sinks = [sink("late", "late"), sink("bad", "dead-letter"), sink("side", "side")].concat();
    let text = format!("{CSV}{}{SINK}{sinks}", operator("track", "flights", window));
    let with_outputs = |names: &[&str]| {
        let mut track = with_ports(FunctionKind::ProcessWindow, port("{carrier:string}", ""), port("raw", ""));
        track.description.outputs = names.iter().map(|name| PortDescription::new(name, "raw")).collect();
        let plan = plan(&text, &[("track", track)]).unwrap();
        ["out", "late", "bad", "side"].map(|id| plan.records.nodes[index_of(&plan, id)].ports[0])
    };
    let before = with_outputs(&["out", "side"]);
    assert_eq!(before, [OutputId::MAIN, OutputId::Late, OutputId::DeadLetter, OutputId::Declared(1)]);
    assert_eq!(with_outputs(&["out", "side", "added"]), before);
    // A pipeline finds a side output by its name wherever it is, and the others stay.
    let moved = with_outputs(&["out", "added", "side"]);
    assert_eq!((&moved[..3], moved[3]), (&before[..3], OutputId::Declared(2)));
}
