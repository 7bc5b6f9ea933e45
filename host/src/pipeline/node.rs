//! Reads `[source.ID]`, `[operator.ID]` and `[sink.ID]`, each for itself. How they are wired is checked by `graph`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::interval;
use super::parse::{COLUMN_BYTES_MAX, check_id, parallelism};
use super::reader::{PipelineText, TomlItem, TomlSection};
use super::window;
use super::{
    AlignmentSettings, FaultPolicy, FileFormat, FunctionReference, GuestLimits, InputRole, KeySelector,
    MEMORY_BYTES_MAX, NodeKind, OperatorNode, OutputPort, SinkConfig, SourceConfig, SourceNode, TimestampFormat,
    TimestampSelector, UndecodablePolicy, WatermarkSettings,
};
use crate::error::{Result, manifest_invalid, manifest_key, manifest_parallelism, manifest_unknown_key};

/// A node as it was written, its inputs still names.
pub(super) struct RawNode<'a> {
    pub id: &'a str,
    /// Where its id stands.
    pub span: Range<usize>,
    pub parallelism: u32,
    pub parallelism_span: Option<Range<usize>>,
    pub inputs: Vec<RawInput<'a>>,
    pub key: Option<(KeySelector, Range<usize>)>,
    pub second_key: Option<(KeySelector, Range<usize>)>,
    pub kind: NodeKind,
}

impl RawNode<'_> {
    /// Fills in the pipeline's default. A socket is one connection, and further subtasks would end at once: they would speak for
    /// the end of time while the first one is idle.
    pub fn parallelism_or(&mut self, default: u32) {
        if self.parallelism_span.is_none() && !self.is_socket() {
            self.parallelism = default;
        }
    }

    fn is_socket(&self) -> bool {
        matches!(&self.kind, NodeKind::Source(SourceNode { connector: SourceConfig::Socket { .. }, .. }))
    }
}

pub(super) struct RawInput<'a> {
    pub node: &'a str,
    pub port: OutputPort,
    pub role: InputRole,
    pub span: Range<usize>,
}

/// All nodes, in the order in which they were written; ids are unique and well formed.
pub(super) fn read_all<'a>(text: &'a PipelineText<'a>, top: &TomlSection<'a>) -> Result<Vec<RawNode<'a>>> {
    let mut nodes = Vec::new();
    for kind in ["source", "operator", "sink"] {
        let Some(item) = top.get(kind) else { continue };
        for (id, span, item) in item.section()?.entries() {
            let what = format!("[{kind}.{id}]");
            check_id(text, &what, id, &span)?;
            if !item.is_table() {
                let message = format!("`{id}` stands in [{kind}], where only tables may stand");
                let hint = format!("a {kind} has an id: [{kind}.ID]");
                return Err(manifest_invalid(message).hint(hint).at(text.location(&span)));
            }
            let section = item.section()?.called(what, span);
            nodes.push(read(kind, id, &section)?);
        }
    }
    nodes.sort_by_key(|node| node.span.start);
    let mut seen = HashMap::new();
    for node in &nodes {
        if let Some(other) = seen.insert(node.id, &node.span) {
            let line = text.location(other).line;
            let message = format!("two nodes have the id `{}`; the other one is in line {line}", node.id);
            return Err(manifest_invalid(message).at(text.location(&node.span)));
        }
    }
    Ok(nodes)
}

fn read<'a>(kind: &str, id: &'a str, section: &TomlSection<'a>) -> Result<RawNode<'a>> {
    let kind = match kind {
        "source" => NodeKind::Source(source(section)?),
        "operator" => NodeKind::Operator(operator(section)?),
        _ => NodeKind::Sink(sink(section)?),
    };
    let parallelism_item = section.get("parallelism");
    let key_at = |name| section.get(name).map(|item| key(&item).map(|key| (key, item.span.clone()))).transpose();
    if let (Some(item), None) = (section.get("second_key"), section.get("second")) {
        return Err(item.invalid("means nothing without `second`"));
    }
    Ok(RawNode {
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

#[derive(Clone, Copy)]
enum SourceKind {
    File,
    Generator,
    Socket,
}

fn source(section: &TomlSection<'_>) -> Result<SourceNode> {
    const COMMON: &[&str] = &["connector", "timestamp", "watermark", "rate", "on_undecodable", "parallelism"];
    const FILE: &[&str] = &["path", "format", "header"];
    const GENERATOR: &[&str] = &["records", "template", "keys"];
    const SOCKET: &[&str] = &["address", "format"];
    section.check_keys(&[COMMON, FILE, GENERATOR, SOCKET].concat())?;
    let connectors = [("file", SourceKind::File), ("generator", SourceKind::Generator), ("socket", SourceKind::Socket)];
    let item = section.need("connector")?;
    let (connector, own) = match item.choose(&connectors)? {
        SourceKind::File => (file_source(section)?, FILE),
        SourceKind::Generator => (generator(section)?, GENERATOR),
        SourceKind::Socket => (socket(section)?, SOCKET),
    };
    refuse_keys_of_others(section, &item, &[COMMON, own].concat())?;
    let timestamp = section.get("timestamp").map(|item| timestamp(&item, &connector)).transpose()?;
    let watermark = match section.get("watermark") {
        Some(item) => watermark(&item, timestamp.is_some())?,
        None => None,
    };
    let rate = section.get("rate").map(|item| item.count(1, u64::MAX)).transpose()?;
    let choices = [("fail", UndecodablePolicy::Fail), ("skip", UndecodablePolicy::Skip)];
    let on_undecodable = section.get("on_undecodable").map(|item| item.choose(&choices)).transpose()?;
    Ok(SourceNode { connector, timestamp, watermark, rate, on_undecodable: on_undecodable.unwrap_or_default() })
}

/// A key that another connector has: not unknown, but of no effect here.
fn refuse_keys_of_others(section: &TomlSection<'_>, connector: &TomlItem<'_>, known: &[&str]) -> Result<()> {
    let stray = section.entries().into_iter().find(|(key, ..)| !known.contains(key));
    let Some((key, span, item)) = stray else { return Ok(()) };
    let connector = connector.as_str().unwrap_or_default();
    let message = format!("{} has no key `{key}` with connector = \"{connector}\"", section.what);
    Err(manifest_unknown_key(message).at(item.text.location(&span)))
}

fn socket(section: &TomlSection<'_>) -> Result<SourceConfig> {
    if let Some(item) = section.get("parallelism")
        && parallelism(&item)? != 1
    {
        return Err(item.error(manifest_parallelism("a socket is one connection: its source has one subtask")));
    }
    Ok(SourceConfig::Socket { address: address(&section.need("address")?)?, format: format(section)? })
}

fn format(section: &TomlSection<'_>) -> Result<FileFormat> {
    let formats = [("lines", FileFormat::Lines), ("csv", FileFormat::Csv), ("ndjson", FileFormat::Ndjson)];
    Ok(section.get("format").map(|item| item.choose(&formats)).transpose()?.unwrap_or(FileFormat::Lines))
}

fn file_source(section: &TomlSection<'_>) -> Result<SourceConfig> {
    let path = PathBuf::from(section.need("path")?.string()?);
    let format = format(section)?;
    let header = match section.get("header") {
        Some(item) if format != FileFormat::Csv => return Err(item.invalid("means nothing without format = \"csv\"")),
        Some(item) => item.bool()?,
        None => format == FileFormat::Csv,
    };
    Ok(SourceConfig::File { path, format, header })
}

fn generator(section: &TomlSection<'_>) -> Result<SourceConfig> {
    let records = section.get("records").map(|item| item.count(0, u64::MAX)).transpose()?;
    let template = section.get("template").map(|item| item.string()).transpose()?.unwrap_or("{n}").to_string();
    let keys = section.get("keys").map(|item| item.count(1, u64::MAX)).transpose()?.unwrap_or(100);
    Ok(SourceConfig::Generator { records, template, keys })
}

fn address(item: &TomlItem<'_>) -> Result<String> {
    let address = item.string()?;
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(address.to_string()),
        _ => Err(item.invalid("must be a host and a port, like \"localhost:9000\"")),
    }
}

fn timestamp(item: &TomlItem<'_>, connector: &SourceConfig) -> Result<TimestampSelector> {
    let section = item.section()?;
    section.check_keys(&["field", "column", "format", "zone"])?;
    let at = place(item, &section)?;
    use TimestampFormat::{Rfc3339, UnixMs, UnixS, UnixUs};
    let format =
        section.need("format")?.choose(&[Rfc3339, UnixMs, UnixS, UnixUs].map(|format| (format.as_str(), format)))?;
    let zone = match section.get("zone") {
        Some(item) if format != Rfc3339 => return Err(item.invalid("means nothing without format = \"rfc3339\"")),
        Some(item) => Some(item.string()?.to_owned()),
        None => None,
    };
    let misplaced = match (connector.format(), &at) {
        (Some((FileFormat::Lines, _)), _) => Some("format = \"lines\" has no fields"),
        (Some((FileFormat::Ndjson, _)), KeySelector::Column(_)) => Some("JSON has fields, not columns"),
        (Some((FileFormat::Csv, false)), KeySelector::Field(_)) => {
            Some("without a header columns have no names: use `column`, counted from 0")
        }
        _ => None,
    };
    match misplaced {
        Some(why) => Err(item.error(manifest_key(format!("{}: {why}", item.what)))),
        None => Ok(TimestampSelector { at, format, zone }),
    }
}

const WATERMARK_HINT: &str = "a watermark is \"ascending\", \"none\" or { out_of_orderness = \"5s\" }";

fn watermark(item: &TomlItem<'_>, has_timestamps: bool) -> Result<Option<WatermarkSettings>> {
    if !item.is_table() {
        let ascending = item.choose(&[("ascending", true), ("none", false)]);
        let ascending = ascending.map_err(|error| error.hint(WATERMARK_HINT))?;
        return Ok(ascending.then(WatermarkSettings::default));
    }
    let section = item.section()?;
    section.check_keys(&["out_of_orderness", "idle_after", "alignment"])?;
    let alignment = section.get("alignment");
    if let Some(alignment) = alignment.as_ref().filter(|_| !has_timestamps) {
        return Err(alignment.invalid("needs a `timestamp` of the source, or its group would wait for it forever"));
    }
    Ok(Some(WatermarkSettings {
        out_of_orderness: section.need("out_of_orderness")?.duration(Duration::ZERO)?,
        idle_after: section.get("idle_after").map(|item| item.duration(Duration::from_millis(1))).transpose()?,
        alignment: alignment.map(|item| self::alignment(&item)).transpose()?,
    }))
}

fn alignment(item: &TomlItem<'_>) -> Result<AlignmentSettings> {
    let section = item.section()?;
    section.check_keys(&["group", "max_drift"])?;
    let group = section.need("group")?.string()?.to_string();
    Ok(AlignmentSettings { group, max_drift: section.need("max_drift")?.duration(Duration::ZERO)? })
}

const KEY_HINT: &str = "a key is \"value\", \"emitted\", { field = \"name\" } or { column = 0 } (counted from 0)";

/// `field` or `column` of a table, exactly one of them.
pub(super) fn place(item: &TomlItem<'_>, section: &TomlSection<'_>) -> Result<KeySelector> {
    match (section.get("field"), section.get("column")) {
        (Some(field), None) => Ok(KeySelector::Field(field.string()?.to_string())),
        (None, Some(column)) => {
            let place = column.integer().and_then(|place| u32::try_from(place).ok());
            let place = place.and_then(|place| usize::try_from(place).ok());
            place.map(KeySelector::Column).ok_or_else(|| {
                column.error(manifest_key(format!("{} must be a column's place, counted from 0", column.what)))
            })
        }
        _ => Err(item.error(manifest_key(format!("{} needs either `field` or `column`", item.what)))),
    }
}

fn key(item: &TomlItem<'_>) -> Result<KeySelector> {
    if item.is_table() {
        let section = item.section()?;
        section.check_keys(&["field", "column"])?;
        return place(item, &section).map_err(|error| error.hint(KEY_HINT));
    }
    match item.as_str() {
        Some("value") => Ok(KeySelector::Value),
        Some("emitted") => Ok(KeySelector::Emitted),
        _ => Err(item.error(manifest_key(format!("{} is not a key", item.what)).hint(KEY_HINT))),
    }
}

fn operator(section: &TomlSection<'_>) -> Result<OperatorNode> {
    let own = [
        "input",
        "inputs",
        "second",
        "broadcast",
        "key",
        "second_key",
        "component",
        "function",
        "config",
        "interval",
        "on_fault",
        "limits",
        "parallelism",
    ];
    section.check_keys(&[&own[..], &window::KEYS].concat())?;
    let policies = [("fail", FaultPolicy::Fail), ("skip", FaultPolicy::Skip), ("dead-letter", FaultPolicy::DeadLetter)];
    let on_fault = section.get("on_fault").map(|item| item.choose(&policies)).transpose()?;
    let windows = window::read(section)?;
    let function = match windows.as_ref().and_then(|windows| windows.aggregate.as_ref()) {
        Some(_) => None,
        None => Some(FunctionReference {
            component: section.need("component")?.string()?.to_string(),
            name: section.need("function")?.string()?.to_string(),
        }),
    };
    Ok(OperatorNode {
        function,
        windows,
        config: section.get("config").map(|item| config(&item)).transpose()?.unwrap_or_default(),
        interval: section.get("interval").map(|item| interval::read(&item)).transpose()?,
        on_fault: on_fault.unwrap_or(FaultPolicy::Fail),
        limits: section.get("limits").map(|item| limits(&item)).transpose()?.unwrap_or_default(),
    })
}

fn config(item: &TomlItem<'_>) -> Result<BTreeMap<String, String>> {
    let entries = item.section()?.entries();
    entries.into_iter().map(|(key, _, item)| Ok((key.to_string(), item.scalar_text()?))).collect()
}

fn limits(item: &TomlItem<'_>) -> Result<GuestLimits> {
    let section = item.section()?;
    section.check_keys(&["memory", "deadline", "output"])?;
    let mut limits = GuestLimits::default();
    if let Some(item) = section.get("memory") {
        // From one page of WebAssembly to what the sandbox's pool gives.
        limits.memory_bytes = item.bytes(64 << 10, MEMORY_BYTES_MAX as u64)?;
    }
    if let Some(item) = section.get("deadline") {
        limits.deadline = item.duration(Duration::from_millis(1))?;
    }
    if let Some(item) = section.get("output") {
        limits.output_bytes = item.bytes(1, COLUMN_BYTES_MAX)?;
    }
    Ok(limits)
}

#[derive(Clone, Copy)]
enum SinkKind {
    File,
    Stdout,
    Blackhole,
}

fn sink(section: &TomlSection<'_>) -> Result<SinkConfig> {
    const COMMON: &[&str] = &["input", "inputs", "connector", "parallelism"];
    const FILE: &[&str] = &["path"];
    section.check_keys(&[COMMON, FILE].concat())?;
    let connectors = [("file", SinkKind::File), ("stdout", SinkKind::Stdout), ("blackhole", SinkKind::Blackhole)];
    let item = section.need("connector")?;
    let (sink, own) = match item.choose(&connectors)? {
        SinkKind::File => (SinkConfig::File { path: PathBuf::from(section.need("path")?.string()?) }, FILE),
        SinkKind::Stdout => (SinkConfig::Stdout, &[][..]),
        SinkKind::Blackhole => (SinkConfig::Blackhole, &[][..]),
    };
    refuse_keys_of_others(section, &item, &[COMMON, own].concat())?;
    Ok(sink)
}

/// `input` or `inputs`, and then `second` and `broadcast`.
fn inputs<'a>(section: &TomlSection<'a>) -> Result<Vec<RawInput<'a>>> {
    let item = match (section.get("input"), section.get("inputs")) {
        (Some(_), Some(inputs)) => return Err(inputs.invalid("cannot stand beside `input`")),
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

/// One name or a list of them.
fn names<'a>(item: TomlItem<'a>, role: InputRole) -> Result<Vec<RawInput<'a>>> {
    let elements = match item.elements() {
        Some(elements) if elements.is_empty() => return Err(item.invalid("must name at least one input")),
        Some(elements) => elements,
        None => vec![item],
    };
    let (mut inputs, mut seen): (Vec<RawInput<'a>>, HashSet<&str>) = (Vec::new(), HashSet::new());
    for element in elements {
        let input = input(&element, role)?;
        // Two names of one output are the same text.
        if !seen.insert(element.string()?) {
            return Err(element.invalid("is named twice"));
        }
        inputs.push(input);
    }
    Ok(inputs)
}

fn input<'a>(item: &TomlItem<'a>, role: InputRole) -> Result<RawInput<'a>> {
    let name = item.string()?;
    let (node, port) = match name.split_once('.') {
        None => (name, OutputPort::Main),
        Some((node, "dead-letter")) => (node, OutputPort::DeadLetter),
        Some((_, "")) => return Err(item.invalid("names no output after the `.`")),
        Some((node, side)) => (node, OutputPort::Side(side.to_string())),
    };
    Ok(RawInput { node, port, role, span: item.span.clone() })
}
