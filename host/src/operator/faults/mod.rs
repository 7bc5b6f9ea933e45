//! Handles the record, the timer or the window that a function fails on.

pub mod dead_letter;
pub mod failed_record;
pub(super) mod fault_policy;
