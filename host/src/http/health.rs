//! Requests for the health of the server, which need no token.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::ApiState;
use super::problem::Problem;

/// The health of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
    /// Version of the server.
    version: &'static str,
}

const OK: Health = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// Returns `ok` if the server is up.
#[utoipa::path(get, path = "/v1/health", tag = "server", security(()),
    responses((status = 200, body = Health), Problem))]
pub(super) async fn health() -> Json<Health> {
    Json(OK)
}

/// Returns `ok` if the process answers. It should be restarted otherwise.
#[utoipa::path(get, path = "/livez", tag = "server", security(()),
    responses((status = 200, body = Health), Problem))]
pub(super) async fn livez() -> Json<Health> {
    Json(OK)
}

/// Returns `ok` from when all jobs are resumed until the server stops. Requests should be sent elsewhere otherwise.
#[utoipa::path(get, path = "/readyz", tag = "server", security(()),
    responses((status = 200, body = Health), Problem))]
pub(super) async fn readyz(State(api): State<ApiState>) -> Result<Json<Health>, Problem> {
    api.phase.check_ready()?;
    Ok(Json(OK))
}
