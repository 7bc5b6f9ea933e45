//! The context that all components of one attempt share.

use std::sync::Arc;

use crate::checkpoint::CheckpointStorage;
use crate::job::checkpoint::OperatorVersions;
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::message::AttemptSender;
use crate::job::sinks::SinkCommitters;
use crate::runtime::{ExecutionPlan, InjectedFailures, LetterOptions};

/// The job, its environment, its plan, and the channel to the job's thread.
#[derive(Clone)]
pub struct AttemptContext {
    /// The job that the attempt belongs to.
    pub job: Arc<JobHandle>,
    /// The environment that all jobs share.
    pub environment: Arc<JobEnvironment>,
    /// The plan that the attempt executes.
    pub plan: Arc<ExecutionPlan>,
    /// The versions of the operators, which checkpoints record.
    pub versions: Arc<OperatorVersions>,
    /// The storage for the job's checkpoints.
    pub storage: CheckpointStorage,
    /// Publishes the output of sinks.
    pub sinks: Arc<SinkCommitters>,
    /// The dead letters that the host keeps.
    pub letters: LetterOptions,
    /// Failures on purpose.
    pub injected: Arc<InjectedFailures>,
    /// Sends messages of this attempt.
    pub sender: AttemptSender,
}
