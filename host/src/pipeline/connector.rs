//! What the parser knows of connectors. It knows none by name: the caller of [`PipelineSpec::parse_with`] passes a list of them.
//!
//! [`PipelineSpec::parse_with`]: super::PipelineSpec::parse_with

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::record_format::FileFormat;
use super::setting::Setting;
use super::toml_reader::TomlSection;
use crate::error::Result;

/// What a connector has for each record besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordParts {
    /// An event timestamp, for `timestamp = "record"`.
    pub timestamps: bool,
    /// A key, for `key = "record"`.
    pub keys: bool,
}

/// A connector as the list of connectors describes it.
pub struct Connector {
    /// The value of `connector` in the pipeline file.
    pub name: &'static str,
    /// Its sources, if it has any.
    pub source: Option<SourceConnector>,
    /// Its sinks, if it has any.
    pub sink: Option<SinkConnector>,
}

/// The sources of a connector.
pub struct SourceConnector {
    /// The settings besides those that every source has.
    pub settings: &'static [Setting],
    /// Reads the settings of `[source.ID]`. Unknown keys have been refused.
    pub read: fn(&TomlSection<'_>) -> Result<Box<dyn SourceSettings>>,
}

/// The sinks of a connector.
pub struct SinkConnector {
    /// The settings besides those that every sink has.
    pub settings: &'static [Setting],
    /// Whether it writes records in a format, so that `format`, `header` and `columns` are settings of its sinks.
    pub encodes: bool,
    /// Reads the settings of `[sink.ID]`. Unknown keys have been refused.
    pub read: fn(&TomlSection<'_>) -> Result<Box<dyn SinkSettings>>,
}

/// The settings of one source of a connector. Only the module `connector` can open it.
pub trait SourceSettings: Any + fmt::Debug + Send + Sync {
    /// Returns the format of the records, and whether they follow a header.
    fn format(&self) -> (FileFormat, bool);

    /// Returns what the connector has for each record besides its bytes.
    fn record_parts(&self) -> RecordParts;

    /// Returns the largest parallelism that is of use, if there is one.
    fn max_parallelism(&self) -> Option<u32>;
}

/// The settings of one sink of a connector. Only the module `connector` can open it.
pub trait SinkSettings: Any + fmt::Debug + Send + Sync {}

/// The connector of a source, with its settings.
#[derive(Clone)]
pub struct SourceConfig {
    name: &'static str,
    settings: Arc<dyn SourceSettings>,
}

impl SourceConfig {
    /// Combines the name of a connector with the settings that it has read.
    pub fn new(name: &'static str, settings: Box<dyn SourceSettings>) -> SourceConfig {
        SourceConfig { name, settings: settings.into() }
    }

    /// Returns the name of the connector.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the settings, for the module `connector`.
    pub fn settings(&self) -> &dyn SourceSettings {
        &*self.settings
    }

    /// Returns the format of the records, and whether there is a header.
    pub fn format(&self) -> (FileFormat, bool) {
        self.settings.format()
    }

    /// Returns what the connector has for each record besides its bytes.
    pub fn record_parts(&self) -> RecordParts {
        self.settings.record_parts()
    }

    /// Returns the largest parallelism that is of use, if there is one.
    pub fn max_parallelism(&self) -> Option<u32> {
        self.settings.max_parallelism()
    }
}

impl fmt::Debug for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// The connector of a sink, with its settings.
#[derive(Clone)]
pub struct SinkConfig {
    name: &'static str,
    settings: Arc<dyn SinkSettings>,
}

impl SinkConfig {
    /// Combines the name of a connector with the settings that it has read.
    pub fn new(name: &'static str, settings: Box<dyn SinkSettings>) -> SinkConfig {
        SinkConfig { name, settings: settings.into() }
    }

    /// Returns the name of the connector.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the settings, for the module `connector`.
    pub fn settings(&self) -> &dyn SinkSettings {
        &*self.settings
    }
}

impl fmt::Debug for SinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
