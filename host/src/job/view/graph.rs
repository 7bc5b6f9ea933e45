//! The API's view of the graph of a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The nodes and edges of a job. They stay the same as long as the job exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobGraph {
    /// The nodes in the pipeline's order: a node comes after those that it reads.
    pub nodes: Vec<GraphNode>,
    /// The edges, by the node that reads.
    pub edges: Vec<GraphEdge>,
}

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GraphNode {
    /// The node's id in the pipeline.
    pub id: String,
    /// `source`, `operator` or `sink`.
    pub kind: String,
    /// The function of an operator. Not set if a part of the host does its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The component of the function, as the pipeline file names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// `sha256:` and the hash of the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_hash: Option<String>,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of the chain. The nodes of a chain run in the same subtasks, and pass records by a call.
    pub chain: u32,
}

/// An edge of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GraphEdge {
    /// Id of the node that sends.
    pub from: String,
    /// Id of the node that reads.
    pub to: String,
    /// The output: `main`, `dead-letter` or the name of a side output.
    pub output: String,
    /// The input: `input`, `second` or `broadcast`.
    pub input: String,
    /// How records are distributed: `chained` by a call in the same subtask; `forward` to the subtask of the same index; `rebalance`
    /// to all subtasks in turn; `broadcast` to every subtask; `keyed` to the subtask that owns the key.
    pub partition: String,
}

impl JobGraph {
    /// Returns the ids of the nodes that the node with this id reads.
    pub fn inputs_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a str> {
        self.edges.iter().filter(move |edge| edge.to == id).map(|edge| edge.from.as_str())
    }
}
