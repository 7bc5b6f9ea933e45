//! The client of Kafka: the only module that uses librdkafka, by the crate `rdkafka`.
//!
//! | file | contents |
//! |---|---|
//! | `connection` | brokers and security as librdkafka's settings; the check of what librdkafka was built with |
//! | `client_state` | what librdkafka's threads report: errors, connections, ends of partitions |
//! | `client_error` | librdkafka's errors as a kind that callers act on, and as errors of the host |
//! | `consumer` | metadata, start offsets, assignment, committed offsets |
//! | `producer` | idempotent and transactional producers, and the marker of a transaction |
//! | `partition_reader` | the queue of one partition, without blocking |
//! | `message_queue` | takes messages in batches; the only unsafe code |
//!
//! Must know neither sources nor sinks. Nothing of `rdkafka` leaves this folder.

mod client_error;
mod client_state;
mod connection;
mod consumer;
mod message_queue;
mod partition_reader;
mod producer;

pub(super) use client_error::{KafkaError, KafkaErrorKind};
pub(super) use connection::{KafkaConnection, SaslMechanism, SecurityProtocol, SecuritySettings};
pub(super) use consumer::{ConsumerSettings, FetchedTopics, KafkaConsumer, StartOffset, TopicPartition};
pub(super) use message_queue::KafkaMessage;
pub(super) use partition_reader::{PartitionEvent, PartitionReader};
pub(super) use producer::{Compression, GroupMarker, KafkaPartitioner, KafkaProducer, ProducerSettings};
