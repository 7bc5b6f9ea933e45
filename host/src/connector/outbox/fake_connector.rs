//! A connector for tests of jobs: its peer is in the memory of this process, see `fake_peer`.

use super::committer::OutboxCommitter;
use super::fake_peer::FakePeer;
use super::outbox_sink::{OutboxSettings, OutboxSink};
use super::publisher::{OutboxEncoder, OutboxPeer};
use super::record::OutboxRecord;
use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Committer, Sink};
use crate::connector::spec::{self, SinkGuarantee, SinkSpec};
use crate::error::Result;
use crate::format::RecordEncoder;
use crate::model::Batch;
use crate::pipeline::{Connector, Setting, SettingKind, SinkConnector};

pub(in crate::connector) const CONNECTOR: Connector = Connector {
    name: "fake-peer",
    source: None,
    sink: Some(SinkConnector {
        settings: &[
            Setting::required("peer", SettingKind::Text),
            Setting::new("max_backlog", SettingKind::Size { min: 1, max: 1 << 40 }, "10 GiB"),
        ],
        encodes: false,
        read: |section| {
            let max_backlog = section.get("max_backlog").map(|item| item.bytes(1, 1 << 40)).transpose()?;
            Ok(spec::sink(FakeSpec {
                peer: section.need("peer")?.string()?.to_owned(),
                max_backlog: max_backlog.map_or(10 << 30, |bytes| bytes as u64),
            }))
        },
    }),
};

#[derive(Debug)]
struct FakeSpec {
    peer: String,
    max_backlog: u64,
}

impl SinkSpec for FakeSpec {
    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn outbox_target(&self) -> Option<String> {
        Some(FakePeer::named(&self.peer).target())
    }

    fn open(&self, _encoder: RecordEncoder, context: &ConnectorContext) -> Result<Box<dyn Sink>> {
        let settings = OutboxSettings { target: FakePeer::named(&self.peer).target(), max_backlog: self.max_backlog };
        Ok(Box::new(OutboxSink::open(settings, Box::new(ValueEncoder), context)))
    }

    fn committer(&self, context: &ConnectorContext) -> Option<Box<dyn Committer>> {
        Some(Box::new(OutboxCommitter::new(Box::new(FakePeer::named(&self.peer)), context)))
    }
}

/// Writes the value of a record as it is.
pub(super) struct ValueEncoder;

impl OutboxEncoder for ValueEncoder {
    fn encode(&mut self, batch: &Batch, write: &mut dyn FnMut(&OutboxRecord<'_>) -> Result<()>) -> Result<()> {
        batch.values.iter().try_for_each(|value| write(&OutboxRecord { value: Some(value), ..OutboxRecord::default() }))
    }
}
