//! Partitions records by key: a key's hash gives its key group, and the group gives the receiving subtask.
//!
//! Records gather in one open batch for each receiver, together with a dictionary of their keys, until the batch has enough
//! records or bytes, or until the receiver has nothing to do. Records keep their order from one sender to one receiver.

use std::sync::Arc;

use hashbrown::HashTable;

use super::output_channels::OutputChannels;
use super::partition_error::PartitionError;
use crate::model::row::RowSchema;
use crate::model::{Batch, Column, Fault, KeyGroup, Keys, NO_ATTRIBUTES, group_of_key, hash_key, subtask_of_group};
use crate::operator::RejectedRecord;
use crate::pipeline::{BatchSettings, InputRole};
use crate::runtime::attempt_signals::SubtaskCancelled;
use crate::runtime::records::record_converter::{RecordConversion, RecordConverter};
use crate::runtime::records::record_key::{KeyBuffers, KeyOrigin};
use crate::runtime::stream_element::StreamElement;

/// Bytes in the open batches of one exchange that are sent although none of them is full.
const OPEN_BYTES_MAX: usize = 8 << 20;

/// Sends each record to the subtask that owns its key.
pub(super) struct KeyedExchange {
    /// The receiver's input.
    role: InputRole,
    origin: KeyOrigin,
    /// The receiver of each key group.
    receiver_of_group: Vec<u32>,
    /// The open batch of each receiver.
    open_batches: Vec<KeyedBatchBuilder>,
    buffers: KeyBuffers,
}

impl KeyedExchange {
    pub(super) fn new(role: InputRole, origin: KeyOrigin, receivers: usize, max_parallelism: u32) -> KeyedExchange {
        let receiver = |group| subtask_of_group(group as KeyGroup, receivers as u32, max_parallelism);
        KeyedExchange {
            role,
            origin,
            receiver_of_group: (0..max_parallelism).map(receiver).collect(),
            open_batches: (0..receivers).map(|_| KeyedBatchBuilder::default()).collect(),
            buffers: KeyBuffers::default(),
        }
    }

    /// Adds records to the open batches, and sends the batches that are full. The key is that of the record as the producer wrote it;
    /// `converter` then rewrites the record for the consumer. A record without a key, or one that cannot be rewritten, is sent at once,
    /// as a rejected record.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        converter: Option<&mut RecordConverter>,
        settings: &BatchSettings,
        channels: &OutputChannels,
    ) -> Result<(), PartitionError> {
        let max_parallelism = self.receiver_of_group.len() as u32;
        let attributes = batch.attributes.as_ref();
        let (schema, conversion) = match converter {
            Some(converter) => {
                let schema = converter.target_schema().cloned();
                (schema, converter.conversion(batch.schema.as_ref())?)
            }
            None => (batch.schema.clone(), &RecordConversion::Same),
        };
        self.prepare_open_batches(schema.as_ref(), attributes.is_some(), channels)?;
        let mut writer = conversion.writer();
        let keys = self.origin.of_batch(batch)?;
        for (index, (value, &timestamp)) in batch.values.iter().zip(&batch.timestamps).enumerate() {
            let reject = |fault: Fault| {
                let schema = batch.schema.clone();
                let rejected = RejectedRecord { value: value.to_vec(), schema, timestamp, fault };
                channels.send(0, StreamElement::Rejected(Box::new(rejected)))
            };
            let key = match keys.key(index, value, &mut self.buffers) {
                Ok(key) => key,
                Err(fault) => {
                    reject(fault)?;
                    continue;
                }
            };
            let hash = hash_key(key);
            let group = group_of_key(hash, max_parallelism);
            let receiver = self.receiver_of_group[usize::from(group)] as usize;
            let open = &mut self.open_batches[receiver];
            if let Err(fault) = writer.push(value, &mut open.batch.values) {
                reject(fault)?;
                continue;
            }
            open.push_key(key, hash, group, timestamp);
            if let Some(open_attributes) = &mut open.batch.attributes {
                open_attributes.push(attributes.map_or(NO_ATTRIBUTES, |attributes| attributes.value(index)));
            }
            if open.batch.len() >= settings.records || open.batch.values.bytes().len() >= settings.bytes {
                channels.send(receiver, StreamElement::Batch(self.role, open.take()))?;
            }
        }
        if self.open_batches.iter().map(|open| open.batch.values.bytes().len()).sum::<usize>() > OPEN_BYTES_MAX {
            self.flush(channels)?;
        }
        Ok(())
    }

    /// Prepares the open batches for records of this schema. Sends those that hold records of another one.
    fn prepare_open_batches(
        &mut self,
        schema: Option<&Arc<RowSchema>>,
        has_attributes: bool,
        channels: &OutputChannels,
    ) -> Result<(), SubtaskCancelled> {
        for (receiver, open) in self.open_batches.iter_mut().enumerate() {
            if !open.batch.is_empty() && open.batch.schema.as_ref() != schema {
                channels.send(receiver, StreamElement::Batch(self.role, open.take()))?;
            }
            open.prepare(schema, has_attributes);
        }
        Ok(())
    }

    /// Returns whether an open batch holds records.
    pub(super) fn has_open_records(&self) -> bool {
        self.open_batches.iter().any(|open| !open.batch.is_empty())
    }

    /// Sends all open batches that hold records.
    pub(super) fn flush(&mut self, channels: &OutputChannels) -> Result<(), SubtaskCancelled> {
        self.flush_if(channels, |_| true)
    }

    /// Sends the open batches whose receivers have nothing to do.
    pub(super) fn flush_to_free_receivers(&mut self, channels: &OutputChannels) -> Result<(), SubtaskCancelled> {
        self.flush_if(channels, |receiver| channels.is_receiver_free(receiver))
    }

    fn flush_if(&mut self, channels: &OutputChannels, is_due: impl Fn(usize) -> bool) -> Result<(), SubtaskCancelled> {
        for (receiver, open) in self.open_batches.iter_mut().enumerate() {
            if !open.batch.is_empty() && is_due(receiver) {
                channels.send(receiver, StreamElement::Batch(self.role, open.take()))?;
            }
        }
        Ok(())
    }
}

/// Largest capacity that a batch begins with, in bytes. One large record says nothing about the next ones.
const CAPACITY_BYTES_MAX: usize = 1 << 20;

/// A batch that is being built, with the dictionary of its keys.
#[derive(Default)]
struct KeyedBatchBuilder {
    batch: Batch,
    keys: Keys,
    /// Hash and dictionary index of each distinct key.
    index: HashTable<(u64, u32)>,
}

/// Returns the hash that the index uses. The keys of one receiver share low bits of their hashes, because these bits select the
/// key group. The index selects its buckets by the low bits too, so the high bits are mixed into them.
#[inline]
fn index_hash(hash: u64) -> u64 {
    hash ^ (hash >> 32)
}

impl KeyedBatchBuilder {
    /// Takes over the schema of the next records, and makes room for their attributes. Earlier records of the batch have the same
    /// schema; they have no attributes unless an earlier batch had some.
    fn prepare(&mut self, schema: Option<&Arc<RowSchema>>, has_attributes: bool) {
        if self.batch.is_empty() {
            self.batch.schema = schema.cloned();
            self.batch.attributes = has_attributes.then(Column::new);
        } else if has_attributes {
            let none = || std::iter::repeat_n(NO_ATTRIBUTES, self.batch.values.len()).collect();
            self.batch.attributes.get_or_insert_with(none);
        }
    }

    /// Appends the key and the timestamp of the value that was pushed last.
    fn push_key(&mut self, key: &[u8], hash: u64, group: u16, timestamp: i64) {
        let distinct = &mut self.keys.distinct;
        let is_same = |&(other, index): &(u64, u32)| other == hash && distinct.value(index as usize) == key;
        let key_index = match self.index.find(index_hash(hash), is_same) {
            Some(&(_, index)) => index,
            None => {
                let new_index = distinct.len() as u32;
                self.index.insert_unique(index_hash(hash), (hash, new_index), |&(hash, _)| index_hash(hash));
                distinct.push(key);
                self.keys.groups.push(group);
                new_index
            }
        };
        self.keys.key_of.push(key_index);
        self.batch.timestamps.push(timestamp);
    }

    /// Returns the batch and starts a new one with the same capacity, unless that is very large.
    fn take(&mut self) -> Batch {
        let (records, bytes) = (self.batch.len(), self.batch.values.bytes().len().min(CAPACITY_BYTES_MAX));
        let keys = &self.keys;
        let next_keys = Keys {
            distinct: Column::with_capacity(keys.distinct.len(), keys.distinct.bytes().len()),
            groups: Vec::with_capacity(keys.groups.len()),
            key_of: Vec::with_capacity(records),
        };
        self.index.clear();
        let next = Batch {
            attributes: self.batch.attributes.is_some().then(Column::new),
            schema: self.batch.schema.clone(),
            ..Batch::with_capacity(records, bytes)
        };
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.keys = Some(Arc::new(std::mem::replace(&mut self.keys, next_keys)));
        batch
    }
}
