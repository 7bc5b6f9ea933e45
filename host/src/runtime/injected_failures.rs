//! The failures that a pipeline file injects on purpose. All attempts of a job in one process share them, so that each
//! failure occurs once.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{self, Result};
use crate::pipeline::{InjectedFailure, InjectionStep};

/// The injected failures of a job, with their progress.
#[derive(Default)]
pub struct InjectedFailures {
    /// Each failure, and how often its step was done.
    failures: Vec<(InjectedFailure, AtomicU64)>,
    completed_checkpoints: AtomicU64,
}

impl InjectedFailures {
    /// Creates failures that have not occurred yet.
    pub fn new(failures: &[InjectedFailure]) -> InjectedFailures {
        let failures = failures.iter().map(|failure| (failure.clone(), AtomicU64::new(0))).collect();
        InjectedFailures { failures, completed_checkpoints: AtomicU64::new(0) }
    }

    /// Counts a complete checkpoint.
    pub fn checkpoint_completed(&self) {
        self.completed_checkpoints.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether any failure concerns a subtask of a node.
    pub(crate) fn concern(&self, node: &str, subtask: u32) -> bool {
        self.failures.iter().any(|(failure, _)| failure.node == node && failure.subtask == subtask)
    }

    /// Counts that a step is about to be done `times` times. Returns `fault-injected` if it must fail.
    pub fn check(&self, step: InjectionStep, node: &str, subtask: u32, times: u64) -> Result<()> {
        let completed = self.completed_checkpoints.load(Ordering::Relaxed);
        for (failure, count) in &self.failures {
            let concerns = failure.step == step && failure.node == node && failure.subtask == subtask;
            if !concerns || completed < failure.checkpoints {
                continue;
            }
            let before = count.fetch_add(times, Ordering::Relaxed);
            if before < failure.after && before.saturating_add(times) >= failure.after {
                return Err(error::fault_injected(format!(
                    "`[fault_injection]` fails subtask {subtask} of `{node}` at the step {step:?}"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_occurs_once_at_its_count_and_after_its_checkpoints() {
        let failure =
            InjectedFailure { step: InjectionStep::Record, node: "a".into(), subtask: 1, after: 10, checkpoints: 2 };
        let failures = InjectedFailures::new(&[failure]);
        let fails = |node: &str, subtask, times| failures.check(InjectionStep::Record, node, subtask, times).is_err();
        assert!(!fails("a", 1, 100), "no checkpoint is complete");
        failures.checkpoint_completed();
        failures.checkpoint_completed();
        assert!(!fails("a", 0, 100) && !fails("b", 1, 100));
        assert!(failures.check(InjectionStep::Snapshot, "a", 1, 100).is_ok());
        assert!(!fails("a", 1, 9) && fails("a", 1, 5) && !fails("a", 1, 100));
    }
}
