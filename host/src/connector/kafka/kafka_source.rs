//! One subtask's share of a Kafka source: partitions as splits, offsets as positions.
//!
//! Invariants: no offset is skipped but those that hold no record, and none is read twice. The thread of the subtask never
//! waits for a broker after [`KafkaSource::open`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attributes::{encode_place, push_attributes};
use super::client::{
    KafkaConsumer, KafkaErrorKind, KafkaMessage, PartitionEvent, PartitionReader, TopicId, TopicPartition,
};
use super::cluster_connection::ClusterConnection;
use super::source_settings::{KafkaSourceSettings, RecordContent};
use super::topics::TopicSelection;
use super::watcher::{ClusterWatcher, Listing, topic_partition};
use crate::clock::SharedClock;
use crate::connector::context::ConnectorContext;
use crate::connector::health::HealthReporter;
use crate::connector::source::{OpenSplits, POLL_BYTES_MAX, Poll, RecordLocation, Source, SplitId};
use crate::connector::splits::{OwnSplits, SplitName, SplitOrigin};
use crate::error::{Error, Result, source_behind, source_missing};
use crate::format::records::RECORD_BYTES_MAX;
use crate::model::{Batch, Column, NO_TIMESTAMP};
use crate::wakeup::Wakeup;

/// The offset at which a partition begins that was found later: the oldest one.
const EARLIEST: i64 = -2;
/// What to do about a topic that was deleted and created anew.
const ANEW_HINT: &str = "start a new job without the checkpoint, or with a source of another id";
/// Time between two reports of the lag.
const LAG_INTERVAL: Duration = Duration::from_secs(1);
/// Completed checkpoints that are waited for, at most. Older ones are not committed to the group.
const SNAPSHOTS_MAX: usize = 64;

/// The position in a partition. Durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartitionPosition {
    /// The next offset to read, or -2 for the oldest.
    offset: i64,
    /// The offset before which the partition ends for this job.
    until: Option<i64>,
    /// The id of the topic that the offset belongs to, if brokers have ids.
    topic_id: Option<TopicId>,
}

impl PartitionPosition {
    fn has_ended(self) -> bool {
        self.until.is_some_and(|until| self.offset >= until)
    }
}

/// A partition that is read.
struct OpenPartition {
    split: SplitId,
    partition: TopicPartition,
    reader: PartitionReader,
    /// Its encoded topic and number, see [`encode_place`].
    place: Vec<u8>,
    is_paused: bool,
    /// Whether everything up to the end of the partition has been read.
    is_at_end: bool,
}

/// What the last poll returned, to give records back.
#[derive(Default)]
struct LastPoll {
    /// Index of the partition.
    of: Option<(SplitId, TopicPartition)>,
    /// The offset of each record.
    offsets: Vec<i64>,
}

/// Reads the partitions of one subtask.
pub(super) struct KafkaSource {
    node: String,
    consumer: Arc<KafkaConsumer>,
    watcher: ClusterWatcher,
    own: OwnSplits<PartitionPosition>,
    open: Vec<OpenPartition>,
    /// The partition whose turn it is.
    turn: usize,
    content: RecordContent,
    ends_at_latest: bool,
    /// The offsets of checkpoints that are not known to be durable.
    snapshots: VecDeque<(u64, Vec<(TopicPartition, i64)>)>,
    last: LastPoll,
    health: HealthReporter,
    clock: SharedClock,
    /// When the lag is reported next.
    lag_due_ns: u64,
    wakeup: Wakeup,
    failed: Option<Error>,
}

impl KafkaSource {
    /// Connects and assigns the partitions of this subtask. Waits until a broker answers. Errors: `peer-denied`,
    /// `source-missing`, `address-denied`, `checkpoint-corrupt`, and `interrupted` if the job does not start.
    pub(super) fn open(
        settings: KafkaSourceSettings,
        context: &ConnectorContext,
        positions: &[&[u8]],
    ) -> Result<KafkaSource> {
        let own: OwnSplits<PartitionPosition> = OwnSplits::open(context, positions)?;
        let ClusterConnection { consumer, watcher, listing } =
            ClusterConnection::open(&settings, context, positions.is_empty())?;
        let health = context.health.clone();
        health.healthy();
        let mut source = KafkaSource {
            node: context.node.clone(),
            consumer,
            watcher,
            own,
            open: Vec::new(),
            turn: 0,
            content: settings.content,
            ends_at_latest: settings.ends_at_latest,
            snapshots: VecDeque::new(),
            last: LastPoll::default(),
            health,
            clock: context.clock.clone(),
            lag_due_ns: 0,
            wakeup: context.wakeup.clone(),
            failed: None,
        };
        source.begin(&listing, &settings.topics)?;
        Ok(source)
    }

    /// Assigns the restored and the listed partitions.
    fn begin(&mut self, listing: &Listing, topics: &TopicSelection) -> Result<()> {
        self.check_topic_ids(&listing.ids)?;
        let restored: Vec<SplitId> = self.own.open_splits().splits.to_vec();
        for &split in &restored {
            let name = self.own.name(split).clone();
            if listing.partitions.contains(&name) {
                continue;
            }
            let is_topic_read = matches!(topics, TopicSelection::Names(names) if names.contains(&name.of));
            if is_topic_read {
                // The broker still has the topic, with fewer partitions.
                return Err(source_missing(format!(
                    "source `{}`: partition {} of topic `{}` no longer exists, so the topic was deleted and created anew",
                    self.node, name.number, name.of
                ))
                .hint(ANEW_HINT));
            }
            tracing::warn!(
                source = self.node,
                topic = name.of,
                partition = name.number,
                "the source no longer reads this partition"
            );
            self.own.close(split);
        }
        for &split in self.own.open_splits().splits.to_vec().iter() {
            let name = self.own.name(split).clone();
            let position = self.own.position_mut(split);
            if self.ends_at_latest && position.until.is_none() {
                position.until = listing.ends.get(&name).copied();
            }
        }
        self.own.take_listed(listing.partitions.iter().cloned(), |name, origin| {
            let start = listing.starts.get(name).copied().filter(|_| origin == SplitOrigin::FirstListing);
            Ok(PartitionPosition {
                offset: start.unwrap_or(EARLIEST),
                until: listing.ends.get(name).copied(),
                topic_id: listing.ids.get(&name.of).copied(),
            })
        })?;
        let all = self.own.open_splits().splits.to_vec();
        self.assign(&all)
    }

    /// Begins to read splits at their positions.
    fn assign(&mut self, splits: &[SplitId]) -> Result<()> {
        let mut assigned = Vec::with_capacity(splits.len());
        let mut of = Vec::with_capacity(splits.len());
        for &split in splits {
            let position = *self.own.position(split);
            if position.has_ended() {
                self.own.close(split);
                continue;
            }
            assigned.push((topic_partition(self.own.name(split)), position.offset));
            of.push(split);
        }
        if assigned.is_empty() {
            return Ok(());
        }
        let wakeup = self.wakeup.clone();
        let readers = self.consumer.assign(&assigned, &move || wakeup.wake());
        let readers = readers.map_err(|error| error.into_source_error().context(format!("source `{}`", self.node)))?;
        for ((split, (partition, _)), reader) in of.into_iter().zip(assigned).zip(readers) {
            let place = encode_place(&partition.topic, partition.partition.cast_unsigned());
            self.open.push(OpenPartition { split, partition, reader, place, is_paused: false, is_at_end: false });
        }
        Ok(())
    }

    /// Checks that the positions belong to the topics of these ids. Error: `source-behind`.
    fn check_topic_ids(&mut self, ids: &BTreeMap<String, TopicId>) -> Result<()> {
        for split in self.own.open_splits().splits.to_vec() {
            let name = self.own.name(split).clone();
            let Some(&id) = ids.get(&name.of) else { continue };
            let position = self.own.position_mut(split);
            if *position.topic_id.get_or_insert(id) != id {
                return Err(source_behind(format!(
                    "source `{}`: topic `{}` was deleted and created anew, so offset {} of partition {} is none of this topic",
                    self.node, name.of, position.offset, name.number
                ))
                .hint(ANEW_HINT));
            }
        }
        Ok(())
    }

    /// Closes the partitions that a listing no longer has: their topic, which a pattern matched, was deleted.
    fn close_deleted(&mut self, listed: &[SplitName]) {
        let deleted = |open: &OpenPartition, own: &OwnSplits<PartitionPosition>| !listed.contains(own.name(open.split));
        let KafkaSource { open, own, node, .. } = self;
        open.retain(|partition| {
            let is_deleted = deleted(partition, own);
            if is_deleted {
                let TopicPartition { topic, partition: number } = &partition.partition;
                tracing::warn!(source = node, %topic, partition = number, "the topic was deleted and is no longer read");
                own.close(partition.split);
            }
            !is_deleted
        });
    }

    /// Takes partitions that were found since.
    fn take_listings(&mut self) -> Result<()> {
        while let Some(listing) = self.watcher.take() {
            let checked = listing.and_then(|listing| self.check_topic_ids(&listing.ids).map(|()| listing));
            let Listing { partitions, ids, .. } = checked.inspect_err(|error| self.failed = Some(error.clone()))?;
            self.close_deleted(&partitions);
            let added = self.own.take_listed(partitions, |name, _| {
                tracing::info!(source = self.node, topic = name.of, partition = name.number, "a new partition is read");
                Ok(PartitionPosition { offset: EARLIEST, until: None, topic_id: ids.get(&name.of).copied() })
            })?;
            self.assign(&added)?;
        }
        Ok(())
    }

    /// Reads up to `records` records of an open partition.
    fn read(&mut self, at: usize, batch: &mut Batch, records: usize) -> Result<()> {
        let KafkaSource { own, open, content, last, .. } = self;
        let OpenPartition { split, partition, reader, place, is_at_end, .. } = &mut open[at];
        let position = own.position_mut(*split);
        last.offsets.clear();
        let mut too_long = None;
        let ended = reader.read(|message| {
            let offset = message.offset();
            if position.until.is_some_and(|until| offset >= until) {
                position.offset = offset;
                return false;
            }
            *is_at_end = false;
            if message.value().is_some_and(|value| value.len() > RECORD_BYTES_MAX) {
                too_long = Some(offset);
                return false;
            }
            position.offset = offset + 1;
            if message.value().is_some() || content.tombstones {
                push(batch, message, *content, place);
                last.offsets.push(offset);
            }
            last.offsets.len() < records && batch.values.bytes().len() < POLL_BYTES_MAX
        });
        if !last.offsets.is_empty() {
            last.of = Some((*split, partition.clone()));
        }
        match ended {
            Ok(PartitionEvent::AtEnd) => {
                *is_at_end = true;
                if let Some(until) = position.until {
                    // What lies between holds no records.
                    position.offset = position.offset.max(until);
                }
            }
            Ok(PartitionEvent::Full | PartitionEvent::Empty) => {}
            Err(error) => {
                let (partition, offset) = (partition.clone(), position.offset);
                match error.kind {
                    // The thread finds out whether the topic is gone.
                    KafkaErrorKind::Unreachable | KafkaErrorKind::Missing => self.watcher.poke(),
                    _ => self.failed = Some(self.failure(&partition, offset, error)),
                }
            }
        }
        if let Some(offset) = too_long {
            self.failed = Some(crate::error::record_undecodable(format!(
                "source `{}`: the record at offset {offset} of the partition is longer than {} MiB",
                self.node,
                RECORD_BYTES_MAX >> 20
            )));
        }
        Ok(())
    }

    /// Returns the error for a partition that cannot be read.
    fn failure(&self, partition: &TopicPartition, offset: i64, error: super::client::KafkaError) -> Error {
        let place = format!("source `{}`, partition {} of topic `{}`", self.node, partition.partition, partition.topic);
        if error.kind != KafkaErrorKind::OutOfRange {
            return error.into_source_error().context(place);
        }
        let held = match self.consumer.bounds(partition) {
            Ok((_, high)) if offset > high => {
                format!(
                    "the partition ends at {high}, so the topic was deleted and created anew, or its newest records were lost"
                )
            }
            Ok((low, high)) => {
                format!("the partition holds {low} to {high}: older records were deleted by its retention")
            }
            Err(error) => error.message,
        };
        source_behind(format!("{place}: offset {offset} does not exist; {held}")).hint(
            "start a new job without the checkpoint: `start` then decides where it begins. Keep records for longer than a job may be stopped",
        )
    }

    /// Closes partitions that have ended.
    fn close_ended(&mut self) {
        if !self.ends_at_latest {
            return;
        }
        let own = &mut self.own;
        self.open.retain(|open| {
            let has_ended = own.position(open.split).has_ended();
            if has_ended {
                own.close(open.split);
            }
            !has_ended
        });
    }

    /// Reports the number of records that wait in the partitions, once per second.
    fn report_lag(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        if now_ns < self.lag_due_ns {
            return;
        }
        self.lag_due_ns = now_ns + LAG_INTERVAL.as_nanos() as u64;
        let lag = self.consumer.state().with_ends(|end| {
            let lag = |open: &OpenPartition| {
                let position = self.own.position(open.split).offset;
                let end = end(&open.partition.topic, open.partition.partition)?;
                (!open.is_at_end).then(|| u64::try_from(end.saturating_sub(position.max(0))).unwrap_or(0))
            };
            self.open.iter().filter_map(lag).sum()
        });
        self.health.set_lag(lag);
    }
}

/// Appends a record.
#[inline]
fn push(batch: &mut Batch, message: &KafkaMessage<'_>, content: RecordContent, place: &[u8]) {
    let timestamp = if content.timestamps { message.timestamp() } else { None };
    batch.push(message.value().unwrap_or_default(), timestamp.unwrap_or(NO_TIMESTAMP));
    if content.keys {
        batch.chosen_keys.get_or_insert_with(Column::new).push(message.key().unwrap_or_default());
    }
    if content.attributes {
        push_attributes(batch.attributes.get_or_insert_with(Column::new), place, message);
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.take_listings()?;
        self.report_lag();
        self.last.of = None;
        let count = self.open.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            if self.open[at].is_paused || records == 0 {
                continue;
            }
            self.read(at, batch, records)?;
            if let Some((split, _)) = self.last.of {
                self.turn = at + 1;
                self.close_ended();
                return Ok(Poll::Records(split));
            }
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
        }
        self.close_ended();
        if self.ends_at_latest && self.open.is_empty() {
            return Ok(Poll::End);
        }
        Ok(Poll::Pending(Duration::MAX))
    }

    fn snapshot(&mut self, checkpoint: u64) -> Result<Vec<u8>> {
        let offset = |open: &OpenPartition| (open.partition.clone(), self.own.position(open.split).offset);
        self.snapshots.push_back((checkpoint, self.open.iter().map(offset).collect()));
        if self.snapshots.len() > SNAPSHOTS_MAX {
            self.snapshots.pop_front();
        }
        self.own.encode()
    }

    /// Commits the offsets of the checkpoint to the consumer group, for tools that show its lag. The job does not need them.
    fn complete(&mut self, checkpoint: u64) {
        self.snapshots.retain(|(of, _)| *of >= checkpoint);
        let Some((_, offsets)) = self.snapshots.pop_front_if(|(of, _)| *of == checkpoint) else { return };
        if let Err(error) = self.consumer.commit(&offsets) {
            tracing::debug!(source = self.node, "{}", error.message);
        }
    }

    fn open_splits(&self) -> OpenSplits<'_> {
        self.own.open_splits()
    }

    /// A paused partition is not read; librdkafka fetches up to its limit and then waits.
    fn pause(&mut self, paused: &[SplitId]) {
        for open in &mut self.open {
            open.is_paused = paused.contains(&open.split);
        }
    }

    fn give_back(&mut self, records: usize) -> Result<()> {
        let Some((split, _)) = &self.last.of else { return Ok(()) };
        let first = self.last.offsets.len().saturating_sub(records);
        if let Some(&offset) = self.last.offsets.get(first) {
            self.own.position_mut(*split).offset = offset;
        }
        Ok(())
    }

    fn locate(&self, index: usize, _is_cancelled: &dyn Fn() -> bool) -> Option<RecordLocation> {
        let (_, TopicPartition { topic, partition }) = self.last.of.as_ref()?;
        let offset = *self.last.offsets.get(index)?;
        Some(RecordLocation { file: format!("{topic}/{partition}"), byte: offset.cast_unsigned(), line: None })
    }
}
