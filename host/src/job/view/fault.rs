//! The view of the faults of a job. `fault_groups` has the groups themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fault_groups::FaultGroup;

/// The faults of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct FaultGroupList {
    /// The groups, newest fault first.
    pub groups: Vec<FaultGroup>,
}
