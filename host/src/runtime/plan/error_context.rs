//! Adds to an error which node and which key of the pipeline file it is about.

use crate::error::Error;
use crate::pipeline::{FileFormat, NodeKind, PipelineNode, SourceNode, ValueFormat};

/// Adds the node and the key that an error is about. `kind` is `source`, `operator` or `sink`.
pub(super) fn in_node(kind: &str, node: &PipelineNode, key: &'static str, error: Error) -> Error {
    error.context(format!("{kind} `{}`", node.id)).about(&node.id, key)
}

/// Explains an error about an unknown column if the reason is that the CSV input of the source is empty and so has no header.
pub(super) fn explain_empty_input(source: &PipelineNode, format: &ValueFormat, error: Error) -> Error {
    let NodeKind::Source(SourceNode { connector, .. }) = &source.kind else { return error };
    if *format != ValueFormat::Csv(None) || connector.format() != (FileFormat::Csv, true) {
        return error;
    }
    let message = format!("{}: the input of source `{}` is empty and has no header row", error.message, source.id);
    Error { message, ..error }
        .hint("write the header row into the file, or select the column by its index, from 0: `{ column = 0 }`")
}
