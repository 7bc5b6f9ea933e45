//! Apache Kafka: topics as sources and sinks.
//!
//! | file | contents |
//! |---|---|
//! | `client` | the only module that uses librdkafka |
//! | `connection_settings`, `security_settings` | what sources and sinks share of the pipeline file |
//! | `source_settings` | what a source is opened with |
//! | `source_spec` | the settings of a source, and the check at submit |
//! | `cluster_connection` | connects one subtask of a source |
//! | `topics` | which topics a source reads |
//! | `watcher` | the thread that waits for the cluster: connects, looks up offsets, lists partitions |
//! | `kafka_source` | partitions as splits, offsets as positions |
//! | `sink_spec` | the settings of a sink, and the check at submit |
//! | `record_encoder` | value, key, headers and timestamp of a record |
//! | `publisher` | exactly-once: publishes the outbox in transactions |
//! | `direct_sink` | at-least-once: writes from the subtask |
//! | `attributes` | headers, key and place of a record |

mod attributes;
mod client;
mod cluster_connection;
mod connection_settings;
mod direct_sink;
mod kafka_source;
mod publisher;
mod record_encoder;
mod security_settings;
mod sink_spec;
mod source_settings;
mod source_spec;
mod topics;
mod watcher;

#[cfg(test)]
mod cluster_tests;

use crate::pipeline::{Connector, SinkConnector, SourceConnector};

pub(super) const CONNECTOR: Connector = Connector {
    name: "kafka",
    source: Some(SourceConnector { settings: source_spec::SETTINGS, read: source_spec::read }),
    sink: Some(SinkConnector { settings: sink_spec::SETTINGS, encodes: true, read: sink_spec::read }),
};
