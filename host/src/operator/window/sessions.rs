//! The windows in flight of one key whose windows merge: Flink's `MergingWindowSet`.
//!
//! What a window holds stays where it was first put, under its *state window*, however the window grows: so a merge moves the
//! contents of all but one. Invariant: no two windows of a set overlap.

use super::span::Window;
use crate::error::{self, Result};

const ENTRY_BYTES: usize = 32;

/// The windows, each with its state window, in order of their starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    windows: Vec<Session>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub window: Window,
    pub state: Window,
}

/// What becomes of a new window in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// The result of the merge; the new window itself where it overlaps no other.
    pub session: Session,
    /// The windows that become part of it, in order. One alone that is the result as well merges with nothing.
    pub merged: Vec<Session>,
}

impl Joined {
    /// Whether the windows of the set change other than by one that is new.
    pub fn merges(&self) -> bool {
        self.merged.iter().any(|session| session.window != self.session.window)
    }
}

impl Sessions {
    /// What `new` would become. Changes nothing.
    pub fn joined(&self, new: Window) -> Joined {
        let merged: Vec<Session> =
            self.windows.iter().filter(|session| session.window.overlaps(new)).copied().collect();
        let window = merged.iter().fold(new, |cover, session| cover.cover(session.window));
        let state = merged.first().map_or(new, |first| first.state);
        Joined { session: Session { window, state }, merged }
    }

    /// Takes over what [`Sessions::joined`] said.
    pub fn join(&mut self, joined: &Joined) {
        self.windows.retain(|session| !joined.merged.contains(session));
        let place = self.windows.partition_point(|session| session.window.start < joined.session.window.start);
        self.windows.insert(place, joined.session);
    }

    /// Where the contents of a window lie; None where the window is not in flight.
    pub fn state_of(&self, window: Window) -> Option<Window> {
        self.windows.iter().find(|session| session.window == window).map(|session| session.state)
    }

    /// Whether the contents of a window in flight lie here.
    pub fn is_state(&self, window: Window) -> bool {
        self.windows.iter().any(|session| session.state == window)
    }

    /// Forgets a window.
    pub fn retire(&mut self, window: Window) {
        self.windows.retain(|session| session.window != window);
    }

    pub fn iter(&self) -> impl Iterator<Item = Session> + '_ {
        self.windows.iter().copied()
    }

    /// As it is stored. Nothing is stored for a set without windows.
    pub fn encode(&self) -> Vec<u8> {
        let times = |session: &Session| [session.window, session.state].map(|window| [window.start, window.end]);
        self.windows.iter().flat_map(times).flatten().flat_map(i64::to_le_bytes).collect()
    }

    /// Error: `state-failed` where the bytes are nothing that [`Sessions::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Sessions> {
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(error::state_failed(format!("a set of windows of {} bytes", bytes.len())));
        }
        let windows = entries.iter().map(|entry| {
            let (times, _) = entry.as_chunks::<8>();
            let [start, end, state_start, state_end] = [0, 1, 2, 3].map(|at| i64::from_le_bytes(times[at]));
            let state = Window { start: state_start, end: state_end };
            Session { window: Window { start, end }, state }
        });
        Ok(Sessions { windows: windows.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: i64, end: i64) -> Window {
        Window { start, end }
    }

    fn session(window: Window, state: Window) -> Session {
        Session { window, state }
    }

    fn add(sessions: &mut Sessions, start: i64) -> Joined {
        let joined = sessions.joined(window(start, start + 10));
        sessions.join(&joined);
        joined
    }

    /// Gap 10: 0, 10 and 30 stand alone, as [0, 10) ends where [10, 20) begins; 9 overlaps both, 25 then [30, 40) alone, and 16
    /// both that are left.
    #[test]
    fn windows_that_overlap_become_one_and_keep_the_first_ones_contents() {
        let mut sessions = Sessions::default();
        let [first, second, third] = [0, 10, 30].map(|start| window(start, start + 10));
        for alone in [first, third, second] {
            let session = session(alone, alone);
            assert_eq!(add(&mut sessions, alone.start), Joined { session, merged: vec![] });
        }
        let grown = add(&mut sessions, 9);
        assert_eq!(grown.session, session(window(0, 20), first));
        assert_eq!(grown.merged, [session(first, first), session(second, second)]);
        assert!(grown.merges());
        assert_eq!(add(&mut sessions, 25).session, session(window(25, 40), third));
        let all = add(&mut sessions, 16);
        assert_eq!(all.session, session(window(0, 40), first));
        assert_eq!(all.merged, [session(window(0, 20), first), session(window(25, 40), third)]);
        assert_eq!(sessions.iter().collect::<Vec<_>>(), [session(window(0, 40), first)]);
        assert_eq!((sessions.state_of(window(0, 40)), sessions.state_of(first)), (Some(first), None));
    }

    #[test]
    fn a_window_within_another_changes_nothing() {
        let mut sessions = Sessions::default();
        add(&mut sessions, 0);
        add(&mut sessions, 5);
        let before = sessions.clone();
        let within = add(&mut sessions, 3);
        assert!(!within.merges() && within.merged.len() == 1);
        assert_eq!(sessions, before);
    }

    #[test]
    fn a_set_comes_back_as_it_was_stored() {
        let mut sessions = Sessions::default();
        for start in [100, -50, 0, 7] {
            add(&mut sessions, start);
        }
        let bytes = sessions.encode();
        assert_eq!(Sessions::decode(&bytes).unwrap(), sessions);
        assert_eq!(Sessions::decode(&bytes[1..]).unwrap_err().code, "state-failed");
        sessions.retire(window(0, 17));
        assert_eq!(sessions.iter().map(|session| session.window.start).collect::<Vec<_>>(), [-50, 100]);
    }
}
