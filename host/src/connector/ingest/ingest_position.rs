//! The durable position of a subtask, and how positions are dealt when the parallelism changes.
//!
//! A subtask reads every `parallelism`-th frame of the log. Frames are dealt as wholes, so that the records of a request stay in order.
//! After a change of parallelism, the frames that an earlier subtask has not read remain a share of their own: up to the frame from
//! which on the new subtasks deal. Each of these shares is read by one new subtask, before its own.

use serde::{Deserialize, Serialize};

use super::log_position::LogPosition;
use crate::connector::versioned_bytes;
use crate::error::{Result, checkpoint_corrupt};

const VERSION: u8 = versioned_bytes::VERSION_1;

/// Some frames of a log, of which a subtask has read the first ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrameShare {
    /// Where the next frame begins that may belong to the share.
    pub(super) position: LogPosition,
    /// Sequence of that frame.
    pub(super) sequence: u64,
    /// Number of its first record in the log.
    pub(super) record: u64,
    /// Number of its records that have been read.
    pub(super) read: u32,
    /// The share contains the frames whose sequence is `residue` modulo `modulus`, from `from` on, and before `to`.
    pub(super) modulus: u32,
    pub(super) residue: u32,
    pub(super) from: u64,
    pub(super) to: Option<u64>,
}

impl FrameShare {
    /// Returns whether a frame belongs to the share.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        sequence >= self.from
            && self.to.is_none_or(|to| sequence < to)
            && sequence % u64::from(self.modulus) == u64::from(self.residue)
    }

    /// Returns the sequence of the first frame that the share has not begun.
    fn unread(&self) -> u64 {
        (self.sequence + u64::from(self.read > 0)).max(self.from)
    }
}

/// The shares of a subtask. The last one has no end; the others are what earlier subtasks left.
pub(super) type FrameShares = Vec<FrameShare>;

pub(super) fn encode(shares: &[FrameShare]) -> Result<Vec<u8>> {
    versioned_bytes::encode(VERSION, shares)
}

fn decode(node: &str, position: &[u8]) -> Result<FrameShares> {
    let what = format!("the position of source `{node}`");
    let shares: FrameShares = versioned_bytes::decode(VERSION, position, &what)?;
    let is_sound = shares.last().is_some_and(|own| own.to.is_none())
        && shares.iter().all(|share| share.residue < share.modulus && share.sequence.checked_add(1).is_some());
    if is_sound { Ok(shares) } else { Err(checkpoint_corrupt(format!("{what} is inconsistent"))) }
}

/// Returns the shares of a subtask after a restore. `positions` are those of all former subtasks, and not empty.
pub(super) fn share(node: &str, positions: &[&[u8]], subtask: u32, parallelism: u32) -> Result<FrameShares> {
    let all = positions.iter().map(|position| decode(node, position)).collect::<Result<Vec<FrameShares>>>()?;
    let is_same = all.len() == parallelism as usize
        && all.iter().flat_map(|shares| shares.last()).all(|own| own.modulus == parallelism);
    if is_same {
        return Ok(all.into_iter().nth(subtask as usize).unwrap_or_default());
    }
    let open = all.iter().flatten().filter(|share| share.to.is_none());
    let Some(newest) = open.max_by_key(|share| share.unread()).copied() else {
        return Err(checkpoint_corrupt(format!("the positions of source `{node}` are empty")));
    };
    let from = newest.unread();
    let left = all.iter().flatten().map(|share| FrameShare { to: Some(share.to.unwrap_or(from)), ..*share });
    let left = left.filter(|share| share.sequence < share.to.unwrap_or(from));
    let mut own: FrameShares = left.skip(subtask as usize).step_by(parallelism as usize).collect();
    own.push(FrameShare { read: 0, modulus: parallelism, residue: subtask, from, to: None, ..newest });
    Ok(own)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Reads one record of each frame of 2 records, from a log in which frame `n` is at offset `n`. Returns the frame and the record.
    fn read(shares: &mut FrameShares, frames: u64) -> Option<(u64, u32)> {
        loop {
            let share = shares.first_mut()?;
            if share.sequence == frames || share.to.is_some_and(|to| share.sequence >= to) {
                if shares.len() == 1 {
                    return None;
                }
                shares.remove(0);
                continue;
            }
            if share.contains(share.sequence) && share.read < 2 {
                share.read += 1;
                return Some((share.sequence, share.read));
            }
            share.sequence += 1;
            share.read = 0;
            share.position.offset += 1;
        }
    }

    proptest! {
        #[test]
        fn each_record_is_read_once_at_any_parallelism(
            steps in prop::collection::vec((1u32..5, prop::collection::vec(0usize..12, 4), 0u64..12), 1..6),
        ) {
            let mut frames = 0;
            let mut times = BTreeMap::new();
            let mut positions: Vec<Vec<u8>> = Vec::new();
            for (parallelism, reads, new) in steps.iter().cloned().chain([(3, vec![1000; 4], 0)]) {
                frames += new;
                let start = FrameShare {
                    position: LogPosition { segment: 1, offset: 0 },
                    sequence: 0, record: 0, read: 0, modulus: parallelism, residue: 0, from: 0, to: None,
                };
                let restored: Vec<&[u8]> = positions.iter().map(Vec::as_slice).collect();
                let mut next = Vec::new();
                for subtask in 0..parallelism {
                    let mut shares = match restored.is_empty() {
                        true => vec![FrameShare { residue: subtask, ..start }],
                        false => share("in", &restored, subtask, parallelism).unwrap(),
                    };
                    for _ in 0..reads[subtask as usize] {
                        let Some(record) = read(&mut shares, frames) else { break };
                        *times.entry(record).or_insert(0) += 1;
                    }
                    next.push(encode(&shares).unwrap());
                }
                positions = next;
            }
            let expected: BTreeMap<(u64, u32), i32> =
                (0..frames).flat_map(|frame| [((frame, 1), 1), ((frame, 2), 1)]).collect();
            prop_assert_eq!(times, expected);
        }
    }

    #[test]
    fn inconsistent_positions_are_errors() {
        let share = FrameShare {
            position: LogPosition { segment: 1, offset: 64 },
            sequence: 3,
            record: 3,
            read: 0,
            modulus: 2,
            residue: 1,
            from: 0,
            to: None,
        };
        let refused = |shares: &[FrameShare]| decode("in", &encode(shares).unwrap()).unwrap_err().code;
        assert!(decode("in", &encode(&[share]).unwrap()).is_ok());
        assert_eq!(refused(&[]), "checkpoint-corrupt");
        assert_eq!(refused(&[FrameShare { to: Some(4), ..share }]), "checkpoint-corrupt");
        assert_eq!(refused(&[FrameShare { modulus: 0, ..share }]), "checkpoint-corrupt");
        assert_eq!(decode("in", b"").unwrap_err().code, "checkpoint-corrupt");
    }
}
