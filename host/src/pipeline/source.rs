//! Reads `[source.ID]`: the connector, the timestamps and the watermark.

use std::time::Duration;

use super::bounds::parallelism;
use super::connector::{Connector, SourceConfig};
use super::connector_keys::{self, ConnectorKeys};
use super::key_selector::{KeySelector, field_or_column};
use super::node_spec::{
    AlignmentSettings, SourceNode, SourceTimestamp, TimestampFormat, TimestampSelector, UndecodablePolicy,
    WatermarkSettings,
};
use super::record_format::{self, DecodingSettings, FileFormat};
use super::sections;
use super::setting::setting_keys;
use super::source_settings::SOURCE_SETTINGS;
use super::timestamp_format;
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::{Result, manifest_key, manifest_parallelism};

/// Reads `[source.ID]`.
pub(super) fn source(connectors: &[&Connector], section: &TomlSection<'_>) -> Result<SourceNode> {
    let (mut sources, mut known) = (Vec::new(), Vec::new());
    for connector in connectors {
        if let (Some(source), Some(settings)) = (&connector.source, sections::source_settings(connector)) {
            sources.push((connector.name, source));
            known.push(ConnectorKeys { connector: connector.name, keys: setting_keys(&settings, None) });
        }
    }
    let (name, read) = sources[connector_keys::choose(section, &known)?];
    let connector = SourceConfig::new(name, (read.read)(section)?);
    check_parallelism(section, &connector)?;
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
    Ok(SourceNode { connector, decoding, timestamp, watermark, rate, on_undecodable, keep_raw, wants_keys: false })
}

/// Checks that the parallelism is of use to the connector.
fn check_parallelism(section: &TomlSection<'_>, connector: &SourceConfig) -> Result<()> {
    let (Some(item), Some(max)) = (section.get("parallelism"), connector.max_parallelism()) else { return Ok(()) };
    if parallelism(&item)? <= max {
        return Ok(());
    }
    let at_most = if max == 1 { "1".to_owned() } else { format!("at most {max}") };
    let message = format!("{} must be {at_most} with connector = \"{}\"", item.what, connector.name());
    Err(item.error(manifest_parallelism(message)))
}

fn timestamp(item: &TomlItem<'_>, connector: &SourceConfig, decoding: &DecodingSettings) -> Result<SourceTimestamp> {
    if item.as_str() == Some("record") {
        return match connector.record_parts().timestamps {
            true => Ok(SourceTimestamp::Record),
            false => Err(item.error(
                manifest_key(format!("{}: the records of this connector have no timestamps of their own", item.what))
                    .hint("name the field: timestamp = { field = \"time\", format = \"rfc3339\" }"),
            )),
        };
    }
    let section = item.section()?;
    section.check_keys(&setting_keys(SOURCE_SETTINGS, Some("timestamp")))?;
    let at = field_or_column(item, &section)?;
    let format = match section.get("format") {
        // A logical timestamp has its unit in the schema.
        None if connector.format().0 == FileFormat::Avro => TimestampFormat::UnixMs,
        _ => timestamp_format::read(&section.need("format")?)?,
    };
    let zone = match section.get("zone") {
        Some(item) if matches!(format, TimestampFormat::UnixS | TimestampFormat::UnixMs | TimestampFormat::UnixUs) => {
            return Err(item.invalid("has no effect on a number of seconds since 1970, which is in UTC"));
        }
        Some(item) => Some(item.string()?.to_owned()),
        None => None,
    };
    match why_missing(connector, decoding, &at) {
        Some(why) => Err(item.error(manifest_key(format!("{}: {why}", item.what)))),
        None => Ok(SourceTimestamp::Field(TimestampSelector { at, format, zone })),
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
        (FileFormat::Avro, _) if names.is_empty() => Some("Avro has fields, but no columns"),
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
    section.check_keys(&setting_keys(SOURCE_SETTINGS, Some("watermark")))?;
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
    section.check_keys(&setting_keys(SOURCE_SETTINGS, Some("watermark.alignment")))?;
    let group = section.need("group")?.string()?.to_string();
    Ok(AlignmentSettings { group, max_drift: section.need("max_drift")?.duration(Duration::ZERO)? })
}
