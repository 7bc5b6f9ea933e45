//! The routes of the API, the layers that every request passes, and the OpenAPI description.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Serialize;
use tower_http::csrf::CsrfLayer;
use tower_http::trace::TraceLayer;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::allowed_hosts::{self, AllowedHosts};
use super::api::ApiState;
use super::body::{self, BodyTimeouts};
use super::lanes::Lanes;
use super::problem::{self, Problem, ProblemBody};
use super::prometheus::request_totals::{RequestTotals, count_request};
use super::{components, dead_letters, job_telemetry, jobs, logs, prometheus, state};
use crate::error::{request_invalid, request_not_found};
use crate::job::Host;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cofferdam",
        description = "Jobs and components of a Cofferdam server. An answer that is not a success is a problem document \
                       with a stable `code`."
    ),
    components(schemas(ProblemBody, problem::ProblemLocation))
)]
struct OpenApiDescription;

/// Returns the whole API over `host`. `component_bytes_max` is the size limit of a component in bytes.
pub fn router(host: Host, component_bytes_max: u64, allowed: AllowedHosts) -> Router {
    router_with(host, component_bytes_max, allowed, BodyTimeouts::default())
}

/// Returns the API with other timeouts than the default ones.
pub(super) fn router_with(
    host: Host,
    component_bytes_max: u64,
    allowed: AllowedHosts,
    timeouts: BodyTimeouts,
) -> Router {
    let (routes, openapi) = OpenApiRouter::with_openapi(OpenApiDescription::openapi())
        .routes(routes!(health))
        .routes(routes!(prometheus::scrape))
        .routes(routes!(components::list, components::push))
        .routes(routes!(components::show, components::remove))
        .routes(routes!(jobs::list, jobs::submit))
        .routes(routes!(jobs::show, jobs::remove))
        .routes(routes!(job_telemetry::graph))
        .routes(routes!(job_telemetry::metrics))
        .routes(routes!(job_telemetry::events))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::stop))
        .routes(routes!(jobs::trigger_savepoint, jobs::savepoints))
        .routes(routes!(jobs::show_savepoint))
        .routes(routes!(jobs::remove_savepoint))
        .routes(routes!(jobs::checkpoints, jobs::trigger_checkpoint))
        .routes(routes!(jobs::show_checkpoint_request))
        .routes(routes!(jobs::show_checkpoint))
        .routes(routes!(dead_letters::list, dead_letters::discard))
        .routes(routes!(dead_letters::try_letters))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(dead_letters::show))
        .routes(routes!(logs::lines))
        .routes(routes!(logs::level, logs::set_level))
        .routes(routes!(state::list))
        .routes(routes!(state::dump))
        .routes(routes!(state::get))
        .split_for_parts();
    let openapi = openapi.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "cannot serialize the OpenAPI description");
        "{}".to_string()
    });
    let (requests, started_at_ms) = (Arc::new(RequestTotals::new(host.clock().clone())), host.clock().wall_ms());
    let refused = |_| {
        let error = request_invalid("a web page of another origin must not send this request");
        Problem::with_status(error, StatusCode::FORBIDDEN).into_response()
    };
    routes
        .route("/v1/openapi.json", get(openapi_json))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(CsrfLayer::new().with_rejection_response(refused))
        .layer(axum::middleware::from_fn_with_state(Arc::new(allowed), allowed_hosts::check_host))
        .layer(axum::middleware::from_fn_with_state(timeouts, body::limit_body_time))
        .layer(axum::middleware::from_fn_with_state(requests.clone(), count_request))
        // `problem` logs failures, and limits the number of log lines.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(ApiState {
            host,
            component_bytes_max,
            openapi: openapi.into(),
            lanes: Arc::new(Lanes::new()),
            requests,
            started_at_ms,
        })
}

/// The health of the server.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
    /// Version of the server.
    version: &'static str,
}

/// Returns `ok` if the server is up.
#[utoipa::path(get, path = "/v1/health", tag = "server", responses((status = 200, body = Health), Problem))]
async fn health() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

async fn openapi_json(State(api): State<ApiState>) -> impl IntoResponse {
    ([("content-type", "application/json")], api.openapi.to_string())
}

async fn unknown_route(request: Request) -> Problem {
    let hint = "the API is described at /v1/openapi.json";
    request_not_found(format!("no resource exists at {}", request.uri().path())).hint(hint).into()
}

async fn wrong_method(request: Request) -> Problem {
    let message = format!("{} does not support the method {}", request.uri().path(), request.method());
    Problem::with_status(request_not_found(message), StatusCode::METHOD_NOT_ALLOWED)
}
