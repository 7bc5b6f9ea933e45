//! Whether operators that go by event time are given any: timestamps and watermarks of the sources that they read.

use crate::error::{self, Result};
use crate::pipeline::{NodeKind, OutputPort, PipelineNode, SourceNode};
use crate::runtime::plan::execution_plan::ExecutionPlan;

/// What of an operator goes by event time, as its key in the pipeline file.
#[derive(Clone, Copy)]
struct EventTimeUse {
    key: &'static str,
    what: &'static str,
    /// Whether nothing comes of it before the watermark moves.
    waits_for_watermark: bool,
}

fn event_time_use(node: &PipelineNode) -> Option<EventTimeUse> {
    let NodeKind::Operator(operator) = &node.kind else { return None };
    if let Some(windows) = operator.windows.as_ref().filter(|windows| windows.needs_timestamps()) {
        let waits_for_watermark = windows.waits_for_watermark();
        return Some(EventTimeUse { key: "window", what: "windows of event time", waits_for_watermark });
    }
    let join = EventTimeUse { key: "interval", what: "an interval join", waits_for_watermark: false };
    operator.interval.map(|_| join)
}

impl ExecutionPlan {
    /// Error: `manifest-invalid` where an operator needs timestamps and reads a source that has none. Otherwise warnings about
    /// sources whose watermark never moves.
    pub(in crate::runtime) fn check_event_time(&mut self) -> Result<()> {
        let mut warnings = Vec::new();
        for (index, node) in self.pipeline.nodes.iter().enumerate() {
            let Some(used) = event_time_use(node) else { continue };
            let id = &node.id;
            if let Some(source) = self.source_without_timestamps(node) {
                let message = format!(
                    "operator `{id}` has {}, and the source `{source}` that it reads has no `timestamp`",
                    used.what
                );
                let mut hint = format!("timestamp = {{ field = \"time\", format = \"rfc3339\" }} in [source.{source}]");
                if used.key == "window" {
                    hint.push_str(", or time = \"processing\" in the window");
                }
                return Err(error::manifest_invalid(message).hint(hint).about(id, used.key));
            }
            let still: Vec<String> = self.sources_without_watermark(index).map(|id| format!("`{id}`")).collect();
            if used.waits_for_watermark && !still.is_empty() {
                warnings.push(format!(
                    "operator `{id}` has {}, and the source {} that it reads has no `watermark`: no window fires before the \
                     end of its input",
                    used.what,
                    still.join(", ")
                ));
            }
        }
        self.warnings.extend(warnings);
        Ok(())
    }

    /// A source without a `timestamp` whose records reach a node as they are. A function between them may set timestamps.
    fn source_without_timestamps(&self, node: &PipelineNode) -> Option<&str> {
        let nodes = &self.pipeline.nodes;
        node.inputs.iter().find_map(|input| {
            let upstream = &nodes[input.node];
            match (&upstream.kind, &input.port) {
                (NodeKind::Source(SourceNode { timestamp: None, .. }), _) => Some(&upstream.id[..]),
                (NodeKind::Operator(_), OutputPort::DeadLetter) => self.source_without_timestamps(upstream),
                (NodeKind::Operator(_), OutputPort::Side(name)) if name == "late" && self.has_late_output(upstream) => {
                    self.source_without_timestamps(upstream)
                }
                _ => None,
            }
        })
    }

    fn sources_without_watermark(&self, node: usize) -> impl Iterator<Item = &str> {
        let nodes = &self.pipeline.nodes;
        self.pipeline.sources_of(node).into_iter().filter_map(|source| match &nodes[source].kind {
            NodeKind::Source(SourceNode { watermark: None, .. }) => Some(&nodes[source].id[..]),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::pipeline::PipelineSpec;

    fn plan(source: &str, operator: &str) -> Result<ExecutionPlan> {
        let manifest = format!(
            "name = \"p\"\n[source.numbers]\nconnector = \"generator\"\n{source}\n\
             [operator.count]\ninput = \"numbers\"\nkey = {{ column = 0 }}\naggregate = {{ type = \"count\" }}\n{operator}\n\
             [sink.out]\ninput = \"count\"\nconnector = \"blackhole\""
        );
        ExecutionPlan::new(PipelineSpec::parse(&manifest, "pipeline.toml")?, BTreeMap::new(), Path::new(""))
    }

    const TIMESTAMP: &str = "timestamp = { column = 0, format = \"unix-ms\" }";
    const MINUTES: &str = "window = { type = \"tumbling\", size = \"1min\" }";

    fn event_time_warnings(source: &str, operator: &str) -> Vec<String> {
        let warnings = plan(source, operator).unwrap().warnings;
        warnings.into_iter().filter(|warning| warning.contains("watermark")).collect()
    }

    #[test]
    fn windows_of_event_time_over_a_source_without_timestamps_are_refused() {
        let continuous = "window = { type = \"global\" }\ntrigger = { type = \"continuous\", interval = \"1s\" }";
        for operator in [MINUTES, continuous] {
            let error = plan("watermark = \"ascending\"", operator).err().unwrap();
            assert_eq!((error.code, error.subject), ("manifest-invalid", Some(("count".into(), "window"))));
            assert!(error.message.contains("`numbers`") && error.message.contains("`timestamp`"), "{}", error.message);
        }
    }

    #[test]
    fn windows_that_need_no_timestamps_are_not_refused() {
        let processing = "window = { type = \"tumbling\", size = \"1min\", time = \"processing\" }";
        let global = "window = { type = \"global\" }\ntrigger = { type = \"count\", count = 2 }";
        for operator in [processing, global] {
            assert_eq!(event_time_warnings("", operator), Vec::<String>::new());
        }
    }

    #[test]
    fn windows_over_a_source_without_a_watermark_are_warned_of() {
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
    fn late_records_of_a_source_without_timestamps_are_followed() {
        let manifest = format!(
            "name = \"p\"\n[source.numbers]\nconnector = \"generator\"\n{TIMESTAMP}\nwatermark = \"ascending\"\n\
             [source.others]\nconnector = \"generator\"\n\
             [operator.count]\ninputs = [\"numbers\"]\nkey = {{ column = 0 }}\naggregate = {{ type = \"count\" }}\n{MINUTES}\n\
             [operator.again]\ninputs = [\"count.late\", \"others\"]\nkey = {{ column = 0 }}\n\
             aggregate = {{ type = \"count\" }}\n{MINUTES}\n\
             [sink.out]\ninputs = [\"count\", \"again\"]\nconnector = \"blackhole\""
        );
        let pipeline = PipelineSpec::parse(&manifest, "pipeline.toml").unwrap();
        let error = ExecutionPlan::new(pipeline, BTreeMap::new(), Path::new("")).err().unwrap();
        assert!(error.message.contains("`again`") && error.message.contains("`others`"), "{}", error.message);
    }
}
