//! Turns a batch into records for Kafka: value, key, headers and timestamp.

use crate::connector::outbox::{HeaderBuffer, OutboxEncoder, OutboxRecord};
use crate::connector::sink::unwritable_record;
use crate::error::Result;
use crate::format::RecordEncoder;
use crate::model::attributes::read_attributes;
use crate::model::{Batch, NO_TIMESTAMP};

/// Encodes the records of one subtask. Its buffers serve all records.
pub(super) struct KafkaRecordEncoder {
    node: String,
    values: RecordEncoder,
    /// Whether attributes become headers.
    headers: bool,
    /// Whether an empty value deletes its key.
    empty_deletes: bool,
    value_bytes: Vec<u8>,
    header_buffer: HeaderBuffer,
}

impl KafkaRecordEncoder {
    pub(super) fn new(node: &str, values: RecordEncoder, headers: bool, empty_deletes: bool) -> KafkaRecordEncoder {
        KafkaRecordEncoder {
            node: node.to_owned(),
            values,
            headers,
            empty_deletes,
            value_bytes: Vec::new(),
            header_buffer: HeaderBuffer::default(),
        }
    }

    /// Collects the headers of a record. Returns whether it has no value.
    fn read_attributes(&mut self, batch: &Batch, index: usize) -> bool {
        self.header_buffer.clear();
        let Some(attributes) = &batch.attributes else { return false };
        let mut is_null = false;
        for (name, value) in read_attributes(attributes.value(index)) {
            match name.strip_prefix(':') {
                Some("null") => is_null = true,
                Some(_) => {}
                None if self.headers => self.header_buffer.push(name, Some(value)),
                None => {}
            }
        }
        is_null
    }
}

impl OutboxEncoder for KafkaRecordEncoder {
    fn encode(&mut self, batch: &Batch, write: &mut dyn FnMut(&OutboxRecord<'_>) -> Result<()>) -> Result<()> {
        for index in 0..batch.len() {
            let mut is_null = self.read_attributes(batch, index);
            self.value_bytes.clear();
            if !is_null {
                let (schema, value) = (batch.schema.as_ref(), batch.values.value(index));
                let encoded = self.values.encode_message(schema, value, &mut self.value_bytes);
                encoded.map_err(|defect| unwritable_record(&self.node, &defect))?;
                is_null = self.empty_deletes && self.value_bytes.is_empty();
            }
            let timestamp = batch.timestamps[index];
            write(&OutboxRecord {
                topic: None,
                // Only a sink with a `key` has keyed batches.
                key: batch.keys.as_ref().map(|keys| keys.distinct.value(keys.key_of[index] as usize)),
                value: (!is_null).then_some(&self.value_bytes[..]),
                headers: self.header_buffer.list(),
                timestamp: (timestamp != NO_TIMESTAMP).then_some(timestamp),
            })?;
        }
        Ok(())
    }
}
