//! A sink that drops every record. Used to measure the other operators of a pipeline.

use super::context::ConnectorContext;
use super::sink::{Prepared, Sink};
use super::spec::{self, SinkGuarantee, SinkSpec};
use crate::error::Result;
use crate::format::RecordEncoder;
use crate::model::Batch;
use crate::pipeline::{Connector, SinkConnector};

pub(super) const CONNECTOR: Connector = Connector {
    name: "blackhole",
    source: None,
    sink: Some(SinkConnector { settings: &[], encodes: false, read: |_| Ok(spec::sink(BlackholeSpec)) }),
};

#[derive(Debug)]
struct BlackholeSpec;

impl SinkSpec for BlackholeSpec {
    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn ignores_records(&self) -> bool {
        true
    }

    fn open(&self, _: RecordEncoder, _: &ConnectorContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(BlackholeSink))
    }
}

/// Drops every record.
struct BlackholeSink;

impl Sink for BlackholeSink {
    fn write(&mut self, _batch: &Batch) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, _checkpoint: u64) -> Result<Prepared> {
        Ok(Prepared::default())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
