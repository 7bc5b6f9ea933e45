//! Plans what a turn does to which windows, before anything is done.
//!
//! | file | content |
//! |---|---|
//! | `turn_plan.rs` | [`turn_plan::WindowTurnPlan`]: the plan, and its invariant. |
//! | `plan_loader.rs` | Reads the sessions, panes and trigger states that a plan needs, and plans records or timers. |
//! | `window_planner.rs` | Plans records and timers of windows that store their own contents. |
//! | `session_merging.rs` | Plans records whose session window merges with others. |
//! | `pane_planner.rs` | Plans records of windows that share panes. |
//! | `pane_firing.rs` | Plans firings from panes, suffixes and running totals. |

mod pane_firing;
mod pane_planner;
pub mod plan_loader;
mod session_merging;
pub mod turn_plan;
mod window_planner;
