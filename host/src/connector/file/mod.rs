//! Files: a source that reads a file or a folder, and a sink that publishes whole files by checkpoints.

mod sink;
mod sink_spec;
mod source;
mod source_spec;

use crate::pipeline::{Connector, Setting, SettingKind, SinkConnector, SourceConnector};

pub(super) use sink::{FileCommitter, FileSink, check_promise, part_name};

pub(super) const CONNECTOR: Connector = Connector {
    name: "file",
    source: Some(SourceConnector {
        settings: &[
            Setting::required("path", SettingKind::Path),
            Setting::new("header", SettingKind::Boolean, "`true`"),
        ],
        read: source_spec::read,
    }),
    sink: Some(SinkConnector {
        settings: &[Setting::required("path", SettingKind::Path)],
        encodes: true,
        read: sink_spec::read,
    }),
};
