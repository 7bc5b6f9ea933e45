//! Creates the logs of the operators of an attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::execution_options::ExecutionOptions;
use crate::job_log::LineRate;
use crate::operator::OperatorLog;
use crate::pipeline::{LimitKey, NodeKind, OperatorLimits};
use crate::runtime::plan::execution_plan::ExecutionPlan;
use crate::turn::SharedLimits;

/// All functions of a job may write as many lines as this many functions with default limits.
const LOGGING_FUNCTIONS: u64 = 10;

/// Creates the log of each operator, and the limits that all its subtasks share.
pub(crate) fn operator_logs(plan: &ExecutionPlan, options: &ExecutionOptions) -> BTreeMap<String, Arc<OperatorLog>> {
    let ExecutionOptions { clock, log, paths, namespace_state, .. } = options;
    let rate = line_rate(plan);
    let mut logs = BTreeMap::new();
    for node in &plan.pipeline.nodes {
        let NodeKind::Operator(operator) = &node.kind else { continue };
        let function = plan.functions.get(&node.id).map_or("", |function| &function.description.name);
        let log = log.open_node(&node.id, operator.log_level, rate, paths.policy.secrets());
        let limits = SharedLimits::new(&node.id, &operator.limits, log, clock.clone());
        let limits = Arc::new(limits.with_namespace_state(namespace_state));
        let log = OperatorLog::new(&plan.pipeline.name, &node.id, function, limits, clock.clone());
        logs.insert(node.id.clone(), Arc::new(log));
    }
    logs
}

/// Returns how many log lines the functions of a job may write together: ten times the default of one function, or as many as the
/// most that one function may write.
fn line_rate(plan: &ExecutionPlan) -> LineRate {
    let of_job = |key| {
        let operators = plan.pipeline.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Operator(operator) => Some(operator.limits.get(key)),
            _ => None,
        });
        operators.max().unwrap_or(0).max(OperatorLimits::default().get(key).saturating_mul(LOGGING_FUNCTIONS))
    };
    LineRate { lines: of_job(LimitKey::LogLines), bytes: of_job(LimitKey::LogBytes) }
}
