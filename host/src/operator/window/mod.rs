//! Windows: groups records by key and time, and computes a result for each group. Terms and semantics are Flink's.
//!
//! The algorithm, for a batch of records or of due timers:
//!
//! 1. **Window assignment.** `assigner.rs` gives each record its windows. `lateness.rs` drops windows that accept no more records.
//! 2. **Planning.** `plan/` notes what one turn does to which windows. It reads sessions, panes and trigger states, but changes nothing.
//! 3. **Session merging.** A session window merges with those of its key that it overlaps (`merging_window_set.rs`).
//! 4. **Panes.** Sliding windows share panes, if they can, so that a record is added once (`panes/`).
//! 5. **Trigger.** `trigger.rs` decides for each record and each timer whether its window fires, and which timers it needs.
//! 6. **Adding.** `turn_execution.rs` loads the contents of the windows (`contents/`) and adds the records: one guest call for all.
//! 7. **Firing.** One more guest call computes the results of all windows that fire. `evictor.rs` removes elements before or after it.
//! 8. **Commit.** Contents, trigger states, timers, sessions and panes are staged and committed together; then results are emitted.
//! 9. **Allowed lateness.** A late record in an open window fires it again. A record that no window accepts goes to `late_records.rs`.
//! 10. **Clean-up.** At its end plus the allowed lateness, a timer removes all state of the window (`firing/due_windows.rs`).
//!
//! Invariant: the state of a window is stored under a key of its own (`time_window.rs`) and is removed with the window.
//! Must not depend on the kind of guest: a native aggregate is a guest like any other.

mod assigner;
mod contents;
mod definition;
mod evictor;
mod firing;
mod lateness;
mod merging_window_set;
mod native_aggregate;
mod panes;
mod plan;
mod time_window;
mod trigger;
mod turn_execution;
mod window_operator;

#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod panes_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod scenario_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod trigger_tests;
#[cfg(test)]
mod window_function_tests;

pub use definition::{
    WINDOWS_PER_RECORD_MAX, WindowFunction, WindowOptions, stores_windows_without_panes, too_many_windows,
    window_states,
};
pub use native_aggregate::{AggregateKey, FieldExtractor, NativeAggregate};
pub use window_operator::WindowOperator;
