//! Keys and windows of a plan, in the forms that the state backend and the guest take.

use std::sync::Arc;

use crate::model::row::RowSchema;
use crate::model::{Batch, Column, Keys, Windows};
use crate::operator::window::plan::turn_plan::{PlannedFiring, WindowTurnPlan};
use crate::operator::window::time_window::write_state_key;
use crate::turn::{OutputBatch, OutputId};

/// The records that a turn adds to windows.
#[derive(Clone, Copy)]
pub struct AddedRecords<'a> {
    pub batch: &'a Batch,
    pub input: u32,
}

/// The state keys of some slots.
pub fn state_keys(plan: &WindowTurnPlan, slots: impl Iterator<Item = u32>) -> Keys {
    let mut keys = Keys::default();
    for slot in slots {
        let slot = &plan.slots[slot as usize];
        let user_key = plan.keys.distinct.value(slot.key as usize);
        keys.distinct.push_with(|bytes| write_state_key(bytes, user_key, slot.window));
        keys.groups.push(plan.keys.groups[slot.key as usize]);
    }
    keys
}

/// Some of the given keys, by their indexes.
pub fn select_keys(all: &Keys, indexes: impl Iterator<Item = u32>) -> Keys {
    let mut keys = Keys::default();
    for key in indexes {
        keys.distinct.push(all.distinct.value(key as usize));
        keys.groups.push(all.groups[key as usize]);
    }
    keys
}

/// The windows of some firings, with the user's keys.
pub fn fired_windows(plan: &WindowTurnPlan, firings: &[PlannedFiring]) -> Windows {
    const NOT_ADDED: u32 = u32::MAX;
    let mut windows = Windows::default();
    let mut index_of = vec![NOT_ADDED; plan.keys.distinct.len()];
    for firing in firings {
        let slot = &plan.slots[firing.slot as usize];
        let index = &mut index_of[slot.key as usize];
        if *index == NOT_ADDED {
            *index = windows.keys.groups.len() as u32;
            windows.keys.distinct.push(plan.keys.distinct.value(slot.key as usize));
            windows.keys.groups.push(plan.keys.groups[slot.key as usize]);
        }
        windows.keys.key_of.push(*index);
        windows.starts.push(slot.window.start);
        windows.ends.push(slot.window.end);
    }
    windows
}

/// The results of firings, one each, as records of the main output with this schema. Their timestamps are the last milliseconds of the windows.
pub fn result_records(
    plan: &WindowTurnPlan,
    firings: &[PlannedFiring],
    values: Column,
    schema: Option<&Arc<RowSchema>>,
) -> Vec<OutputBatch> {
    debug_assert_eq!(firings.len(), values.len());
    let last = |firing: &PlannedFiring| plan.slots[firing.slot as usize].window.max_timestamp();
    let timestamps = firings.iter().map(last).collect();
    vec![OutputBatch {
        output: OutputId::MAIN,
        batch: Batch { values, timestamps, schema: schema.cloned(), ..Batch::default() },
    }]
}
