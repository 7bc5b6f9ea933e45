//! A TCP server that sends records: a source that cannot be replayed.

mod socket_source;

use socket_source::SocketSource;

use super::context::ConnectorContext;
use super::source::{Replay, Source, SourceCheck};
use super::spec::{self, SourceSpec};
use crate::access::PipelinePaths;
use crate::error::Result;
use crate::format::SourceDecoding;
use crate::pipeline::{
    Connector, FileFormat, Setting, SettingKind, SourceConnector, SourceSettings, TomlSection, source_format,
};

pub(super) const CONNECTOR: Connector = Connector {
    name: "socket",
    source: Some(SourceConnector { settings: &[Setting::required("address", SettingKind::Text)], read }),
    sink: None,
};

/// The settings of a socket source.
#[derive(Debug)]
struct SocketSpec {
    /// Host and port.
    address: String,
    format: FileFormat,
}

fn read(section: &TomlSection<'_>) -> Result<Box<dyn SourceSettings>> {
    let address = section.need("address")?.address()?.to_owned();
    Ok(spec::source(SocketSpec { address, format: source_format(section)?.unwrap_or(FileFormat::Lines) }))
}

impl SourceSpec for SocketSpec {
    fn format(&self) -> (FileFormat, bool) {
        (self.format, false)
    }

    fn replay(&self) -> Replay {
        Replay::No
    }

    /// A socket is one connection.
    fn max_parallelism(&self) -> Option<u32> {
        Some(1)
    }

    fn location_key(&self) -> &'static str {
        "address"
    }

    /// Checks that the address is allowed. Does not connect.
    fn check(&self, paths: &PipelinePaths, _check: SourceCheck<'_>) -> Result<Option<Vec<String>>> {
        paths.policy.check_address(&self.address).map(|()| None)
    }

    fn open(
        &self,
        decoding: &SourceDecoding,
        context: &ConnectorContext,
        _positions: &[&[u8]],
    ) -> Result<Box<dyn Source>> {
        Ok(Box::new(SocketSource::open(&self.address, self.format, decoding.on_undecodable, context)?))
    }
}
