//! The order in which the contents of slots are loaded from the state backend.

use crate::operator::window::plan::turn_plan::WindowTurnPlan;

const NOT_LOADED: u32 = u32::MAX;

/// Slots in the order in which they are loaded, each once.
pub struct LoadOrder {
    pub slots: Vec<u32>,
    index_of: Vec<u32>,
}

impl LoadOrder {
    pub fn new(plan: &WindowTurnPlan) -> LoadOrder {
        LoadOrder { slots: Vec::new(), index_of: vec![NOT_LOADED; plan.slots.len()] }
    }

    /// Adds a slot, unless it was added before.
    pub fn add(&mut self, slot: u32) {
        let index = &mut self.index_of[slot as usize];
        if *index == NOT_LOADED {
            *index = self.slots.len() as u32;
            self.slots.push(slot);
        }
    }

    /// The index of a slot that was added.
    pub fn index_of(&self, slot: u32) -> usize {
        self.index_of[slot as usize] as usize
    }
}
