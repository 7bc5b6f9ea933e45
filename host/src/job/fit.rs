//! Whether a pipeline can go on from an image, before anything of it is started: what may differ is taken over, what may not is
//! named, with what to do about it.

use std::collections::BTreeSet;

use crate::checkpoint::{CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::error::{self, Error, Result};
use crate::model::NO_TIMESTAMP;
use crate::operator::stores_windows_without_panes;
use crate::pipeline::{NodeKind, OperatorNode, PipelineNode, PipelineSpec};
use crate::runtime::ExecutionPlan;
use crate::sandbox::FunctionKind;
use crate::state;

/// The pipeline as it goes on from this image: with the image's `max_parallelism`, where it names none itself. Parallelism and
/// backend may be others than they were. Error: `checkpoint-mismatch`.
pub(super) fn fit(
    manifest: &CheckpointMetadata,
    pipeline: &PipelineSpec,
    allow_unclaimed: bool,
) -> Result<PipelineSpec> {
    let max = manifest.max_parallelism;
    if !pipeline.max_parallelism_is_default && pipeline.max_parallelism != max {
        let what = format!("it has max_parallelism {max}, the pipeline {}", pipeline.max_parallelism);
        return Err(mismatch(manifest, what).hint(format!(
            "`max_parallelism` fixes how keyed state is sharded: set it to {max}, or leave it out to take over what it was"
        )));
    }
    if let Some(node) = pipeline.nodes.iter().find(|node| node.parallelism > max) {
        let what = format!("`{}` has parallelism {}, more than its max_parallelism {max}", node.id, node.parallelism);
        return Err(mismatch(manifest, what).hint(format!("lower its parallelism to {max} at most")));
    }
    let unclaimed = manifest.operators.iter().filter(|image| pipeline.nodes.iter().all(|node| node.id != image.id));
    for image in unclaimed.filter(|_| !allow_unclaimed) {
        refuse_unclaimed(manifest, image, "which the pipeline does not have")?;
    }
    Ok(PipelineSpec { max_parallelism: max, ..pipeline.clone() })
}

/// Whether the functions declare every state that the image holds, as it was or in a form that they migrate it to.
pub(super) fn check_states(manifest: &CheckpointMetadata, plan: &ExecutionPlan, allow_unclaimed: bool) -> Result<()> {
    for operator in &manifest.operators {
        let Some(function) = plan.functions.get(&operator.id) else {
            if !allow_unclaimed && operator.subtasks.iter().any(|subtask| subtask.states().next().is_some()) {
                refuse_unclaimed(manifest, operator, "which runs no function in the pipeline")?;
            }
            continue;
        };
        let layout = function.description.all_states();
        for image in operator.subtasks.iter().flat_map(SubtaskMetadata::states) {
            state::check_schema_compatibility(&layout, image, allow_unclaimed)
                .map_err(|error| error.context(format!("operator `{}`", operator.id)))?;
        }
        check_windows(manifest, operator, plan, function.description.kind == FunctionKind::Aggregate)?;
    }
    Ok(())
}

/// Whether windows that an earlier version kept one by one would go on in panes, so that each would fire in two parts.
fn check_windows(
    manifest: &CheckpointMetadata,
    image: &OperatorMetadata,
    plan: &ExecutionPlan,
    is_aggregate: bool,
) -> Result<()> {
    let node = plan.pipeline.nodes.iter().find(|node| node.id == image.id);
    let Some(NodeKind::Operator(OperatorNode { windows: Some(windows), .. })) = node.map(|node| &node.kind) else {
        return Ok(());
    };
    let mut states = image.subtasks.iter().flat_map(SubtaskMetadata::states);
    if states.any(|state| stores_windows_without_panes(windows, is_aggregate, &state.layout)) {
        let what = format!("`{}` kept each of its windows by itself, which now share what they keep", image.id);
        return Err(mismatch(manifest, what)
            .hint("give the operator another id, and drop its windows with --allow-unclaimed-state"));
    }
    Ok(())
}

/// Whether what was on its way to an operator can be put there again.
pub(super) fn check_in_flight(manifest: &CheckpointMetadata, plan: &ExecutionPlan) -> Result<()> {
    for node in plan.pipeline.nodes.iter().filter(|node| !plan.has_channels(&node.id)) {
        if manifest.subtasks(&node.id).iter().any(|image| image.in_flight.is_some()) {
            let what = format!("it holds records on their way to `{}`, which reads no channel any more", node.id);
            return Err(mismatch(manifest, what)
                .hint("a savepoint is always aligned: take one with the pipeline as it was, and go on from it"));
        }
    }
    Ok(())
}

/// Warnings about operators that go on from an event time behind which records will come: the image was drained, or had come to
/// the end of its input; or a source has no position in it, and is read from its start.
pub(super) fn kept_watermarks(manifest: &CheckpointMetadata, plan: &ExecutionPlan) -> Vec<String> {
    let mut warnings = Vec::new();
    let is_operator = |node: &&PipelineNode| matches!(node.kind, NodeKind::Operator(_));
    for (index, node) in plan.pipeline.nodes.iter().enumerate().filter(|(_, node)| is_operator(node)) {
        let images = manifest.subtasks(&node.id);
        // The smallest one counts for all, and an operator begins without one where a subtask has none.
        let kept = images.iter().map(|image| image.watermark).min().flatten();
        let Some(kept) = kept.filter(|kept| *kept != NO_TIMESTAMP) else { continue };
        let image = format!("checkpoint {} of job `{}`", manifest.checkpoint_id, manifest.job_name);
        let way = "where that is not meant, submit with --reset-watermarks";
        if kept == i64::MAX {
            warnings.push(format!(
                "operator `{}` begins at the end of event time, which {image} had reached by a drain or the end of its input: \
                 every record is late; {way}",
                node.id
            ));
            continue;
        }
        let anew = plan.pipeline.sources_of(index).into_iter().map(|source| &plan.pipeline.nodes[source].id);
        let anew: Vec<&String> = anew.filter(|id| !has_position(manifest.subtasks(id))).collect();
        if !anew.is_empty() {
            let sources = anew.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
            warnings.push(format!(
                "operator `{}` goes on from event time {}, which {image} had reached, but source {sources} is read from its \
                 start: older records are late; {way}",
                node.id,
                time_text(kept)
            ));
        }
    }
    warnings
}

fn has_position(images: &[SubtaskMetadata]) -> bool {
    images.iter().any(|image| image.source_position.is_some())
}

fn time_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

fn mismatch(manifest: &CheckpointMetadata, what: String) -> Error {
    error::checkpoint_mismatch(format!("checkpoint {} of job `{}`: {what}", manifest.checkpoint_id, manifest.job_name))
}

/// An error where the image of an operator holds anything that nobody would take over.
fn refuse_unclaimed(manifest: &CheckpointMetadata, image: &OperatorMetadata, why: &str) -> Result<()> {
    let mut held = BTreeSet::new();
    for subtask in &image.subtasks {
        held.extend(
            subtask.states().flat_map(|state| &state.layout).map(|state| format!("the state `{}`", state.name)),
        );
        held.extend(subtask.source_position.is_some().then(|| "the position of a source".to_owned()));
        held.extend(subtask.in_flight.is_some().then(|| "records in flight".to_owned()));
    }
    if held.is_empty() {
        return Ok(());
    }
    let held: Vec<String> = held.into_iter().collect();
    let what = format!("it holds {} of `{}`, {why}", held.join(", "), image.id);
    Err(mismatch(manifest, what)
        .hint("give the operator back its id, or drop what it held with --allow-unclaimed-state"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::CheckpointKind;
    use crate::state::{SnapshotFormat, StateDescription, StateHandle, StateKind, StateSize};

    fn pipeline(settings: &str) -> PipelineSpec {
        let manifest = format!(
            "name = \"p\"\n{settings}\n[source.numbers]\nconnector = \"generator\"\n\
             [sink.out]\ninput = \"numbers\"\nconnector = \"blackhole\""
        );
        PipelineSpec::parse(&manifest, "pipeline.toml").unwrap()
    }

    /// Of the source, and of nodes that the pipeline does not have.
    fn image(others: Vec<(&str, SubtaskMetadata)>) -> CheckpointMetadata {
        let source = SubtaskMetadata { source_position: Some(Vec::new()), ..SubtaskMetadata::default() };
        let operator = |(id, subtask): (&str, SubtaskMetadata)| OperatorMetadata {
            id: id.into(),
            parallelism: 1,
            subtasks: vec![subtask],
        };
        CheckpointMetadata {
            format: CheckpointMetadata::FORMAT,
            job_id: "1".into(),
            job_name: "p".into(),
            checkpoint_id: 7,
            kind: CheckpointKind::Savepoint,
            taken_at_ms: 0,
            seed: None,
            max_parallelism: 13,
            operators: [("numbers", source)].into_iter().chain(others).map(operator).collect(),
        }
    }

    #[test]
    fn max_parallelism_is_that_of_the_image_unless_the_manifest_names_another() {
        for settings in ["", "parallelism = 13", "max_parallelism = 13"] {
            assert_eq!(fit(&image(vec![]), &pipeline(settings), false).unwrap().max_parallelism, 13);
        }
        for (settings, what) in
            [("max_parallelism = 14", "leave it out"), ("parallelism = 14", "lower its parallelism")]
        {
            let error = fit(&image(vec![]), &pipeline(settings), true).unwrap_err();
            assert_eq!(error.code, "checkpoint-mismatch");
            assert!(error.message.contains("14") && error.message.contains("13"), "{error}");
            assert!(error.hint.as_ref().unwrap().contains(what), "{error}");
        }
    }

    #[test]
    fn what_nobody_takes_over_is_named_unless_it_may_be_dropped() {
        let layout = ["count", "last"].map(|name| StateDescription::new(name, StateKind::Value, "postcard", "u64"));
        let state = StateHandle {
            format: SnapshotFormat::Canonical,
            layout: layout.to_vec(),
            files: Vec::new(),
            size: StateSize::default(),
        };
        let counting = SubtaskMetadata { state: Some(state), ..SubtaskMetadata::default() };
        let error = fit(&image(vec![("counting", counting.clone())]), &pipeline(""), false).unwrap_err();
        assert_eq!(error.code, "checkpoint-mismatch");
        for part in ["`counting`", "`count`", "`last`"] {
            assert!(error.message.contains(part), "{error}");
        }
        assert!(error.hint.unwrap().contains("--allow-unclaimed-state"));
        assert!(fit(&image(vec![("counting", counting)]), &pipeline(""), true).is_ok());
        assert!(fit(&image(vec![("nothing-held", SubtaskMetadata::default())]), &pipeline(""), false).is_ok());
    }

    /// A pipeline with windows, and an image that an earlier version took of it.
    #[test]
    fn windows_that_were_kept_one_by_one_do_not_go_on_in_panes() {
        let check = |slide: &str, states: &[&str]| {
            let manifest = format!(
                "name = \"p\"\n[source.numbers]\nconnector = \"generator\"\n[operator.windows]\ninput = \"numbers\"\n\
                 key = \"value\"\nwindow = {{ type = \"sliding\", size = \"1d\", slide = \"{slide}\", time = \"processing\" }}\n\
                 aggregate = {{ type = \"count\" }}\n[sink.out]\ninput = \"windows\"\nconnector = \"blackhole\""
            );
            let pipeline = PipelineSpec::parse(&manifest, "pipeline.toml").unwrap();
            let plan = ExecutionPlan::new(pipeline, Default::default(), std::path::Path::new(".")).unwrap();
            let mut layout = plan.functions["windows"].description.all_states();
            layout.retain(|state| states.contains(&&state.name[..]));
            assert_eq!(layout.len(), states.len());
            let (format, files, size) = (SnapshotFormat::Canonical, Vec::new(), StateSize::default());
            let state = Some(StateHandle { format, layout, files, size });
            let image = image(vec![("windows", SubtaskMetadata { state, ..SubtaskMetadata::default() })]);
            check_states(&image, &plan, false).map_err(|error| error.code)
        };
        assert_eq!(check("1min", &["@window", "@trigger"]), Err("checkpoint-mismatch"));
        assert_eq!(check("1min", &["@window", "@trigger", "@panes"]), Ok(()));
        assert_eq!(
            check("1h", &["@window", "@trigger"]),
            Ok(()),
            "they have shared panes before, and were defined otherwise"
        );
    }
}
