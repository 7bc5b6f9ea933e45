//! Chains and edges: which nodes run in one subtask, and how records flow between chains.
//!
//! A node with one input, no key and the parallelism of its upstream node is chained to that node: both run in one subtask and
//! pass batches by a call. Every other input is an edge, which is a set of channels.

use std::collections::BTreeMap;

use super::records::formats::{NodeRecords, PlannedRecords};
use crate::error::{self, Result};
use crate::pipeline::{InputRole, NodeInput, PipelineNode};
use crate::runtime::records::record_format::RecordFormat;
use crate::runtime::records::record_key::KeyOrigin;
use crate::turn::OutputId;

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
    /// The targets of each output.
    pub(crate) routes: OutputRoutes,
}

/// Where the records of an output go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteTarget {
    /// To another node of the chain, by its index in the chain.
    ChainedNode(usize),
    /// To an edge, by its index in the plan.
    Edge(usize),
}

/// The targets of each output that any node reads.
pub(crate) type OutputRoutes = BTreeMap<OutputId, Vec<RouteTarget>>;

/// An edge between two chains.
pub(crate) struct EdgePlan {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The input of the receiving node.
    pub(crate) role: InputRole,
    pub(crate) partitioning: EdgePartitioning,
    /// The format into which the records are rewritten. `None` if they stay as they come.
    pub(crate) format: Option<RecordFormat>,
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
    /// Adds the next node of the pipeline, after all nodes that it reads.
    pub(super) fn add_node(&mut self, nodes: &[PipelineNode], records: &PlannedRecords) {
        let index = self.positions.len();
        let (node, own) = (&nodes[index], &records.nodes[index]);
        let chained = ChainedNodePlan { node: index, routes: OutputRoutes::new() };
        let position = match (&node.inputs[..], &node.key) {
            ([input], None) if nodes[input.node].parallelism == node.parallelism => {
                self.append_to_chain(input, own.ports[0], chained)
            }
            _ => self.start_chain(nodes, own, chained),
        };
        self.positions.push(position);
    }

    /// Adds a node to the chain of its input.
    fn append_to_chain(&mut self, input: &NodeInput, port: OutputId, node: ChainedNodePlan) -> ChainPosition {
        let (chain_index, from) = self.positions[input.node];
        let chain = &mut self.chains[chain_index];
        let position = chain.nodes.len();
        chain.nodes.push(node);
        chain.nodes[from].routes.entry(port).or_default().push(RouteTarget::ChainedNode(position));
        (chain_index, position)
    }

    /// Starts a chain with a node, and adds the edges that lead to it.
    fn start_chain(
        &mut self,
        nodes: &[PipelineNode],
        records: &NodeRecords,
        chained: ChainedNodePlan,
    ) -> ChainPosition {
        let node = &nodes[chained.node];
        let to = self.chains.len();
        let mut inputs = Vec::new();
        for (at, input) in node.inputs.iter().enumerate() {
            let partitioning = partitioning(node, &nodes[input.node], input, records.keys[at].clone());
            let (from, from_node) = self.positions[input.node];
            let edge = self.edges.len();
            let format = records.input(input.role).cloned();
            self.edges.push(EdgePlan { from, to, role: input.role, partitioning, format });
            let routes = &mut self.chains[from].nodes[from_node].routes;
            routes.entry(records.ports[at]).or_default().push(RouteTarget::Edge(edge));
            inputs.push(edge);
        }
        self.chains.push(ChainPlan { parallelism: node.parallelism, inputs, nodes: vec![chained] });
        (to, 0)
    }

    /// Returns the chain of each node, and its index in the chain, in the order of the pipeline.
    pub(super) fn positions(&self) -> &[(usize, usize)] {
        &self.positions
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

/// Returns how the records of an input are distributed.
fn partitioning(
    node: &PipelineNode,
    upstream: &PipelineNode,
    input: &NodeInput,
    key: Option<KeyOrigin>,
) -> EdgePartitioning {
    match key {
        _ if input.role == InputRole::Broadcast => EdgePartitioning::Broadcast,
        Some(origin) => EdgePartitioning::Keyed(origin),
        None if upstream.parallelism == node.parallelism => EdgePartitioning::Forward,
        None => EdgePartitioning::Rebalance,
    }
}
