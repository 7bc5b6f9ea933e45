//! The functions of the operators, from components or native.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{self, Result};
use crate::pipeline::{GuestLimits, PipelineNode};
use crate::sandbox::FunctionDescription;
use crate::turn::Guest;

/// The options of one subtask's guest.
pub struct GuestOptions {
    /// Limits of memory, time and output.
    pub limits: GuestLimits,
    /// Seed of the guest's random numbers.
    pub seed: u64,
    /// Whether every turn gets a fresh instance.
    pub fresh: bool,
    /// Set when the job is cancelled.
    pub cancel: Arc<AtomicBool>,
}

/// Creates the guest of one subtask.
pub type GuestFactory = Arc<dyn Fn(&GuestOptions) -> Box<dyn Guest> + Send + Sync>;

/// The function of one operator: from a component, or native in aggregates and benchmarks.
#[derive(Clone)]
pub struct FunctionPlan {
    /// The ports, states and timers of the function.
    pub description: FunctionDescription,
    /// Creates the guest of each subtask.
    pub make: GuestFactory,
}

/// The functions of a pipeline by the id of their operator.
pub type FunctionPlans = BTreeMap<String, FunctionPlan>;

/// Returns the function of an operator.
pub(crate) fn function_of<'a>(functions: &'a FunctionPlans, node: &PipelineNode) -> Result<&'a FunctionPlan> {
    functions.get(&node.id).ok_or_else(|| error::internal(format!("operator `{}` has no function", node.id)))
}
