//! From text to a [`PipelineSpec`]: the settings of the whole job. Nodes are read by `node`, wired by `graph`.

use std::time::Duration;

use toml::de::DeTable;

use super::graph;
use super::node::{self, RawNode};
use super::reader::{PipelineText, TomlItem, TomlSection};
use super::syntax::syntax_error;
use super::{
    BatchSettings, CheckpointCleanup, CheckpointMode, CheckpointSettings, NodeKind, PipelineNode, PipelineSpec,
    RestartStrategy, SandboxSettings, StateBackendKind, StateSettings,
};
use crate::error::{Result, TextLocation, manifest_invalid, manifest_parallelism};
use crate::model::{MAX_PARALLELISM_LIMIT, default_max_parallelism};

const NAME_CHARS_MAX: usize = 64;
/// Columns are addressed by 32 bits, so that no batch and no output may come near 4 GiB.
pub(super) const COLUMN_BYTES_MAX: u64 = 1 << 30;
const BATCH_RECORDS_MAX: u64 = 1 << 20;
/// Checkpoints in progress at once, at most: each holds a snapshot of all state.
const CONCURRENT_MAX: u64 = 100;

const TOP_KEYS: &[&str] = &[
    "name",
    "parallelism",
    "max_parallelism",
    "seed",
    "batch",
    "checkpoint",
    "restart",
    "state",
    "sandbox",
    "source",
    "operator",
    "sink",
];

impl PipelineSpec {
    /// Reads and checks a manifest. `file_name` is what errors call it; each error that concerns a place in the text
    /// names it (see [`Error::location`]). Opens no file.
    pub fn parse(text: &str, file_name: &str) -> Result<PipelineSpec> {
        let text = PipelineText { file: file_name, text };
        let document = DeTable::parse(text.text).map_err(|error| syntax_error(&text, &error))?;
        let top = TomlSection::open(&text, "the manifest".to_string(), 0..0, document.get_ref());
        top.check_keys(TOP_KEYS)?;
        pipeline(&text, &top)
    }
}

/// The place of a node's key in a manifest that parses, or of the node where it has no such key.
pub fn locate(text: &str, file_name: &str, node: &str, key: &str) -> Option<TextLocation> {
    let text = PipelineText { file: file_name, text };
    let document = DeTable::parse(text.text).ok()?;
    let kinds =
        ["source", "operator", "sink"].iter().filter_map(|kind| document.get_ref().get(*kind)?.get_ref().as_table());
    let (name, table) = kinds.filter_map(|nodes| nodes.get_key_value(node)).next()?;
    let span =
        table.get_ref().as_table().and_then(|table| table.get(key)).map_or_else(|| name.span(), |value| value.span());
    Some(text.location(&span))
}

fn pipeline<'a>(text: &'a PipelineText<'a>, top: &TomlSection<'a>) -> Result<PipelineSpec> {
    let name = name(&top.need("name")?)?;
    let parallelism = top.get("parallelism").map(|item| parallelism(&item)).transpose()?.unwrap_or(1);
    let mut nodes = node::read_all(text, top)?;
    for node in &mut nodes {
        node.parallelism_or(parallelism);
    }
    let max_parallelism = max_parallelism(text, top, &nodes)?;
    let pipeline = PipelineSpec {
        name,
        parallelism,
        max_parallelism,
        max_parallelism_is_default: top.get("max_parallelism").is_none(),
        seed: top.get("seed").map(|item| item.count(0, u64::MAX)).transpose()?,
        batch: batch(top)?,
        checkpoint: checkpoint(top)?,
        restart: restart(top)?,
        state: state(top)?,
        sandbox: sandbox(top)?,
        nodes: graph::wire(text, nodes)?,
    };
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

/// A `parallelism`, of the pipeline or of a node.
pub(super) fn parallelism(item: &TomlItem<'_>) -> Result<u32> {
    let value = item.integer().and_then(|value| u32::try_from(value).ok());
    value.filter(|value| (1..=MAX_PARALLELISM_LIMIT).contains(value)).ok_or_else(|| {
        let message = format!("{} must be an integer within 1 and {MAX_PARALLELISM_LIMIT}", item.what);
        item.error(manifest_parallelism(message))
    })
}

fn max_parallelism(text: &PipelineText<'_>, top: &TomlSection<'_>, nodes: &[RawNode<'_>]) -> Result<u32> {
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
                .hint("lower it, or raise `max_parallelism` (which fixes how keyed state is sharded)")
                .at(text.location(&span)))
        }
    }
}

fn batch(top: &TomlSection<'_>) -> Result<BatchSettings> {
    let mut settings = BatchSettings { records: 1024, bytes: 1 << 20, linger: Duration::from_millis(10) };
    let Some(section) = top.section("batch", &["records", "bytes", "linger"])? else { return Ok(settings) };
    if let Some(item) = section.get("records") {
        settings.records = usize::try_from(item.count(1, BATCH_RECORDS_MAX)?).unwrap_or(usize::MAX);
    }
    if let Some(item) = section.get("bytes") {
        settings.bytes = item.bytes(1, COLUMN_BYTES_MAX)?;
    }
    if let Some(item) = section.get("linger") {
        settings.linger = item.duration(Duration::ZERO)?;
    }
    Ok(settings)
}

const CHECKPOINT_KEYS: &[&str] = &[
    "interval",
    "records",
    "event_time",
    "min_pause",
    "max_concurrent",
    "mode",
    "unaligned_after",
    "retained",
    "on_cancel",
    "tolerable_failures",
    "timeout",
    "storage",
];

fn checkpoint(top: &TomlSection<'_>) -> Result<CheckpointSettings> {
    let mut settings = CheckpointSettings {
        interval: None,
        records: None,
        event_time: None,
        min_pause: Duration::ZERO,
        max_concurrent: 1,
        mode: CheckpointMode::ExactlyOnce,
        unaligned_after: None,
        on_cancel: CheckpointCleanup::Delete,
        retained: 3,
        tolerable_failures: 0,
        timeout: Duration::from_mins(10),
        storage: None,
    };
    let Some(section) = top.section("checkpoint", CHECKPOINT_KEYS)? else { return Ok(settings) };
    let at_least = Duration::from_millis(1);
    settings.interval = section.get("interval").map(|item| item.duration(at_least)).transpose()?;
    settings.records = section.get("records").map(|item| item.count(1, u64::MAX)).transpose()?;
    settings.event_time = section.get("event_time").map(|item| item.duration(at_least)).transpose()?;
    concurrency(&section, &mut settings)?;
    if let Some(item) = section.get("on_cancel") {
        settings.on_cancel =
            item.choose(&[("delete", CheckpointCleanup::Delete), ("keep", CheckpointCleanup::Keep)])?;
    }
    if let Some(item) = section.get("retained") {
        settings.retained = usize::try_from(item.count(1, 1_000_000)?).unwrap_or(usize::MAX);
    }
    if let Some(item) = section.get("tolerable_failures") {
        settings.tolerable_failures = u32::try_from(item.count(0, u64::from(u32::MAX))?).unwrap_or(u32::MAX);
    }
    if let Some(item) = section.get("timeout") {
        settings.timeout = item.duration(at_least)?;
    }
    settings.storage = section.get("storage").map(|item| item.string().map(str::to_owned)).transpose()?;
    Ok(settings)
}

/// How checkpoints stand to each other and to the records in front of them.
fn concurrency(section: &TomlSection<'_>, settings: &mut CheckpointSettings) -> Result<()> {
    if let Some(item) = section.get("max_concurrent") {
        settings.max_concurrent = usize::try_from(item.count(1, CONCURRENT_MAX)?).unwrap_or(1);
    }
    if let Some(item) = section.get("mode") {
        let modes = [("exactly-once", CheckpointMode::ExactlyOnce), ("at-least-once", CheckpointMode::AtLeastOnce)];
        settings.mode = item.choose(&modes)?;
    }
    if let Some(item) = section.get("min_pause") {
        settings.min_pause = item.duration(Duration::ZERO)?;
        if settings.max_concurrent > 1 && !settings.min_pause.is_zero() {
            return Err(item.invalid("means nothing with a `max_concurrent` above 1"));
        }
    }
    if let Some(item) = section.get("unaligned_after") {
        settings.unaligned_after = Some(item.duration(Duration::ZERO)?);
        if settings.mode == CheckpointMode::AtLeastOnce {
            return Err(item.invalid("means nothing with mode = \"at-least-once\", where no input waits"));
        }
        if settings.max_concurrent > 1 {
            return Err(item.invalid("needs a `max_concurrent` of 1"));
        }
    }
    Ok(())
}

/// Every source must say how its watermark is made, or the smallest of them never moves.
fn check_event_time(top: &TomlSection<'_>, pipeline: &PipelineSpec) -> Result<()> {
    let without = |node: &&PipelineNode| matches!(&node.kind, NodeKind::Source(source) if source.watermark.is_none());
    let item = top.section("checkpoint", CHECKPOINT_KEYS)?.and_then(|section| section.get("event_time"));
    match (item, pipeline.nodes.iter().find(without)) {
        (Some(item), Some(node)) => {
            Err(item.invalid(format_args!("needs a `watermark` of every source, and `{}` has none", node.id)))
        }
        _ => Ok(()),
    }
}

fn restart(top: &TomlSection<'_>) -> Result<RestartStrategy> {
    let (mut attempts, mut delay) = (3, Duration::from_secs(1));
    let Some(section) = top.section("restart", &["strategy", "attempts", "delay"])? else {
        return Ok(RestartStrategy::FixedDelay { attempts, delay });
    };
    let strategies = [("none", false), ("fixed-delay", true)];
    let restarts = section.get("strategy").map(|item| item.choose(&strategies)).transpose()?.unwrap_or(true);
    if !restarts {
        return match section.get("attempts").or_else(|| section.get("delay")) {
            Some(item) => Err(item.invalid("means nothing with strategy = \"none\"")),
            None => Ok(RestartStrategy::None),
        };
    }
    if let Some(item) = section.get("attempts") {
        let count =
            item.count(1, u64::from(u32::MAX)).map_err(|error| error.hint("strategy = \"none\" never restarts"))?;
        attempts = u32::try_from(count).unwrap_or(u32::MAX);
    }
    if let Some(item) = section.get("delay") {
        delay = item.duration(Duration::ZERO)?;
    }
    Ok(RestartStrategy::FixedDelay { attempts, delay })
}

fn state(top: &TomlSection<'_>) -> Result<StateSettings> {
    let section = top.section("state", &["backend"])?;
    let backends = [("memory", StateBackendKind::Memory), ("rocksdb", StateBackendKind::RocksDb)];
    let backend = section.and_then(|section| section.get("backend")).map(|item| item.choose(&backends)).transpose()?;
    Ok(StateSettings { backend: backend.unwrap_or(StateBackendKind::Memory) })
}

fn sandbox(top: &TomlSection<'_>) -> Result<SandboxSettings> {
    let section = top.section("sandbox", &["fresh_instance"])?;
    let fresh = section.and_then(|section| section.get("fresh_instance")).map(|item| item.bool()).transpose()?;
    Ok(SandboxSettings { fresh_instance: fresh.unwrap_or(false) })
}

/// An id of a node: it names folders and metrics, and a `.` in it would be read as a side output.
pub(super) fn check_id(text: &PipelineText<'_>, what: &str, id: &str, span: &std::ops::Range<usize>) -> Result<()> {
    let well_formed = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if well_formed && !id.is_empty() && id.len() <= NAME_CHARS_MAX {
        return Ok(());
    }
    let message = format!("{what} has an id that is not made of 1 to {NAME_CHARS_MAX} letters, digits, `-` and `_`");
    Err(manifest_invalid(message).at(text.location(span)))
}
