//! librdkafka's own stand-in for a cluster, for tests: brokers in this process that fail when they are told to.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::RDKafkaRespErr;

use super::KafkaConnection;
use crate::access::AccessPolicy;

/// A cluster in this process.
pub(crate) struct TestCluster {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl TestCluster {
    pub(crate) fn start(brokers: i32) -> TestCluster {
        TestCluster { cluster: MockCluster::new(brokers).unwrap() }
    }

    /// Returns the addresses of all brokers.
    pub(crate) fn servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    pub(crate) fn connection(&self, policy: AccessPolicy) -> KafkaConnection {
        KafkaConnection { brokers: self.servers(), node: "delays".to_owned(), policy, ..KafkaConnection::default() }
    }

    /// Creates a topic whose partitions are led by the broker with this number, from 1.
    pub(crate) fn create_topic(&self, topic: &str, partitions: i32, leader: i32) {
        self.cluster.create_topic(topic, partitions, 1).unwrap();
        for partition in 0..partitions {
            self.cluster.partition_leader(topic, partition, Some(leader)).unwrap();
        }
    }

    pub(crate) fn hide_topic(&self, topic: &str) {
        self.cluster.topic_error(topic, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    }

    pub(crate) fn set_down(&self, broker: i32, is_down: bool) {
        match is_down {
            true => self.cluster.broker_down(broker).unwrap(),
            false => self.cluster.broker_up(broker).unwrap(),
        }
    }

    /// Writes values to a partition.
    pub(crate) fn produce(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
        let mut config = ClientConfig::new();
        let producer: BaseProducer = config.set("bootstrap.servers", self.servers()).create().unwrap();
        for value in values {
            let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    }
}
