//! The sending side of an edge: splits batches by key, closes them in time, and waits where a channel is full.
//!
//! Records keep their order from one sender to one receiver; a watermark or a barrier overtakes none here.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::connector::KeyExtractor;
use crate::model::{Batch, Column, Fault, FaultCode, KeyGroup, Keys, group_of_key, hash_key, subtask_of_group};
use crate::operator::RejectedRecord;
use crate::pipeline::{BatchSettings, InputRole};
use crate::runtime::channel::{Cancelled, LinkSender};
use crate::runtime::signals::Signals;
use crate::runtime::stream_element::{Barrier, Element};

/// Where the key of a record on this edge comes from.
#[derive(Clone)]
pub(in crate::runtime) enum KeyOrigin {
    Extracted(Arc<KeyExtractor>),
    Emitted,
}

enum Partition {
    Forward,
    Rebalance {
        next: usize,
    },
    Broadcast,
    Key {
        origin: KeyOrigin,
        /// For each key group the place of its owner.
        owners: Vec<u32>,
        builders: Vec<KeyedBuilder>,
        scratch: Vec<u8>,
    },
}

/// See the module.
pub(in crate::runtime) struct EdgeWriter {
    links: Links,
    /// The receiver's input.
    role: InputRole,
    partition: Partition,
    batch: BatchSettings,
    /// When the oldest record that waits in a builder was put there, in monotonic nanoseconds.
    oldest_ns: Option<u64>,
}

/// The links of an edge, one for each receiver.
struct Links {
    senders: Vec<LinkSender>,
    signals: Arc<Signals>,
    /// The newest barrier that was sent.
    passed: u64,
}

impl Links {
    fn send(&self, target: usize, element: Element) -> Result<(), Cancelled> {
        self.senders[target].send(element, &self.signals, self.passed)
    }
}

impl EdgeWriter {
    fn new(senders: Vec<LinkSender>, partition: Partition, batch: BatchSettings, signals: Arc<Signals>) -> EdgeWriter {
        let role = if matches!(partition, Partition::Broadcast) { InputRole::Broadcast } else { InputRole::First };
        EdgeWriter { links: Links { senders, signals, passed: 0 }, role, partition, batch, oldest_ns: None }
    }

    /// To the one subtask with the same number.
    pub(in crate::runtime) fn forward(sender: LinkSender, batch: BatchSettings, signals: Arc<Signals>) -> EdgeWriter {
        EdgeWriter::new(vec![sender], Partition::Forward, batch, signals)
    }

    /// To all subtasks in turn.
    pub(in crate::runtime) fn rebalance(
        senders: Vec<LinkSender>,
        batch: BatchSettings,
        signals: Arc<Signals>,
    ) -> EdgeWriter {
        EdgeWriter::new(senders, Partition::Rebalance { next: 0 }, batch, signals)
    }

    /// To every subtask.
    pub(in crate::runtime) fn to_all(
        senders: Vec<LinkSender>,
        batch: BatchSettings,
        signals: Arc<Signals>,
    ) -> EdgeWriter {
        EdgeWriter::new(senders, Partition::Broadcast, batch, signals)
    }

    /// To the subtask that owns the record's key, as one of the two inputs that may have one.
    pub(in crate::runtime) fn keyed(
        role: InputRole,
        senders: Vec<LinkSender>,
        origin: KeyOrigin,
        max_parallelism: u32,
        batch: BatchSettings,
        signals: Arc<Signals>,
    ) -> EdgeWriter {
        let builders = senders.iter().map(|_| KeyedBuilder::default()).collect();
        let owner = |group| subtask_of_group(group as KeyGroup, senders.len() as u32, max_parallelism);
        let owners = (0..max_parallelism).map(owner).collect();
        let partition = Partition::Key { origin, owners, builders, scratch: Vec::new() };
        EdgeWriter { role, ..EdgeWriter::new(senders, partition, batch, signals) }
    }

    /// Sends a batch, or keeps its records until their batches close.
    pub(in crate::runtime) fn write(&mut self, batch: Batch, now_ns: u64) -> Result<(), Cancelled> {
        let target = match &mut self.partition {
            Partition::Forward => 0,
            Partition::Rebalance { next } => {
                *next = (*next + 1) % self.links.senders.len();
                *next
            }
            Partition::Broadcast => return self.broadcast(|| Element::Batch(InputRole::Broadcast, batch.clone())),
            Partition::Key { .. } => return self.write_keyed(&batch, now_ns),
        };
        self.links.send(target, Element::Batch(self.role, batch))
    }

    fn write_keyed(&mut self, batch: &Batch, now_ns: u64) -> Result<(), Cancelled> {
        let Partition::Key { origin, owners, builders, scratch } = &mut self.partition else { return Ok(()) };
        let max_parallelism = owners.len() as u32;
        for (index, (value, &timestamp)) in batch.values.iter().zip(&batch.timestamps).enumerate() {
            let key = match origin {
                KeyOrigin::Extracted(extractor) => extractor.extract(value, scratch),
                KeyOrigin::Emitted => batch.chosen_keys.as_ref().map(|keys| keys.value(index)),
            };
            let Some(key) = key else {
                let fault =
                    Fault::new(FaultCode::KeyMissing, "the record has no key where the operator's `key` looks for it");
                let rejected = RejectedRecord { value: value.to_vec(), timestamp, fault };
                self.links.send(0, Element::Rejected(Box::new(rejected)))?;
                continue;
            };
            let hash = hash_key(key);
            let group = group_of_key(hash, max_parallelism);
            let target = owners[usize::from(group)] as usize;
            let builder = &mut builders[target];
            builder.push(key, hash, group, value, timestamp);
            if builder.batch.len() >= self.batch.records || builder.batch.values.bytes().len() >= self.batch.bytes {
                self.links.send(target, Element::Batch(self.role, builder.take()))?;
            }
        }
        if self.oldest_ns.is_none() && builders.iter().any(|builder| !builder.batch.is_empty()) {
            self.oldest_ns = Some(now_ns);
        }
        Ok(())
    }

    /// Sends what waits where it has waited for the linger time.
    pub(in crate::runtime) fn flush_due(&mut self, now_ns: u64) -> Result<(), Cancelled> {
        match self.oldest_ns {
            Some(oldest) if now_ns.saturating_sub(oldest) >= self.batch.linger.as_nanos() as u64 => self.flush(),
            _ => Ok(()),
        }
    }

    /// Whether records wait for their batch to close.
    pub(in crate::runtime) fn is_waiting(&self) -> bool {
        self.oldest_ns.is_some()
    }

    /// Sends everything that waits.
    pub(in crate::runtime) fn flush(&mut self) -> Result<(), Cancelled> {
        self.oldest_ns = None;
        if let Partition::Key { builders, .. } = &mut self.partition {
            for (target, builder) in builders.iter_mut().enumerate() {
                if !builder.batch.is_empty() {
                    self.links.send(target, Element::Batch(self.role, builder.take()))?;
                }
            }
        }
        Ok(())
    }

    /// Sends a watermark to every subtask, behind everything written so far.
    pub(in crate::runtime) fn watermark(&mut self, watermark: i64) -> Result<(), Cancelled> {
        self.broadcast(|| Element::Watermark(watermark))
    }

    /// Tells every subtask, behind everything written so far, whether the sender is idle.
    pub(in crate::runtime) fn status(&mut self, idle: bool) -> Result<(), Cancelled> {
        self.broadcast(|| Element::Status { idle })
    }

    /// Sends a barrier to every subtask, behind everything written so far.
    pub(in crate::runtime) fn barrier(&mut self, barrier: Barrier) -> Result<(), Cancelled> {
        self.broadcast(|| Element::Barrier(barrier))?;
        self.links.passed = barrier.checkpoint;
        Ok(())
    }

    fn broadcast(&mut self, element: impl Fn() -> Element) -> Result<(), Cancelled> {
        self.flush()?;
        (0..self.links.senders.len()).try_for_each(|target| self.links.send(target, element()))
    }
}

/// A batch in the making, with the dictionary of its keys.
#[derive(Default)]
struct KeyedBuilder {
    batch: Batch,
    keys: Keys,
    /// Of each distinct key its hash and its place.
    index: HashTable<(u64, u32)>,
}

/// What the index goes by. The keys of one receiver agree in low bits of their hashes, which make their group, and a table
/// looks where the low bits say.
#[inline]
fn spread(hash: u64) -> u64 {
    hash ^ (hash >> 32)
}

impl KeyedBuilder {
    fn push(&mut self, key: &[u8], hash: u64, group: u16, value: &[u8], timestamp: i64) {
        let distinct = &mut self.keys.distinct;
        let same = |&(other, at): &(u64, u32)| other == hash && distinct.value(at as usize) == key;
        let at = match self.index.find(spread(hash), same) {
            Some(&(_, at)) => at,
            None => {
                let at = distinct.len() as u32;
                self.index.insert_unique(spread(hash), (hash, at), |&(hash, _)| spread(hash));
                distinct.push(key);
                self.keys.groups.push(group);
                at
            }
        };
        self.keys.key_of.push(at);
        self.batch.push(value, timestamp);
    }

    /// The batch; the next one begins with room for as much.
    fn take(&mut self) -> Batch {
        let (records, bytes) = (self.batch.len(), self.batch.values.bytes().len());
        let keys = &self.keys;
        let next_keys = Keys {
            distinct: Column::with_capacity(keys.distinct.len(), keys.distinct.bytes().len()),
            groups: Vec::with_capacity(keys.groups.len()),
            key_of: Vec::with_capacity(records),
        };
        self.index.clear();
        let mut batch = std::mem::replace(&mut self.batch, Batch::with_capacity(records, bytes));
        batch.keys = Some(Arc::new(std::mem::replace(&mut self.keys, next_keys)));
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::connector::KeyExtractor;
    use crate::pipeline::{KeySelector, ValueFormat};
    use crate::runtime::channel::link;

    #[test]
    fn a_key_always_reaches_the_subtask_that_owns_its_group_and_keeps_its_order() {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| link(100)).unzip();
        let settings = BatchSettings { records: 4, bytes: 1 << 20, linger: Duration::from_millis(10) };
        let extractor = KeyExtractor::compile(&KeySelector::Column(0), &ValueFormat::Csv(None)).unwrap();
        let origin = KeyOrigin::Extracted(Arc::new(extractor));
        let mut edge = EdgeWriter::keyed(InputRole::Second, senders, origin, 13, settings, Arc::default());
        let mut batch = Batch::default();
        for n in 0..100 {
            batch.push(format!("k{},{n}", n % 7).as_bytes(), n);
        }
        edge.write(batch, 5).unwrap();
        assert!(edge.is_waiting());
        edge.flush_due(5 + 9_999_999).unwrap();
        assert!(edge.is_waiting(), "the linger time is not over");
        edge.flush_due(5 + 10_000_000).unwrap();
        assert!(!edge.is_waiting());

        let mut seen = 0;
        for (subtask, receiver) in receivers.iter().enumerate() {
            let mut last = [-1i64; 7];
            while let Ok(Some(sent)) = receiver.try_next() {
                let Element::Batch(InputRole::Second, batch) = sent.element else { panic!("{:?}", sent.element) };
                let keys = batch.keys.as_ref().unwrap();
                assert!(batch.len() <= 4);
                for (record, &key) in keys.key_of.iter().enumerate() {
                    let name = keys.distinct.value(key as usize);
                    assert!(batch.values.value(record).starts_with(name));
                    let group = group_of_key(hash_key(name), 13);
                    assert_eq!(keys.groups[key as usize], group);
                    assert_eq!(subtask_of_group(group, 3, 13), subtask as u32);
                    let last = &mut last[(batch.timestamps[record] % 7) as usize];
                    assert!(*last < batch.timestamps[record], "order within a key");
                    *last = batch.timestamps[record];
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 100);
    }

    #[test]
    fn a_broadcast_batch_reaches_every_subtask() {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| link(1)).unzip();
        let settings = BatchSettings { records: 4, bytes: 1 << 20, linger: Duration::ZERO };
        let mut edge = EdgeWriter::to_all(senders, settings, Arc::default());
        let mut batch = Batch::default();
        batch.push(b"rule", 3);
        edge.write(batch.clone(), 0).unwrap();
        assert!(!edge.is_waiting());
        for receiver in receivers {
            let sent = receiver.try_next().unwrap().unwrap();
            let Element::Batch(InputRole::Broadcast, received) = sent.element else { panic!("no broadcast batch") };
            assert_eq!(received, batch);
        }
    }

    #[test]
    fn a_record_without_its_key_is_handed_to_its_consumer() {
        let (sender, receiver) = link(1);
        let settings = BatchSettings { records: 4, bytes: 1 << 20, linger: Duration::ZERO };
        let extractor = KeyExtractor::compile(&KeySelector::Column(1), &ValueFormat::Csv(None)).unwrap();
        let origin = KeyOrigin::Extracted(Arc::new(extractor));
        let mut edge = EdgeWriter::keyed(InputRole::Second, vec![sender], origin, 128, settings, Arc::default());
        let mut batch = Batch::default();
        batch.push(b"only", 3);
        edge.write(batch, 0).unwrap();
        let sent = receiver.try_next().unwrap().unwrap();
        let Element::Rejected(rejected) = sent.element else { panic!("not rejected") };
        assert_eq!(
            (rejected.value.as_slice(), rejected.timestamp, rejected.fault.code),
            (&b"only"[..], 3, FaultCode::KeyMissing)
        );
    }
}
