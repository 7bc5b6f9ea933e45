//! Wires the nodes: resolves names to indices, sorts the nodes in topological order, and checks that every output is read.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::key_selector::KeySelector;
use super::node::{UnwiredInput, UnwiredNode};
use super::node_spec::{FaultPolicy, InputRole, NodeInput, NodeKind, OutputPort, PipelineNode, UndecodablePolicy};
use super::source::why_missing;
use super::toml_reader::{PipelineText, suggestion};
use crate::error::{Error, Result, manifest_cycle, manifest_invalid, manifest_key, manifest_unknown_input};

/// Wires the nodes and returns them in topological order. Nodes that do not depend on each other stay in the order of the
/// file.
pub(super) fn wire(text: &PipelineText<'_>, nodes: Vec<UnwiredNode<'_>>) -> Result<Vec<PipelineNode>> {
    check_kinds(text, &nodes)?;
    let places: HashMap<&str, usize> = nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect();
    let mut edges: Vec<Vec<usize>> = Vec::with_capacity(nodes.len());
    for node in &nodes {
        let place = |input| resolve(text, &nodes, &places, node, input);
        edges.push(node.inputs.iter().map(place).collect::<Result<_>>()?);
        check_keys(text, &nodes, node, edges.last().map_or(&[][..], Vec::as_slice))?;
    }
    let order = topological_order(text, &nodes, &edges)?;
    check_readers(text, &nodes, &edges)?;
    let nodes = note_wanted_keys(nodes, &edges, &order);

    let mut new_place = vec![0; nodes.len()];
    for (new, &old) in order.iter().enumerate() {
        new_place[old] = new;
    }
    let mut wired: Vec<(usize, PipelineNode)> = nodes
        .into_iter()
        .zip(&edges)
        .enumerate()
        .map(|(old, (node, edges))| (new_place[old], finish(node, edges.iter().map(|&place| new_place[place]))))
        .collect();
    wired.sort_by_key(|(place, _)| *place);
    Ok(wired.into_iter().map(|(_, node)| node).collect())
}

fn finish(node: UnwiredNode<'_>, inputs: impl Iterator<Item = usize>) -> PipelineNode {
    let inputs =
        inputs.zip(node.inputs).map(|(node, input)| NodeInput { node, port: input.port, role: input.role }).collect();
    PipelineNode {
        id: node.id.to_string(),
        parallelism: node.parallelism,
        inputs,
        key: node.key.map(|(key, _)| key),
        second_key: node.second_key.map(|(key, _)| key),
        kind: node.kind,
    }
}

fn check_kinds(text: &PipelineText<'_>, nodes: &[UnwiredNode<'_>]) -> Result<()> {
    let missing = |what: &str, example: &str| {
        manifest_invalid(format!("the pipeline has no {what}"))
            .hint(format!("add a table like {example}"))
            .at(text.location(&(0..0)))
    };
    if !nodes.iter().any(|node| matches!(node.kind, NodeKind::Source(_))) {
        return Err(missing("source", "[source.lines] with connector = \"file\""));
    }
    if !nodes.iter().any(|node| matches!(node.kind, NodeKind::Sink(_))) {
        return Err(missing("sink", "[sink.out] with connector = \"stdout\""));
    }
    Ok(())
}

/// Returns the index of the node that `input` names, if it has such an output.
fn resolve(
    text: &PipelineText<'_>,
    nodes: &[UnwiredNode<'_>],
    places: &HashMap<&str, usize>,
    reader: &UnwiredNode<'_>,
    input: &UnwiredInput<'_>,
) -> Result<usize> {
    let at = |error: Error| error.at(text.location(&input.span));
    let Some(&place) = places.get(input.node) else {
        let producers = nodes.iter().filter(|node| !matches!(node.kind, NodeKind::Sink(_))).map(|node| node.id);
        let message = format!("`{}` reads `{}`, which does not exist", reader.id, input.node);
        return Err(at(manifest_unknown_input(message).hint(suggestion(input.node, producers, "the nodes are"))));
    };
    match (&nodes[place].kind, &input.port) {
        (NodeKind::Sink(_), _) => {
            Err(at(manifest_unknown_input(format!("`{}` reads `{}`, but a sink has no output", reader.id, input.node))))
        }
        (NodeKind::Source(_), OutputPort::Side(_)) => Err(at(manifest_unknown_input(format!(
            "`{}` reads a side output of `{}`, but a source has none",
            reader.id, input.node
        ))
        .hint(format!("write input = \"{}\"", input.node)))),
        (NodeKind::Source(source), OutputPort::DeadLetter)
            if source.on_undecodable != UndecodablePolicy::DeadLetter =>
        {
            Err(at(manifest_invalid(format!(
                "`{}` reads `{}.dead-letter`, but that output is always empty",
                reader.id, input.node
            ))
            .hint(format!("set on_undecodable = \"dead-letter\" in [source.{}]", input.node))))
        }
        (NodeKind::Operator(operator), OutputPort::DeadLetter) if operator.on_fault != FaultPolicy::DeadLetter => {
            Err(at(manifest_invalid(format!(
                "`{}` reads `{}.dead-letter`, but that output is always empty",
                reader.id, input.node
            ))
            .hint(format!("set on_fault = \"dead-letter\" in [operator.{}]", input.node))))
        }
        _ => Ok(place),
    }
}

/// Rejects a key that the sources of `node` cannot have. Keys of operators depend on their components and are checked later.
fn check_keys(
    text: &PipelineText<'_>,
    nodes: &[UnwiredNode<'_>],
    node: &UnwiredNode<'_>,
    inputs: &[usize],
) -> Result<()> {
    for (&place, input) in inputs.iter().zip(&node.inputs) {
        let (name, key) = match (input.role, &node.second_key) {
            (InputRole::Broadcast, _) => continue,
            (InputRole::Second, Some(key)) => ("second_key", Some(key)),
            _ => ("key", node.key.as_ref()),
        };
        let (Some((key, span)), NodeKind::Source(source)) = (key, &nodes[place].kind) else { continue };
        let id = nodes[place].id;
        let why = match (key, why_missing(&source.connector, &source.decoding, key)) {
            (KeySelector::Emitted, _) if source.connector.record_parts().keys => continue,
            (KeySelector::Emitted, _) => format!("the source `{id}` emits no keys"),
            (_, Some(why)) => format!("the source `{id}` has no such field: {why}"),
            (_, None) => continue,
        };
        return Err(manifest_key(format!("`{name}` of `{}`: {why}", node.id)).at(text.location(span)));
    }
    Ok(())
}

/// Notes which sources need the keys that their connectors have for records. `order` is a topological order.
fn note_wanted_keys<'a>(
    mut nodes: Vec<UnwiredNode<'a>>,
    edges: &[Vec<usize>],
    order: &[usize],
) -> Vec<UnwiredNode<'a>> {
    // Whether a node at this place, or one behind it, takes keys that come with its records.
    let mut wants = vec![false; nodes.len()];
    for &reader in order.iter().rev() {
        let node = &nodes[reader];
        let keys = node.key.iter().chain(&node.second_key);
        let takes_own = keys.into_iter().any(|(key, _)| *key == KeySelector::Emitted);
        // A function emits keys of its own.
        let is_function = matches!(&node.kind, NodeKind::Operator(operator) if operator.function.is_some());
        let wanted = takes_own || (wants[reader] && !is_function);
        edges[reader].iter().for_each(|&input| wants[input] |= wanted);
    }
    for (node, wants) in nodes.iter_mut().zip(wants) {
        if let NodeKind::Source(source) = &mut node.kind {
            source.wants_keys = wants && source.connector.record_parts().keys;
        }
    }
    nodes
}

/// Sorts the nodes with Kahn's algorithm. Among nodes that are ready, the first one in the file comes first.
fn topological_order(text: &PipelineText<'_>, nodes: &[UnwiredNode<'_>], edges: &[Vec<usize>]) -> Result<Vec<usize>> {
    let mut waits_for: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (reader, inputs) in edges.iter().enumerate() {
        for &input in inputs {
            readers[input].push(reader);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..nodes.len()).filter(|&place| waits_for[place] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(place)) = ready.pop() {
        order.push(place);
        for &reader in &readers[place] {
            waits_for[reader] -= 1;
            if waits_for[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match (0..nodes.len()).find(|&place| waits_for[place] > 0) {
        Some(stuck) => Err(cycle(text, nodes, edges, &waits_for, stuck)),
        None => Ok(order),
    }
}

/// Finds a cycle: walks upstream from a node that never became ready, until a node occurs twice.
fn cycle(
    text: &PipelineText<'_>,
    nodes: &[UnwiredNode<'_>],
    edges: &[Vec<usize>],
    waits_for: &[usize],
    stuck: usize,
) -> Error {
    let mut path = vec![stuck];
    let mut step_of = vec![None; nodes.len()];
    step_of[stuck] = Some(0);
    let mut place = stuck;
    let first = loop {
        // A node that is not ready has an input that is not ready.
        let Some(&next) = edges[place].iter().find(|&&input| waits_for[input] > 0) else { break 0 };
        if let Some(step) = step_of[next] {
            break step;
        }
        step_of[next] = Some(path.len());
        path.push(next);
        place = next;
    };
    let around = &path[first..];
    // The walk went upstream, so its reverse goes downstream. The cycle begins with the first node in the file.
    let mut ids: Vec<usize> = around.iter().rev().copied().collect();
    let start = ids.iter().enumerate().min_by_key(|(_, place)| **place).map_or(0, |(start, _)| start);
    ids.rotate_left(start);
    ids.extend(ids.first().copied());
    let names: Vec<&str> = ids.iter().map(|&place| nodes[place].id).collect();
    let span = ids.first().map_or(0..0, |&place| nodes[place].span.clone());
    manifest_cycle(format!("the operators form a cycle: {}", names.join(" -> ")))
        .hint("remove one of these inputs")
        .at(text.location(&span))
}

/// Checks that every output is read, so that no records are lost silently. The host keeps dead letters that no node reads.
fn check_readers(text: &PipelineText<'_>, nodes: &[UnwiredNode<'_>], edges: &[Vec<usize>]) -> Result<()> {
    let mut read = vec![false; nodes.len()];
    for (node, inputs) in nodes.iter().zip(edges) {
        for (input, &place) in node.inputs.iter().zip(inputs) {
            let is_dead_letter = input.port == OutputPort::DeadLetter;
            // Only the main output of a source counts: otherwise nothing reads its records.
            read[place] |= !is_dead_letter || matches!(nodes[place].kind, NodeKind::Operator(_));
        }
    }
    for (place, node) in nodes.iter().enumerate() {
        let at = |error: Error| error.at(text.location(&node.span));
        let id = node.id;
        if !read[place] && !matches!(node.kind, NodeKind::Sink(_)) {
            return Err(at(manifest_invalid(format!("no node reads `{id}`"))
                .hint(format!("add a sink with input = \"{id}\"; connector = \"blackhole\" drops the records"))));
        }
    }
    Ok(())
}
