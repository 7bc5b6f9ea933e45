//! The nodes and edges of a plan, as they are shown: which nodes share a subtask, and how records are distributed.

use super::chaining::{ChainGraph, EdgePartitioning};
use super::execution_plan::ExecutionPlan;
use crate::pipeline::{InputRole, NodeInput, OutputPort};

/// One node of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedNode {
    /// Index of its chain. The nodes of a chain run in the same subtasks.
    pub chain: usize,
    /// The edges that lead to it.
    pub inputs: Vec<PlannedInput>,
}

/// An edge between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedInput {
    /// Index of the node that sends, in the pipeline's order.
    pub from: usize,
    /// Name of its output: `main`, `dead-letter` or that of a side output.
    pub output: String,
    /// `input`, `second` or `broadcast`.
    pub role: &'static str,
    /// `chained`, `forward`, `rebalance`, `broadcast` or `keyed`.
    pub partition: &'static str,
}

impl ExecutionPlan {
    /// Returns the nodes with their chains and edges, in the pipeline's order.
    pub fn topology(&self) -> Vec<PlannedNode> {
        let nodes = self.pipeline.nodes.iter().zip(self.graph.positions());
        let planned = nodes.map(|(node, (chain, position))| PlannedNode {
            chain: *chain,
            inputs: node
                .inputs
                .iter()
                .enumerate()
                .map(|(index, input)| PlannedInput {
                    from: input.node,
                    output: output_name(input),
                    role: role_name(input.role),
                    partition: match position {
                        0 => partition_name(&self.graph, *chain, index),
                        _ => "chained",
                    },
                })
                .collect(),
        });
        planned.collect()
    }
}

/// Returns how the records of the edge with this index among those of the chain are distributed.
fn partition_name(graph: &ChainGraph, chain: usize, index: usize) -> &'static str {
    let edge = graph.chains[chain].inputs.get(index).map(|edge| &graph.edges[*edge].partitioning);
    match edge {
        Some(EdgePartitioning::Rebalance) => "rebalance",
        Some(EdgePartitioning::Broadcast) => "broadcast",
        Some(EdgePartitioning::Keyed(_)) => "keyed",
        Some(EdgePartitioning::Forward) | None => "forward",
    }
}

fn output_name(input: &NodeInput) -> String {
    match &input.port {
        OutputPort::Main => "main".to_owned(),
        OutputPort::DeadLetter => "dead-letter".to_owned(),
        OutputPort::Side(name) => name.clone(),
    }
}

fn role_name(role: InputRole) -> &'static str {
    match role {
        InputRole::First => "input",
        InputRole::Second => "second",
        InputRole::Broadcast => "broadcast",
    }
}
