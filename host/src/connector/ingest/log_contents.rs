//! What a log contains and who reads it: the segments, the synced end, and the positions that its readers still need.
//!
//! Must not read or write files.

use std::collections::BTreeMap;

use super::log_position::LogPosition;
use super::segment::SEGMENT_HEADER_BYTES;
use crate::wakeup::Wakeup;

const SECOND_NS: u64 = 1_000_000_000;

/// The frames of one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentExtent {
    /// Sequence of the first frame.
    pub(super) first_sequence: u64,
    /// Number of the first record.
    pub(super) first_record: u64,
    /// Bytes of all earlier segments since the log was opened.
    pub(super) base: u64,
    /// Offset behind the last synced frame.
    pub(super) end: u64,
}

/// One subtask of a source that reads the log.
struct AttachedSubtask {
    id: u64,
    subtask: u32,
    parallelism: u32,
    wakeup: Wakeup,
    /// The newest complete checkpoint contains all records before this position.
    covered: LogPosition,
    /// All retained checkpoints contain all records before this position. `None` until the first is known.
    released: Option<LogPosition>,
}

/// How far a segment can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentEnd {
    /// Up to this offset. Frames may follow.
    Open(u64),
    /// Up to this offset. The next segment follows.
    Sealed(u64),
    /// The segment has been removed, or never existed.
    Missing,
}

/// The contents of a log.
pub(super) struct LogContents {
    segments: BTreeMap<u64, SegmentExtent>,
    /// Sequence of the next frame.
    pub(super) next_sequence: u64,
    /// Number of the next record.
    pub(super) next_record: u64,
    subtasks: Vec<AttachedSubtask>,
    next_id: u64,
    /// All subtasks have covered this position at least.
    covered: LogPosition,
    /// Bytes per second at which checkpoints cover the log, and when that was last measured.
    drain: (u64, Option<u64>),
}

impl LogContents {
    /// Creates the contents. `segments` is not empty.
    pub(super) fn new(segments: BTreeMap<u64, SegmentExtent>, next_sequence: u64, next_record: u64) -> LogContents {
        let oldest = segments.keys().next().copied().unwrap_or_default();
        let covered = LogPosition { segment: oldest, offset: SEGMENT_HEADER_BYTES };
        let (subtasks, next_id, drain) = Default::default();
        LogContents { segments, next_sequence, next_record, subtasks, next_id, covered, drain }
    }

    /// Adds a new segment behind the last one.
    pub(super) fn add_segment(&mut self, number: u64) {
        let base = self.segments.values().next_back().map_or(0, |last| last.base + last.end);
        let (first_sequence, first_record) = (self.next_sequence, self.next_record);
        let extent = SegmentExtent { first_sequence, first_record, base, end: SEGMENT_HEADER_BYTES };
        self.segments.insert(number, extent);
    }

    /// Moves the end of the last segment behind frames that were synced, and wakes the readers.
    pub(super) fn extend(&mut self, end: u64, next_sequence: u64, next_record: u64) {
        if let Some(mut last) = self.segments.last_entry() {
            last.get_mut().end = end;
        }
        (self.next_sequence, self.next_record) = (next_sequence, next_record);
        self.subtasks.iter().for_each(|subtask| subtask.wakeup.wake());
    }

    /// Returns how far a segment can be read.
    pub(super) fn end_of(&self, segment: u64) -> SegmentEnd {
        let is_last = self.segments.keys().next_back() == Some(&segment);
        match self.segments.get(&segment) {
            Some(extent) if is_last => SegmentEnd::Open(extent.end),
            Some(extent) => SegmentEnd::Sealed(extent.end),
            None => SegmentEnd::Missing,
        }
    }

    /// Returns the oldest segment and its frames.
    pub(super) fn oldest(&self) -> Option<(u64, SegmentExtent)> {
        self.segments.iter().next().map(|(number, extent)| (*number, *extent))
    }

    /// Returns the position behind the last synced frame.
    pub(super) fn end(&self) -> LogPosition {
        let last = self.segments.iter().next_back();
        last.map_or(self.covered, |(number, extent)| LogPosition { segment: *number, offset: extent.end })
    }

    /// Returns the bytes that no complete checkpoint covers.
    pub(super) fn backlog(&self) -> u64 {
        self.bytes_before(self.end()).saturating_sub(self.bytes_before(self.covered))
    }

    fn bytes_before(&self, position: LogPosition) -> u64 {
        match self.segments.get(&position.segment) {
            Some(extent) => extent.base + position.offset.min(extent.end),
            None => self.oldest().map_or(0, |(_, extent)| extent.base),
        }
    }

    /// Adds a subtask that reads from `position` on. Returns its id. It replaces the same subtask of an earlier attempt.
    pub(super) fn attach(&mut self, subtask: u32, parallelism: u32, position: LogPosition, wakeup: Wakeup) -> u64 {
        self.subtasks.retain(|other| other.parallelism == parallelism && other.subtask != subtask);
        self.next_id += 1;
        let (id, covered, released) = (self.next_id, position, None);
        self.subtasks.push(AttachedSubtask { id, subtask, parallelism, wakeup, covered, released });
        self.update_covered();
        id
    }

    /// Removes a subtask.
    pub(super) fn detach(&mut self, id: u64) {
        self.subtasks.retain(|subtask| subtask.id != id);
    }

    /// Notes that a complete checkpoint contains everything that a subtask has before `position`.
    pub(super) fn cover(&mut self, id: u64, position: LogPosition, now_ns: u64) {
        let Some(subtask) = self.subtasks.iter_mut().find(|subtask| subtask.id == id) else { return };
        subtask.covered = subtask.covered.max(position);
        let before = self.bytes_before(self.covered);
        self.update_covered();
        let drained = self.bytes_before(self.covered).saturating_sub(before);
        if drained > 0 {
            let since_ns =
                self.drain.1.map_or(SECOND_NS, |last_ns| now_ns.saturating_sub(last_ns).max(SECOND_NS / 1000));
            let rate = u128::from(drained) * u128::from(SECOND_NS) / u128::from(since_ns);
            self.drain = (u64::try_from(rate).unwrap_or(u64::MAX), Some(now_ns));
        }
    }

    /// Returns the seconds after which `bytes` of the log are likely to be covered: 1 to 60.
    pub(super) fn drain_seconds(&self, bytes: u64) -> u64 {
        bytes.checked_div(self.drain.0).unwrap_or(10).clamp(1, 60)
    }

    fn update_covered(&mut self) {
        if let Some(covered) = self.smallest(|subtask| Some(subtask.covered)) {
            self.covered = covered;
        }
    }

    /// Notes that all retained checkpoints contain everything that a subtask has before `position`. Takes the segments that are no
    /// longer needed out of the log and returns their numbers, oldest first.
    pub(super) fn release(&mut self, id: u64, position: LogPosition) -> Vec<(u64, SegmentExtent)> {
        let Some(subtask) = self.subtasks.iter_mut().find(|subtask| subtask.id == id) else { return Vec::new() };
        subtask.released = subtask.released.max(Some(position));
        let Some(released) = self.smallest(|subtask| subtask.released) else { return Vec::new() };
        let last = self.end().segment;
        let numbers = self.segments.keys().copied().take_while(|number| *number < released.segment && *number < last);
        let numbers: Vec<u64> = numbers.collect();
        numbers.into_iter().filter_map(|number| Some((number, self.segments.remove(&number)?))).collect()
    }

    /// Puts segments back that could not be removed.
    pub(super) fn put_back(&mut self, segments: &[(u64, SegmentExtent)]) {
        self.segments.extend(segments.iter().copied());
    }

    /// Returns the smallest position over all subtasks. Returns `None` if a subtask is not attached or has none.
    fn smallest(&self, of: impl Fn(&AttachedSubtask) -> Option<LogPosition>) -> Option<LogPosition> {
        let parallelism = self.subtasks.first()?.parallelism;
        if self.subtasks.len() != parallelism as usize {
            return None;
        }
        self.subtasks.iter().map(of).try_fold(None, |smallest: Option<LogPosition>, position| {
            let position = position?;
            Some(Some(smallest.map_or(position, |smallest| smallest.min(position))))
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u64, offset: u64) -> LogPosition {
        LogPosition { segment, offset }
    }

    /// Segments 1 to 3, which end at 1064 each.
    fn contents() -> LogContents {
        let mut contents = LogContents::new(BTreeMap::new(), 0, 0);
        contents.covered = at(1, 64);
        for number in 1..=3 {
            contents.add_segment(number);
            contents.extend(1064, 10 * number, 20 * number);
        }
        contents
    }

    #[test]
    fn segments_are_released_when_all_subtasks_have_released_them() {
        let mut contents = contents();
        let [first, second] = [0, 1].map(|subtask| contents.attach(subtask, 2, at(1, 64), Wakeup::default()));
        let numbers =
            |removed: Vec<(u64, SegmentExtent)>| removed.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        assert!(contents.release(first, at(3, 500)).is_empty(), "the other subtask may need them");
        assert_eq!(numbers(contents.release(second, at(2, 64))), [1]);
        contents.detach(first);
        assert!(contents.release(second, at(3, 1064)).is_empty(), "subtask 0 is not known now");
        let first = contents.attach(0, 2, at(3, 64), Wakeup::default());
        let removed = contents.release(first, at(3, 100));
        assert_eq!(removed.len(), 1);
        contents.put_back(&removed);
        assert_eq!(contents.oldest().unwrap().0, 2);
        assert_eq!(numbers(contents.release(second, at(3, 1064))), [2], "the last segment stays");
        assert_eq!((contents.end_of(2), contents.end_of(3)), (SegmentEnd::Missing, SegmentEnd::Open(1064)));
    }

    #[test]
    fn the_backlog_is_what_no_complete_checkpoint_covers() {
        let mut contents = contents();
        assert_eq!(contents.backlog(), 3 * 1064 - 64);
        assert_eq!(contents.drain_seconds(1 << 30), 10, "nothing has been measured");
        let reader = contents.attach(0, 1, at(2, 64), Wakeup::default());
        assert_eq!(contents.backlog(), 2 * 1064 - 64);
        contents.cover(reader, at(3, 64), SECOND_NS);
        assert_eq!(contents.backlog(), 1000);
        assert_eq!(contents.drain_seconds(3 * 1064), 3);
        assert_eq!(contents.drain_seconds(0), 1);
        contents.extend(2064, 50, 60);
        assert_eq!(contents.backlog(), 2000);
        assert_eq!(contents.end_of(2), SegmentEnd::Sealed(1064));
    }

    #[test]
    fn an_attempt_replaces_the_subtasks_of_an_earlier_one() {
        let mut contents = contents();
        let old = [0, 1, 2].map(|subtask| contents.attach(subtask, 3, at(1, 64), Wakeup::default()));
        let new = contents.attach(0, 1, at(2, 64), Wakeup::default());
        old.into_iter().for_each(|id| contents.detach(id));
        assert_eq!(contents.release(new, at(2, 64)).len(), 1);
    }
}
