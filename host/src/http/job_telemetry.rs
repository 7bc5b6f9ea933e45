//! Handlers that show what a job does and has done: its graph, its metrics and its history.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use xxhash_rust::xxh3::xxh3_64;

use super::api::{ApiState, blocking, path_of, query_of};
use super::api_number::ApiNumber;
use super::lanes::WorkKind;
use super::problem::Problem;
use crate::error::internal;
use crate::job::view::{JobEventPage, JobGraph, JobMetrics};

/// Default number of events in a page.
const EVENTS_DEFAULT: usize = 100;
/// Largest number of events in a page.
const EVENTS_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MetricsQuery {
    /// Show the metrics of each subtask as well.
    #[serde(default)]
    subtasks: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Number of an event. The page has the oldest events after it. Without it, the page has the newest events.
    #[param(inline)]
    after: Option<ApiNumber>,
    /// Largest number of events, up to 1000. 100 if not set. A page of long messages may have fewer.
    #[param(inline)]
    limit: Option<ApiNumber>,
}

/// Shows the nodes and edges of a job: which nodes run in one chain, and how records are distributed. It never changes, so send the
/// `ETag` as `If-None-Match`.
#[utoipa::path(get, path = "/v1/jobs/{id}/graph", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobGraph), (status = 304, description = "the graph has this ETag"), Problem))]
pub(super) async fn graph(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = path_of(id)?;
    let graph = blocking(&api, WorkKind::Quick, move |host| host.graph(&id)).await?;
    let json = serde_json::to_vec(&graph).map_err(|error| internal(format!("cannot write the graph: {error}")))?;
    let tag = format!("\"{:016x}\"", xxh3_64(&json));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    if known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*") {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(([(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, tag)], json).into_response())
}

/// Shows what a job does: the shares of time, rates and totals of each operator, the function's own metrics, and the operator that slows
/// the job down.
#[utoipa::path(get, path = "/v1/jobs/{id}/metrics", tag = "jobs", params(("id" = String, Path), MetricsQuery),
    responses((status = 200, body = JobMetrics), Problem))]
pub(super) async fn metrics(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<MetricsQuery>, QueryRejection>,
) -> Result<Json<JobMetrics>, Problem> {
    let (id, MetricsQuery { subtasks }) = (path_of(id)?, query_of(query)?);
    Ok(Json(blocking(&api, WorkKind::Quick, move |host| host.metrics(&id, subtasks)).await?))
}

/// Shows the history of a job: changes of its status, attempts, failures, checkpoints and warnings. It outlives the server and keeps the
/// newest 16 MiB.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path), EventQuery),
    responses((status = 200, body = JobEventPage), Problem))]
pub(super) async fn events(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Result<Json<JobEventPage>, Problem> {
    let (id, EventQuery { after, limit }) = (path_of(id)?, query_of(query)?);
    let (after, limit) = (after.map(ApiNumber::get), limit.map_or(EVENTS_DEFAULT, ApiNumber::size).min(EVENTS_MAX));
    Ok(Json(blocking(&api, WorkKind::Storage, move |host| host.events(&id, after, limit)).await?))
}
