//! The context in which the nodes of a subtask are opened: plan, options, signals and logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::execution_options::ExecutionOptions;
use super::restored_node::RestoredNode;
use crate::connector::{ConnectorContext, HealthReporter};
use crate::operator::OperatorLog;
use crate::permits::SubtaskActivity;
use crate::pipeline::PipelineNode;
use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::plan::execution_plan::ExecutionPlan;
use crate::wakeup::Wakeup;

/// The context of one subtask.
#[derive(Clone)]
pub(crate) struct SubtaskContext {
    pub(crate) plan: Arc<ExecutionPlan>,
    pub(crate) options: Arc<ExecutionOptions>,
    /// Index of the subtask, from 0.
    pub(crate) subtask: u32,
    pub(crate) signals: Arc<AttemptSignals>,
    /// Wakes the subtask.
    pub(crate) wakeup: Wakeup,
    /// Shows the progress of the subtask.
    pub(crate) activity: Arc<SubtaskActivity>,
    /// The log of each operator, by its id. All subtasks of an operator share it.
    pub(crate) logs: Arc<BTreeMap<String, Arc<OperatorLog>>>,
}

impl SubtaskContext {
    pub(super) fn connector_context(&self, node: &PipelineNode) -> ConnectorContext {
        let ExecutionOptions { job_id, clock, paths, health, .. } = &*self.options;
        let name = (job_id.as_str(), node.id.as_str());
        ConnectorContext {
            health: HealthReporter::new(health, name, Some(self.subtask), clock, paths.policy.secrets()),
            job_id: self.options.job_id.clone(),
            node: node.id.clone(),
            subtask: self.subtask,
            parallelism: node.parallelism,
            clock: self.options.clock.clone(),
            base_dir: self.options.paths.base_dir.clone(),
            working_dir: self.options.working_dir.join(format!("{}-{}", node.id, self.subtask)),
            progress: self.options.sinks.get(&node.id).cloned().unwrap_or_default(),
            policy: self.options.paths.policy.clone(),
            seed: self.options.seed,
            interrupt: self.options.interrupt.clone(),
            runtime: self.options.runtime.clone(),
            ingest: self.options.ingest.clone(),
            wakeup: self.wakeup.clone(),
        }
    }

    /// Returns what the restored checkpoint holds for a node.
    pub(super) fn restored(&self, node: &PipelineNode) -> RestoredNode<'_> {
        RestoredNode::new(self.options.restore.as_ref(), node, self.subtask)
    }
}
