//! How the time of a thread is divided between the nodes of its chain.
//!
//! While a node works, the nodes before it wait until it takes what they have for it: they are backpressured. All other nodes of the
//! chain have nothing to process: they are idle. So a slow node shows in the same way inside a chain and behind an edge.

use crate::permits::ThreadTimes;
use crate::runtime::plan::chaining::{ChainPlan, RouteTarget};

/// The time of one node in one subtask, in nanoseconds. Every moment belongs to one of the four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeTimes {
    /// Time in which the node worked.
    pub busy_ns: u64,
    /// Time in which the node had nothing to process.
    pub idle_ns: u64,
    /// Time in which the node waited until another node took its output.
    pub backpressured_ns: u64,
    /// Time in which the subtask waited for a processor that another job used.
    pub throttled_ns: u64,
}

impl NodeTimes {
    /// Returns the whole time.
    pub fn total_ns(&self) -> u64 {
        self.busy_ns + self.idle_ns + self.backpressured_ns + self.throttled_ns
    }

    /// Returns the time after `earlier`.
    pub fn since(&self, earlier: &NodeTimes) -> NodeTimes {
        NodeTimes {
            busy_ns: self.busy_ns.saturating_sub(earlier.busy_ns),
            idle_ns: self.idle_ns.saturating_sub(earlier.idle_ns),
            backpressured_ns: self.backpressured_ns.saturating_sub(earlier.backpressured_ns),
            throttled_ns: self.throttled_ns.saturating_sub(earlier.throttled_ns),
        }
    }

    /// Adds other time.
    pub fn add(&mut self, other: &NodeTimes) {
        self.busy_ns += other.busy_ns;
        self.idle_ns += other.idle_ns;
        self.backpressured_ns += other.backpressured_ns;
        self.throttled_ns += other.throttled_ns;
    }

    /// Returns the larger of both, for each of the four.
    pub(super) fn max(&self, other: &NodeTimes) -> NodeTimes {
        NodeTimes {
            busy_ns: self.busy_ns.max(other.busy_ns),
            idle_ns: self.idle_ns.max(other.idle_ns),
            backpressured_ns: self.backpressured_ns.max(other.backpressured_ns),
            throttled_ns: self.throttled_ns.max(other.throttled_ns),
        }
    }
}

/// For each node of a chain, the node that feeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChainShape(Vec<Option<usize>>);

impl ChainShape {
    pub(crate) fn of(chain: &ChainPlan) -> ChainShape {
        let mut feeders = vec![None; chain.nodes.len()];
        for (from, node) in chain.nodes.iter().enumerate() {
            for target in node.routes.values().flatten() {
                if let RouteTarget::ChainedNode(to) = target {
                    feeders[*to] = Some(from);
                }
            }
        }
        ChainShape(feeders)
    }

    /// Returns the time of a node in a thread that runs the chain.
    pub(crate) fn times_of(&self, node: usize, thread: &ThreadTimes) -> NodeTimes {
        let (mut busy_ns, mut backpressured_ns, mut elsewhere_ns) = (0, 0, 0);
        for (at, (worked, waited)) in thread.nodes.iter().enumerate() {
            if at == node {
                busy_ns += worked;
                backpressured_ns += waited;
            } else if self.feeds(node, at) {
                backpressured_ns += worked + waited;
            } else {
                elsewhere_ns += worked + waited;
            }
        }
        NodeTimes {
            busy_ns,
            idle_ns: thread.idle_ns + elsewhere_ns,
            backpressured_ns,
            throttled_ns: thread.throttled_ns,
        }
    }

    /// Returns whether records of `before` reach `after` within the chain.
    fn feeds(&self, before: usize, after: usize) -> bool {
        let mut at = after;
        while let Some(feeder) = self.0.get(at).copied().flatten() {
            if feeder == before {
                return true;
            }
            at = feeder;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_backpressured_by_what_it_feeds_and_idle_while_others_work() {
        // 0 feeds 1 and 3, and 1 feeds 2.
        let shape = ChainShape(vec![None, Some(0), Some(1), Some(0)]);
        let thread =
            ThreadTimes { idle_ns: 1, throttled_ns: 2, nodes: vec![(10, 20), (100, 200), (1000, 0), (10_000, 0)] };
        let times = |node| shape.times_of(node, &thread);
        let expected =
            |busy_ns, idle_ns, backpressured_ns| NodeTimes { busy_ns, idle_ns, backpressured_ns, throttled_ns: 2 };
        assert_eq!(times(0), expected(10, 1, 20 + 300 + 1000 + 10_000));
        assert_eq!(times(1), expected(100, 1 + 30 + 10_000, 200 + 1000));
        assert_eq!(times(2), expected(1000, 1 + 30 + 300 + 10_000, 0));
        assert_eq!(times(3), expected(10_000, 1 + 30 + 300 + 1000, 0));
        let total: Vec<u64> = (0..4).map(|node| times(node).total_ns()).collect();
        assert_eq!(total, [11_333; 4], "every node accounts for the whole time of the thread");
    }
}
