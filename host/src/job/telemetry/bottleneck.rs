//! Names the operator that slows a job down.

use crate::job::view::{JobGraph, OperatorMetrics, TimeShares};

/// Share from which an operator counts as busy, or as backpressured.
const MUCH: f64 = 0.5;

/// Returns the first operator that is busy and not backpressured, and that reads one that is backpressured. The shares are those of
/// the worst subtask: one subtask that cannot keep up holds up all that send to it.
pub fn bottleneck(graph: &JobGraph, operators: &[OperatorMetrics]) -> Option<String> {
    let worst = |id: &str| operators.iter().find(|operator| operator.id == id)?.worst;
    let is_backpressured = |shares: TimeShares| shares.backpressured >= MUCH;
    let holds_up = |id: &str| {
        let is_waited_for = graph.inputs_of(id).any(|from| worst(from).is_some_and(is_backpressured));
        // A subtask that waits for a processor is not slow by itself, but it is what the others wait for.
        let works = worst(id).is_some_and(|own| own.busy + own.throttled >= MUCH && !is_backpressured(own));
        is_waited_for && works
    };
    graph.nodes.iter().map(|node| &node.id).find(|id| holds_up(id)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::view::{GraphEdge, GraphNode};

    fn graph(edges: &[(&str, &str)]) -> JobGraph {
        let mut graph = JobGraph::default();
        for id in edges.iter().flat_map(|(from, to)| [from, to]) {
            if graph.nodes.iter().all(|node| node.id != **id) {
                graph.nodes.push(GraphNode {
                    id: (*id).to_owned(),
                    kind: "operator".into(),
                    function: None,
                    component: None,
                    component_hash: None,
                    parallelism: 1,
                    chain: 0,
                });
            }
        }
        graph.edges.extend(edges.iter().map(|(from, to)| GraphEdge {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            output: "main".into(),
            input: "input".into(),
            partition: "keyed".into(),
        }));
        graph
    }

    fn named(edges: &[(&str, &str)], shares: &[(&str, f64, f64)]) -> Option<String> {
        let operators: Vec<_> = shares
            .iter()
            .map(|(id, busy, backpressured)| {
                let shares = TimeShares {
                    busy: *busy,
                    backpressured: *backpressured,
                    idle: 1.0 - busy - backpressured,
                    throttled: 0.0,
                };
                OperatorMetrics { id: (*id).to_owned(), worst: Some(shares), ..OperatorMetrics::default() }
            })
            .collect();
        bottleneck(&graph(edges), &operators)
    }

    #[test]
    fn the_bottleneck_is_busy_behind_one_that_is_backpressured() {
        let line = [("source", "a"), ("a", "b"), ("b", "sink")];
        let slow_b = [("source", 0.05, 0.9), ("a", 0.1, 0.85), ("b", 0.99, 0.0), ("sink", 0.1, 0.0)];
        assert_eq!(named(&line, &slow_b).as_deref(), Some("b"));
        let slow_sink = [("source", 0.05, 0.9), ("a", 0.1, 0.85), ("b", 0.2, 0.8), ("sink", 0.9, 0.0)];
        assert_eq!(named(&line, &slow_sink).as_deref(), Some("sink"));
        let all_keep_up = [("source", 0.9, 0.05), ("a", 0.6, 0.1), ("b", 0.6, 0.1), ("sink", 0.1, 0.0)];
        assert_eq!(named(&line, &all_keep_up), None, "a source that reads as fast as it can is none");
        assert_eq!(named(&line, &[]), None);
    }

    #[test]
    fn a_branch_that_keeps_up_is_not_named() {
        let fork = [("source", "quick"), ("source", "slow")];
        let shares = [("source", 0.05, 0.9), ("quick", 0.1, 0.0), ("slow", 0.95, 0.0)];
        assert_eq!(named(&fork, &shares).as_deref(), Some("slow"));
    }
}
