//! The versions of a job's operators, which checkpoints record: component, function, settings, and the types of keys and inputs.
//!
//! A version gets a generation. It stays the same as long as component, function and settings do, across attempts and jobs.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::checkpoint::{CheckpointMetadata, OperatorVersion};
use crate::job::store::JobRecord;
use crate::job::view::OperatorVersionView;
use crate::model::row::RowSchema;
use crate::pipeline::NodeKind;
use crate::runtime::ExecutionPlan;
use crate::state::StateDescription;

/// The settings of an operator that do not make a new version.
const SETTINGS_OF_THE_DEPLOYMENT: &[&str] = &["parallelism", "log"];

/// The versions of all operators, and the schemas that they refer to.
#[derive(Debug, Default)]
pub struct OperatorVersions {
    /// The schemas of the rows that operators read, as text, each once.
    pub schemas: Vec<String>,
    by_operator: BTreeMap<String, OperatorVersion>,
}

impl OperatorVersions {
    /// Returns the versions that a plan runs. `restored` decides their generations.
    pub fn new(plan: &ExecutionPlan, record: &JobRecord, restored: Option<&CheckpointMetadata>) -> OperatorVersions {
        let settings: toml::Table = record.pipeline_text.parse().unwrap_or_default();
        let mut versions = OperatorVersions::default();
        for node in plan.pipeline.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Operator(_))) {
            let Some(function) = plan.functions.get(&node.id) else { continue };
            let mut version = OperatorVersion {
                component: record.components.get(&node.id).cloned(),
                function: function.description.name.clone(),
                settings_hash: settings_hash(&settings, &node.id),
                generation: 1,
                key_groups: std::iter::once(0..plan.pipeline.max_parallelism).collect(),
                key_type: plan.key_type(&node.id).to_owned(),
                inputs: function
                    .description
                    .input_rows()
                    .iter()
                    .map(|rows| versions.index_of(rows.as_deref()))
                    .collect(),
            };
            let before = restored.and_then(|metadata| metadata.operator(&node.id)?.version());
            if let Some(before) = before {
                version.generation = before.generation + u32::from(!version.runs_same_code(before));
            }
            versions.by_operator.insert(node.id.clone(), version);
        }
        versions
    }

    /// Returns the version of an operator.
    pub fn of(&self, operator: &str) -> Option<&OperatorVersion> {
        self.by_operator.get(operator)
    }

    /// Returns the index of a schema. Adds it if needed.
    fn index_of(&mut self, schema: Option<&RowSchema>) -> Option<u32> {
        let text = schema?.to_string();
        let index = self.schemas.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.schemas.push(text);
            self.schemas.len() - 1
        });
        Some(index as u32)
    }

    /// Returns the API's view of a version.
    pub fn view(&self, version: &OperatorVersion) -> OperatorVersionView {
        let text = |index: &Option<u32>| index.and_then(|index| self.schemas.get(index as usize).cloned());
        OperatorVersionView {
            component: version.component.as_ref().map(|sha256| format!("sha256:{sha256}")),
            function: version.function.clone(),
            settings_hash: format!("{:016x}", version.settings_hash),
            generation: version.generation,
            key_type: Some(version.key_type.clone()).filter(|key_type| !key_type.is_empty()),
            inputs: version.inputs.iter().map(text).collect(),
        }
    }

    /// Sets the generations of the states in a plan: that of the stored state if it has the same form, and otherwise that of its
    /// operator.
    pub fn set_generations(&self, plan: &mut ExecutionPlan, restored: Option<&CheckpointMetadata>) {
        for (id, function) in &mut plan.functions {
            let Some(version) = self.of(id) else { continue };
            let stored: Vec<&StateDescription> = restored
                .map_or(&[][..], |metadata| metadata.subtasks(id))
                .iter()
                .flat_map(|subtask| subtask.states().flat_map(|handle| &handle.layout))
                .collect();
            let description = &mut function.description;
            let states = description.states.iter_mut().chain(&mut description.broadcast_states);
            for state in states.chain(&mut description.internal) {
                let same = stored
                    .iter()
                    .find(|old| (&old.name, &old.codec, &old.schema) == (&state.name, &state.codec, &state.schema));
                state.generation = same.map_or(version.generation, |old| old.generation);
            }
        }
    }
}

/// Returns the hash of an operator's settings in a pipeline file.
fn settings_hash(settings: &toml::Table, operator: &str) -> u64 {
    let own = settings.get("operator").and_then(|operators| operators.get(operator)?.as_table());
    let relevant: BTreeMap<&String, &toml::Value> =
        own.into_iter().flatten().filter(|(name, _)| !SETTINGS_OF_THE_DEPLOYMENT.contains(&name.as_str())).collect();
    // Values of TOML always have a JSON form.
    xxh3_64(&serde_json::to_vec(&relevant).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_of_the_function_make_a_new_version() {
        let hash = |settings: &str| {
            let pipeline = format!("[operator.a]\n{settings}\n[operator.b]\nfunction = \"other\"");
            settings_hash(&pipeline.parse().unwrap(), "a")
        };
        let before = hash("function = \"f\"\nkey = \"value\"\nparallelism = 1");
        assert_eq!(hash("key = \"value\"\nparallelism = 7\nfunction = \"f\""), before);
        assert_ne!(hash("function = \"f\"\nkey = \"emitted\""), before);
        assert_ne!(hash("function = \"f\"\nkey = \"value\"\nconfig = { limit = \"1\" }"), before);
    }
}
