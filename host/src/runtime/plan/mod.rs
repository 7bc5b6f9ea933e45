//! The execution plan: chains, edges, and the checks of a pipeline that need its functions.

pub(super) mod event_time_check;
pub(super) mod execution_plan;
pub(super) mod window_functions;
