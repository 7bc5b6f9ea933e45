//! Requests for tokens, and for the audit log.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::api::{ApiState, blocking, path_of, query_of};
use super::api_number::ApiNumber;
use super::body::read_body;
use super::lanes::WorkKind;
use super::pages::PageQuery;
use super::problem::Problem;
use crate::auth::{AuditPage, Caller, CallerView, CreatedToken, NamespaceScope, NewToken, Role, TokenView};
use crate::error::{Result, request_invalid, role_insufficient, token_not_found};

/// Size limit of the description of a token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Number of entries in a page of the audit log if the request says nothing.
const ENTRIES_DEFAULT: usize = 100;
/// Largest number of entries in a page of the audit log.
const ENTRIES_MAX: usize = 1000;

/// What a new token may do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    /// Says what the token is for.
    #[serde(default)]
    #[schema(max_length = 100, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    name: String,
    /// What the token may do.
    role: Role,
    /// The namespace that it may use, or `*` for all. That of the caller's token if not set.
    #[schema(pattern = "^([*]|[a-z][a-z0-9-]{0,39})$")]
    namespace: Option<String>,
    /// When it ends, in milliseconds since the Unix epoch. Never if not set.
    #[schema(inline)]
    expires_at_ms: Option<ApiNumber>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Number of an entry. The page has older entries.
    #[param(inline)]
    before: Option<ApiNumber>,
    /// Largest number of entries, up to 1000. 100 if not set.
    #[param(inline)]
    limit: Option<ApiNumber>,
}

/// Lists the tokens of the namespaces that the caller may use, oldest first. Their secrets are not stored.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", params(PageQuery),
    responses((status = 200, body = Vec<TokenView>), Problem))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = PageQuery::of(query)?;
    let access = api.access.clone();
    let mut tokens = blocking(&api, WorkKind::Storage, move |_| access.tokens.file().list(access.now_ms())).await?;
    tokens.retain(|token| covers(&caller, token));
    if let Some(after) = page.after() {
        let behind = tokens.iter().position(|token| token.id == after).map(|at| at + 1);
        tokens.drain(..behind.ok_or_else(|| token_not_found(format!("there is no token `{after}` any more")))?);
    }
    page.answer("/v1/tokens", tokens, |token| token.id.clone())
}

/// Creates a token. The answer is the only one that contains its text.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body(content = TokenRequest),
    responses((status = 201, body = CreatedToken), Problem))]
pub(super) async fn create(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let body = read_body(request.into_body(), TOKEN_BYTES_MAX).await?;
    let wanted: TokenRequest = serde_json::from_slice(&body)
        .map_err(|error| request_invalid(format!("the body is not a description of a token: {error}")))?;
    let TokenRequest { name, role, namespace, expires_at_ms } = wanted;
    let expires_at_ms = expires_at_ms.map(ApiNumber::get).map(u64::cast_signed);
    let scope = namespace.map_or(Ok(caller.scope.clone()), |namespace| namespace.parse::<NamespaceScope>())?;
    if !caller.scope.covers(&scope) || role > caller.role {
        return Err(role_insufficient("a token cannot be given more than its creator has").into());
    }
    let access = api.access.clone();
    let new = NewToken { name, role, scope, expires_at_ms };
    let created = blocking(&api, WorkKind::Storage, move |_| access.tokens.file().create(new, access.now_ms())).await?;
    let location = format!("/v1/tokens/{}", created.view.id);
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, Json(created)))
}

/// Revokes a token. It is refused from the next request on.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 204), Problem))]
pub(super) async fn revoke(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let (id, access) = (path_of(id)?, api.access.clone());
    let revoke = move || access.tokens.file().revoke(&id, |token| covers(&caller, token));
    blocking(&api, WorkKind::Storage, move |_| revoke()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn covers(caller: &Caller, token: &TokenView) -> bool {
    token.namespace.parse().is_ok_and(|scope| caller.scope.covers(&scope))
}

/// Returns what the server knows of the caller: its token, its role and its namespace.
#[utoipa::path(get, path = "/v1/caller", tag = "server", responses((status = 200, body = CallerView), Problem))]
pub(super) async fn caller(Extension(caller): Extension<Caller>) -> Json<CallerView> {
    Json(caller.view())
}

/// Lists the changes and refusals in the namespaces that the caller may use, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "tokens", params(AuditQuery),
    responses((status = 200, body = AuditPage), Problem))]
pub(super) async fn audit(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditPage>, Problem> {
    let AuditQuery { before, limit } = query_of(query)?;
    let (limit, access) = (limit.map_or(ENTRIES_DEFAULT, ApiNumber::size).min(ENTRIES_MAX), api.access.clone());
    let before = before.map(ApiNumber::get);
    Ok(Json(blocking(&api, WorkKind::Count, move |_| access.audit.page(&caller.scope, before, limit)).await?))
}
