//! Reads `[source.ID]`: the connector, the timestamps and the watermark.

use std::path::PathBuf;
use std::time::Duration;

use super::bounds::{check_connector_keys, parallelism};
use super::key_selector::{KeySelector, field_or_column};
use super::node_spec::{
    AlignmentSettings, SourceConfig, SourceNode, TimestampFormat, TimestampSelector, UndecodablePolicy,
    WatermarkSettings,
};
use super::record_format::{self, DECODING_KEYS, DecodingSettings, FileFormat};
use super::timestamp_format;
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::{Result, manifest_key, manifest_parallelism};

#[derive(Clone, Copy)]
enum SourceKind {
    File,
    Generator,
    Socket,
}

/// Reads `[source.ID]`.
pub(super) fn source(section: &TomlSection<'_>) -> Result<SourceNode> {
    const COMMON: &[&str] =
        &["connector", "format", "timestamp", "watermark", "rate", "on_undecodable", "keep_raw", "parallelism"];
    const FILE: &[&str] = &["path", "header"];
    const GENERATOR: &[&str] = &["records", "template", "keys"];
    const SOCKET: &[&str] = &["address"];
    section.check_keys(&[COMMON, &DECODING_KEYS, FILE, GENERATOR, SOCKET].concat())?;
    let connectors = [("file", SourceKind::File), ("generator", SourceKind::Generator), ("socket", SourceKind::Socket)];
    let item = section.need("connector")?;
    let (connector, own) = match item.choose(&connectors)? {
        SourceKind::File => (file_source(section)?, FILE),
        SourceKind::Generator => (generator(section)?, GENERATOR),
        SourceKind::Socket => (socket(section)?, SOCKET),
    };
    check_connector_keys(section, &item, &[COMMON, &DECODING_KEYS, own].concat())?;
    let decoding = record_format::decoding(section, connector.format().0)?;
    let timestamp = section.get("timestamp").map(|item| timestamp(&item, &connector, &decoding)).transpose()?;
    let watermark = match section.get("watermark") {
        Some(item) => watermark(&item, timestamp.is_some())?,
        None => None,
    };
    let rate = section.get("rate").map(|item| item.thousandths()).transpose()?;
    let choices = [
        ("fail", UndecodablePolicy::Fail),
        ("skip", UndecodablePolicy::Skip),
        ("dead-letter", UndecodablePolicy::DeadLetter),
    ];
    let on_undecodable = section.get("on_undecodable").map(|item| item.choose(&choices)).transpose()?;
    let on_undecodable = on_undecodable.unwrap_or_default();
    let keep_raw = section.get("keep_raw").map(|item| item.bool()).transpose()?.unwrap_or(false);
    Ok(SourceNode { connector, decoding, timestamp, watermark, rate, on_undecodable, keep_raw })
}

fn socket(section: &TomlSection<'_>) -> Result<SourceConfig> {
    if let Some(item) = section.get("parallelism")
        && parallelism(&item)? != 1
    {
        return Err(
            item.error(manifest_parallelism("a socket is one connection, so its source must have parallelism 1"))
        );
    }
    Ok(SourceConfig::Socket { address: address(&section.need("address")?)?, format: format(section)? })
}

fn format(section: &TomlSection<'_>) -> Result<FileFormat> {
    Ok(record_format::format(section)?.unwrap_or(FileFormat::Lines))
}

fn file_source(section: &TomlSection<'_>) -> Result<SourceConfig> {
    let path = PathBuf::from(section.need("path")?.string()?);
    let format = format(section)?;
    let header = match section.get("header") {
        Some(item) if format != FileFormat::Csv => return Err(item.invalid("has no effect without format = \"csv\"")),
        Some(item) => item.bool()?,
        None => format == FileFormat::Csv,
    };
    Ok(SourceConfig::File { path, format, header })
}

fn generator(section: &TomlSection<'_>) -> Result<SourceConfig> {
    let records = section.get("records").map(|item| item.count(0, u64::MAX)).transpose()?;
    let template = section.get("template").map(|item| item.string()).transpose()?.unwrap_or("{n}").to_string();
    let keys = section.get("keys").map(|item| item.count(1, u64::MAX)).transpose()?.unwrap_or(100);
    let format = record_format::format(section)?.unwrap_or_else(|| format_of_template(&template));
    Ok(SourceConfig::Generator { records, template, keys, format })
}

/// Returns the format of a template without `format`: NDJSON if a sample is a JSON object, else CSV.
fn format_of_template(template: &str) -> FileFormat {
    let sample = template.replace("{n}", "0").replace("{key}", "k0");
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&sample) {
        Ok(_) => FileFormat::Ndjson,
        Err(_) => FileFormat::Csv,
    }
}

fn address(item: &TomlItem<'_>) -> Result<String> {
    let address = item.string()?;
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(address.to_string()),
        _ => Err(item.invalid("must be a host and a port, such as \"localhost:9000\"")),
    }
}

fn timestamp(item: &TomlItem<'_>, connector: &SourceConfig, decoding: &DecodingSettings) -> Result<TimestampSelector> {
    let section = item.section()?;
    section.check_keys(&["field", "column", "format", "zone"])?;
    let at = field_or_column(item, &section)?;
    let format = timestamp_format::read(&section.need("format")?)?;
    let zone = match section.get("zone") {
        Some(item) if matches!(format, TimestampFormat::UnixS | TimestampFormat::UnixMs | TimestampFormat::UnixUs) => {
            return Err(item.invalid("has no effect on a number of seconds since 1970, which is in UTC"));
        }
        Some(item) => Some(item.string()?.to_owned()),
        None => None,
    };
    match why_missing(connector, decoding, &at) {
        Some(why) => Err(item.error(manifest_key(format!("{}: {why}", item.what)))),
        None => Ok(TimestampSelector { at, format, zone }),
    }
}

/// Returns why records of a source cannot have a field, or `None` if they may have it.
pub(super) fn why_missing(
    connector: &SourceConfig,
    decoding: &DecodingSettings,
    at: &KeySelector,
) -> Option<&'static str> {
    let names: &[String] = match at {
        KeySelector::Field(name) => std::slice::from_ref(name),
        KeySelector::Fields(names) => names,
        KeySelector::Column(_) => &[],
        KeySelector::Value | KeySelector::Emitted => return None,
    };
    match connector.format() {
        (FileFormat::Raw, _) => Some("format = \"raw\" has no fields"),
        (FileFormat::Lines, _) if names.iter().any(|name| name != "line") || names.is_empty() => {
            Some("format = \"lines\" has only the field `line`")
        }
        (FileFormat::Ndjson, _) if names.is_empty() => Some("JSON has fields, but no columns"),
        (FileFormat::Csv, false) if decoding.columns.is_none() && !names.is_empty() => {
            Some("without a header columns have no names; set `columns`, or use `column`, counted from 0")
        }
        _ => None,
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
        return Err(alignment.invalid("needs a `timestamp` of the source; without one its group would wait forever"));
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
