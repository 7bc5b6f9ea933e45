//! What windows hold, as a step and a function see it: the parts that accumulators and lists have in common.
//!
//! Contents are loaded before a step's turn begins, changed by the guest's answers, and staged behind the guest's part of the turn.

use super::span::write_key;
use super::step::{Fire, Step};
use crate::model::{Batch, Column, Keys, Windows};
use crate::turn::OutputBatch;

/// Records that a step adds.
#[derive(Clone, Copy)]
pub(super) struct Records<'a> {
    pub batch: &'a Batch,
    pub input: u32,
}

/// The keys of the state of some places.
pub(super) fn window_keys(step: &Step, places: impl Iterator<Item = u32>) -> Keys {
    let mut keys = Keys::default();
    for place in places {
        let place = &step.places[place as usize];
        keys.distinct.push_with(|bytes| write_key(bytes, step.keys.distinct.value(place.key as usize), place.window));
        keys.groups.push(step.keys.groups[place.key as usize]);
    }
    keys
}

/// The windows of some fires, with the user's keys.
pub(super) fn windows(step: &Step, fires: &[Fire]) -> Windows {
    let mut windows = Windows::default();
    let mut moved = vec![u32::MAX; step.keys.distinct.len()];
    for fire in fires {
        let place = &step.places[fire.place as usize];
        let key = &mut moved[place.key as usize];
        if *key == u32::MAX {
            *key = windows.keys.groups.len() as u32;
            windows.keys.distinct.push(step.keys.distinct.value(place.key as usize));
            windows.keys.groups.push(step.keys.groups[place.key as usize]);
        }
        windows.keys.key_of.push(*key);
        windows.starts.push(place.window.start);
        windows.ends.push(place.window.end);
    }
    windows
}

/// Results, one per window, as records of the main output.
pub(super) fn results(windows: &Windows, values: Column, last: impl Iterator<Item = i64>) -> Vec<OutputBatch> {
    debug_assert_eq!(windows.len(), values.len());
    vec![OutputBatch { index: 0, batch: Batch { values, timestamps: last.collect(), ..Batch::default() } }]
}

pub(super) fn last_of<'a>(step: &'a Step, fires: &'a [Fire]) -> impl Iterator<Item = i64> + 'a {
    fires.iter().map(|fire| step.places[fire.place as usize].window.max_timestamp())
}

const NOT_HELD: u32 = u32::MAX;

/// Places in the order in which they are loaded, and where each of them is in it.
pub(super) struct Order {
    pub places: Vec<u32>,
    at: Vec<u32>,
}

impl Order {
    pub fn new(step: &Step) -> Order {
        Order { places: Vec::new(), at: vec![NOT_HELD; step.places.len()] }
    }

    pub fn add(&mut self, place: u32) {
        let at = &mut self.at[place as usize];
        if *at == NOT_HELD {
            *at = self.places.len() as u32;
            self.places.push(place);
        }
    }

    pub fn of(&self, place: u32) -> usize {
        self.at[place as usize] as usize
    }
}
