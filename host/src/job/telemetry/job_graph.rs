//! Shows the plan of a job as nodes and edges.

use std::collections::BTreeMap;

use crate::job::view::{GraphEdge, GraphNode, JobGraph};
use crate::pipeline::{NodeKind, PipelineNode};
use crate::runtime::{ExecutionPlan, PlannedNode};

/// Returns the graph of a plan. `components` has the hash of each operator's component.
pub fn job_graph(plan: &ExecutionPlan, components: &BTreeMap<String, String>) -> JobGraph {
    let (nodes, topology) = (&plan.pipeline.nodes, plan.topology());
    let mut graph = JobGraph::default();
    for (node, planned) in nodes.iter().zip(&topology) {
        graph.nodes.push(graph_node(node, planned, components));
        graph.edges.extend(planned.inputs.iter().map(|input| GraphEdge {
            from: nodes[input.from].id.clone(),
            to: node.id.clone(),
            output: input.output.clone(),
            input: input.role.to_owned(),
            partition: input.partition.to_owned(),
        }));
    }
    graph
}

fn graph_node(node: &PipelineNode, planned: &PlannedNode, components: &BTreeMap<String, String>) -> GraphNode {
    let (kind, function) = match &node.kind {
        NodeKind::Source(_) => ("source", None),
        NodeKind::Operator(operator) => ("operator", operator.function.as_ref()),
        NodeKind::Sink(_) => ("sink", None),
    };
    GraphNode {
        id: node.id.clone(),
        kind: kind.to_owned(),
        function: function.map(|function| function.name.clone()),
        component: function.map(|function| function.component.clone()),
        component_hash: components.get(&node.id).map(|hash| format!("sha256:{hash}")),
        parallelism: node.parallelism,
        chain: u32::try_from(planned.chain).unwrap_or(u32::MAX),
    }
}
