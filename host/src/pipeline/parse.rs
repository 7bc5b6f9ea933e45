//! Parses a pipeline file: the entry point, and the checks that concern the whole pipeline.

use parking_lot::Mutex;
use toml::de::DeTable;

use super::bounds::{NAME_CHARS_MAX, parallelism};
use super::connector::Connector;
use super::fault_injection::fault_injection;
use super::fault_settings;
use super::graph;
use super::job_settings::{self, CHECKPOINT_SETTINGS};
use super::node::{self, UnwiredNode};
use super::node_spec::{NodeKind, PipelineNode};
use super::restart::restart;
use super::sections::{self, NODE_KINDS};
use super::setting::setting_keys;
use super::spec::{PipelineSpec, StateBackendKind};
use super::syntax::syntax_error;
use super::toml_reader::{PipelineText, TomlItem, TomlSection};
use crate::error::{Result, TextLocation, manifest_parallelism};
use crate::model::default_max_parallelism;

/// Held while a text is parsed. A parser needs some thousand times the memory of a hostile text, so that only one runs at a
/// time, whatever the number of requests.
static PARSING: Mutex<()> = Mutex::new(());

impl PipelineSpec {
    /// Parses and checks the text of a pipeline file whose sources and sinks are of these connectors. Errors contain `file_name` and
    /// their location in the text, see [`crate::error::Error::location`]. Opens no file.
    pub fn parse_with(connectors: &[&Connector], text: &str, file_name: &str) -> Result<PipelineSpec> {
        let _one_at_a_time = PARSING.lock();
        let text = PipelineText { file: file_name, text };
        let document = DeTable::parse(text.text).map_err(|error| syntax_error(&text, &error))?;
        let top = TomlSection::open(&text, "the pipeline file".to_string(), 0..0, document.get_ref());
        top.check_keys(&sections::top_keys())?;
        pipeline(connectors, &text, &top)
    }
}

/// Returns the location of a node's setting in a valid pipeline file, or of the node if the setting is missing.
pub fn locate(text: &str, file_name: &str, node: &str, key: &str) -> Option<TextLocation> {
    let _one_at_a_time = PARSING.lock();
    let text = PipelineText { file: file_name, text };
    let document = DeTable::parse(text.text).ok()?;
    let kinds = NODE_KINDS.iter().filter_map(|kind| document.get_ref().get(*kind)?.get_ref().as_table());
    let (name, table) = kinds.filter_map(|nodes| nodes.get_key_value(node)).next()?;
    let span =
        table.get_ref().as_table().and_then(|table| table.get(key)).map_or_else(|| name.span(), |value| value.span());
    Some(text.location(&span))
}

fn pipeline<'a>(connectors: &[&Connector], text: &'a PipelineText<'a>, top: &TomlSection<'a>) -> Result<PipelineSpec> {
    let name = name(&top.need("name")?)?;
    let parallelism = top.get("parallelism").map(|item| parallelism(&item)).transpose()?.unwrap_or(1);
    let mut nodes = node::read_all(connectors, text, top)?;
    for node in &mut nodes {
        node.parallelism_or(parallelism);
    }
    let max_parallelism = max_parallelism(text, top, &nodes)?;
    let checkpoint = job_settings::checkpoint(top)?;
    let mut pipeline = PipelineSpec {
        name,
        parallelism,
        max_parallelism,
        max_parallelism_is_default: top.get("max_parallelism").is_none(),
        seed: top.get("seed").map(|item| item.count(0, u64::MAX)).transpose()?,
        batch: job_settings::batch(top)?,
        restart: restart(top, &checkpoint)?,
        checkpoint,
        fault_injection: fault_injection(top, nodes.iter().map(|node| node.id))?,
        state: job_settings::state(top)?,
        sandbox: job_settings::sandbox(top)?,
        dead_letters: fault_settings::dead_letters(top)?,
        heartbeat: job_settings::heartbeat(top)?,
        nodes: graph::wire(text, nodes)?,
    };
    for node in &mut pipeline.nodes {
        if let NodeKind::Operator(operator) = &mut node.kind {
            operator.limits.default_state(pipeline.state.backend == StateBackendKind::RocksDb);
        }
    }
    check_event_time(top, &pipeline)?;
    Ok(pipeline)
}

fn name(item: &TomlItem<'_>) -> Result<String> {
    let name = item.string()?;
    let well_formed = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !well_formed || name.len() > NAME_CHARS_MAX {
        return Err(item.invalid(format_args!("must be at most {NAME_CHARS_MAX} characters of a-z, 0-9 and `-`")));
    }
    Ok(name.to_string())
}

fn max_parallelism(text: &PipelineText<'_>, top: &TomlSection<'_>, nodes: &[UnwiredNode<'_>]) -> Result<u32> {
    let largest = nodes.iter().map(|node| node.parallelism).max().unwrap_or(1);
    let Some(item) = top.get("max_parallelism") else { return Ok(default_max_parallelism(largest)) };
    let max = parallelism(&item)?;
    match nodes.iter().find(|node| node.parallelism > max) {
        None => Ok(max),
        Some(node) => {
            let message =
                format!("`{}` has parallelism {}, more than `max_parallelism` = {max}", node.id, node.parallelism);
            let span = match (&node.parallelism_span, top.get("parallelism")) {
                (Some(span), _) => span.clone(),
                (None, Some(default)) => default.span,
                (None, None) => node.span.clone(),
            };
            Err(manifest_parallelism(message)
                .hint(
                    "lower it, or raise `max_parallelism`, the number of key groups into which keyed state is divided",
                )
                .at(text.location(&span)))
        }
    }
}

/// Checks that every source has a watermark if `checkpoint.event_time` is set. Otherwise the smallest one never moves.
fn check_event_time(top: &TomlSection<'_>, pipeline: &PipelineSpec) -> Result<()> {
    let without = |node: &&PipelineNode| matches!(&node.kind, NodeKind::Source(source) if source.watermark.is_none());
    let item = top
        .section("checkpoint", &setting_keys(CHECKPOINT_SETTINGS, None))?
        .and_then(|section| section.get("event_time"));
    match (item, pipeline.nodes.iter().find(without)) {
        (Some(item), Some(node)) => {
            Err(item.invalid(format_args!("needs a `watermark` of every source, but `{}` has none", node.id)))
        }
        _ => Ok(()),
    }
}
