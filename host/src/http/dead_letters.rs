//! Requests about the dead letters that the host keeps for a job: list, show, try, replay and discard.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::api::{ApiState, blocking, path_of, query_of};
use super::api_number::ApiNumber;
use super::jobs::options;
use super::lanes::WorkKind;
use super::problem::Problem;
use crate::auth::Caller;
use crate::job::view::{DeadLetterDetail, DeadLetterPage, DiscardedLetters, ReplaysStarted, TrialView};
use crate::job::{Host, TrialRequest};

/// Number of letters in a page if the request says nothing.
const PAGE_DEFAULT: usize = 100;
/// Largest number of letters in a page.
const PAGE_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LetterListQuery {
    /// Only letters of this operator or source.
    operator: Option<String>,
    /// Id of a letter. The page begins behind it.
    after: Option<String>,
    /// Largest number of letters, up to 1000. 100 if not set.
    #[param(inline)]
    limit: Option<ApiNumber>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LetterDiscardQuery {
    /// Only letters of this operator or source.
    operator: Option<String>,
}

/// Which letters are tried, and on which version. A request without a body tries the oldest letters on the job's own version.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TrialOptions {
    /// Id of the operator.
    operator: Option<String>,
    /// Ids of letters, up to 100.
    #[serde(default)]
    #[schema(max_items = 100)]
    letters: Vec<String>,
    /// Number of letters if none are named, up to 100.
    #[schema(inline)]
    limit: Option<ApiNumber>,
    /// The component, as a pipeline file names it.
    component: Option<String>,
}

/// Which letters are replayed. A request without a body replays all.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayOptions {
    /// Only letters of this operator.
    operator: Option<String>,
}

/// Lists the dead letters that the host keeps for a job, oldest first, and its replays. Keys and records are hidden from tokens of the
/// role `read`.
#[utoipa::path(get, path = "/v1/jobs/{id}/dead-letters", tag = "dead-letters", params(("id" = String, Path), LetterListQuery),
    responses((status = 200, body = DeadLetterPage), Problem))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<LetterListQuery>, QueryRejection>,
) -> Result<Json<DeadLetterPage>, Problem> {
    let (id, query) = (path_of(id)?, query_of(query)?);
    let LetterListQuery { operator, after, limit } = query;
    let limit = limit.map_or(PAGE_DEFAULT, ApiNumber::size).min(PAGE_MAX);
    let list = move |host: &Host| host.dead_letters(&id, operator.as_deref(), after.as_deref(), limit);
    let mut page = blocking(&api, WorkKind::Storage, list).await?;
    if !caller.sees_records() {
        page.hide_records();
    }
    Ok(Json(page))
}

/// Shows a dead letter completely.
#[utoipa::path(get, path = "/v1/jobs/{id}/dead-letters/{letter}", tag = "dead-letters",
    params(("id" = String, Path), ("letter" = String, Path)),
    responses((status = 200, body = DeadLetterDetail), Problem))]
pub(super) async fn show(
    State(api): State<ApiState>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<DeadLetterDetail>, Problem> {
    let (id, letter) = path_of(path)?;
    Ok(Json(blocking(&api, WorkKind::Storage, move |host| host.dead_letter(&id, &letter)).await?))
}

/// Runs dead letters against a version of the component, with the state of the newest checkpoint. Nothing takes effect.
#[utoipa::path(post, path = "/v1/jobs/{id}/dead-letters/try", tag = "dead-letters", params(("id" = String, Path)),
    request_body(content = TrialOptions, description = "optional"),
    responses((status = 200, body = TrialView), Problem))]
pub(super) async fn try_letters(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<TrialView>, Problem> {
    let (id, options) = (path_of(id)?, options::<TrialOptions>(request).await?);
    let TrialOptions { operator, letters, limit, component } = options;
    let request = TrialRequest { operator, letters, limit: limit.map(ApiNumber::size), component };
    Ok(Json(blocking(&api, WorkKind::Submit, move |host| host.try_dead_letters(&id, &request)).await?))
}

/// Replays dead letters: the operators of the running job process their records once more, exactly once.
#[utoipa::path(post, path = "/v1/jobs/{id}/dead-letters/replay", tag = "dead-letters", params(("id" = String, Path)),
    request_body(content = ReplayOptions, description = "optional"),
    responses((status = 202, body = ReplaysStarted), Problem))]
pub(super) async fn replay(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let (id, options) = (path_of(id)?, options::<ReplayOptions>(request).await?);
    let replay = move |host: &Host| host.replay_dead_letters(&id, options.operator.as_deref());
    Ok((StatusCode::ACCEPTED, Json(blocking(&api, WorkKind::Storage, replay).await?)))
}

/// Removes dead letters that are not being replayed.
#[utoipa::path(delete, path = "/v1/jobs/{id}/dead-letters", tag = "dead-letters",
    params(("id" = String, Path), LetterDiscardQuery),
    responses((status = 200, body = DiscardedLetters), Problem))]
pub(super) async fn discard(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<LetterDiscardQuery>, QueryRejection>,
) -> Result<Json<DiscardedLetters>, Problem> {
    let (id, query) = (path_of(id)?, query_of(query)?);
    let discard = move |host: &Host| host.discard_dead_letters(&id, query.operator.as_deref());
    let discarded = blocking(&api, WorkKind::Storage, discard).await?;
    Ok(Json(DiscardedLetters { discarded }))
}
