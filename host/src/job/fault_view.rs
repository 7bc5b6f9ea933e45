//! Shows the faults of a job, and notes what has been done about them. Values of secrets are replaced.

use super::handle::JobHandle;
use super::view::FaultGroupList;
use crate::access::SecretStore;
use crate::error::{self, Error, Result};
use crate::fault_groups::{FaultGroup, FaultGroupDetail, FaultStatus};

/// Returns the groups of a job, newest fault first.
pub fn fault_groups(job: &JobHandle, secrets: &SecretStore) -> FaultGroupList {
    let groups = job.faults.groups().into_iter();
    FaultGroupList { groups: groups.map(|detail| redacted(detail, secrets).group).collect() }
}

/// Returns a group with its samples. Error: `request-not-found`.
pub fn fault_group(job: &JobHandle, id: &str, secrets: &SecretStore) -> Result<FaultGroupDetail> {
    let found = job.faults.groups().into_iter().find(|detail| detail.group.id == id);
    found.map(|detail| redacted(detail, secrets)).ok_or_else(|| unknown(job, id))
}

/// Sets what has been done about a group. Errors: `request-not-found`, `data-dir-failed`.
pub fn set_fault_status(job: &JobHandle, id: &str, status: FaultStatus, secrets: &SecretStore) -> Result<FaultGroup> {
    let set = job.faults.set_status(id, status);
    let set = set.map_err(|cause| error::data_dir_failed(format!("the status of faults cannot be stored: {cause}")))?;
    set.map(|detail| redacted(detail, secrets).group).ok_or_else(|| unknown(job, id))
}

fn redacted(mut detail: FaultGroupDetail, secrets: &SecretStore) -> FaultGroupDetail {
    detail.map_texts(&|text| secrets.redact(text).into_owned());
    detail
}

fn unknown(job: &JobHandle, id: &str) -> Error {
    let name = job.with_record(|record| record.name.clone());
    error::request_not_found(format!("job `{name}` has no group of faults `{id}`"))
        .hint("a job keeps its newest 100 groups; `cofferdam faults` lists them")
}
