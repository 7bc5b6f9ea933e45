//! An Apache Kafka broker on loopback, and Apache's own client for it. Both run on Java.
//!
//! `install` prepares a folder below the target folder, `broker` runs the process, `client` asks it.

mod broker;
mod client;
mod install;

pub use broker::{KafkaBroker, KafkaPorts};
pub use client::{KafkaClient, KafkaRecord};
pub use install::{KafkaInstallation, missing_kafka_programs, without_kafka};
