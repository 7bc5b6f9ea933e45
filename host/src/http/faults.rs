//! Requests about the faults of a job: list the groups, show one with its samples, and set what has been done about it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::ToSchema;

use super::api::{ApiState, blocking, path_of};
use super::jobs::options;
use super::lanes::WorkKind;
use super::problem::Problem;
use crate::auth::Caller;
use crate::error::Result;
use crate::fault_groups::{FaultGroup, FaultGroupDetail, FaultStatus};
use crate::job::view::FaultGroupList;

/// A change of a group. A request without a body changes nothing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultGroupChange {
    /// How far the work on the faults is.
    status: Option<FaultStatus>,
}

/// Lists the faults of a job in groups, newest fault first. A job has at most 100 groups. Messages are hidden from tokens of the role
/// `read`.
#[utoipa::path(get, path = "/v1/jobs/{id}/faults", tag = "faults", params(("id" = String, Path)),
    responses((status = 200, body = FaultGroupList), Problem))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<FaultGroupList>, Problem> {
    let id = path_of(id)?;
    let mut list = blocking(&api, WorkKind::Storage, move |host| host.fault_groups(&id)).await?;
    if !caller.sees_records() {
        list.groups.iter_mut().for_each(FaultGroup::hide_records);
    }
    Ok(Json(list))
}

/// Shows a group of faults with samples: the first five and the newest five. Records, messages and call stacks are hidden from tokens of the
/// role `read`.
#[utoipa::path(get, path = "/v1/jobs/{id}/faults/{group}", tag = "faults",
    params(("id" = String, Path), ("group" = String, Path)),
    responses((status = 200, body = FaultGroupDetail), Problem))]
pub(super) async fn show(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<FaultGroupDetail>, Problem> {
    let (id, group) = path_of(path)?;
    let mut detail = blocking(&api, WorkKind::Storage, move |host| host.fault_group(&id, &group)).await?;
    if !caller.sees_records() {
        detail.hide_records();
    }
    Ok(Json(detail))
}

/// Sets the status of a group of faults. A group that is resolved is new again with its next fault.
#[utoipa::path(patch, path = "/v1/jobs/{id}/faults/{group}", tag = "faults",
    params(("id" = String, Path), ("group" = String, Path)),
    request_body(content = FaultGroupChange, description = "optional"),
    responses((status = 200, body = FaultGroup), Problem))]
pub(super) async fn change(
    State(api): State<ApiState>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Json<FaultGroup>, Problem> {
    let ((id, group), change) = (path_of(path)?, options::<FaultGroupChange>(request).await?);
    let set = move |host: &crate::job::Host| host.set_fault_status(&id, &group, change.status);
    Ok(Json(blocking(&api, WorkKind::Storage, set).await?))
}
