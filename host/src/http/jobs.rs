//! Requests for jobs: submit, list, show, cancel, stop and remove; requests for their savepoints and checkpoints.

use std::path::PathBuf;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use super::api::{ApiState, blocking, path_of, query_of};
use super::api_number::ApiNumber;
use super::body::read_body;
use super::lanes::WorkKind;
use super::pages::{PageQuery, encoded};
use super::problem::Problem;
use crate::auth::Caller;
use crate::error::{Result, request_invalid, request_too_large};
use crate::job::view::{
    CheckpointDetail, CheckpointSummary, JobDetail, JobSummary, SavepointFormat, SavepointView, StoredSavepoint,
};
use crate::job::{JobPlace, Submission};

/// Size limit of a pipeline file, in bytes.
const PIPELINE_BYTES_MAX: usize = 64 << 10;
/// Limit on the name of a pipeline file, in characters. The OpenAPI description has it as well.
const FILE_NAME_CHARS_MAX: usize = 255;
/// Content type of a pipeline file.
const PIPELINE_TYPE: &str = "application/toml";

/// Size limit of a JSON body with options, in bytes.
const OPTIONS_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubmitQuery {
    /// Name of the pipeline file in error messages.
    #[serde(default = "default_file_name")]
    #[param(max_length = 255)]
    file_name: String,
    /// Absolute folder on the server's machine. Relative paths in the pipeline file are relative to it.
    #[param(value_type = Option<String>, pattern = "^/")]
    base_dir: Option<PathBuf>,
    /// Folder of a savepoint or checkpoint to start from: an absolute path on the server's machine, or
    /// `s3://bucket/folder`.
    #[serde(alias = "from_savepoint")]
    #[param(pattern = "^(/|s3://[^/]+(/([^/.]|[.][^/.]|[.]{2}[^/])[^/]*)*/?$)")]
    from: Option<String>,
    /// The job owns `from`: it may build on its files, and removes it once it has a checkpoint of its own. Otherwise
    /// `from` is not changed.
    #[serde(default)]
    claim: bool,
    /// Drop state in `from` of operators and states that the pipeline does not have, instead of refusing the
    /// submission.
    #[serde(default)]
    allow_unclaimed_state: bool,
    /// Reset the watermarks in `from`, so that older records are not late.
    #[serde(default)]
    reset_watermarks: bool,
    /// Go on if records after a position in `from` are gone from their source.
    #[serde(default)]
    allow_loss: bool,
    /// Assume that the sink output prepared for `from` is published, without a check.
    #[serde(default)]
    assume_published: bool,
    /// Publish the sink output prepared for `from` if a sink's peer no longer knows whether it is published.
    #[serde(default)]
    assume_lost: bool,
    /// Start although sinks have published output that was produced after `from`, which will be published again.
    #[serde(default)]
    allow_duplicates: bool,
    /// Start without state if the state is lost: `from` is damaged, or the last job of this name lost its state.
    #[serde(default)]
    ignore_state: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LocationQuery {
    /// Folder of the savepoint: an absolute path on the server's machine, or `s3://bucket/folder`.
    #[param(pattern = "^(/|s3://[^/]+(/([^/.]|[.][^/.]|[.]{2}[^/])[^/]*)*/?$)")]
    location: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveQuery {
    /// Remove the job although its newest checkpoint has output that is not published. The output is lost.
    #[serde(default)]
    discard_unpublished: bool,
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
            allow_loss: self.allow_loss,
            assume_published: self.assume_published,
            assume_lost: self.assume_lost,
            allow_duplicates: self.allow_duplicates,
            ignore_state: self.ignore_state,
        }
    }
}

fn default_file_name() -> String {
    "pipeline.toml".to_string()
}

/// Lists the jobs, newest first. The header `link` has the address of the next page, if there is one.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", params(
    ("after" = Option<String>, Query, pattern = "^-?[0-9]{1,18}[.]",
        description = "The page begins behind this place, which the header `link` of the previous page contains."),
    ("limit" = inline(Option<ApiNumber>), Query, description = "Largest number of items, up to 1000. 500 if not set. A page of large items has fewer.")),
    responses((status = 200, body = Vec<JobSummary>), Problem))]
pub(super) async fn list(
    State(api): State<ApiState>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = PageQuery::of(query)?;
    let after = page.after().map(str::parse::<JobPlace>).transpose()?;
    let limit = page.limit() + 1;
    let jobs = blocking(&api, WorkKind::Quick, move |host| Ok(host.jobs_page(after.as_ref(), limit))).await?;
    page.answer("/v1/jobs", jobs, |job| JobPlace::of(job.submitted_at_ms, &job.id).to_string())
}

/// Submits a pipeline file. The pipeline and its components are checked before the job is created.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", params(SubmitQuery),
    request_body(content = String, content_type = "application/toml"),
    responses((status = 201, body = JobDetail), Problem))]
pub(super) async fn submit(
    State(api): State<ApiState>,
    query: Result<Query<SubmitQuery>, QueryRejection>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let query = query_of(query)?;
    if query.base_dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
        return Err(request_invalid("base_dir must be an absolute path").into());
    }
    query.from.as_deref().map_or(Ok(()), |from| check_location("from", from))?;
    if query.file_name.chars().count() > FILE_NAME_CHARS_MAX {
        return Err(request_invalid(format!("file_name is longer than {FILE_NAME_CHARS_MAX} characters")).into());
    }
    let (parts, body) = request.into_parts();
    check_content_type(&parts.headers)?;
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > PIPELINE_BYTES_MAX) {
        return Err(request_too_large(format!("the pipeline file is larger than {PIPELINE_BYTES_MAX} bytes")).into());
    }
    let bytes = read_body(body, PIPELINE_BYTES_MAX).await?;
    let pipeline_text = String::from_utf8(bytes).map_err(|_| request_invalid("the pipeline file is not UTF-8"))?;
    let submission = query.into_submission(pipeline_text);
    let job = blocking(&api, WorkKind::Submit, move |host| host.submit(submission)).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/v1/jobs/{}", job.summary.id))], Json(job)))
}

/// Checks the start of a location. Error: `request-invalid`.
fn check_location(parameter: &str, location: &str) -> Result<()> {
    match location.starts_with('/') || location.starts_with("s3://") {
        true => Ok(()),
        false => Err(request_invalid(format!("{parameter} must be an absolute path, or s3://bucket/folder"))),
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(PIPELINE_TYPE) {
        return Ok(());
    }
    let error = request_invalid(format!("the body must be {PIPELINE_TYPE}, not `{given}`"))
        .hint(format!("send the header content-type: {PIPELINE_TYPE}"));
    Err(Problem::with_status(error, StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

/// Shows a job by its id or name. The record of a failure is hidden from tokens of the role `read`.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobDetail), Problem))]
pub(super) async fn show(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobDetail>, Problem> {
    let id = path_of(id)?;
    let mut job = blocking(&api, WorkKind::Quick, move |host| host.job(&id)).await?;
    if !caller.sees_records() {
        job.hide_records();
    }
    Ok(Json(job))
}

/// Removes an ended job: its record and its checkpoints. Its savepoints remain.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path), RemoveQuery),
    responses((status = 204), Problem))]
pub(super) async fn remove(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<RemoveQuery>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let (id, RemoveQuery { discard_unpublished }) = (path_of(id)?, query_of(query)?);
    blocking(&api, WorkKind::Storage, move |host| host.remove_job(&id, discard_unpublished)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancels a job. Output since its last checkpoint is not published.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)),
    responses((status = 202, body = JobSummary), Problem))]
pub(super) async fn cancel(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let id = path_of(id)?;
    let job = blocking(&api, WorkKind::Quick, move |host| host.cancel(&id)).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// Takes a savepoint and stops the job once it is complete. Poll the request id under `savepoints`.
#[utoipa::path(post, path = "/v1/jobs/{id}/stop", tag = "jobs", params(("id" = String, Path)),
    request_body(content = StopOptions, description = "optional"),
    responses((status = 202, body = SavepointView), Problem))]
pub(super) async fn stop(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let (id, options) = (path_of(id)?, options::<StopOptions>(request).await?);
    let savepoint = blocking(&api, WorkKind::Quick, move |host| host.stop(&id, options.format, options.drain)).await?;
    Ok((StatusCode::ACCEPTED, Json(savepoint)))
}

/// Triggers a savepoint while the job continues. Poll the request id.
#[utoipa::path(post, path = "/v1/jobs/{id}/savepoints", tag = "jobs", params(("id" = String, Path)),
    request_body(content = SavepointOptions, description = "optional"),
    responses((status = 202, body = SavepointView), Problem))]
pub(super) async fn trigger_savepoint(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let (id, options) = (path_of(id)?, options::<SavepointOptions>(request).await?);
    let savepoint = blocking(&api, WorkKind::Quick, move |host| host.trigger_savepoint(&id, options.format)).await?;
    Ok((StatusCode::ACCEPTED, Json(savepoint)))
}

/// Lists the savepoints of a job that exist in its storage, oldest first.
#[utoipa::path(get, path = "/v1/jobs/{id}/savepoints", tag = "jobs",
    params(("id" = String, Path),
    ("after" = Option<String>, Query, pattern = "^[0-9]{1,18}$", description = "Id of a savepoint. The page begins behind it."),
    ("limit" = inline(Option<ApiNumber>), Query, description = "Largest number of items, up to 1000. 500 if not set.")),
    responses((status = 200, body = Vec<StoredSavepoint>), Problem))]
pub(super) async fn savepoints(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let (id, page) = (path_of(id)?, PageQuery::of(query)?);
    let path = format!("/v1/jobs/{}/savepoints", encoded(&id));
    let mut list = blocking(&api, WorkKind::Storage, move |host| host.savepoints(&id)).await?;
    if let Some(after) = page.after() {
        let after: u64 =
            after.parse().map_err(|_| request_invalid(format!("`{after}` is not the id of a savepoint")))?;
        list.retain(|savepoint| savepoint.id > after);
    }
    page.answer(&path, list, |savepoint| savepoint.id.to_string())
}

/// Removes the savepoint in a folder: the files that its metadata lists, and no other files of the folder.
#[utoipa::path(delete, path = "/v1/savepoints", tag = "jobs", params(LocationQuery), responses((status = 204), Problem))]
pub(super) async fn remove_savepoint(
    State(api): State<ApiState>,
    query: Result<Query<LocationQuery>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let LocationQuery { location } = query_of(query)?;
    check_location("location", &location)?;
    blocking(&api, WorkKind::Storage, move |host| host.remove_savepoint(&location)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows the state of a savepoint request.
#[utoipa::path(get, path = "/v1/jobs/{id}/savepoints/{request_id}", tag = "jobs",
    params(("id" = String, Path), ("request_id" = String, Path)),
    responses((status = 200, body = SavepointView), Problem))]
pub(super) async fn show_savepoint(
    State(api): State<ApiState>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<SavepointView>, Problem> {
    let (id, request_id) = path_of(path)?;
    Ok(Json(blocking(&api, WorkKind::Quick, move |host| host.savepoint(&id, &request_id)).await?))
}

/// How a savepoint is taken. A request without a body uses the defaults.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SavepointOptions {
    /// The format in which the savepoint stores state.
    #[serde(default)]
    format: SavepointFormat,
}

/// How a job is stopped. A request without a body uses the defaults.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StopOptions {
    /// The format in which the savepoint stores state.
    #[serde(default)]
    format: SavepointFormat,
    /// Fire all windows and event-time timers before the savepoint, because the job will not be continued.
    #[serde(default)]
    drain: bool,
}

/// Returns the JSON body, or the defaults if the body is empty.
pub(super) async fn options<T: Default + DeserializeOwned>(request: Request) -> Result<T> {
    let body = read_body(request.into_body(), OPTIONS_BYTES_MAX).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| request_invalid(format!("the body is not valid: {error}")))
}

/// Lists the recent checkpoints of a job, newest first.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Vec<CheckpointSummary>), Problem))]
pub(super) async fn checkpoints(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Vec<CheckpointSummary>>, Problem> {
    let id = path_of(id)?;
    Ok(Json(blocking(&api, WorkKind::Quick, move |host| host.checkpoints(&id)).await?))
}

/// Triggers a checkpoint. Poll the request id under `checkpoints`.
#[utoipa::path(post, path = "/v1/jobs/{id}/checkpoints", tag = "jobs", params(("id" = String, Path)),
    responses((status = 202, body = SavepointView), Problem))]
pub(super) async fn trigger_checkpoint(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let id = path_of(id)?;
    let checkpoint = blocking(&api, WorkKind::Quick, move |host| host.trigger_checkpoint(&id)).await?;
    Ok((StatusCode::ACCEPTED, Json(checkpoint)))
}

/// Shows the state of a checkpoint request.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints/{request_id}", tag = "jobs",
    params(("id" = String, Path), ("request_id" = String, Path)),
    responses((status = 200, body = SavepointView), Problem))]
pub(super) async fn show_checkpoint_request(
    State(api): State<ApiState>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<SavepointView>, Problem> {
    show_savepoint(State(api), path).await
}

/// Shows the contribution of each operator and subtask to a checkpoint, in times and bytes.
#[utoipa::path(get, path = "/v1/jobs/{id}/checkpoints/details/{checkpoint}", tag = "jobs",
    params(("id" = String, Path), ("checkpoint" = inline(ApiNumber), Path)),
    responses((status = 200, body = CheckpointDetail), Problem))]
pub(super) async fn show_checkpoint(
    State(api): State<ApiState>,
    path: Result<Path<(String, ApiNumber)>, PathRejection>,
) -> Result<Json<CheckpointDetail>, Problem> {
    let (id, checkpoint) = path_of(path)?;
    Ok(Json(blocking(&api, WorkKind::Quick, move |host| host.checkpoint(&id, checkpoint.get())).await?))
}
