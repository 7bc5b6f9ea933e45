//! Watermark alignment: a source that is too far ahead of its group stops reading until the others have caught up.
//!
//! A source reports its watermark after each batch, whether it was sent or not. No source is therefore further ahead than its
//! allowed drift and one batch. Sources that are idle or have ended do not count.

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
    is_waiting: bool,
    /// Wakes the source when it no longer has to wait.
    wakeup: Wakeup,
}

impl AlignmentGroup {
    /// Returns whether a source is too far ahead of the smallest watermark of the group.
    fn is_ahead(&self, source: &AlignedSource) -> bool {
        let smallest = self.sources.iter().map(|source| source.watermark).min().unwrap_or(i64::MAX);
        source.watermark != i64::MAX && source.watermark.saturating_sub(smallest) > source.max_drift_ms
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
        locked.sources.push(AlignedSource { watermark: NO_TIMESTAMP, max_drift_ms, is_waiting: false, wakeup });
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
    /// Reports the watermark of this source, or `i64::MAX` if it is idle or has ended. Wakes the sources that no longer have to
    /// wait.
    pub(super) fn advance(&self, watermark: i64) {
        let mut group = self.group.lock();
        group.sources[self.index].watermark = watermark;
        for source in group.sources.iter().filter(|source| source.is_waiting && !group.is_ahead(source)) {
            source.wakeup.wake();
        }
    }

    /// Returns whether this source has to wait. If so, its subtask is woken when it no longer has to.
    pub(super) fn is_ahead(&self) -> bool {
        let mut group = self.group.lock();
        let is_ahead = group.is_ahead(&group.sources[self.index]);
        group.sources[self.index].is_waiting = is_ahead;
        is_ahead
    }
}
