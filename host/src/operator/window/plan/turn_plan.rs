//! The plan of a turn: the windows that it touches, and what it does to them.
//!
//! Invariant: for the contents of one window, a turn first merges, then adds, then fires, then empties. A record or timer that
//! breaks this order ends the plan before it. So a turn makes each kind of guest call once, for all windows together.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::model::Keys;
use crate::operator::window::merging_window_set::MergingWindowSet;
use crate::operator::window::panes::key_panes::KeyPanes;
use crate::operator::window::time_window::TimeWindow;
use crate::operator::window::trigger::{TimerChange, TriggerContext, TurnClocks};

/// How far a plan has come with the contents of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContentsStage {
    Untouched,
    Merged,
    Added,
    /// Fired, emptied or moved. Nothing may follow in this turn.
    Closed,
}

/// A window of a key that the plan touches. Panes, suffixes and running totals have slots of their own.
pub struct WindowSlot {
    /// Index into [`WindowTurnPlan::keys`].
    pub key: u32,
    pub window: TimeWindow,
    pub stage: ContentsStage,
    pub trigger_state: Option<i64>,
    pub is_trigger_state_changed: bool,
    /// Whether the trigger requests a timer at the end of the window.
    pub needs_end_timer: bool,
    /// Whether a record was added, so that the window needs a clean-up timer.
    pub needs_cleanup_timer: bool,
    /// Whether the contents are removed at the end of the turn.
    pub is_emptied: bool,
    /// Whether all state of the window is removed.
    pub is_cleared: bool,
}

/// A window that fires with the contents of one slot, or with the merged contents of several.
#[derive(Clone)]
pub struct PlannedFiring {
    pub slot: u32,
    /// Range of [`WindowTurnPlan::fired_contents`].
    contents: Range<usize>,
}

/// Replaces the accumulator of `into` by that of `left` merged with that of `right`. If only one of them exists, copies it.
#[derive(Clone, Copy)]
pub struct AccumulatorMerge {
    pub into: u32,
    pub left: u32,
    pub right: u32,
}

/// The sessions of a key.
#[derive(Clone, Default)]
pub struct PlannedSessions {
    pub set: MergingWindowSet,
    pub is_changed: bool,
}

/// The panes of a key.
#[derive(Clone, Default)]
pub struct PlannedPanes {
    pub panes: KeyPanes,
    pub is_changed: bool,
    /// Whether the last record made windows of the key fire. The plan may not add another record to the key then.
    pub has_fired: bool,
    /// The pane of the last record, and its slot.
    pub latest: Option<(TimeWindow, u32)>,
}

/// The plan of a turn. Records are identified by their index in the batch, windows by their slot.
pub struct WindowTurnPlan {
    pub keys: Arc<Keys>,
    pub clocks: TurnClocks,
    slot_of: HashMap<(u32, TimeWindow), u32>,
    pub slots: Vec<WindowSlot>,
    /// For each key, the slot of its last record, or [`NO_SLOT`].
    pub latest: Vec<u32>,
    /// The sessions of each key. Empty if windows do not merge.
    pub sessions: Vec<PlannedSessions>,
    /// The panes of each key. Empty if windows do not share panes.
    pub panes: Vec<PlannedPanes>,
    /// Whether the elements of a key need an order over all panes.
    pub orders_elements: bool,
    /// Contents that move: from the second slot into the first.
    pub merges: Vec<(u32, u32)>,
    /// Records, and the slots that they are added to.
    pub adds: Vec<(u32, u32)>,
    /// For each entry of `adds`, its number among the elements of its key. Empty if elements need no order.
    pub element_numbers: Vec<u64>,
    /// Accumulators to derive from others. The merges of one round are independent of each other.
    pub merge_rounds: Vec<Vec<AccumulatorMerge>>,
    /// The slots whose contents the firings use.
    pub fired_contents: Vec<u32>,
    pub firings: Vec<PlannedFiring>,
    /// Late records.
    pub late: Vec<u32>,
    /// Timer changes of slots, in the order in which they were requested. A later change of the same timer wins.
    pub timers: Vec<(u32, TimerChange)>,
}

/// Marks the absence of a slot.
pub const NO_SLOT: u32 = u32::MAX;

impl WindowTurnPlan {
    /// An empty plan for these keys.
    pub fn new(keys: Arc<Keys>, clocks: TurnClocks) -> WindowTurnPlan {
        WindowTurnPlan {
            latest: vec![NO_SLOT; keys.distinct.len()],
            keys,
            clocks,
            slot_of: HashMap::new(),
            slots: Vec::new(),
            sessions: Vec::new(),
            panes: Vec::new(),
            orders_elements: false,
            merges: Vec::new(),
            adds: Vec::new(),
            element_numbers: Vec::new(),
            merge_rounds: Vec::new(),
            fired_contents: Vec::new(),
            firings: Vec::new(),
            late: Vec::new(),
            timers: Vec::new(),
        }
    }

    /// The slot of a window. Creates it if needed.
    pub fn slot(&mut self, key: u32, window: TimeWindow) -> u32 {
        let next = self.slots.len() as u32;
        let slot = *self.slot_of.entry((key, window)).or_insert(next);
        if slot == next {
            self.slots.push(WindowSlot {
                key,
                window,
                stage: ContentsStage::Untouched,
                trigger_state: None,
                is_trigger_state_changed: false,
                needs_end_timer: false,
                needs_cleanup_timer: false,
                is_emptied: false,
                is_cleared: false,
            });
        }
        slot
    }

    /// The slot of a window, if the plan touches it.
    pub fn existing_slot(&self, key: u32, window: TimeWindow) -> Option<&WindowSlot> {
        self.slot_of.get(&(key, window)).map(|&slot| &self.slots[slot as usize])
    }

    pub fn stage(&mut self, slot: u32) -> &mut ContentsStage {
        &mut self.slots[slot as usize].stage
    }

    /// Calls the trigger for a slot, and notes the changes that it makes.
    pub fn call_trigger<T>(&mut self, slot: u32, call: impl FnOnce(&mut TriggerContext<'_>) -> T) -> T {
        let mut changes = Vec::new();
        let clocks = self.clocks;
        let at = &mut self.slots[slot as usize];
        let before = at.trigger_state;
        let result =
            call(&mut TriggerContext { window: at.window, clocks, state: &mut at.trigger_state, timers: &mut changes });
        at.is_trigger_state_changed |= at.trigger_state != before;
        self.timers.extend(changes.into_iter().map(|change| (slot, change)));
        result
    }

    /// Fires the window of a slot with the contents of other slots, merged in this order.
    pub fn fire(&mut self, slot: u32, contents: &[u32]) {
        let start = self.fired_contents.len();
        self.fired_contents.extend_from_slice(contents);
        self.firings.push(PlannedFiring { slot, contents: start..self.fired_contents.len() });
    }

    /// The slots whose contents a firing uses.
    pub fn contents_of(&self, firing: &PlannedFiring) -> &[u32] {
        &self.fired_contents[firing.contents.clone()]
    }
}
