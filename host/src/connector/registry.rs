//! The list of all connectors. A new connector is a folder beside this file and a line here.

#[cfg(feature = "kafka")]
use super::kafka;
use super::{blackhole, file, generator, ingest, socket, stdout};
use crate::error::Result;
use crate::pipeline::{Connector, PipelineSpec};

/// All connectors, in the order in which messages list them.
pub const CONNECTORS: &[&Connector] = &[
    &file::CONNECTOR,
    &generator::CONNECTOR,
    &ingest::CONNECTOR,
    #[cfg(feature = "kafka")]
    &kafka::CONNECTOR,
    &socket::CONNECTOR,
    &stdout::CONNECTOR,
    &blackhole::CONNECTOR,
];

impl PipelineSpec {
    /// Parses and checks the text of a pipeline file, see [`PipelineSpec::parse_with`].
    pub fn parse(text: &str, file_name: &str) -> Result<PipelineSpec> {
        #[cfg(test)]
        let connectors =
            &[CONNECTORS, &[&super::leaky::CONNECTOR, &super::outbox::FAKE_CONNECTOR, &super::split_log::CONNECTOR]]
                .concat();
        #[cfg(not(test))]
        let connectors = CONNECTORS;
        PipelineSpec::parse_with(connectors, text, file_name)
    }
}
