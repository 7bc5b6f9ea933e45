//! The version of an operator that wrote its part of a checkpoint: its code, its settings, and the types of its keys and inputs.
//!
//! The fields, in this order, are part of the durable format. Plain data.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The version of an operator. It owns all key groups, unless a newer version is taking over from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorVersion {
    /// SHA-256 of the component, in hex. `None` if the function is part of the host.
    pub component: Option<String>,
    /// Name of the function.
    pub function: String,
    /// Hash of the operator's settings in the pipeline file.
    pub settings_hash: u64,
    /// Number of the version: 1 for the first one. A restore with another component, function or settings begins the next one.
    pub generation: u32,
    /// The key groups that the version owns.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub key_groups: Vec<Range<u32>>,
    /// The type of the keys, such as `i64` or `(string, i64)`. Empty if the operator has no keys, or if their type is not known.
    pub key_type: String,
    /// For each input, the index in [`schemas`](super::CheckpointMetadata::schemas) of the rows that it reads. `None` for an input
    /// that reads raw bytes or JSON.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub inputs: Vec<Option<u32>>,
}

impl OperatorVersion {
    /// Returns whether both run the same code with the same settings.
    pub fn runs_same_code(&self, other: &OperatorVersion) -> bool {
        (&self.component, &self.function, self.settings_hash)
            == (&other.component, &other.function, other.settings_hash)
    }
}
