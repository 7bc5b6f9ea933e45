//! Complete checkpoints whose output is not published yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::pending::PendingCheckpoint;
use super::schedule::nanoseconds;
use crate::checkpoint::{CheckpointMetadata, StorageLocation};
use crate::job::sinks::SinkCommitters;
use crate::runtime::BarrierKind;

/// A complete checkpoint until all its sinks have published.
pub struct OpenPublication {
    /// The barrier and the requests that the checkpoint answers.
    pub pending: PendingCheckpoint,
    pub metadata: Arc<CheckpointMetadata>,
    /// Where the metadata is stored.
    pub location: StorageLocation,
    /// The sinks that have not published.
    pub sinks: BTreeSet<String>,
    /// When the publication began, by the monotonic clock.
    pub since_ns: u64,
    /// Whether its requests are answered, because it takes too long.
    pub is_reported: bool,
}

impl OpenPublication {
    /// Returns whether somebody waits for the publication.
    fn is_awaited(&self) -> bool {
        !self.is_reported && (!self.pending.requests.is_empty() || self.pending.barrier.kind.is_stop())
    }
}

/// The open publications of an attempt, oldest first.
#[derive(Default)]
pub struct OpenPublications(Vec<OpenPublication>);

impl OpenPublications {
    /// Adds a publication. Those that it contains and that nobody waits for are forgotten, so that their number is bounded while a peer is
    /// away.
    pub fn add(&mut self, open: OpenPublication) {
        let id = open.metadata.checkpoint_id;
        let is_contained = |other: &OpenPublication| {
            let is_periodic =
                other.pending.barrier.kind == BarrierKind::Checkpoint && other.pending.requests.is_empty();
            is_periodic && other.metadata.checkpoint_id < id && other.sinks.is_subset(&open.sinks)
        };
        self.0.retain(|other| !is_contained(other));
        let index = self.0.partition_point(|other| other.metadata.checkpoint_id < id);
        self.0.insert(index, open);
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all of them.
    pub fn iter(&self) -> impl Iterator<Item = &OpenPublication> {
        self.0.iter()
    }

    /// Removes and returns all of them.
    pub fn take_all(&mut self) -> Vec<OpenPublication> {
        std::mem::take(&mut self.0)
    }

    /// Records that a sink has published a checkpoint and all before it. Removes and returns what all sinks have published.
    pub fn take_published(&mut self, sink: &str, checkpoint: u64) -> Vec<OpenPublication> {
        for open in self.0.iter_mut().filter(|open| open.metadata.checkpoint_id <= checkpoint) {
            open.sinks.remove(sink);
        }
        self.0.extract_if(.., |open| open.sinks.is_empty()).collect()
    }

    /// Removes and returns the publications that somebody waits for and that take longer than `timeout`. They become reported.
    pub fn take_late(&mut self, now_ns: u64, timeout: Duration) -> Vec<OpenPublication> {
        let is_late =
            |open: &OpenPublication| open.is_awaited() && now_ns.saturating_sub(open.since_ns) >= nanoseconds(timeout);
        let late = self.0.extract_if(.., |open| is_late(open));
        late.map(|open| OpenPublication { is_reported: true, ..open }).collect()
    }

    /// Returns the nanoseconds until [`OpenPublications::take_late`] returns a publication.
    pub fn reported_in_ns(&self, now_ns: u64, timeout: Duration) -> Option<u64> {
        let awaited = self.0.iter().filter(|open| open.is_awaited());
        awaited.map(|open| open.since_ns.saturating_add(nanoseconds(timeout)).saturating_sub(now_ns)).min()
    }

    /// Returns the sinks that have not published a complete checkpoint.
    pub fn sinks(&self) -> BTreeSet<String> {
        self.0.iter().flat_map(|open| open.sinks.iter().cloned()).collect()
    }
}

/// Says which sinks have not published which checkpoint, and why. `open` is ordered by checkpoint.
pub fn describe<'a>(open: impl IntoIterator<Item = &'a OpenPublication>, committers: &SinkCommitters) -> String {
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    for open in open {
        newest.extend(open.sinks.iter().map(|sink| (sink.as_str(), open.metadata.checkpoint_id)));
    }
    let of_sink = |(sink, checkpoint): (&str, u64)| {
        let trouble = committers.trouble(sink).map(|trouble| format!(": {trouble}")).unwrap_or_default();
        format!("sink `{sink}` (checkpoint {checkpoint}){trouble}")
    };
    newest.into_iter().map(of_sink).collect::<Vec<_>>().join(", ")
}
