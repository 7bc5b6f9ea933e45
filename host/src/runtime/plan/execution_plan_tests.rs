//! The errors and the warnings of a plan.

use std::collections::BTreeMap;
use std::path::Path;

use super::execution_plan::ExecutionPlan;
use crate::error::Result;
use crate::pipeline::PipelineSpec;

fn generator_plan(parallelism: u32) -> Result<ExecutionPlan> {
    let pipeline_text = format!(
        "name = \"wide\"\n[source.a]\nconnector = \"generator\"\nparallelism = {parallelism}\n\
         [sink.b]\ninput = \"a\"\nconnector = \"blackhole\"\nparallelism = {}",
        parallelism + 1
    );
    ExecutionPlan::new(PipelineSpec::parse(&pipeline_text, "pipeline.toml")?, BTreeMap::new(), Path::new(""))
}

#[test]
fn an_unknown_column_of_an_empty_csv_file_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "").unwrap();
    let source = "[source.a]\nconnector = \"file\"\npath = \"a.csv\"\nformat = \"csv\"";
    let by_key = "key = { field = \"k\" }\nwindow = { type = \"global\" }\ntrigger = { type = \"count\", count = 1 }";
    let field = "aggregate = { type = \"sum\", field = \"n\" }";
    let keyed = format!("{source}\n[operator.b]\ninput = \"a\"\n{by_key}\naggregate = {{ type = \"count\" }}");
    let summed =
        format!("{source}\n[operator.b]\ninput = \"a\"\n{by_key}\n{field}").replace("{ field = \"k\" }", "\"value\"");
    let timed = format!(
        "{source}\ntimestamp = {{ field = \"t\", format = \"rfc3339\" }}\n[operator.b]\ninput = \"a\"\n{by_key}"
    )
    .replace("{ field = \"k\" }", "\"value\"")
        + "\naggregate = { type = \"count\" }";
    for nodes in [keyed, summed, timed] {
        let pipeline_text = format!("name = \"empty\"\n{nodes}\n[sink.c]\ninput = \"b\"\nconnector = \"blackhole\"");
        let pipeline = PipelineSpec::parse(&pipeline_text, "pipeline.toml").unwrap();
        let error = ExecutionPlan::new(pipeline, BTreeMap::new(), folder.path()).err().unwrap();
        assert!(["manifest-key", "schema-mismatch"].contains(&error.code), "{error}");
        assert!(error.message.contains("source `a` is empty"), "{error}");
        assert!(!error.hint.unwrap().contains("header = true"), "a header is the default");
    }
}

#[test]
fn the_number_of_subtasks_and_channels_is_limited() {
    assert!(generator_plan(255).is_ok());
    for (parallelism, what) in [(256, "65792 channels"), (30_000, "60001 subtasks")] {
        let error = generator_plan(parallelism).err().unwrap();
        assert_eq!(error.code, "manifest-parallelism");
        assert!(error.message.contains(what), "{error}");
    }
}

fn count_plan(source: &str, operator: &str) -> Result<ExecutionPlan> {
    let pipeline_text = format!(
        "name = \"p\"\n[source.numbers]\nconnector = \"generator\"\n{source}\n\
         [operator.count]\ninput = \"numbers\"\nkey = {{ column = 0 }}\naggregate = {{ type = \"count\" }}\n{operator}\n\
         [sink.out]\ninput = \"count\"\nconnector = \"blackhole\""
    );
    ExecutionPlan::new(PipelineSpec::parse(&pipeline_text, "pipeline.toml")?, BTreeMap::new(), Path::new(""))
}

const TIMESTAMP: &str = "timestamp = { column = 0, format = \"unix-ms\" }";
const MINUTES: &str = "window = { type = \"tumbling\", size = \"1min\" }";

fn event_time_warnings(source: &str, operator: &str) -> Vec<String> {
    let warnings = count_plan(source, operator).unwrap().warnings;
    warnings.into_iter().filter(|warning| warning.contains("watermark")).collect()
}

#[test]
fn event_time_windows_over_a_source_without_timestamps_are_refused() {
    let continuous = "window = { type = \"global\" }\ntrigger = { type = \"continuous\", interval = \"1s\" }";
    for operator in [MINUTES, continuous] {
        let error = count_plan("watermark = \"ascending\"", operator).err().unwrap();
        assert_eq!((error.code, error.subject), ("manifest-invalid", Some(("count".into(), "window"))));
        assert!(error.message.contains("`numbers`") && error.message.contains("`timestamp`"), "{}", error.message);
    }
}

#[test]
fn windows_without_event_time_need_no_timestamps() {
    let processing = "window = { type = \"tumbling\", size = \"1min\", time = \"processing\" }";
    let global = "window = { type = \"global\" }\ntrigger = { type = \"count\", count = 2 }";
    for operator in [processing, global] {
        assert_eq!(event_time_warnings("", operator), Vec::<String>::new());
    }
}

#[test]
fn windows_over_a_source_without_a_watermark_cause_a_warning() {
    for watermark in ["", "\nwatermark = \"none\""] {
        let warnings = event_time_warnings(&format!("{TIMESTAMP}{watermark}"), MINUTES);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("`count`") && warnings[0].contains("`numbers`"), "{warnings:?}");
    }
    let with = format!("{TIMESTAMP}\nwatermark = \"ascending\"");
    assert_eq!(event_time_warnings(&with, MINUTES), Vec::<String>::new());
    let by_count = format!("{MINUTES}\ntrigger = {{ type = \"count\", count = 2 }}");
    assert_eq!(event_time_warnings(TIMESTAMP, &by_count), Vec::<String>::new());
}

#[test]
fn late_records_of_a_source_without_timestamps_are_refused_too() {
    let pipeline_text = format!(
        "name = \"p\"\n[source.numbers]\nconnector = \"generator\"\n{TIMESTAMP}\nwatermark = \"ascending\"\n\
         columns = [\"n\"]\n[source.others]\nconnector = \"generator\"\ncolumns = [\"n\"]\n\
         [operator.count]\ninputs = [\"numbers\"]\nkey = {{ column = 0 }}\naggregate = {{ type = \"count\" }}\n{MINUTES}\n\
         [operator.again]\ninputs = [\"count.late\", \"others\"]\nkey = {{ column = 0 }}\n\
         aggregate = {{ type = \"count\" }}\n{MINUTES}\n\
         [sink.out]\ninputs = [\"count\", \"again\"]\nconnector = \"blackhole\""
    );
    let pipeline = PipelineSpec::parse(&pipeline_text, "pipeline.toml").unwrap();
    let error = ExecutionPlan::new(pipeline, BTreeMap::new(), Path::new("")).err().unwrap();
    assert!(error.message.contains("`again`") && error.message.contains("`others`"), "{}", error.message);
}
