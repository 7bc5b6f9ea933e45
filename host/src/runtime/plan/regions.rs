//! Regions: the connected parts of a job's graph. A region can fail and restart while the others run.
//!
//! Two chains are connected if an edge leads from one to the other, or if their sources wait for each other in an alignment group.

use std::collections::BTreeMap;

use super::execution_plan::ExecutionPlan;
use crate::pipeline::NodeKind;

/// A connected part of a job's graph.
#[derive(Debug, PartialEq, Eq)]
pub struct Region {
    /// Indexes of the nodes in the pipeline, ascending.
    pub nodes: Vec<usize>,
    /// Number of subtasks of all chains.
    pub subtasks: usize,
    /// Indexes of the chains in the plan, ascending.
    chains: Vec<usize>,
}

impl Region {
    /// Returns whether a chain of the plan belongs to the region.
    pub(crate) fn has_chain(&self, chain: usize) -> bool {
        self.chains.binary_search(&chain).is_ok()
    }
}

impl ExecutionPlan {
    /// Returns the regions of the job, in the order of their first chains.
    pub fn regions(&self) -> Vec<Region> {
        let mut regions: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (chain, first) in self.connected_chains().into_iter().enumerate() {
            regions.entry(first).or_default().push(chain);
        }
        let region = |chains: Vec<usize>| {
            let planned = || chains.iter().map(|chain| &self.graph.chains[*chain]);
            let mut nodes: Vec<usize> = planned().flat_map(|chain| &chain.nodes).map(|node| node.node).collect();
            nodes.sort_unstable();
            Region { nodes, subtasks: planned().map(|chain| chain.parallelism as usize).sum(), chains }
        };
        regions.into_values().map(region).collect()
    }

    /// Returns for each chain the first chain that it is connected with.
    fn connected_chains(&self) -> Vec<usize> {
        let mut first: Vec<usize> = (0..self.graph.chains.len()).collect();
        let links = self.graph.edges.iter().map(|edge| (edge.from, edge.to)).chain(self.aligned_chains());
        for (one, other) in links {
            let (from, to) = (first[one].max(first[other]), first[one].min(first[other]));
            first.iter_mut().filter(|first| **first == from).for_each(|first| *first = to);
        }
        first
    }

    /// Returns pairs of source chains that are in the same alignment group.
    fn aligned_chains(&self) -> Vec<(usize, usize)> {
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        let mut pairs = Vec::new();
        for (index, chain) in self.graph.chains.iter().enumerate() {
            let NodeKind::Source(source) = &self.pipeline.nodes[chain.nodes[0].node].kind else { continue };
            let alignment = source.watermark.as_ref().and_then(|watermark| watermark.alignment.as_ref());
            if let Some(alignment) = alignment {
                pairs.push((*groups.entry(&alignment.group).or_insert(index), index));
            }
        }
        pairs
    }
}
