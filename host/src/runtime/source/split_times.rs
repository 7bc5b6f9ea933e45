//! The event time of each split of a source subtask: how far it is, whether it is idle, and whether it is paused.
//!
//! A split is idle once it has had no records for `idle_after`. It is known to have none when a poll returns nothing, or when another
//! split has been returned twice without it: a source takes turns. Only then is it judged, so a split whose records wait to be read is
//! never idle.

use std::time::Duration;

use crate::connector::{OpenSplits, SplitId};
use crate::model::NO_TIMESTAMP;

/// Most time between two polls that counts as time without records, unless the first of them returned nothing. A subtask that waits for
/// its receivers does not poll, and clients with a common buffer then receive nothing for any split.
const BUSY_COUNTED_NS: u64 = 100_000_000;

/// The splits of one source subtask.
pub(super) struct SplitTimes {
    /// In ascending order of the ids.
    splits: Vec<SplitTime>,
    /// Version of the open splits that `splits` shows. `None` before the first poll.
    version: Option<u64>,
    /// Number of the current turn. A turn ends when a split is returned again.
    turn: u64,
    quiet_clock: QuietClock,
}

struct SplitTime {
    id: SplitId,
    /// The largest timestamp read, or [`NO_TIMESTAMP`].
    max_timestamp: i64,
    /// The last turn in which the split returned records.
    turn: u64,
    /// Since when the split has had no records, by the quiet clock.
    quiet_since_ns: Option<u64>,
    is_idle: bool,
    is_paused: bool,
}

impl SplitTime {
    fn new(id: SplitId, turn: u64) -> SplitTime {
        SplitTime { id, max_timestamp: NO_TIMESTAMP, turn, quiet_since_ns: None, is_idle: false, is_paused: false }
    }

    /// Notes that the split has no records now.
    fn note_quiet(&mut self, now_ns: u64, idle_after: Option<Duration>) {
        if self.is_paused {
            return;
        }
        let since_ns = *self.quiet_since_ns.get_or_insert(now_ns);
        self.is_idle = idle_after.is_some_and(|after| u128::from(now_ns - since_ns) >= after.as_nanos());
    }
}

/// What the last poll tells about the time until the next one.
#[derive(Clone, Copy, Default)]
enum PollOutcome {
    /// Records are being emitted.
    Records,
    /// The source had no records.
    #[default]
    Nothing,
    /// The source was not polled.
    NotPolled,
}

/// Counts the time in which the source could have returned records.
#[derive(Default)]
struct QuietClock {
    counted_ns: u64,
    /// Monotonic time of the last poll.
    polled_ns: u64,
    outcome: PollOutcome,
}

impl QuietClock {
    fn advance(&mut self, now_ns: u64, outcome: PollOutcome) {
        let elapsed_ns = now_ns.saturating_sub(self.polled_ns);
        self.counted_ns += match self.outcome {
            PollOutcome::Records => elapsed_ns.min(BUSY_COUNTED_NS),
            PollOutcome::Nothing => elapsed_ns,
            PollOutcome::NotPolled => 0,
        };
        (self.polled_ns, self.outcome) = (now_ns, outcome);
    }
}

impl SplitTimes {
    /// Begins with one split, which the first poll replaces by those that the source has.
    pub(super) fn new() -> SplitTimes {
        let only = SplitTime::new(SplitId::ONLY, 0);
        SplitTimes { splits: vec![only], version: None, turn: 0, quiet_clock: QuietClock::default() }
    }

    /// Adds the open splits that are not known.
    pub(super) fn add_open(&mut self, open: OpenSplits<'_>) {
        if self.version == Some(open.version) {
            return;
        }
        for &id in open.splits {
            if let Err(place) = self.place(id) {
                self.splits.insert(place, SplitTime::new(id, self.turn));
            }
        }
    }

    /// Takes over the open splits of the source. Returns whether they have changed.
    pub(super) fn set_open(&mut self, open: OpenSplits<'_>) -> bool {
        if self.version == Some(open.version) {
            return false;
        }
        self.add_open(open);
        self.splits.retain(|split| open.splits.binary_search(&split.id).is_ok());
        self.version = Some(open.version);
        true
    }

    fn place(&self, id: SplitId) -> Result<usize, usize> {
        match self.splits.get(id.0 as usize) {
            Some(split) if split.id == id => Ok(id.0 as usize),
            _ => self.splits.binary_search_by_key(&id, |split| split.id),
        }
    }

    /// Notes that a poll returned records of a split at `now_ns`.
    pub(super) fn note_records(&mut self, id: SplitId, max_timestamp: i64, now_ns: u64, idle_after: Option<Duration>) {
        self.quiet_clock.advance(now_ns, PollOutcome::Records);
        let place = self.place(id).unwrap_or_else(|place| {
            self.splits.insert(place, SplitTime::new(id, self.turn));
            place
        });
        if self.splits[place].turn == self.turn {
            self.turn += 1;
            if idle_after.is_some() {
                let (now_ns, ended) = (self.quiet_clock.counted_ns, self.turn - 1);
                let left_out = self.splits.iter_mut().filter(|split| split.turn < ended);
                left_out.for_each(|split| split.note_quiet(now_ns, idle_after));
            }
        }
        let split = &mut self.splits[place];
        split.turn = self.turn;
        split.max_timestamp = split.max_timestamp.max(max_timestamp);
        (split.quiet_since_ns, split.is_idle) = (None, false);
    }

    /// Notes that a poll returned nothing at `now_ns`.
    pub(super) fn note_nothing(&mut self, now_ns: u64, idle_after: Option<Duration>) {
        self.quiet_clock.advance(now_ns, PollOutcome::Nothing);
        let now_ns = self.quiet_clock.counted_ns;
        self.splits.iter_mut().for_each(|split| split.note_quiet(now_ns, idle_after));
    }

    /// Notes that the source was not polled, although it may have records.
    pub(super) fn note_not_polled(&mut self, now_ns: u64) {
        self.quiet_clock.advance(now_ns, PollOutcome::NotPolled);
    }

    /// Returns the smallest of the largest timestamps of the splits that are not idle. `None` if all splits are idle.
    pub(super) fn min_timestamp(&self) -> Option<i64> {
        self.splits.iter().filter(|split| !split.is_idle).map(|split| split.max_timestamp).min()
    }

    /// Returns whether there is no split, or all are idle.
    pub(super) fn are_idle(&self) -> bool {
        self.splits.iter().all(|split| split.is_idle)
    }

    /// Returns the time until the next split is idle, if nothing is read.
    pub(super) fn idle_wait(&self, now_ns: u64, idle_after: Duration) -> Option<Duration> {
        let quiet = self.splits.iter().filter(|split| !split.is_idle && !split.is_paused);
        let since_ns = quiet.filter_map(|split| split.quiet_since_ns).min()?;
        let waited_ns = now_ns.saturating_sub(self.quiet_clock.polled_ns);
        let counted_ns = self.quiet_clock.counted_ns.saturating_sub(since_ns).saturating_add(waited_ns);
        Some(idle_after.saturating_sub(Duration::from_nanos(counted_ns)))
    }

    /// Pauses the splits for which `is_ahead` returns true for their largest timestamp, and resumes all others. A paused split is not
    /// quiet. Returns whether anything has changed.
    pub(super) fn pause_where(&mut self, is_ahead: impl Fn(i64) -> bool) -> bool {
        let mut has_changed = false;
        for split in &mut self.splits {
            let is_paused = !split.is_idle && is_ahead(split.max_timestamp);
            has_changed |= std::mem::replace(&mut split.is_paused, is_paused) != is_paused;
            if is_paused {
                split.quiet_since_ns = None;
            }
        }
        has_changed
    }

    /// Returns the paused splits with their largest timestamps.
    pub(super) fn paused(&self) -> impl Iterator<Item = (SplitId, i64)> {
        self.splits.iter().filter(|split| split.is_paused).map(|split| (split.id, split.max_timestamp))
    }

    /// Returns whether no split may be read.
    pub(super) fn are_paused(&self) -> bool {
        !self.splits.is_empty() && self.splits.iter().all(|split| split.is_paused)
    }
}
