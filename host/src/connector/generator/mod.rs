//! Records from a template: a source for tests, examples and measurements.

mod generator_source;

use generator_source::Generator;

use super::context::ConnectorContext;
use super::source::{Replay, Source};
use super::spec::{self, SourceSpec};
use crate::error::Result;
use crate::format::SourceDecoding;
use crate::pipeline::{
    Connector, FileFormat, Setting, SettingKind, SourceConnector, SourceSettings, TomlSection, source_format,
};

pub(super) const CONNECTOR: Connector = Connector {
    name: "generator",
    source: Some(SourceConnector {
        settings: &[
            Setting::new("records", SettingKind::Number { min: 0, max: u64::MAX }, "unlimited"),
            Setting::new("template", SettingKind::Text, "`\"{n}\"`"),
            Setting::new("keys", SettingKind::Number { min: 1, max: u64::MAX }, "100"),
        ],
        read,
    }),
    sink: None,
};

/// The settings of a generator.
#[derive(Debug)]
struct GeneratorSpec {
    /// Number of records, or `None` for an endless source.
    records: Option<u64>,
    /// The record, in which `{n}` is replaced by its number and `{key}` by a key.
    template: String,
    /// Number of distinct values of `{key}`.
    keys: u64,
    format: FileFormat,
}

fn read(section: &TomlSection<'_>) -> Result<Box<dyn SourceSettings>> {
    let template = section.get("template").map(|item| item.string()).transpose()?.unwrap_or("{n}").to_owned();
    Ok(spec::source(GeneratorSpec {
        records: section.get("records").map(|item| item.count(0, u64::MAX)).transpose()?,
        keys: section.get("keys").map(|item| item.count(1, u64::MAX)).transpose()?.unwrap_or(100),
        format: source_format(section)?.unwrap_or_else(|| format_of(&template)),
        template,
    }))
}

/// Returns the format of a template without `format`: NDJSON if a sample is a JSON object, else CSV.
fn format_of(template: &str) -> FileFormat {
    let sample = template.replace("{n}", "0").replace("{key}", "k0");
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&sample) {
        Ok(_) => FileFormat::Ndjson,
        Err(_) => FileFormat::Csv,
    }
}

impl SourceSpec for GeneratorSpec {
    fn format(&self) -> (FileFormat, bool) {
        (self.format, false)
    }

    fn replay(&self) -> Replay {
        Replay::Yes
    }

    fn location_key(&self) -> &'static str {
        "connector"
    }

    fn open(
        &self,
        _decoding: &SourceDecoding,
        context: &ConnectorContext,
        positions: &[&[u8]],
    ) -> Result<Box<dyn Source>> {
        Ok(Box::new(Generator::open(self.records, &self.template, self.keys, context, positions)?))
    }
}
