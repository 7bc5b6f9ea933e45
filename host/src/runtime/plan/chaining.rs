//! Chains and edges: which nodes run in one subtask, and how records flow between chains.
//!
//! A node with one input, no key and the parallelism of its upstream node is chained to that node: both run in one subtask and
//! pass batches by a call. Every other input is an edge, which is a set of channels.

use std::sync::Arc;

use super::error_context::{explain_empty_input, in_node};
use super::functions::FunctionPlans;
use super::output_ports::{output_count, output_of_input};
use crate::connector::KeyExtractor;
use crate::error::{self, Result};
use crate::pipeline::{InputRole, KeySelector, NodeInput, NodeKind, PipelineNode, ValueFormat};
use crate::runtime::output::keyed_exchange::KeyOrigin;

/// Largest number of subtasks of one job. Each subtask is a thread.
const SUBTASKS_MAX: u64 = 1024;

/// Largest number of channels between the subtasks of one job.
const CHANNELS_MAX: u64 = 1 << 16;

/// Nodes that run in one subtask.
pub(crate) struct ChainPlan {
    pub(crate) parallelism: u32,
    /// Indexes of the edges that lead to the chain. Empty if the chain starts with a source.
    pub(crate) inputs: Vec<usize>,
    pub(crate) nodes: Vec<ChainedNodePlan>,
}

/// One node of a chain.
pub(crate) struct ChainedNodePlan {
    /// Index into the nodes of the pipeline.
    pub(crate) node: usize,
    /// The targets of each output. The last output of an operator is the one for dead letters.
    pub(crate) routes: Vec<Vec<RouteTarget>>,
}

/// Where the records of an output go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteTarget {
    /// To another node of the chain, by its index in the chain.
    ChainedNode(usize),
    /// To an edge, by its index in the plan.
    Edge(usize),
}

/// An edge between two chains.
pub(crate) struct EdgePlan {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The input of the receiving node.
    pub(crate) role: InputRole,
    pub(crate) partitioning: EdgePartitioning,
}

/// How the records of an edge are distributed over the receiving subtasks.
#[derive(Clone)]
pub(crate) enum EdgePartitioning {
    Forward,
    Rebalance,
    Broadcast,
    Keyed(KeyOrigin),
}

/// The position of a node: its chain, and its index in the chain.
type ChainPosition = (usize, usize);

/// All chains and edges of a job.
#[derive(Default)]
pub(crate) struct ChainGraph {
    pub(crate) chains: Vec<ChainPlan>,
    pub(crate) edges: Vec<EdgePlan>,
    /// The position of each node that was added, by its index in the pipeline.
    positions: Vec<ChainPosition>,
}

impl ChainGraph {
    /// Adds the next node of the pipeline, after all nodes that it reads. `formats` are the main formats of the nodes.
    pub(super) fn add_node(
        &mut self,
        functions: &FunctionPlans,
        nodes: &[PipelineNode],
        formats: &[ValueFormat],
    ) -> Result<()> {
        let index = self.positions.len();
        let node = &nodes[index];
        let outputs = match &node.kind {
            NodeKind::Source(_) => 1,
            NodeKind::Operator(_) => output_count(functions, node)? + 1,
            NodeKind::Sink(_) => 0,
        };
        let chained = ChainedNodePlan { node: index, routes: vec![Vec::new(); outputs] };
        let position = match (&node.inputs[..], &node.key) {
            ([input], None) if nodes[input.node].parallelism == node.parallelism => {
                let (port, _) = output_of_input(functions, &nodes[input.node], input, formats)?;
                self.append_to_chain(input, port, chained)
            }
            _ => self.start_chain(functions, nodes, formats, chained)?,
        };
        self.positions.push(position);
        Ok(())
    }

    /// Adds a node to the chain of its input.
    fn append_to_chain(&mut self, input: &NodeInput, port: usize, node: ChainedNodePlan) -> ChainPosition {
        let (chain_index, from) = self.positions[input.node];
        let chain = &mut self.chains[chain_index];
        let position = chain.nodes.len();
        chain.nodes.push(node);
        chain.nodes[from].routes[port].push(RouteTarget::ChainedNode(position));
        (chain_index, position)
    }

    /// Starts a chain with a node, and adds the edges that lead to it.
    fn start_chain(
        &mut self,
        functions: &FunctionPlans,
        nodes: &[PipelineNode],
        formats: &[ValueFormat],
        chained: ChainedNodePlan,
    ) -> Result<ChainPosition> {
        let node = &nodes[chained.node];
        let to = self.chains.len();
        let mut inputs = Vec::new();
        for input in &node.inputs {
            let upstream = &nodes[input.node];
            let (port, format) = output_of_input(functions, upstream, input, formats)?;
            let partitioning = partitioning(node, upstream, input, &format)?;
            let (from, from_node) = self.positions[input.node];
            let edge = self.edges.len();
            self.edges.push(EdgePlan { from, to, role: input.role, partitioning });
            self.chains[from].nodes[from_node].routes[port].push(RouteTarget::Edge(edge));
            inputs.push(edge);
        }
        self.chains.push(ChainPlan { parallelism: node.parallelism, inputs, nodes: vec![chained] });
        Ok((to, 0))
    }

    /// Checks that a job does not ask for too many threads and channels. Fails with `manifest-parallelism`.
    pub(super) fn check_size(&self) -> Result<()> {
        let parallelism = |chain: usize| u64::from(self.chains[chain].parallelism);
        let subtasks: u64 = (0..self.chains.len()).map(parallelism).sum();
        let channels_of_edge = |edge: &EdgePlan| match edge.partitioning {
            EdgePartitioning::Forward => parallelism(edge.from),
            EdgePartitioning::Rebalance | EdgePartitioning::Broadcast | EdgePartitioning::Keyed(_) => {
                parallelism(edge.from) * parallelism(edge.to)
            }
        };
        let channels: u64 = self.edges.iter().map(channels_of_edge).sum();
        for (count, unit, max) in [(subtasks, "subtasks", SUBTASKS_MAX), (channels, "channels", CHANNELS_MAX)] {
            if count > max {
                let message = format!("the pipeline needs {count} {unit}, and the limit for one job is {max}");
                return Err(error::manifest_parallelism(message).hint("lower the parallelism"));
            }
        }
        Ok(())
    }
}

/// Returns how the records of an input are distributed. Fails with `manifest-key` if the key cannot be extracted.
fn partitioning(
    node: &PipelineNode,
    upstream: &PipelineNode,
    input: &NodeInput,
    format: &ValueFormat,
) -> Result<EdgePartitioning> {
    Ok(match node.key_of(input.role) {
        _ if input.role == InputRole::Broadcast => EdgePartitioning::Broadcast,
        Some((KeySelector::Emitted, _)) => EdgePartitioning::Keyed(KeyOrigin::Emitted),
        Some((selector, key)) => {
            let extractor = KeyExtractor::compile(selector, format)
                .map_err(|error| in_node("operator", node, key, explain_empty_input(upstream, format, error)))?;
            EdgePartitioning::Keyed(KeyOrigin::Extracted(Arc::new(extractor)))
        }
        None if upstream.parallelism == node.parallelism => EdgePartitioning::Forward,
        None => EdgePartitioning::Rebalance,
    })
}
