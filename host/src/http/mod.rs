//! The HTTP API under `/v1`: what it accepts, how it answers, and its OpenAPI description, which it serves itself.
//!
//! Bodies and headers are untrusted: they are bounded and checked before anything happens. Every answer that is not a
//! success is `application/problem+json` (see [`Problem`]). It knows jobs and components through [`Host`] alone, and calls
//! it on threads that may block.

mod body;
mod components;
mod guard;
mod jobs;
mod lanes;
mod problem;
mod serve;
mod state;
#[cfg(test)]
mod tests;

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

use self::body::{Times, read_body};
use self::lanes::{Lanes, Place, Work};
use crate::error::{Result, internal, request_invalid, request_not_found};
use crate::job::Host;

pub use guard::AllowedHosts;
pub use problem::{Problem, ProblemBody};
pub use serve::{bind, serve};

/// What the handlers share.
#[derive(Clone)]
struct Api {
    host: Host,
    component_bytes_max: u64,
    openapi: Arc<str>,
    lanes: Arc<Lanes>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cofferdam",
        description = "Jobs and components of a Cofferdam server. An answer that is not a success is a problem document \
                       with a stable `code`."
    ),
    components(schemas(ProblemBody, problem::ProblemLocation))
)]
struct Description;

/// The whole API over `host`. A component may have `component_bytes_max` bytes.
pub fn router(host: Host, component_bytes_max: u64, allowed: AllowedHosts) -> Router {
    router_with(host, component_bytes_max, allowed, Times::default())
}

fn router_with(host: Host, component_bytes_max: u64, allowed: AllowedHosts, times: Times) -> Router {
    let (routes, openapi) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health))
        .routes(routes!(components::list, components::push))
        .routes(routes!(components::show, components::remove))
        .routes(routes!(jobs::list, jobs::submit))
        .routes(routes!(jobs::show, jobs::remove))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::stop))
        .routes(routes!(jobs::trigger_savepoint, jobs::savepoints))
        .routes(routes!(jobs::show_savepoint))
        .routes(routes!(jobs::remove_savepoint))
        .routes(routes!(jobs::checkpoints, jobs::trigger_checkpoint))
        .routes(routes!(jobs::show_checkpoint_request))
        .routes(routes!(jobs::show_checkpoint))
        .routes(routes!(state::list))
        .routes(routes!(state::dump))
        .routes(routes!(state::get))
        .split_for_parts();
    let openapi = openapi.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the OpenAPI description cannot be written");
        "{}".to_string()
    });
    let refused = |_| {
        let error = request_invalid("a page of another origin may not ask for this");
        Problem::with_status(error, StatusCode::FORBIDDEN).into_response()
    };
    routes
        .route("/v1/openapi.json", get(openapi_json))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(CsrfLayer::new().with_rejection_response(refused))
        .layer(axum::middleware::from_fn_with_state(Arc::new(allowed), guard::check_host))
        .layer(axum::middleware::from_fn_with_state(times, body::pace))
        // A failure is logged by `problem`, which limits how many lines there are.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(Api { host, component_bytes_max, openapi: openapi.into(), lanes: Arc::new(Lanes::new()) })
}

/// Whether the server is up.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
    version: &'static str,
}

/// Answers as soon as the server does.
#[utoipa::path(get, path = "/v1/health", tag = "server", responses((status = 200, body = Health), Problem))]
async fn health() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

async fn openapi_json(State(api): State<Api>) -> impl IntoResponse {
    ([("content-type", "application/json")], api.openapi.to_string())
}

async fn unknown_route(request: Request) -> Problem {
    let hint = "the API is described at /v1/openapi.json";
    request_not_found(format!("there is nothing at {}", request.uri().path())).hint(hint).into()
}

async fn wrong_method(request: Request) -> Problem {
    let message = format!("{} does not answer to {}", request.uri().path(), request.method());
    Problem::with_status(request_not_found(message), StatusCode::METHOD_NOT_ALLOWED)
}

/// Runs a call of the host on a thread that may block, when the lane of its kind has room: `server-busy`.
async fn blocking<T: Send + 'static>(
    api: &Api,
    work: Work,
    call: impl FnOnce(&Host) -> Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let place = api.lanes.enter(work).await?;
    blocking_in(api, place, call).await.map(|(result, _)| result)
}

/// The same in a lane that was entered before. The place is held until the call has ended, also where its client goes away.
async fn blocking_in<T: Send + 'static>(
    api: &Api,
    place: Place,
    call: impl FnOnce(&Host) -> Result<T> + Send + 'static,
) -> Result<(T, Place), Problem> {
    let host = api.host.clone();
    match tokio::task::spawn_blocking(move || (call(&host), place)).await {
        Ok((result, place)) => Ok((result?, place)),
        Err(error) => {
            tracing::error!(%error, "a request ended in a panic");
            Err(internal("the request failed inside the server; its log says more").into())
        }
    }
}
