//! Fires windows whose timers are due, and limits how many fire in one turn.

pub mod due_windows;
pub mod firing_limit;
