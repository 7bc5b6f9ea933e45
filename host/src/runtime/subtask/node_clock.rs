//! Notes which node of a chain works.
//!
//! One thread runs all nodes of a chain. The clock is read when another node begins to work on a batch, and when the loop returns to the
//! first node, so its cost is that of a batch and not of a record. A chain of one node needs no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chained_node::ChainedNode;
use crate::permits::SubtaskActivity;
use crate::runtime::plan::chaining::RouteTarget;

/// The node of a chain that works.
#[derive(Default)]
pub(super) struct NodeClock {
    /// `None` if there is only one node.
    activity: Option<Arc<SubtaskActivity>>,
    current: usize,
    /// The node that sends to each edge.
    senders: BTreeMap<usize, usize>,
}

impl NodeClock {
    pub(super) fn new(nodes: &[ChainedNode], activity: &Arc<SubtaskActivity>) -> NodeClock {
        if nodes.len() < 2 {
            return NodeClock::default();
        }
        let mut senders = BTreeMap::new();
        for (node, chained) in nodes.iter().enumerate() {
            for target in chained.routes.values().flatten() {
                if let RouteTarget::Edge(edge) = target {
                    senders.insert(*edge, node);
                }
            }
        }
        NodeClock { activity: Some(activity.clone()), current: 0, senders }
    }

    /// Notes that a node works from now on.
    #[inline]
    pub(super) fn enter(&mut self, node: usize) {
        if let Some(activity) = self.activity.as_ref().filter(|_| self.current != node) {
            activity.enter_node(node);
            self.current = node;
        }
    }

    /// Notes that the node which sends to an edge works from now on.
    pub(super) fn enter_sender(&mut self, edge: usize) {
        if let Some(node) = self.senders.get(&edge).copied() {
            self.enter(node);
        }
    }
}
