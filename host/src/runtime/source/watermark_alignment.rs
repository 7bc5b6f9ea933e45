//! Watermark alignment: a split that is too far ahead of its group is not read until the others have caught up.
//!
//! A source subtask reports the watermark of its slowest split after each batch, whether it was sent or not. No split is therefore further
//! ahead than its allowed drift and one batch. Splits that are idle or have ended do not count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::NO_TIMESTAMP;
use crate::pipeline::AlignmentSettings;
use crate::wakeup::Wakeup;

/// All alignment groups of a job, by name.
#[derive(Default)]
pub(crate) struct AlignmentGroups {
    groups: BTreeMap<String, Arc<Mutex<AlignmentGroup>>>,
}

#[derive(Default)]
struct AlignmentGroup {
    sources: Vec<AlignedSource>,
}

/// One source subtask in its group.
struct AlignedSource {
    /// `i64::MAX` while the source does not count, because it is idle or has ended.
    watermark: i64,
    max_drift_ms: i64,
    /// The smallest watermark of its splits that wait for the group.
    waiting: Option<i64>,
    /// Wakes the source when a split no longer has to wait.
    wakeup: Wakeup,
}

impl AlignmentGroup {
    /// Returns the smallest watermark of the group.
    fn smallest(&self) -> i64 {
        self.sources.iter().map(|source| source.watermark).min().unwrap_or(i64::MAX)
    }
}

/// The membership of one source subtask in its group.
pub(crate) struct AlignmentMembership {
    group: Arc<Mutex<AlignmentGroup>>,
    index: usize,
}

impl AlignmentGroups {
    /// Adds a source to a group. `wakeup` wakes its subtask. All sources must have joined before the first one advances.
    pub(crate) fn join(&mut self, settings: &AlignmentSettings, wakeup: &Wakeup) -> AlignmentMembership {
        let (group, wakeup) = (self.groups.entry(settings.group.clone()).or_default().clone(), wakeup.clone());
        let max_drift_ms = saturating_ms(settings.max_drift);
        let mut locked = group.lock();
        locked.sources.push(AlignedSource { watermark: NO_TIMESTAMP, max_drift_ms, waiting: None, wakeup });
        let index = locked.sources.len() - 1;
        drop(locked);
        AlignmentMembership { group, index }
    }
}

/// Returns a duration in milliseconds, at most `i64::MAX`.
pub(super) fn saturating_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl AlignmentMembership {
    /// Reports the watermark of the slowest split of this source, or `i64::MAX` if it is idle or has ended. Wakes the sources with splits that
    /// no longer have to wait.
    pub(super) fn advance(&self, watermark: i64) {
        let mut group = self.group.lock();
        group.sources[self.index].watermark = watermark;
        let smallest = group.smallest();
        for source in &group.sources {
            if source.waiting.is_some_and(|waiting| waiting <= smallest.saturating_add(source.max_drift_ms)) {
                source.wakeup.wake();
            }
        }
    }

    /// Calls `pause` with the largest watermark of splits that may be read. It returns the smallest watermark of the splits that have to
    /// wait, if there are any. The subtask is woken when one of them no longer has to.
    pub(super) fn limit(&self, pause: impl FnOnce(i64) -> Option<i64>) {
        let mut group = self.group.lock();
        let allowed = group.smallest().saturating_add(group.sources[self.index].max_drift_ms);
        group.sources[self.index].waiting = pause(allowed);
    }
}
