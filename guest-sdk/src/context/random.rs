//! Random numbers that a turn draws again when it runs again.

use super::TurnContext;
use crate::turn_cursor::{ItemStream, NO_ITEM};

/// The numbers of one item: SplitMix64 from a start that only depends on the item.
#[derive(Default)]
pub(super) struct Randomness {
    /// The turn and the item.
    item: (u64, u32),
    state: u64,
}

impl Randomness {
    pub(super) fn begin(item: (u64, u32), turn: &TurnContext, stream: ItemStream, key: &[u8]) -> Self {
        let seed = u64::from(turn.seed_high) << 32 | u64::from(turn.seed_low);
        // In `open` there is no item: its numbers are those before the first one.
        let index = if item.1 == NO_ITEM { 0 } else { u64::from(item.1) + 1 };
        let position = turn.position.wrapping_add(index);
        let parts = [hash(turn.operator_id.as_bytes()), hash(key), stream as u64, position];
        Randomness { item, state: parts.into_iter().fold(seed, |state, part| mixed(state ^ mixed(part))) }
    }

    pub(super) fn is_of(&self, item: (u64, u32)) -> bool {
        self.item == item
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.state)
    }
}

/// The finalizer of SplitMix64.
fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// 64-bit FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
