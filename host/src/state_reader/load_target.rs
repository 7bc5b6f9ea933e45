//! The operators and states that a loaded savepoint has: those of a pipeline, of a base savepoint, or of both.
//!
//! Must not read entries.

use std::collections::BTreeMap;

use super::listing::layout_of;
use crate::checkpoint::{CheckpointMetadata, SubtaskMetadata};
use crate::error::{self, Result};
use crate::pipeline::PipelineSpec;
use crate::state::{self, StateLayout};

/// The operators and states that a savepoint is written for.
#[derive(Clone, Debug)]
pub struct LoadTarget {
    /// Name of the job in the savepoint.
    pub job_name: String,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// `max_parallelism` is not set in the pipeline file, so that of a base takes precedence.
    is_default: bool,
    pub(super) operators: Vec<TargetOperator>,
}

/// One node of the savepoint that is written.
#[derive(Clone, Debug)]
pub(super) struct TargetOperator {
    pub id: String,
    pub parallelism: u32,
    pub states: StateLayout,
}

impl LoadTarget {
    /// Returns the target for a pipeline. `layouts` has the states that each operator's function declares, by operator.
    pub fn of_pipeline(pipeline: &PipelineSpec, layouts: &BTreeMap<String, StateLayout>) -> LoadTarget {
        let operators = pipeline.nodes.iter().map(|node| TargetOperator {
            id: node.id.clone(),
            parallelism: node.parallelism,
            states: layouts.get(&node.id).cloned().unwrap_or_default(),
        });
        LoadTarget {
            job_name: pipeline.name.clone(),
            max_parallelism: pipeline.max_parallelism,
            is_default: pipeline.max_parallelism_is_default,
            operators: operators.collect(),
        }
    }

    /// Returns a target with the operators and states of a checkpoint or savepoint.
    pub fn of_checkpoint(metadata: &CheckpointMetadata) -> LoadTarget {
        let operators = metadata.operators.iter().map(|operator| TargetOperator {
            id: operator.id.clone(),
            parallelism: operator.parallelism,
            states: layout_of(operator),
        });
        LoadTarget {
            job_name: metadata.job_name.clone(),
            max_parallelism: metadata.max_parallelism,
            is_default: false,
            operators: operators.collect(),
        }
    }

    /// Adds the operators and states that only `base` has. The parallelism of the base takes precedence, and so does its
    /// `max_parallelism` if the pipeline file sets none. Errors: `checkpoint-mismatch` if the pipeline and the base
    /// contradict each other.
    pub fn with_base(mut self, base: &CheckpointMetadata) -> Result<LoadTarget> {
        if self.is_default {
            self.max_parallelism = base.max_parallelism;
        }
        if self.max_parallelism != base.max_parallelism {
            return Err(error::checkpoint_mismatch(format!(
                "the base has max_parallelism {}, the pipeline {}",
                base.max_parallelism, self.max_parallelism
            )));
        }
        let base_operators = LoadTarget::of_checkpoint(base).operators;
        for (mut held, stored) in base_operators.into_iter().zip(&base.operators) {
            let Some(own) = self.operators.iter_mut().find(|own| own.id == held.id) else {
                self.operators.push(held);
                continue;
            };
            for handle in stored.subtasks.iter().flat_map(SubtaskMetadata::states) {
                state::check_schema_compatibility(&own.states, handle, true)
                    .map_err(|error| error.context(format!("operator `{}`", own.id)))?;
            }
            own.parallelism = held.parallelism;
            held.states.retain(|state| own.states.iter().all(|known| known.name != state.name));
            own.states.append(&mut held.states);
        }
        let max = self.max_parallelism;
        if let Some(TargetOperator { id, parallelism, .. }) = self.operators.iter().find(|one| one.parallelism > max) {
            let what = format!("`{id}` has parallelism {parallelism}, but the base has max_parallelism {max}");
            return Err(error::checkpoint_mismatch(what));
        }
        Ok(self)
    }
}
