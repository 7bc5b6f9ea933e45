//! The client of Kafka: the only module that uses librdkafka, by the crate `rdkafka`.
//!
//! | file | contents |
//! |---|---|
//! | `connection` | brokers and security as librdkafka's settings; the check of what librdkafka was built with |
//! | `allowed_brokers` | checks each address before librdkafka connects to it |
//! | `client_state` | what librdkafka's threads report: errors, connections, ends of partitions |
//! | `client_error` | librdkafka's errors as a kind that callers act on, and as errors of the host |
//! | `consumer` | metadata, start offsets, assignment, committed offsets |
//! | `producer` | idempotent and transactional producers, and the marker of a transaction |
//! | `partition_reader` | the queue of one partition, without blocking |
//! | `topic_ids` | the ids of topics, which tell a topic from an earlier one of its name |
//! | `message_queue` | takes messages in batches |
//!
//! Unsafe code is in `message_queue`, `topic_ids` and `allowed_brokers` only.
//!
//! Must know neither sources nor sinks. Nothing of `rdkafka` leaves this folder.

mod allowed_brokers;
mod client_error;
mod client_state;
mod connection;
mod consumer;
mod message_queue;
mod partition_reader;
mod producer;
mod topic_ids;

#[cfg(test)]
mod test_cluster;

pub(super) use client_error::{ADDRESS_HINT, KafkaError, KafkaErrorKind};
pub(super) use connection::{KafkaConnection, SaslMechanism, SecurityProtocol, SecuritySettings};
pub(super) use consumer::{
    ConsumerSettings, FetchedTopics, KafkaConsumer, PREFETCH_BYTES_MIN, StartOffset, TopicPartition,
};
pub(super) use message_queue::KafkaMessage;
pub(super) use partition_reader::{PartitionEvent, PartitionReader};
pub(super) use producer::{Compression, GroupMarker, KafkaPartitioner, KafkaProducer, ProducerSettings};
#[cfg(test)]
pub(super) use test_cluster::TestCluster;
pub(super) use topic_ids::TopicId;
