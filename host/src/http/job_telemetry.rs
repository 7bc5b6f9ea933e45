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
use crate::error::{Result, internal, request_invalid};
use crate::job::view::{JobEventPage, JobGraph, JobMetrics, JobSeries};
use crate::job::{SeriesRecorder, SeriesRequest};

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
pub(super) struct SeriesQuery {
    /// Only the series of this operator.
    operator: Option<String>,
    /// Milliseconds of a step: 1000 for the last 15 minutes, 10000 for the last 4 hours. 1000 if not set.
    #[param(inline)]
    step: Option<ApiNumber>,
    /// Only steps that begin at this time or later, in milliseconds since the Unix epoch.
    #[param(inline)]
    since: Option<ApiNumber>,
}

impl SeriesQuery {
    /// Returns what is asked for. Error: `request-invalid`.
    fn request(self) -> Result<SeriesRequest> {
        let step_ms = self.step.map_or(SeriesRecorder::STEPS_MS[0], ApiNumber::get);
        if !SeriesRecorder::STEPS_MS.contains(&step_ms) {
            let known = SeriesRecorder::STEPS_MS.map(|step_ms| step_ms.to_string()).join(", ");
            return Err(request_invalid(format!("`step` is {step_ms}; the steps are {known}")));
        }
        let since_ms = self.since.map_or(0, |since| i64::try_from(since.get()).unwrap_or(i64::MAX));
        Ok(SeriesRequest { operator: self.operator, step_ms, since_ms })
    }
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

/// Shows what the operators of a job did in the last minutes or hours. An answer has at most 131072 values: of many operators it has the
/// newest steps only, and `operator` asks for one.
#[utoipa::path(get, path = "/v1/jobs/{id}/series", tag = "jobs", params(("id" = String, Path), SeriesQuery),
    responses((status = 200, body = JobSeries), Problem))]
pub(super) async fn series(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<SeriesQuery>, QueryRejection>,
) -> Result<Json<JobSeries>, Problem> {
    let (id, request) = (path_of(id)?, query_of(query)?.request()?);
    Ok(Json(blocking(&api, WorkKind::Quick, move |host| host.series(&id, &request)).await?))
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
