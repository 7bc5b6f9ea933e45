//! Jobs: submit, list, show, cancel, stop; savepoints, triggered and then polled; checkpoints.

use std::path::PathBuf;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use super::components::path_of;
use super::{Api, Problem, Work, blocking, read_body};
use crate::error::{Result, request_invalid, request_too_large};
use crate::job::Submission;
use crate::job::view::{
    CheckpointDetail, CheckpointSummary, JobDetail, JobSummary, SavepointFormat, SavepointView, StoredSavepoint,
};

/// Far more than any pipeline that a person writes.
const MANIFEST_BYTES_MAX: usize = 1 << 20;
const MANIFEST_TYPE: &str = "application/toml";

/// Of a body that says how something is to be done.
const OPTIONS_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubmitQuery {
    /// What errors call the manifest.
    #[serde(default = "default_file_name")]
    file_name: String,
    /// The folder, on the server's machine, where the manifest's relative paths begin.
    #[param(value_type = Option<String>)]
    base_dir: Option<PathBuf>,
    /// The folder of a savepoint or checkpoint to begin from: an absolute path on the server's machine, or
    /// `s3://bucket/folder`.
    #[serde(alias = "from_savepoint")]
    from: Option<String>,
    /// The job then owns what it begins from: it may build on its files, and removes it when it needs it no more. Otherwise
    /// that is left as it is.
    #[serde(default)]
    claim: bool,
    /// Drop what that holds of operators and states that the pipeline does not have, instead of refusing it.
    #[serde(default)]
    allow_unclaimed_state: bool,
    /// Have operators forget the event time that they had reached in what it begins from: older records are not late.
    #[serde(default)]
    reset_watermarks: bool,
    /// Take what that promised to publish of its sinks as published, without looking for it.
    #[serde(default)]
    assume_published: bool,
    /// Start without state where it is lost: where `from` is damaged, or the last job of this name lost its own.
    #[serde(default)]
    ignore_state: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LocationQuery {
    /// A savepoint's folder: an absolute path on the server's machine, or `s3://bucket/folder`.
    location: String,
}

impl SubmitQuery {
    fn into_submission(self, pipeline_text: String) -> Submission {
        Submission {
            pipeline_text,
            file_name: self.file_name,
            base_dir: self.base_dir,
            from: self.from,
            claim: self.claim,
            allow_unclaimed_state: self.allow_unclaimed_state,
            reset_watermarks: self.reset_watermarks,
            assume_published: self.assume_published,
            ignore_state: self.ignore_state,
        }
    }
}

fn default_file_name() -> String {
    "pipeline.toml".to_string()
}

/// All jobs that the server knows.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", responses((status = 200, body = Vec<JobSummary>), Problem))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Vec<JobSummary>>, Problem> {
    Ok(Json(blocking(&api, Work::Quick, |host| Ok(host.jobs())).await?))
}

/// Submits a manifest. It is checked whole, with its components, before the job exists.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", params(SubmitQuery),
    request_body(content = String, content_type = "application/toml"),
    responses((status = 201, body = JobDetail), Problem))]
pub(super) async fn submit(
    State(api): State<Api>,
    query: Result<Query<SubmitQuery>, QueryRejection>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let Query(query) = query.map_err(|rejection| request_invalid(rejection.body_text()))?;
    if query.base_dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
        return Err(request_invalid("base_dir must be an absolute path").into());
    }
    let (parts, body) = request.into_parts();
    check_content_type(&parts.headers)?;
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > MANIFEST_BYTES_MAX) {
        return Err(request_too_large(format!("a manifest has at most {MANIFEST_BYTES_MAX} bytes")).into());
    }
    let bytes = read_body(body, MANIFEST_BYTES_MAX).await?;
    let manifest = String::from_utf8(bytes).map_err(|_| request_invalid("the manifest is not UTF-8"))?;
    let submission = query.into_submission(manifest);
    let job = blocking(&api, Work::Submit, move |host| host.submit(submission)).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/v1/jobs/{}", job.summary.id))], Json(job)))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(MANIFEST_TYPE) {
        return Ok(());
    }
    let error = request_invalid(format!("the body must be {MANIFEST_TYPE}, not `{given}`"))
        .hint(format!("send the header content-type: {MANIFEST_TYPE}"));
    Err(Problem::with_status(error, StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

/// One job, by its id or its name.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobDetail), Problem))]
pub(super) async fn show(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobDetail>, Problem> {
    let id = path_of(id)?;
    Ok(Json(blocking(&api, Work::Quick, move |host| host.job(&id)).await?))
}

/// Removes a job that has ended: its record and its checkpoints. Its savepoints stay.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 204), Problem))]
pub(super) async fn remove(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let id = path_of(id)?;
    blocking(&api, Work::Storage, move |host| host.remove_job(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancels a job. What it wrote since its last checkpoint is not published.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)),
    responses((status = 202, body = JobSummary), Problem))]
pub(super) async fn cancel(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let id = path_of(id)?;
    let job = blocking(&api, Work::Quick, move |host| host.cancel(&id)).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// Takes a savepoint and stops the job when it is complete. Poll the request-id below `savepoints`.
#[utoipa::path(post, path = "/v1/jobs/{id}/stop", tag = "jobs", params(("id" = String, Path)),
    request_body(content = StopOptions, description = "may be left out"),
    responses((status = 202, body = SavepointView), Problem))]
pub(super) async fn stop(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let (id, options) = (path_of(id)?, options::<StopOptions>(request).await?);
    let savepoint = blocking(&api, Work::Quick, move |host| host.stop(&id, options.format, options.drain)).await?;
    Ok((StatusCode::ACCEPTED, Json(savepoint)))
}

/// Triggers a savepoint; the job goes on. Poll the request-id.
#[utoipa::path(post, path = "/v1/jobs/{id}/savepoints", tag = "jobs", params(("id" = String, Path)),
    request_body(content = SavepointOptions, description = "may be left out"),
    responses((status = 202, body = SavepointView), Problem))]
pub(super) async fn trigger_savepoint(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let (id, options) = (path_of(id)?, options::<SavepointOptions>(request).await?);
    let savepoint = blocking(&api, Work::Quick, move |host| host.trigger_savepoint(&id, options.format)).await?;
    Ok((StatusCode::ACCEPTED, Json(savepoint)))
}

/// The savepoints of a job that are still where they were taken, oldest first.
#[utoipa::path(get, path = "/v1/jobs/{id}/savepoints", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Vec<StoredSavepoint>), Problem))]
pub(super) async fn savepoints(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Vec<StoredSavepoint>>, Problem> {
    let id = path_of(id)?;
    Ok(Json(blocking(&api, Work::Storage, move |host| host.savepoints(&id)).await?))
}

/// Removes a savepoint, wherever it is: what its manifest names, and nothing else of its folder.
#[utoipa::path(delete, path = "/v1/savepoints", tag = "jobs", params(LocationQuery), responses((status = 204), Problem))]
pub(super) async fn remove_savepoint(
    State(api): State<Api>,
    query: Result<Query<LocationQuery>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let Query(LocationQuery { location }) = query.map_err(|rejection| request_invalid(rejection.body_text()))?;
    if !location.contains("://") && !std::path::Path::new(&location).is_absolute() {
        return Err(request_invalid("location must be an absolute path, or s3://bucket/folder").into());
    }
    blocking(&api, Work::Storage, move |host| host.remove_savepoint(&location)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a savepoint that was triggered stands.
#[utoipa::path(get, path = "/v1/jobs/{id}/savepoints/{request_id}", tag = "jobs",
    params(("id" = String, Path), ("request_id" = String, Path)),
    responses((status = 200, body = SavepointView), Problem))]
pub(super) async fn show_savepoint(
    State(api): State<Api>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<SavepointView>, Problem> {
    let (id, request_id) = path_of(path)?;
    Ok(Json(blocking(&api, Work::Quick, move |host| host.savepoint(&id, &request_id)).await?))
}

/// How a savepoint is to be taken. A request without a body asks for what stands here as the default.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SavepointOptions {
    #[serde(default)]
    format: SavepointFormat,
}

/// How a job is to be stopped. A request without a body asks for what stands here as the default.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StopOptions {
    #[serde(default)]
    format: SavepointFormat,
    /// Let everything happen first that waits for event time: the job is not meant to go on.
    #[serde(default)]
    drain: bool,
}

async fn options<T: Default + DeserializeOwned>(request: Request) -> Result<T> {
    let body = read_body(request.into_body(), OPTIONS_BYTES_MAX).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| request_invalid(format!("the body: {error}")))
}

/// The checkpoints of a job, newest first.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Vec<CheckpointSummary>), Problem))]
pub(super) async fn checkpoints(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Vec<CheckpointSummary>>, Problem> {
    let id = path_of(id)?;
    Ok(Json(blocking(&api, Work::Quick, move |host| host.checkpoints(&id)).await?))
}

/// Triggers a checkpoint, as if it were due. Poll the request-id below `checkpoints`.
#[utoipa::path(post, path = "/v1/jobs/{id}/checkpoints", tag = "jobs", params(("id" = String, Path)),
    responses((status = 202, body = SavepointView), Problem))]
pub(super) async fn trigger_checkpoint(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let id = path_of(id)?;
    let checkpoint = blocking(&api, Work::Quick, move |host| host.trigger_checkpoint(&id)).await?;
    Ok((StatusCode::ACCEPTED, Json(checkpoint)))
}

/// How a checkpoint that was triggered stands.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints/{request_id}", tag = "jobs",
    params(("id" = String, Path), ("request_id" = String, Path)),
    responses((status = 200, body = SavepointView), Problem))]
pub(super) async fn show_checkpoint_request(
    State(api): State<Api>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<SavepointView>, Problem> {
    show_savepoint(State(api), path).await
}

/// What each operator and subtask did for a checkpoint: how long each part took, and how many bytes there were.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints/details/{checkpoint}", tag = "jobs",
    params(("id" = String, Path), ("checkpoint" = u64, Path)),
    responses((status = 200, body = CheckpointDetail), Problem))]
pub(super) async fn show_checkpoint(
    State(api): State<Api>,
    path: Result<Path<(String, u64)>, PathRejection>,
) -> Result<Json<CheckpointDetail>, Problem> {
    let (id, checkpoint) = path_of(path)?;
    Ok(Json(blocking(&api, Work::Quick, move |host| host.checkpoint(&id, checkpoint)).await?))
}
