//! Checks that operators which need event time read sources with timestamps and watermarks.

use super::functions::FunctionPlans;
use super::output_ports::reads_late_records;
use crate::error::{self, Result};
use crate::pipeline::{NodeKind, OutputPort, PipelineNode, PipelineSpec, SourceNode};

/// How an operator uses event time.
#[derive(Clone, Copy)]
struct EventTimeUse {
    /// Key of the operator in the pipeline file.
    key: &'static str,
    description: &'static str,
    /// Whether the operator emits nothing before the watermark advances.
    waits_for_watermark: bool,
}

fn event_time_use(node: &PipelineNode) -> Option<EventTimeUse> {
    let NodeKind::Operator(operator) = &node.kind else { return None };
    if let Some(windows) = operator.windows.as_ref().filter(|windows| windows.needs_timestamps()) {
        let waits_for_watermark = windows.waits_for_watermark();
        return Some(EventTimeUse { key: "window", description: "an event-time window", waits_for_watermark });
    }
    let join = EventTimeUse { key: "interval", description: "an interval join", waits_for_watermark: false };
    operator.interval.map(|_| join)
}

/// Returns warnings about operators that wait for watermarks which a source does not send. Fails with `manifest-invalid` if an
/// operator needs timestamps and reads a source without them.
pub(super) fn check_event_time(pipeline: &PipelineSpec, functions: &FunctionPlans) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (index, node) in pipeline.nodes.iter().enumerate() {
        let Some(event_time_use) = event_time_use(node) else { continue };
        let id = &node.id;
        if let Some(source) = source_without_timestamps(pipeline, functions, node) {
            let message = format!(
                "operator `{id}` has {}, and the source `{source}` that it reads has no `timestamp`",
                event_time_use.description
            );
            let mut hint = format!("timestamp = {{ field = \"time\", format = \"rfc3339\" }} in [source.{source}]");
            if event_time_use.key == "window" {
                hint.push_str(", or time = \"processing\" in the window");
            }
            return Err(error::manifest_invalid(message).hint(hint).about(id, event_time_use.key));
        }
        let sources: Vec<String> = sources_without_watermark(pipeline, index).map(|id| format!("`{id}`")).collect();
        if event_time_use.waits_for_watermark && !sources.is_empty() {
            warnings.push(format!(
                "operator `{id}` has {}, and the source {} that it reads has no `watermark`: no window fires before the end \
                 of its input",
                event_time_use.description,
                sources.join(", ")
            ));
        }
    }
    Ok(warnings)
}

/// Returns a source without `timestamp` whose records reach a node unchanged. A function on the way may set timestamps.
fn source_without_timestamps<'a>(
    pipeline: &'a PipelineSpec,
    functions: &FunctionPlans,
    node: &'a PipelineNode,
) -> Option<&'a str> {
    node.inputs.iter().find_map(|input| {
        let upstream = &pipeline.nodes[input.node];
        match (&upstream.kind, &input.port) {
            (NodeKind::Source(SourceNode { timestamp: None, .. }), _) => Some(&upstream.id[..]),
            (NodeKind::Operator(operator), port) if *port == OutputPort::DeadLetter || operator.rows.is_some() => {
                source_without_timestamps(pipeline, functions, upstream)
            }
            (NodeKind::Operator(_), port) if reads_late_records(functions, upstream, port) => {
                source_without_timestamps(pipeline, functions, upstream)
            }
            _ => None,
        }
    })
}

fn sources_without_watermark(pipeline: &PipelineSpec, node: usize) -> impl Iterator<Item = &str> {
    pipeline.sources_of(node).into_iter().filter_map(|source| match &pipeline.nodes[source].kind {
        NodeKind::Source(SourceNode { watermark: None, .. }) => Some(&pipeline.nodes[source].id[..]),
        _ => None,
    })
}
