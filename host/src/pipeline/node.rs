//! Reads `[operator.ID]` and `[sink.ID]`, and the settings that all nodes have. `graph` checks how the nodes are wired.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::bounds::{check_id, parallelism};
use super::connector::{Connector, SinkConfig};
use super::connector_keys::{self, ConnectorKeys};
use super::key_selector::{KeySelector, key};
use super::node_spec::{FunctionReference, InputRole, NodeKind, OperatorNode, OutputPort, SinkNode};
use super::sections::{self, NODE_KINDS};
use super::setting::setting_keys;
use super::source::source;
use super::toml_reader::{PipelineText, TomlItem, TomlSection};
use super::{fault_settings, grants, interval, limits, record_format, row_operator, window};
use crate::error::{Result, manifest_invalid};
use crate::model::LogLevel;

/// A node whose inputs are still names.
pub(super) struct UnwiredNode<'a> {
    pub id: &'a str,
    /// The span of the id.
    pub span: Range<usize>,
    /// The parallelism, 1 if it is not set.
    pub parallelism: u32,
    /// The span of the parallelism, if it is set.
    pub parallelism_span: Option<Range<usize>>,
    pub inputs: Vec<UnwiredInput<'a>>,
    /// The key and its span.
    pub key: Option<(KeySelector, Range<usize>)>,
    /// The key of the second input and its span.
    pub second_key: Option<(KeySelector, Range<usize>)>,
    pub kind: NodeKind,
}

impl UnwiredNode<'_> {
    /// Applies the default parallelism of the pipeline, as far as it is of use to a source. The other subtasks of a socket, which is
    /// one connection, would end at once and advance the watermark to its end while the first subtask is idle.
    pub fn parallelism_or(&mut self, default: u32) {
        let max = match &self.kind {
            NodeKind::Source(source) => source.connector.max_parallelism(),
            NodeKind::Operator(_) | NodeKind::Sink(_) => None,
        };
        if self.parallelism_span.is_none() {
            self.parallelism = max.map_or(default, |max| default.min(max));
        }
    }
}

/// An input by the name of its producer.
pub(super) struct UnwiredInput<'a> {
    pub node: &'a str,
    pub port: OutputPort,
    pub role: InputRole,
    pub span: Range<usize>,
}

/// Reads all nodes, in the order of the file. Checks that ids are unique and well formed.
pub(super) fn read_all<'a>(
    connectors: &[&Connector],
    text: &'a PipelineText<'a>,
    top: &TomlSection<'a>,
) -> Result<Vec<UnwiredNode<'a>>> {
    let mut nodes = Vec::new();
    for kind in NODE_KINDS {
        let Some(item) = top.get(kind) else { continue };
        for (id, span, item) in item.section()?.entries() {
            let what = format!("[{kind}.{id}]");
            check_id(text, &what, id, &span)?;
            if !item.is_table() {
                let message = format!("`{id}` in [{kind}] is not a table");
                let hint = format!("give the {kind} an id: [{kind}.ID]");
                return Err(manifest_invalid(message).hint(hint).at(text.location(&span)));
            }
            let section = item.section()?.called(what, span);
            nodes.push(read(connectors, kind, id, &section)?);
        }
    }
    nodes.sort_by_key(|node| node.span.start);
    let mut seen = HashMap::new();
    for node in &nodes {
        if let Some(other) = seen.insert(node.id, &node.span) {
            let line = text.location(other).line;
            let message = format!("two nodes have the id `{}`; the other one is on line {line}", node.id);
            return Err(manifest_invalid(message).hint("rename one of them").at(text.location(&node.span)));
        }
    }
    Ok(nodes)
}

fn read<'a>(connectors: &[&Connector], kind: &str, id: &'a str, section: &TomlSection<'a>) -> Result<UnwiredNode<'a>> {
    let kind = match kind {
        "source" => NodeKind::Source(source(connectors, section)?),
        "operator" => NodeKind::Operator(operator(section)?),
        _ => NodeKind::Sink(sink(connectors, section)?),
    };
    let parallelism_item = section.get("parallelism");
    let key_at = |name| section.get(name).map(|item| key(&item).map(|key| (key, item.span.clone()))).transpose();
    if let (Some(item), None) = (section.get("second_key"), section.get("second")) {
        return Err(item.invalid("has no effect without `second`"));
    }
    Ok(UnwiredNode {
        id,
        span: section.span.clone(),
        parallelism: parallelism_item.as_ref().map(parallelism).transpose()?.unwrap_or(1),
        parallelism_span: parallelism_item.map(|item| item.span),
        inputs: if matches!(kind, NodeKind::Source(_)) { Vec::new() } else { inputs(section)? },
        key: key_at("key")?,
        second_key: key_at("second_key")?,
        kind,
    })
}

fn operator(section: &TomlSection<'_>) -> Result<OperatorNode> {
    section.check_keys(&setting_keys(&sections::operator_settings(), None))?;
    let (on_fault, retry) = fault_settings::read(section)?;
    let rows = row_operator::read(section)?;
    let windows = window::read(section)?;
    let function = match windows.as_ref().and_then(|windows| windows.aggregate.as_ref()) {
        Some(_) => None,
        None if rows.is_some() => None,
        None => Some(FunctionReference {
            component: section.need("component")?.string()?.to_string(),
            name: section.need("function")?.string()?.to_string(),
        }),
    };
    if let (Some(item), None) = (section.get("grants"), &function) {
        return Err(item.invalid("has no effect without a function"));
    }
    Ok(OperatorNode {
        function,
        rows,
        windows,
        config: section.get("config").map(|item| config(&item)).transpose()?.unwrap_or_default(),
        interval: section.get("interval").map(|item| interval::read(&item)).transpose()?,
        on_fault,
        retry,
        limits: section.get("limits").map(|item| limits::read(&item)).transpose()?.unwrap_or_default(),
        log_level: section.get("log").map(|item| item.choose(&LogLevel::NAMED)).transpose()?,
        grants: section.get("grants").map(|item| grants::read(&item)).transpose()?.unwrap_or_default(),
    })
}

fn config(item: &TomlItem<'_>) -> Result<BTreeMap<String, String>> {
    let entries = item.section()?.entries();
    entries.into_iter().map(|(key, _, item)| Ok((key.to_string(), item.scalar_text()?))).collect()
}

fn sink(connectors: &[&Connector], section: &TomlSection<'_>) -> Result<SinkNode> {
    let (mut sinks, mut known) = (Vec::new(), Vec::new());
    for connector in connectors {
        if let (Some(sink), Some(settings)) = (&connector.sink, sections::sink_settings(connector)) {
            sinks.push((connector.name, sink));
            known.push(ConnectorKeys { connector: connector.name, keys: setting_keys(&settings, None) });
        }
    }
    let (name, sink) = sinks[connector_keys::choose(section, &known)?];
    let connector = SinkConfig::new(name, (sink.read)(section)?);
    Ok(SinkNode { connector, encoding: record_format::encoding(section)? })
}

/// Reads `input` or `inputs`, then `second` and `broadcast`.
fn inputs<'a>(section: &TomlSection<'a>) -> Result<Vec<UnwiredInput<'a>>> {
    let item = match (section.get("input"), section.get("inputs")) {
        (Some(_), Some(inputs)) => return Err(inputs.invalid("cannot be combined with `input`")),
        (Some(item), None) | (None, Some(item)) => item,
        (None, None) => section.need("input")?,
    };
    let mut inputs = names(item, InputRole::First)?;
    for (key, role) in [("second", InputRole::Second), ("broadcast", InputRole::Broadcast)] {
        if let Some(item) = section.get(key) {
            inputs.extend(names(item, role)?);
        }
    }
    Ok(inputs)
}

/// Reads one name or a list of names.
fn names<'a>(item: TomlItem<'a>, role: InputRole) -> Result<Vec<UnwiredInput<'a>>> {
    let elements = match item.elements() {
        Some(elements) if elements.is_empty() => return Err(item.invalid("must name at least one input")),
        Some(elements) => elements,
        None => vec![item],
    };
    let (mut inputs, mut seen): (Vec<UnwiredInput<'a>>, HashSet<&str>) = (Vec::new(), HashSet::new());
    for element in elements {
        let input = input(&element, role)?;
        // Equal outputs have equal names.
        if !seen.insert(element.string()?) {
            return Err(element.invalid("occurs twice"));
        }
        inputs.push(input);
    }
    Ok(inputs)
}

fn input<'a>(item: &TomlItem<'a>, role: InputRole) -> Result<UnwiredInput<'a>> {
    let name = item.string()?;
    let (node, port) = match name.split_once('.') {
        None => (name, OutputPort::Main),
        Some((node, "dead-letter")) => (node, OutputPort::DeadLetter),
        Some((_, "")) => return Err(item.invalid("needs the name of an output after the `.`")),
        Some((node, side)) => (node, OutputPort::Side(side.to_string())),
    };
    Ok(UnwiredInput { node, port, role, span: item.span.clone() })
}
