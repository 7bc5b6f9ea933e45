//! Stands for the connectors of the host, which need its threads and files: the same names, with the settings that the parser reads.

use crate::error::Result;
use crate::pipeline::{
    Connector, FileFormat, PipelineSpec, RecordParts, Setting, SettingKind, SinkConnector, SinkSettings, SourceConnector,
    SourceSettings, TomlSection, source_format,
};

const CONNECTORS: &[&Connector] = &[
    &Connector {
        name: "file",
        source: Some(SourceConnector {
            settings: &[Setting::required("path", SettingKind::Path), Setting::new("header", SettingKind::Boolean, "`true`")],
            read: |section| source(section, Some("path")),
        }),
        sink: Some(SinkConnector {
            settings: &[Setting::required("path", SettingKind::Path)],
            encodes: true,
            read: |section| sink(section, Some("path")),
        }),
    },
    &Connector {
        name: "generator",
        source: Some(SourceConnector {
            settings: &[Setting::new("records", SettingKind::Text, ""), Setting::new("template", SettingKind::Text, ""), Setting::new("keys", SettingKind::Text, "")],
            read: |section| source(section, None),
        }),
        sink: None,
    },
    &Connector {
        name: "http",
        source: Some(SourceConnector {
            settings: &[
                Setting::new("auth", SettingKind::Table, ""),
                Setting::new("dedup", SettingKind::Text, ""),
                Setting::new("max_body", SettingKind::Text, ""),
                Setting::new("headers", SettingKind::Texts, ""),
            ],
            read: |section| source(section, None),
        }),
        sink: None,
    },
    &Connector {
        name: "socket",
        source: Some(SourceConnector {
            settings: &[Setting::required("address", SettingKind::Text)],
            read: |section| source(section, Some("address")),
        }),
        sink: None,
    },
    &Connector {
        name: "stdout",
        source: None,
        sink: Some(SinkConnector { settings: &[], encodes: true, read: |section| sink(section, None) }),
    },
    &Connector {
        name: "blackhole",
        source: None,
        sink: Some(SinkConnector { settings: &[], encodes: false, read: |section| sink(section, None) }),
    },
];

impl PipelineSpec {
    /// Parses the text of a pipeline file.
    pub fn parse(text: &str, file_name: &str) -> Result<PipelineSpec> {
        PipelineSpec::parse_with(CONNECTORS, text, file_name)
    }
}

/// The text of a required setting, and the format.
#[derive(Debug)]
struct TextSettings {
    _text: Option<String>,
    format: FileFormat,
    has_header: bool,
}

impl SourceSettings for TextSettings {
    fn format(&self) -> (FileFormat, bool) {
        (self.format, self.has_header)
    }

    fn record_parts(&self) -> RecordParts {
        RecordParts { timestamps: true, keys: true }
    }

    fn max_parallelism(&self) -> Option<u32> {
        None
    }
}

impl SinkSettings for TextSettings {}

fn text(section: &TomlSection<'_>, required: Option<&str>) -> Result<Option<String>> {
    required.map(|key| Ok(section.need(key)?.string()?.to_owned())).transpose()
}

fn source(section: &TomlSection<'_>, required: Option<&str>) -> Result<Box<dyn SourceSettings>> {
    let format = source_format(section)?.unwrap_or(FileFormat::Lines);
    let has_header = section.get("header").map(|item| item.bool()).transpose()?.unwrap_or(format == FileFormat::Csv);
    Ok(Box::new(TextSettings { _text: text(section, required)?, format, has_header }))
}

fn sink(section: &TomlSection<'_>, required: Option<&str>) -> Result<Box<dyn SinkSettings>> {
    Ok(Box::new(TextSettings { _text: text(section, required)?, format: FileFormat::Raw, has_header: false }))
}
