//! Requests about the log lines of a job's functions: the kept lines, and the level of each operator.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use serde::Deserialize;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::api::{ApiState, blocking, path_of, query_of};
use super::api_number::ApiNumber;
use super::jobs::options;
use super::lanes::WorkKind;
use super::problem::Problem;
use crate::error::{Result, request_invalid};
use crate::job::LogRequest;
use crate::job::view::{LogLevelView, LogPage};
use crate::model::LogLevel;

/// Number of lines in a page if the request says nothing.
const PAGE_DEFAULT: usize = 100;
/// Largest number of lines in a page.
const PAGE_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// Only lines of this operator.
    operator: Option<String>,
    /// Only lines of this severity and above: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    #[param(inline, value_type = Option<LevelName>)]
    level: Option<String>,
    /// `next` of another page. The page begins behind it. Without it, the newest lines are returned.
    #[param(inline)]
    after: Option<ApiNumber>,
    /// Largest number of lines, up to 1000. 100 if not set.
    #[param(inline)]
    limit: Option<ApiNumber>,
}

/// The level of an operator's log lines.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogLevelOptions {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`. Without it, the level of the pipeline file applies, or else that of the server.
    #[schema(inline, value_type = Option<LevelName>)]
    level: Option<String>,
}

/// The name of a level, in the OpenAPI description.
struct LevelName;

impl PartialSchema for LevelName {
    fn schema() -> RefOr<Schema> {
        let names = LogLevel::NAMED.map(|(name, _)| name);
        RefOr::T(Schema::Object(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build()))
    }
}

impl ToSchema for LevelName {}

/// Returns log lines of the functions of a job, oldest first.
#[utoipa::path(get, path = "/v1/jobs/{id}/logs", tag = "logs", params(("id" = String, Path), LogQuery),
    responses((status = 200, body = LogPage), Problem))]
pub(super) async fn lines(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Json<LogPage>, Problem> {
    let (id, LogQuery { operator, level, after, limit }) = (path_of(id)?, query_of(query)?);
    let level = parse_level(level)?.unwrap_or(LogLevel::Trace);
    let (after, limit) = (after.map(ApiNumber::get), limit.map_or(PAGE_DEFAULT, ApiNumber::size).min(PAGE_MAX));
    let request = LogRequest { operator, level, after, limit };
    Ok(Json(blocking(&api, WorkKind::Quick, move |host| host.logs(&id, &request)).await?))
}

/// Returns the level of an operator's log lines.
#[utoipa::path(get, path = "/v1/jobs/{id}/operators/{operator}/log-level", tag = "logs",
    params(("id" = String, Path), ("operator" = String, Path)),
    responses((status = 200, body = LogLevelView), Problem))]
pub(super) async fn level(
    State(api): State<ApiState>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<LogLevelView>, Problem> {
    let (id, operator) = path_of(path)?;
    Ok(Json(blocking(&api, WorkKind::Quick, move |host| host.log_level(&id, &operator)).await?))
}

/// Sets the level of an operator's log lines until the server ends.
#[utoipa::path(put, path = "/v1/jobs/{id}/operators/{operator}/log-level", tag = "logs",
    params(("id" = String, Path), ("operator" = String, Path)),
    request_body(content = LogLevelOptions, description = "optional"),
    responses((status = 200, body = LogLevelView), Problem))]
pub(super) async fn set_level(
    State(api): State<ApiState>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Json<LogLevelView>, Problem> {
    let ((id, operator), options) = (path_of(path)?, options::<LogLevelOptions>(request).await?);
    let level = parse_level(options.level)?;
    let set = move |host: &crate::job::Host| host.set_log_level(&id, &operator, level);
    Ok(Json(blocking(&api, WorkKind::Quick, set).await?))
}

/// Parses the name of a level. Error: `request-invalid`.
fn parse_level(name: Option<String>) -> Result<Option<LogLevel>> {
    let Some(name) = name else { return Ok(None) };
    let known = || LogLevel::NAMED.map(|(name, _)| name).join(", ");
    let level = LogLevel::parse(&name);
    level.map(Some).ok_or_else(|| request_invalid(format!("`{name}` is not a level; the levels are {}", known())))
}
