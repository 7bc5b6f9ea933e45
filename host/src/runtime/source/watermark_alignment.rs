//! Sources that wait for each other: one that runs ahead of its group does not read until the others have caught up.
//!
//! A member says after each batch how far it is, whether that was sent already or not; so none of them is ever further
//! ahead than its drift and one batch. Members that are idle or have ended hold nobody up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::model::NO_TIMESTAMP;
use crate::pipeline::AlignmentSettings;

/// All groups of a job.
#[derive(Default)]
pub(in crate::runtime) struct Groups {
    groups: BTreeMap<String, Arc<Mutex<Group>>>,
}

#[derive(Default)]
struct Group {
    places: Vec<Place>,
}

struct Place {
    /// The largest where the member counts for nobody.
    watermark: i64,
    max_drift_ms: i64,
    waits: bool,
    wake: Sender<()>,
}

impl Group {
    /// Whether a member is too far ahead of the smallest watermark of all.
    fn is_ahead(&self, place: &Place) -> bool {
        let smallest = self.places.iter().map(|place| place.watermark).min().unwrap_or(i64::MAX);
        place.watermark != i64::MAX && place.watermark.saturating_sub(smallest) > place.max_drift_ms
    }
}

/// One source subtask in its group.
pub(in crate::runtime) struct Member {
    group: Arc<Mutex<Group>>,
    place: usize,
    /// Says that a wait is over.
    pub(in crate::runtime) woken: Receiver<()>,
}

impl Groups {
    /// Another member of a group. All must have joined before the first one advances.
    pub(in crate::runtime) fn join(&mut self, settings: &AlignmentSettings) -> Member {
        let group = self.groups.entry(settings.group.clone()).or_default().clone();
        let (wake, woken) = crossbeam_channel::bounded(1);
        let max_drift_ms = milliseconds(settings.max_drift);
        let mut places = group.lock();
        places.places.push(Place { watermark: NO_TIMESTAMP, max_drift_ms, waits: false, wake });
        let place = places.places.len() - 1;
        drop(places);
        Member { group, place, woken }
    }
}

/// As many as there are, or the most that are counted.
pub(in crate::runtime) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Member {
    /// How far this member is now; the largest where it is idle or has ended. Wakes those who need not wait any more.
    pub(in crate::runtime) fn advance(&self, watermark: i64) {
        let mut group = self.group.lock();
        group.places[self.place].watermark = watermark;
        for place in group.places.iter().filter(|place| place.waits && !group.is_ahead(place)) {
            // One that was woken and has not looked yet will see this, too.
            let _ = place.wake.try_send(());
        }
    }

    /// Whether this member has to wait; if so, it is woken when it need not any more.
    pub(in crate::runtime) fn is_ahead(&self) -> bool {
        let mut group = self.group.lock();
        let ahead = group.is_ahead(&group.places[self.place]);
        group.places[self.place].waits = ahead;
        ahead
    }
}
