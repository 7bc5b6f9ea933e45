//! How far a subtask has come with the replays of its operator.
//!
//! If the parallelism changes during a replay, the positions of all former subtasks are kept: a letter is handled if the subtask
//! that owned it then had passed it. The bytes come back from checkpoint files, so they are untrusted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Result, checkpoint_corrupt, internal};
use crate::model::{KeyGroup, subtask_of_group};

/// First byte of an encoded position.
const VERSION: u8 = 1;

/// Number of letters that were read, by the number of the replay.
type ReadLetters = BTreeMap<u64, u64>;

/// The position of one subtask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayPosition {
    read: ReadLetters,
    /// The positions of all subtasks before each change of the parallelism.
    former: Vec<Vec<ReadLetters>>,
}

/// Decides which subtask a letter belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct LetterOwner {
    /// The key group, if the letter has a key.
    pub(super) group: Option<KeyGroup>,
    /// The subtask that the record failed in.
    pub(super) failed_in: u32,
    pub(super) max_parallelism: u32,
}

impl LetterOwner {
    /// Returns the subtask at this parallelism.
    pub(super) fn subtask(&self, parallelism: u32) -> u32 {
        match self.group {
            Some(group) => subtask_of_group(group, parallelism, self.max_parallelism),
            None => self.failed_in % parallelism.max(1),
        }
    }
}

impl ReplayPosition {
    /// Returns the position of `subtask` that continues from the positions of all former subtasks. Error: `checkpoint-corrupt`.
    pub(crate) fn restored(old: &[Option<&[u8]>], subtask: u32, parallelism: u32) -> Result<ReplayPosition> {
        let mut positions: Vec<ReplayPosition> = old
            .iter()
            .map(|bytes| bytes.map_or_else(|| Ok(ReplayPosition::default()), ReplayPosition::decode))
            .collect::<Result<_>>()?;
        if old.len() == parallelism as usize {
            return Ok(positions.swap_remove(subtask as usize));
        }
        let mut former = positions.first().map(|first| first.former.clone()).unwrap_or_default();
        former.push(positions.into_iter().map(|position| position.read).collect());
        former.retain(|positions| positions.iter().any(|read| !read.is_empty()));
        Ok(ReplayPosition { read: ReadLetters::new(), former })
    }

    /// Decodes a position. Error: `checkpoint-corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<ReplayPosition> {
        let corrupt = || checkpoint_corrupt("the position of a replay of dead letters cannot be read");
        match bytes.split_first() {
            Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|_| corrupt()),
            _ => Err(corrupt()),
        }
    }

    /// Encodes the position. `None` if nothing was replayed.
    pub(crate) fn encode(&self) -> Result<Option<Vec<u8>>> {
        if *self == ReplayPosition::default() {
            return Ok(None);
        }
        let encoded = postcard::to_extend(self, vec![VERSION]);
        encoded.map(Some).map_err(|error| internal(format!("the position of a replay: {error}")))
    }

    /// Forgets the replays that are not among `open`, because they are complete.
    pub(super) fn retain(&mut self, open: &[u64]) {
        self.read.retain(|replay, _| open.contains(replay));
        self.former.iter_mut().flatten().for_each(|read| read.retain(|replay, _| open.contains(replay)));
        self.former.retain(|positions| positions.iter().any(|read| !read.is_empty()));
    }

    /// Returns the number of letters of a replay that were read.
    pub fn read(&self, replay: u64) -> u64 {
        self.read.get(&replay).copied().unwrap_or(0)
    }

    pub(super) fn set_read(&mut self, replay: u64, letters: u64) {
        self.read.insert(replay, letters);
    }

    /// Returns whether a former subtask has handled a letter. `letter` is its index.
    pub(super) fn was_handled(&self, replay: u64, letter: u64, owner: &LetterOwner) -> bool {
        self.former.iter().any(|positions| {
            let read = positions.get(owner.subtask(positions.len() as u32) as usize).and_then(|read| read.get(&replay));
            read.is_some_and(|read| letter < *read)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Subtasks read letters in any order, and the parallelism changes at any time.
        #[test]
        fn each_letter_is_handled_by_one_subtask_at_any_parallelism(
            letters in prop::collection::vec((prop::option::of(0u16..8), 0u32..5), 1..40),
            attempts in prop::collection::vec((1u32..5, prop::collection::vec(0usize..20, 5)), 0..5),
        ) {
            let owners = letters.iter().map(|&(group, failed_in)| LetterOwner { group, failed_in, max_parallelism: 8 });
            let owners: Vec<LetterOwner> = owners.collect();
            let mut handled = vec![0; letters.len()];
            let mut stored: Vec<Option<Vec<u8>>> = vec![None];
            let last = (3, vec![usize::MAX; 5]);
            for (parallelism, steps) in attempts.into_iter().chain([last]) {
                let old: Vec<Option<&[u8]>> = stored.iter().map(Option::as_deref).collect();
                let restored = |subtask| ReplayPosition::restored(&old, subtask, parallelism).unwrap();
                let mut positions: Vec<ReplayPosition> = (0..parallelism).map(restored).collect();
                for (subtask, position) in positions.iter_mut().enumerate() {
                    let from = position.read(7) as usize;
                    let to = letters.len().min(from.saturating_add(steps[subtask]));
                    for letter in from..to {
                        let owner = &owners[letter];
                        let is_own = owner.subtask(parallelism) as usize == subtask;
                        handled[letter] += usize::from(is_own && !position.was_handled(7, letter as u64, owner));
                    }
                    position.set_read(7, to as u64);
                }
                stored = positions.iter().map(|position| position.encode().unwrap()).collect();
            }
            prop_assert_eq!(handled, vec![1; letters.len()]);
        }

        #[test]
        fn untrusted_positions_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..30), subtask in 0u32..2) {
            let framed = [&[VERSION], &bytes[..]].concat();
            if let Ok(position) = ReplayPosition::restored(&[Some(&framed)], subtask, 2) {
                let owner = LetterOwner { group: Some(3), failed_in: 0, max_parallelism: 8 };
                position.was_handled(0, 0, &owner);
            }
            let _ = ReplayPosition::decode(&bytes);
        }
    }

    #[test]
    fn without_a_replay_nothing_is_stored() {
        assert_eq!(ReplayPosition::default().encode().unwrap(), None);
        assert_eq!(ReplayPosition::decode(b"").unwrap_err().code, "checkpoint-corrupt");
    }
}
