//! The HTTP API under `/v1`: what it accepts, how it answers, and its OpenAPI description, which it serves itself.
//!
//! Bodies and headers are untrusted: they are bounded and checked before anything happens. Every answer that is not a
//! success is `application/problem+json` (see [`Problem`]). It knows jobs and components through [`Host`] alone, and calls
//! it on threads that may block.

mod components;
mod guard;
mod jobs;
mod problem;
mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::net::TcpListener;
use tower_http::csrf::CsrfLayer;
use tower_http::trace::TraceLayer;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{
    Error, Result, internal, request_invalid, request_not_found, request_too_large, server_unreachable,
};
use crate::job::Host;

pub use guard::AllowedHosts;
pub use problem::{Problem, ProblemBody};

/// How long a stopping server waits for requests that are under way.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// What the handlers share.
#[derive(Clone)]
struct Api {
    host: Host,
    component_bytes_max: u64,
    openapi: Arc<str>,
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
        .layer(TraceLayer::new_for_http())
        .with_state(Api { host, component_bytes_max, openapi: openapi.into() })
}

/// Binds the address on which the server will listen.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        server_unreachable(format!("cannot listen on {address}: {error}")).hint("choose another --listen")
    })
}

/// Serves until `stop` resolves; then lets the requests that are under way end, for a few seconds.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> Result<()> {
    let (asked, mut hears) = tokio::sync::watch::channel(false);
    let drain = async move {
        let _ = hears.wait_for(|asked| *asked).await;
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(drain);
    let deadline = async {
        stop.await;
        let _ = asked.send(true);
        tokio::time::sleep(DRAIN_TIME).await;
    };
    tokio::select! {
        result = server => result.map_err(|error| server_unreachable(format!("the server failed: {error}"))),
        () = deadline => Ok(()),
    }
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

/// Runs a call of the host on a thread that may block.
async fn blocking<T: Send + 'static>(
    api: &Api,
    call: impl FnOnce(&Host) -> Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let host = api.host.clone();
    match tokio::task::spawn_blocking(move || call(&host)).await {
        Ok(result) => result.map_err(Problem::from),
        Err(error) => {
            tracing::error!(%error, "a request ended in a panic");
            Err(internal("the request failed inside the server; its log says more").into())
        }
    }
}

/// The whole body, if it has `bytes_max` bytes or fewer.
async fn read_body(body: axum::body::Body, bytes_max: usize) -> Result<Vec<u8>> {
    let too_large = || request_too_large(format!("the body is larger than {bytes_max} bytes"));
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(broken_body)?;
        if bytes.len().saturating_add(chunk.len()) > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn broken_body(error: axum::Error) -> Error {
    request_invalid(format!("the body ended early: {error}"))
}
