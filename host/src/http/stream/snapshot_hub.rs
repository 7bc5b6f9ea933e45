//! The newest snapshot of each watched topic, for all viewers together.
//!
//! Invariants: a topic without viewers has no snapshots. A viewer gets the changes of its topics in the order of their numbers, so that the
//! number of the last one tells which changes it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::topic::{Snapshot, Topic};

/// The snapshots for the viewers of one namespace.
pub(in crate::http) struct SnapshotHub {
    /// When the server began. Numbers of another run of the server mean nothing.
    started_at_ms: i64,
    topics: Mutex<WatchedTopics>,
    /// The number of the newest change.
    newest: watch::Sender<u64>,
}

/// A topic, and whether its snapshots contain records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicKey {
    pub(super) topic: Topic,
    pub(super) sees_records: bool,
}

#[derive(Default)]
struct WatchedTopics {
    /// Number of the newest change of any topic.
    number: u64,
    topics: BTreeMap<TopicKey, WatchedTopic>,
}

#[derive(Default)]
struct WatchedTopic {
    viewers: usize,
    /// The newest change, and the version that it shows.
    newest: Option<(Change, u64)>,
}

/// A change of a topic.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) number: u64,
    pub(super) event: &'static str,
    pub(super) data: Arc<str>,
}

/// Watches topics until it is dropped.
pub(super) struct Watch {
    hub: Arc<SnapshotHub>,
    keys: BTreeSet<TopicKey>,
}

impl SnapshotHub {
    pub(in crate::http) fn new(started_at_ms: i64) -> SnapshotHub {
        SnapshotHub { started_at_ms, topics: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Returns when the server began, in milliseconds since the Unix epoch.
    pub(super) fn started_at_ms(&self) -> i64 {
        self.started_at_ms
    }

    /// Watches topics. Calls `start` for each that had no viewers.
    pub(super) fn watch(self: &Arc<SnapshotHub>, keys: BTreeSet<TopicKey>, start: impl Fn(TopicKey)) -> Watch {
        let mut watched = self.topics.lock();
        for key in &keys {
            let is_new = !watched.topics.contains_key(key);
            watched.topics.entry(key.clone()).or_default().viewers += 1;
            if is_new {
                start(key.clone());
            }
        }
        drop(watched);
        Watch { hub: self.clone(), keys }
    }

    /// Returns whether a topic has viewers. Forgets it otherwise; then its snapshots must end.
    pub(super) fn has_viewers(&self, key: &TopicKey) -> bool {
        let mut watched = self.topics.lock();
        let has_viewers = watched.topics.get(key).is_some_and(|topic| topic.viewers > 0);
        if !has_viewers {
            watched.topics.remove(key);
        }
        has_viewers
    }

    /// Shows a snapshot to the viewers of its topic, unless its version is that of the previous one.
    pub(super) fn publish(&self, key: &TopicKey, Snapshot { event, data, version }: Snapshot) {
        let mut watched = self.topics.lock();
        let WatchedTopics { number, topics } = &mut *watched;
        let Some(topic) = topics.get_mut(key) else { return };
        let is_known = |(change, known): &(Change, u64)| change.event == event && *known == version;
        if topic.newest.as_ref().is_some_and(is_known) {
            return;
        }
        *number += 1;
        topic.newest = Some((Change { number: *number, event, data: data.into() }, version));
        self.newest.send_replace(*number);
    }
}

impl Watch {
    /// Returns the changes of the topics after the one with this number, in order.
    pub(super) fn changes_after(&self, number: u64) -> Vec<Change> {
        let watched = self.hub.topics.lock();
        let newest = self.keys.iter().filter_map(|key| watched.topics.get(key)?.newest.as_ref());
        let mut changes: Vec<Change> =
            newest.map(|(change, _)| change).filter(|change| change.number > number).cloned().collect();
        changes.sort_unstable_by_key(|change| change.number);
        changes
    }

    /// Returns a receiver that is notified of each change of any topic.
    pub(super) fn notifications(&self) -> watch::Receiver<u64> {
        self.hub.newest.subscribe()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.hub.topics.lock();
        for key in &self.keys {
            if let Some(topic) = watched.topics.get_mut(key) {
                topic.viewers -= 1;
            }
        }
    }
}
