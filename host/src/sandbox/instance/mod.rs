//! Instances of components: `guest` calls one for a subtask, within `memory_limit` and `deadline`.
//!
//! `live_instance` starts an instance, `store_data` is what its imports work on, `call_parameters`, `call_results`
//! and `call_failure` convert the parameters, the results and the failures of calls.

mod call_failure;
mod call_parameters;
mod call_results;
mod deadline;
mod guest;
mod live_instance;
mod memory_limit;
mod store_data;
mod turn_seed;

#[cfg(test)]
mod call_results_tests;

pub(super) use call_failure::CallFailure;
pub use guest::Instance;
pub(super) use live_instance::LiveInstance;
pub(super) use store_data::{InstanceOptions, StoreData};
