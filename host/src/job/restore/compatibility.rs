//! Checks that a pipeline is compatible with the checkpoint that it is restored from: operators, states, schemas,
//! windows and records in flight. Runs before any subtask starts.
//!
//! `state::check_schema_compatibility` compares the schemas of the states of one operator. Errors:
//! `checkpoint-mismatch` and the errors of state migration.

use std::collections::BTreeSet;

use crate::checkpoint::{CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::error::{self, Error, Result};
use crate::model::NO_TIMESTAMP;
use crate::model::row::{CopyPlan, RowSchema};
use crate::operator::stores_windows_without_panes;
use crate::pipeline::{NodeKind, OperatorNode, PipelineNode, PipelineSpec};
use crate::runtime::ExecutionPlan;
use crate::sandbox::{FunctionDescription, FunctionKind};
use crate::state;

/// Returns the pipeline with the checkpoint's `max_parallelism`, if the pipeline file does not set one. Parallelism and
/// backend may differ from the checkpoint. Error: `checkpoint-mismatch`, also if the pipeline lacks an operator that
/// the checkpoint has state for, unless `allow_unclaimed` is set.
pub fn with_restored_max_parallelism(
    metadata: &CheckpointMetadata,
    pipeline: &PipelineSpec,
    allow_unclaimed: bool,
) -> Result<PipelineSpec> {
    let max = metadata.max_parallelism;
    if !pipeline.max_parallelism_is_default && pipeline.max_parallelism != max {
        let what = format!("it has max_parallelism {max}, but the pipeline has {}", pipeline.max_parallelism);
        return Err(mismatch(metadata, what).hint(format!(
            "`max_parallelism` is the number of key groups of keyed state: set it to {max}, or remove it to keep {max}"
        )));
    }
    if let Some(node) = pipeline.nodes.iter().find(|node| node.parallelism > max) {
        let what = format!(
            "`{}` has parallelism {}, but the checkpoint's max_parallelism is {max}",
            node.id, node.parallelism
        );
        return Err(mismatch(metadata, what).hint(format!("lower its parallelism to at most {max}")));
    }
    let unclaimed =
        metadata.operators.iter().filter(|operator| pipeline.nodes.iter().all(|node| node.id != operator.id));
    for operator in unclaimed.filter(|_| !allow_unclaimed) {
        refuse_unclaimed(metadata, operator, "which the pipeline does not have")?;
    }
    Ok(PipelineSpec { max_parallelism: max, ..pipeline.clone() })
}

/// Checks that the functions declare every state that the checkpoint contains, with the same schema or one that they
/// migrate to. Error: `checkpoint-mismatch`.
pub fn check_states(metadata: &CheckpointMetadata, plan: &ExecutionPlan, allow_unclaimed: bool) -> Result<()> {
    for operator in &metadata.operators {
        let Some(function) = plan.functions.get(&operator.id) else {
            if !allow_unclaimed && operator.subtasks.iter().any(|subtask| subtask.states().next().is_some()) {
                refuse_unclaimed(metadata, operator, "which has no function in the pipeline")?;
            }
            continue;
        };
        let layout = function.description.all_states();
        for handle in operator.subtasks.iter().flat_map(SubtaskMetadata::states) {
            state::check_schema_compatibility(&layout, handle, allow_unclaimed)
                .map_err(|error| error.context(format!("operator `{}`", operator.id)))?;
        }
        check_windows(metadata, operator, plan, function.description.kind == FunctionKind::Aggregate)?;
        check_key_type(metadata, operator, plan)?;
    }
    Ok(())
}

/// Checks that an operator still has keys of the type under which its state is stored. Keys of another type may have other bytes.
fn check_key_type(metadata: &CheckpointMetadata, operator: &OperatorMetadata, plan: &ExecutionPlan) -> Result<()> {
    let stored = operator.version().map_or("", |version| &version.key_type);
    let planned = plan.key_type(&operator.id);
    let without_spaces = |text: &str| text.replace(' ', "");
    if stored.is_empty() || planned.is_empty() || without_spaces(stored) == without_spaces(planned) {
        return Ok(());
    }
    let what = format!("the keys of `{}` have the type `{stored}`, but now `{planned}`", operator.id);
    Err(mismatch(metadata, what).hint(
        "restore the type of the key; or give the operator another id, and drop its state with --allow-unclaimed-state",
    ))
}

/// Checks that windows which an earlier version stored one by one are not continued in panes: each would fire in two
/// parts.
fn check_windows(
    metadata: &CheckpointMetadata,
    operator: &OperatorMetadata,
    plan: &ExecutionPlan,
    is_aggregate: bool,
) -> Result<()> {
    let node = plan.pipeline.nodes.iter().find(|node| node.id == operator.id);
    let Some(NodeKind::Operator(OperatorNode { windows: Some(windows), .. })) = node.map(|node| &node.kind) else {
        return Ok(());
    };
    let mut states = operator.subtasks.iter().flat_map(SubtaskMetadata::states);
    if states.any(|state| stores_windows_without_panes(windows, is_aggregate, &state.layout)) {
        let what = format!("`{}` stored each of its windows separately, but they now share panes", operator.id);
        return Err(mismatch(metadata, what)
            .hint("give the operator another id, and drop its windows with --allow-unclaimed-state"));
    }
    Ok(())
}

/// Checks that every operator that records were in flight to still reads a channel, and can read the rows among them. Error:
/// `checkpoint-mismatch`.
pub fn check_in_flight(metadata: &CheckpointMetadata, plan: &ExecutionPlan) -> Result<()> {
    for node in plan.pipeline.nodes.iter().filter(|node| !plan.has_channels(&node.id)) {
        if metadata.subtasks(&node.id).iter().any(|subtask| subtask.in_flight.is_some()) {
            let what = format!("it contains records in flight to `{}`, which no longer reads a channel", node.id);
            return Err(mismatch(metadata, what).hint(
                "take a savepoint with the old pipeline and start from it: a savepoint contains no records in flight",
            ));
        }
    }
    for operator in &metadata.operators {
        if operator.subtasks.iter().any(|subtask| subtask.in_flight.is_some())
            && let Some(function) = plan.functions.get(&operator.id)
        {
            check_rows_in_flight(metadata, operator, &function.description)?;
        }
    }
    Ok(())
}

/// Checks that the rows in flight to an operator can be converted to those that its function reads now.
fn check_rows_in_flight(
    metadata: &CheckpointMetadata,
    operator: &OperatorMetadata,
    function: &FunctionDescription,
) -> Result<()> {
    let Some(version) = operator.version() else { return Ok(()) };
    for (stored, declared) in metadata.input_schemas(version).zip(function.input_rows()) {
        let stored = stored.and_then(|text| text.parse::<RowSchema>().ok());
        let why = match (stored, declared) {
            (Some(stored), Some(declared)) => match CopyPlan::compile(&stored, &declared) {
                Ok(_) => continue,
                Err(why) => {
                    format!("{}: they are {}, the function reads {}", why.reason, why.from, why.to)
                }
            },
            (None, None) => continue,
            (Some(stored), None) => format!("they are {stored}, the function reads no rows"),
            (None, Some(declared)) => format!("they are no rows, the function reads {declared}"),
        };
        let what = format!("the records in flight to `{}` cannot be converted: {why}", operator.id);
        return Err(mismatch(metadata, what).hint(
            "fields can be reordered, removed and added if they are optional or have a default; undo the other changes, or take a \
             savepoint with the old pipeline and start from it",
        ));
    }
    Ok(())
}

/// Returns warnings about operators whose restored watermark makes records late. This happens after a drain and after
/// the end of the input. It also happens if a source has no position in the checkpoint and is read from its start.
pub fn restored_watermark_warnings(metadata: &CheckpointMetadata, plan: &ExecutionPlan) -> Vec<String> {
    let mut warnings = Vec::new();
    let is_operator = |node: &&PipelineNode| matches!(node.kind, NodeKind::Operator(_));
    for (index, node) in plan.pipeline.nodes.iter().enumerate().filter(|(_, node)| is_operator(node)) {
        let subtasks = metadata.subtasks(&node.id);
        // The smallest watermark applies to all subtasks. If a subtask has none, the operator starts without a
        // watermark.
        let restored = subtasks.iter().map(|subtask| subtask.watermark).min().flatten();
        let Some(restored) = restored.filter(|restored| *restored != NO_TIMESTAMP) else { continue };
        let checkpoint = format!("checkpoint {} of job `{}`", metadata.checkpoint_id, metadata.job_name);
        let advice = "if this is not intended, submit with --reset-watermarks";
        if restored == i64::MAX {
            warnings.push(format!(
                "operator `{}` starts at the end of event time, which {checkpoint} had reached by a drain or at the end of its \
                 input: every record is late; {advice}",
                node.id
            ));
            continue;
        }
        let from_start = plan.pipeline.sources_of(index).into_iter().map(|source| &plan.pipeline.nodes[source].id);
        let from_start: Vec<&String> = from_start.filter(|id| !has_position(metadata.subtasks(id))).collect();
        if !from_start.is_empty() {
            let sources = from_start.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
            warnings.push(format!(
                "operator `{}` continues from event time {}, which {checkpoint} had reached, but source {sources} is read from \
                 its start: older records are late; {advice}",
                node.id,
                time_text(restored)
            ));
        }
    }
    warnings
}

fn has_position(subtasks: &[SubtaskMetadata]) -> bool {
    subtasks.iter().any(|subtask| subtask.source_position.is_some())
}

fn time_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

fn mismatch(metadata: &CheckpointMetadata, what: String) -> Error {
    error::checkpoint_mismatch(format!("checkpoint {} of job `{}`: {what}", metadata.checkpoint_id, metadata.job_name))
}

/// Returns an error if the checkpoint contains anything of an operator that the pipeline would drop.
fn refuse_unclaimed(metadata: &CheckpointMetadata, operator: &OperatorMetadata, why: &str) -> Result<()> {
    let mut unclaimed = BTreeSet::new();
    for subtask in &operator.subtasks {
        unclaimed.extend(
            subtask.states().flat_map(|state| &state.layout).map(|state| format!("the state `{}`", state.name)),
        );
        unclaimed.extend(subtask.source_position.is_some().then(|| "the position of a source".to_owned()));
        unclaimed.extend(subtask.in_flight.is_some().then(|| "records in flight".to_owned()));
    }
    if unclaimed.is_empty() {
        return Ok(());
    }
    let unclaimed: Vec<String> = unclaimed.into_iter().collect();
    let what = format!("it contains {} of `{}`, {why}", unclaimed.join(", "), operator.id);
    Err(mismatch(metadata, what).hint("restore the operator's id, or drop its state with --allow-unclaimed-state"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointKind, OperatorVersion};
    use crate::state::{FileRef, SnapshotFormat, StateDescription, StateHandle, StateKind, StateSize};

    fn pipeline(settings: &str) -> PipelineSpec {
        let pipeline_text = format!(
            "name = \"p\"\n{settings}\n[source.numbers]\nconnector = \"generator\"\n\
             [sink.out]\ninput = \"numbers\"\nconnector = \"blackhole\""
        );
        PipelineSpec::parse(&pipeline_text, "pipeline.toml").unwrap()
    }

    /// A checkpoint of the source and of nodes that the pipeline does not have.
    fn checkpoint(others: Vec<(&str, SubtaskMetadata)>) -> CheckpointMetadata {
        let source = SubtaskMetadata { source_position: Some(Vec::new()), ..SubtaskMetadata::default() };
        let operator = |(id, subtask): (&str, SubtaskMetadata)| OperatorMetadata::new(id, vec![subtask]);
        CheckpointMetadata {
            format: CheckpointMetadata::FORMAT,
            job_id: "1".into(),
            job_name: "p".into(),
            checkpoint_id: 7,
            kind: CheckpointKind::Savepoint,
            taken_at_ms: 0,
            seed: None,
            max_parallelism: 13,
            schemas: Vec::new(),
            operators: [("numbers", source)].into_iter().chain(others).map(operator).collect(),
        }
    }

    #[test]
    fn max_parallelism_is_taken_from_the_checkpoint_and_a_different_one_is_refused() {
        for settings in ["", "parallelism = 13", "max_parallelism = 13"] {
            assert_eq!(
                with_restored_max_parallelism(&checkpoint(vec![]), &pipeline(settings), false).unwrap().max_parallelism,
                13
            );
        }
        for (settings, what) in
            [("max_parallelism = 14", "or remove it"), ("parallelism = 14", "lower its parallelism")]
        {
            let error = with_restored_max_parallelism(&checkpoint(vec![]), &pipeline(settings), true).unwrap_err();
            assert_eq!(error.code, "checkpoint-mismatch");
            assert!(error.message.contains("14") && error.message.contains("13"), "{error}");
            assert!(error.hint.as_ref().unwrap().contains(what), "{error}");
        }
    }

    #[test]
    fn unclaimed_state_is_refused_by_name_unless_it_may_be_dropped() {
        let layout = ["count", "last"].map(|name| StateDescription::new(name, StateKind::Value, "postcard", "u64"));
        let state = StateHandle {
            format: SnapshotFormat::Canonical,
            layout: layout.to_vec(),
            files: Vec::new(),
            size: StateSize::default(),
        };
        let counting = SubtaskMetadata { state: Some(state), ..SubtaskMetadata::default() };
        let error =
            with_restored_max_parallelism(&checkpoint(vec![("counting", counting.clone())]), &pipeline(""), false)
                .unwrap_err();
        assert_eq!(error.code, "checkpoint-mismatch");
        for part in ["`counting`", "`count`", "`last`"] {
            assert!(error.message.contains(part), "{error}");
        }
        assert!(error.hint.unwrap().contains("--allow-unclaimed-state"));
        assert!(with_restored_max_parallelism(&checkpoint(vec![("counting", counting)]), &pipeline(""), true).is_ok());
        assert!(
            with_restored_max_parallelism(
                &checkpoint(vec![("without-state", SubtaskMetadata::default())]),
                &pipeline(""),
                false
            )
            .is_ok()
        );
    }

    #[test]
    fn windows_that_were_stored_one_by_one_are_not_continued_in_panes() {
        let check = |slide: &str, states: &[&str]| {
            let pipeline_text = format!(
                "name = \"p\"\n[source.numbers]\nconnector = \"generator\"\n[operator.windows]\ninput = \"numbers\"\n\
                 key = \"value\"\nwindow = {{ type = \"sliding\", size = \"1d\", slide = \"{slide}\", time = \"processing\" }}\n\
                 aggregate = {{ type = \"count\" }}\n[sink.out]\ninput = \"windows\"\nconnector = \"blackhole\""
            );
            let pipeline = PipelineSpec::parse(&pipeline_text, "pipeline.toml").unwrap();
            let plan = ExecutionPlan::new(pipeline, Default::default(), std::path::Path::new(".")).unwrap();
            let mut layout = plan.functions["windows"].description.all_states();
            layout.retain(|state| states.contains(&&state.name[..]));
            assert_eq!(layout.len(), states.len());
            let (format, files, size) = (SnapshotFormat::Canonical, Vec::new(), StateSize::default());
            let state = Some(StateHandle { format, layout, files, size });
            let checkpoint = checkpoint(vec![("windows", SubtaskMetadata { state, ..SubtaskMetadata::default() })]);
            check_states(&checkpoint, &plan, false).map_err(|error| error.code)
        };
        assert_eq!(check("1min", &["@window", "@trigger"]), Err("checkpoint-mismatch"));
        assert_eq!(check("1min", &["@window", "@trigger", "@panes"]), Ok(()));
        assert_eq!(check("1h", &["@window", "@trigger"]), Ok(()), "these windows had shared panes before");
    }

    /// A plan that counts rows with these fields by the field `k`.
    fn counting_plan(fields: &str) -> ExecutionPlan {
        let pipeline_text = format!(
            "name = \"p\"\n[source.rows]\nconnector = \"socket\"\naddress = \"localhost:1\"\nformat = \"ndjson\"\n\
             fields = {{ {fields} }}\n[operator.counts]\ninput = \"rows\"\nkey = {{ field = \"k\" }}\n\
             window = {{ type = \"tumbling\", size = \"1d\", time = \"processing\" }}\naggregate = {{ type = \"count\" }}\n\
             [sink.out]\ninput = \"counts\"\nconnector = \"blackhole\""
        );
        let pipeline = PipelineSpec::parse(&pipeline_text, "pipeline.toml").unwrap();
        ExecutionPlan::new(pipeline, Default::default(), std::path::Path::new(".")).unwrap()
    }

    /// A checkpoint of `counts` with records in flight.
    fn counting_checkpoint(key_type: &str, rows: Option<&str>) -> CheckpointMetadata {
        let file = FileRef { name: "in-flight".into(), path: "p".into(), bytes: 1, crc32c: 1 };
        let in_flight = SubtaskMetadata { in_flight: Some(file), ..SubtaskMetadata::default() };
        let mut metadata = checkpoint(vec![("counts", in_flight)]);
        metadata.schemas.extend(rows.map(str::to_owned));
        let inputs = vec![rows.map(|_| 0)];
        let version = OperatorVersion { key_type: key_type.into(), inputs, ..OperatorVersion::default() };
        metadata.operators[1].versions.push(version);
        metadata
    }

    #[test]
    fn keys_of_another_type_are_refused() {
        let plan = counting_plan("k = \"i64\"");
        let check = |key_type| check_states(&counting_checkpoint(key_type, None), &plan, false);
        assert!(check("i64").is_ok());
        assert!(check("").is_ok(), "a checkpoint of an older format does not say the type");
        let error = check("string").unwrap_err();
        assert_eq!(error.code, "checkpoint-mismatch");
        assert!(error.message.contains("`counts` have the type `string`, but now `i64`"), "{error}");
    }

    #[test]
    fn rows_in_flight_that_cannot_be_converted_are_refused_with_both_schemas() {
        let plan = counting_plan("k = \"i64\", n = \"i32?\"");
        let schema = plan.functions["counts"].description.input_rows()[0].clone().unwrap();
        let check = |rows| check_in_flight(&counting_checkpoint("i64", rows), &plan);
        let same = schema.to_string();
        for rows in [&same, "{n:i32?,k:i64}", "{k:i64,more:string}"] {
            assert!(check(Some(rows)).is_ok(), "{rows} as {schema}");
        }
        for (rows, field) in [(Some("{k:string}"), "`k`"), (Some("{n:i32?}"), "`k`"), (None, "no rows")] {
            let error = check(rows).unwrap_err();
            assert_eq!(error.code, "checkpoint-mismatch");
            let parts = [field, "`counts`", rows.unwrap_or_default(), &schema.to_string()];
            assert!(parts.iter().all(|part| error.message.contains(part)), "{error}");
        }
    }
}
