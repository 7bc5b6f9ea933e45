//! The standard output of the process: a sink of lines.

mod stdout_sink;

use stdout_sink::StdoutSink;

use super::context::ConnectorContext;
use super::sink::Sink;
use super::spec::{self, SinkGuarantee, SinkSpec};
use crate::error::Result;
use crate::format::RecordEncoder;
use crate::pipeline::{Connector, SinkConnector};

pub(super) const CONNECTOR: Connector = Connector {
    name: "stdout",
    source: None,
    sink: Some(SinkConnector { settings: &[], encodes: true, read: |_| Ok(spec::sink(StdoutSpec)) }),
};

#[derive(Debug)]
struct StdoutSpec;

impl SinkSpec for StdoutSpec {
    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::AtLeastOnce
    }

    fn writes_to_stdout(&self) -> bool {
        true
    }

    fn open(&self, encoder: RecordEncoder, context: &ConnectorContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(StdoutSink::open(encoder, context)))
    }
}
