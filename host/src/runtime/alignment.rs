//! Sources that wait for each other: one that runs ahead of its group does not read until the others have caught up.
//!
//! A member says after each batch how far it is, whether that was sent already or not; so none of them is ever further
//! ahead than its drift and one batch. Members that are idle or have ended hold nobody up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::manifest::AlignmentSettings;
use crate::model::NO_TIMESTAMP;

/// All groups of a job.
#[derive(Default)]
pub(super) struct Groups {
    groups: BTreeMap<String, Arc<Mutex<Group>>>,
}

#[derive(Default)]
struct Group {
    /// Of each member; the largest where it counts for nobody.
    watermarks: Vec<i64>,
    /// To each member.
    wake: Vec<Sender<()>>,
}

impl Group {
    fn smallest(&self) -> i64 {
        self.watermarks.iter().copied().min().unwrap_or(i64::MAX)
    }
}

/// One source subtask in its group.
pub(super) struct Member {
    group: Arc<Mutex<Group>>,
    place: usize,
    max_drift_ms: i64,
    /// Says that the group has advanced.
    pub(super) woken: Receiver<()>,
}

impl Groups {
    /// Another member of a group. All must have joined before the first one advances.
    pub(super) fn join(&mut self, settings: &AlignmentSettings) -> Member {
        let group = self.groups.entry(settings.group.clone()).or_default().clone();
        let (wake, woken) = crossbeam_channel::bounded(1);
        let place = {
            let mut group = group.lock();
            group.watermarks.push(NO_TIMESTAMP);
            group.wake.push(wake);
            group.wake.len() - 1
        };
        Member { group, place, max_drift_ms: milliseconds(settings.max_drift), woken }
    }
}

/// As many as there are, or the most that are counted.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Member {
    /// How far this member is now; the largest where it is idle or has ended. Wakes those that may wait for it.
    pub(super) fn advance(&self, watermark: i64) {
        let mut group = self.group.lock();
        let before = group.smallest();
        if let Some(own) = group.watermarks.get_mut(self.place) {
            *own = watermark;
        }
        if group.smallest() > before {
            // One that has not looked since it was woken will see this, too.
            group.wake.iter().for_each(|wake| drop(wake.try_send(())));
        }
    }

    /// Whether this member has to wait.
    pub(super) fn is_ahead(&self) -> bool {
        let group = self.group.lock();
        let own = group.watermarks.get(self.place).copied().unwrap_or(i64::MAX);
        own != i64::MAX && own.saturating_sub(group.smallest()) > self.max_drift_ms
    }
}
