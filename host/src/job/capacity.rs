//! The capacity of a server that all jobs share: instances of functions, and subtasks.
//!
//! A job reserves what it needs when it is submitted or resumed, and returns it before its end is visible. So a running job never
//! lacks what another one has taken.

use crate::error::{self, Result};
use crate::pipeline::{NodeKind, PipelineSpec};
use crate::sandbox::{HeldSlots, Slots};

/// Limit of subtasks that exist at the same time, over all jobs. Most of them are threads, and the system has room for about 32,000.
pub const SUBTASKS_MAX: usize = 8192;

/// The capacity for all jobs.
pub struct ServerCapacity {
    instances: Slots,
    subtasks: Slots,
    /// The subtasks of a namespace, if it has a quota of them.
    quota: Option<Slots>,
}

/// What one job holds. Dropping it returns everything.
pub struct ReservedCapacity {
    _instances: HeldSlots,
    _subtasks: HeldSlots,
    _quota: Option<HeldSlots>,
}

impl ServerCapacity {
    /// Creates a capacity of which nothing is reserved.
    pub fn new(instances_max: usize, subtasks_max: usize) -> ServerCapacity {
        ServerCapacity { instances: Slots::new(instances_max), subtasks: Slots::new(subtasks_max), quota: None }
    }

    /// Returns the same capacity for the jobs of a namespace, which may have this number of subtasks.
    pub fn with_quota(&self, subtasks: Option<u64>) -> ServerCapacity {
        let quota = subtasks.map(|max| Slots::new(usize::try_from(max).unwrap_or(usize::MAX)));
        ServerCapacity { instances: self.instances.clone(), subtasks: self.subtasks.clone(), quota }
    }

    /// Returns the subtasks of the namespace, if it has a quota of them.
    pub fn used_quota(&self) -> Option<u64> {
        self.quota.as_ref().map(|quota| quota.held() as u64)
    }

    /// Reserves the instance of a trial of dead letters. Error: `capacity-exceeded`.
    pub fn reserve_trial(&self) -> Result<HeldSlots> {
        self.instances.try_take(1).map_err(|_| {
            error::capacity_exceeded("a trial needs an instance, and none is free")
                .hint("try again, or stop another job")
        })
    }

    /// Reserves the subtasks of all nodes, and one instance for each subtask of each function. Error: `capacity-exceeded`, with what
    /// is free, and `quota-exceeded`. Then nothing is reserved.
    pub fn reserve(&self, pipeline: &PipelineSpec) -> Result<ReservedCapacity> {
        let has_function =
            |kind: &NodeKind| matches!(kind, NodeKind::Operator(operator) if operator.function.is_some());
        let subtasks = pipeline.nodes.iter().map(|node| node.parallelism as usize).sum();
        let nodes = pipeline.nodes.iter().filter(|node| has_function(&node.kind));
        let instances = nodes.map(|node| node.parallelism as usize).sum();
        let quota = self.quota.as_ref().map(|quota| {
            quota.try_take(subtasks).map_err(|free| {
                let total = quota.total();
                let message = format!("the job needs {subtasks} subtasks; {free} of the namespace's {total} are free");
                error::quota_exceeded(message).hint("lower its parallelism, or stop another job of the namespace")
            })
        });
        let quota = quota.transpose()?;
        let subtasks = self.subtasks.try_take(subtasks).map_err(|free| {
            let total = self.subtasks.total();
            error::capacity_exceeded(format!("the job needs {subtasks} subtasks; {free} of {total} are free"))
                .hint("lower its parallelism, or stop another job")
        })?;
        let instances = self.instances.try_take(instances).map_err(|free| {
            let total = self.instances.total();
            error::capacity_exceeded(format!(
                "the job needs {instances} instances, one for each subtask of a function; {free} of {total} are free"
            ))
            .hint("lower its parallelism, stop another job, or start the server with more --instances")
        })?;
        Ok(ReservedCapacity { _instances: instances, _subtasks: subtasks, _quota: quota })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(parallelism: u32) -> PipelineSpec {
        let text = format!(
            "name = \"a\"\nparallelism = {parallelism}\n[source.in]\nconnector = \"generator\"\n\
             [operator.act]\ninput = \"in\"\ncomponent = \"a@1\"\nfunction = \"f\"\n\
             [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
        );
        PipelineSpec::parse(&text, "a.toml").unwrap()
    }

    #[test]
    fn a_job_reserves_all_that_it_needs_or_nothing() {
        let capacity = ServerCapacity::new(5, 12);
        let held = capacity.reserve(&spec(3)).ok().unwrap();
        let refused = |parallelism| capacity.reserve(&spec(parallelism)).err().unwrap();
        assert!(refused(2).message.contains("needs 6 subtasks; 3 of 12 are free"), "{}", refused(2));
        drop(held);
        let refused = refused(5);
        assert_eq!(refused.code, "capacity-exceeded");
        let held = capacity.reserve(&spec(2)).ok().unwrap();
        let few_instances = ServerCapacity::new(5, 100);
        assert!(few_instances.reserve(&spec(6)).err().unwrap().message.contains("5 of 5 are free"));
        assert!(few_instances.reserve(&spec(5)).is_ok(), "the refused job has returned its subtasks");
        drop(held);
        assert!(capacity.reserve(&spec(4)).is_ok());
    }
}
