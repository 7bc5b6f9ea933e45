//! Gaps: ranges of a map in which a turn has removed all stored entries.
//!
//! Without gaps, a function that repeatedly removes the first entry of a map would skip all removed entries each time. Invariant: no
//! stored entry within a gap counts. Entries that the turn has written there are among its own entries.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The first and the last sub-key of a range, both inclusive.
pub(super) type SubKeyRange = (Vec<u8>, Vec<u8>);

/// The gaps of one map, which do not overlap.
#[derive(Default)]
pub(super) struct Gaps {
    /// Maps the first sub-key of each gap to its last one.
    ends: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Sub-keys within the gaps that the host has to remove.
    pub(super) removed: BTreeSet<Vec<u8>>,
}

impl Gaps {
    /// Returns the last sub-key of the gap that contains a sub-key.
    pub(super) fn end_of(&self, sub_key: &[u8]) -> Option<&[u8]> {
        let (_, end) = self.ends.range::<[u8], _>((Bound::Unbounded, Bound::Included(sub_key))).next_back()?;
        (end.as_slice() >= sub_key).then_some(end.as_slice())
    }

    /// Adds a range, and unites it with the gaps that it touches.
    pub(super) fn add(&mut self, (mut first, mut last): SubKeyRange) {
        let up_to = (Bound::Unbounded, Bound::Included(first.as_slice()));
        let before = self.ends.range::<[u8], _>(up_to).next_back();
        if let Some((start, end)) = before.filter(|(_, end)| **end >= first) {
            first = start.clone();
            last = last.max(end.clone());
        }
        let within: Vec<Vec<u8>> =
            self.ends.range(first.clone()..=last.clone()).map(|(start, _)| start.clone()).collect();
        for start in within {
            last = last.max(self.ends.remove(&start).unwrap_or_default());
        }
        self.ends.insert(first, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &str, last: &str) -> SubKeyRange {
        (first.into(), last.into())
    }

    #[test]
    fn ranges_that_touch_become_one_gap() {
        let mut gaps = Gaps::default();
        for (first, last) in [("b", "d"), ("x", "z"), ("f", "g"), ("d", "e")] {
            gaps.add(range(first, last));
        }
        let end_of =
            |gaps: &Gaps, key: &str| gaps.end_of(key.as_bytes()).map(|end| String::from_utf8(end.to_vec()).unwrap());
        for (key, end) in
            [("a", None), ("b", Some("e")), ("e", Some("e")), ("ea", None), ("g", Some("g")), ("y", Some("z"))]
        {
            assert_eq!(end_of(&gaps, key).as_deref(), end, "{key}");
        }
        gaps.add(range("", "m"));
        assert_eq!((gaps.ends.len(), end_of(&gaps, "c").as_deref()), (2, Some("m")));
        gaps.add(range("c", "d"));
        assert_eq!((gaps.ends.len(), end_of(&gaps, "").as_deref()), (2, Some("m")));
    }
}
