//! The contents of windows during one turn: accumulators, or lists of elements.
//!
//! Contents are loaded before the turn begins, changed by the answers of the guest, and staged after the guest's part of the turn.

pub mod element_lists;
pub mod fired_windows;
mod load_order;
pub mod stored_window_element;
pub mod window_accumulators;
