//! Adds to an error which node and which key of the pipeline file it is about.

use crate::connector::SettingError;
use crate::error::Error;
use crate::pipeline::PipelineNode;

/// Adds the node and the key that an error is about. `kind` is `source`, `operator` or `sink`.
pub(super) fn in_node(kind: &str, node: &PipelineNode, key: &'static str, error: Error) -> Error {
    error.context(format!("{kind} `{}`", node.id)).about(&node.id, key)
}

/// Adds the node that an error of a connector is about.
pub(super) fn in_setting(kind: &str, node: &PipelineNode, error: SettingError) -> Error {
    in_node(kind, node, error.key, error.error)
}
