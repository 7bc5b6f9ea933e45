//! The session windows of one key that are in flight: Flink's `MergingWindowSet`.
//!
//! The contents of a session are stored under its *state window*, the window that its first record had. They stay there when the
//! session grows, so a merge moves the contents of all sessions but one.
//! Invariant: no two windows of a set overlap. The encoding is part of the durable format.

use super::time_window::TimeWindow;
use crate::error::{self, Result};

const ENTRY_BYTES: usize = 32;

/// The session windows of one key, ordered by start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergingWindowSet {
    sessions: Vec<SessionWindow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWindow {
    pub window: TimeWindow,
    /// The window under which the contents are stored.
    pub state: TimeWindow,
}

/// The result of adding a window to a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionMerge {
    /// The resulting session. If the new window overlaps no other, it is the session.
    pub session: SessionWindow,
    /// The sessions that become part of the result, in order.
    pub merged: Vec<SessionWindow>,
}

impl SessionMerge {
    /// Whether an existing session changes. False if the new window lies within one, or overlaps none.
    pub fn changes_sessions(&self) -> bool {
        self.merged.iter().any(|session| session.window != self.session.window)
    }
}

impl MergingWindowSet {
    /// Returns what adding `new` would do. Changes nothing.
    pub fn merge_with(&self, new: TimeWindow) -> SessionMerge {
        let merged: Vec<SessionWindow> =
            self.sessions.iter().filter(|session| session.window.overlaps(new)).copied().collect();
        let window = merged.iter().fold(new, |cover, session| cover.cover(session.window));
        let state = merged.first().map_or(new, |first| first.state);
        SessionMerge { session: SessionWindow { window, state }, merged }
    }

    /// Applies the result of [`MergingWindowSet::merge_with`].
    pub fn apply(&mut self, merge: &SessionMerge) {
        self.sessions.retain(|session| !merge.merged.contains(session));
        let index = self.sessions.partition_point(|session| session.window.start < merge.session.window.start);
        self.sessions.insert(index, merge.session);
    }

    /// The state window of a session, if it is in flight.
    pub fn state_window(&self, window: TimeWindow) -> Option<TimeWindow> {
        self.sessions.iter().find(|session| session.window == window).map(|session| session.state)
    }

    /// Whether the contents of a session in flight are stored under this window.
    pub fn is_state_window(&self, window: TimeWindow) -> bool {
        self.sessions.iter().any(|session| session.state == window)
    }

    /// Removes a session.
    pub fn remove(&mut self, window: TimeWindow) {
        self.sessions.retain(|session| session.window != window);
    }

    pub fn iter(&self) -> impl Iterator<Item = SessionWindow> + '_ {
        self.sessions.iter().copied()
    }

    /// The stored form. Empty for a set without sessions.
    pub fn encode(&self) -> Vec<u8> {
        let times = |session: &SessionWindow| [session.window, session.state].map(|window| [window.start, window.end]);
        self.sessions.iter().flat_map(times).flatten().flat_map(i64::to_le_bytes).collect()
    }

    /// Error: `state-failed` if [`MergingWindowSet::encode`] cannot have written the bytes.
    pub fn decode(bytes: &[u8]) -> Result<MergingWindowSet> {
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(error::state_failed(format!("a set of session windows has {} bytes", bytes.len())));
        }
        let sessions = entries.iter().map(|entry| {
            let (times, _) = entry.as_chunks::<8>();
            let [start, end, state_start, state_end] = [0, 1, 2, 3].map(|at| i64::from_le_bytes(times[at]));
            let state = TimeWindow { start: state_start, end: state_end };
            SessionWindow { window: TimeWindow { start, end }, state }
        });
        Ok(MergingWindowSet { sessions: sessions.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: i64, end: i64) -> TimeWindow {
        TimeWindow { start, end }
    }

    fn session(window: TimeWindow, state: TimeWindow) -> SessionWindow {
        SessionWindow { window, state }
    }

    fn add(sessions: &mut MergingWindowSet, start: i64) -> SessionMerge {
        let merge = sessions.merge_with(window(start, start + 10));
        sessions.apply(&merge);
        merge
    }

    /// The gap is 10. The records at 0, 10 and 30 do not merge, because [0, 10) only touches [10, 20). The record at 9 overlaps
    /// the first two, the one at 25 only [30, 40), and the one at 16 both remaining sessions.
    #[test]
    fn overlapping_windows_merge_into_the_state_window_of_the_first() {
        let mut sessions = MergingWindowSet::default();
        let [first, second, third] = [0, 10, 30].map(|start| window(start, start + 10));
        for alone in [first, third, second] {
            let session = session(alone, alone);
            assert_eq!(add(&mut sessions, alone.start), SessionMerge { session, merged: vec![] });
        }
        let grown = add(&mut sessions, 9);
        assert_eq!(grown.session, session(window(0, 20), first));
        assert_eq!(grown.merged, [session(first, first), session(second, second)]);
        assert!(grown.changes_sessions());
        assert_eq!(add(&mut sessions, 25).session, session(window(25, 40), third));
        let all = add(&mut sessions, 16);
        assert_eq!(all.session, session(window(0, 40), first));
        assert_eq!(all.merged, [session(window(0, 20), first), session(window(25, 40), third)]);
        assert_eq!(sessions.iter().collect::<Vec<_>>(), [session(window(0, 40), first)]);
        assert_eq!((sessions.state_window(window(0, 40)), sessions.state_window(first)), (Some(first), None));
    }

    #[test]
    fn a_window_within_a_session_changes_nothing() {
        let mut sessions = MergingWindowSet::default();
        add(&mut sessions, 0);
        add(&mut sessions, 5);
        let before = sessions.clone();
        let merge = add(&mut sessions, 3);
        assert!(!merge.changes_sessions() && merge.merged.len() == 1);
        assert_eq!(sessions, before);
    }

    #[test]
    fn a_set_round_trips_through_its_stored_form() {
        let mut sessions = MergingWindowSet::default();
        for start in [100, -50, 0, 7] {
            add(&mut sessions, start);
        }
        let bytes = sessions.encode();
        assert_eq!(MergingWindowSet::decode(&bytes).unwrap(), sessions);
        assert_eq!(MergingWindowSet::decode(&bytes[1..]).unwrap_err().code, "state-failed");
        sessions.remove(window(0, 17));
        assert_eq!(sessions.iter().map(|session| session.window.start).collect::<Vec<_>>(), [-50, 100]);
    }
}
