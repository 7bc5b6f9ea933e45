//! The routes of the API, the layers that every request passes, and the OpenAPI description.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tower_http::csrf::CsrfLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::allowed_hosts::{self, AllowedHosts};
use super::api::{ApiState, ServerAccess};
use super::authentication::{self, Authentication, CallerChecks, RequestNamespace, no_namespace};
use super::body::{self, BodyTimeouts};
use super::lanes::Lanes;
use super::openapi::{ApiDescription, with_unique_operations, without_null_parameters};
use super::problem::Problem;
use super::prometheus::request_totals::{RequestTotals, count_request};
use super::route_roles::{ROUTE_ROLES, RouteRole, check_role};
use super::server_phase::{self, ServerPhase};
use super::stream::snapshot_hub::SnapshotHub;
use super::{
    components, dashboard, dead_letters, faults, health, job_telemetry, jobs, logs, prometheus, request_id, state,
    stream, tap, tokens,
};
use crate::auth::{AuditLog, FailedAttempts, NamespaceScope, TokenStore};
use crate::clock::SharedClock;
use crate::error::{Result, internal, request_invalid, request_not_found};
use crate::job::{Host, Namespaces};

/// What the API is made of.
pub struct ApiOptions {
    /// The namespaces with their jobs and components.
    pub namespaces: Arc<Namespaces>,
    /// Size limit of a component, in bytes.
    pub component_bytes_max: u64,
    /// The host names that requests may use.
    pub allowed: AllowedHosts,
    /// The phase of the server.
    pub phase: Arc<ServerPhase>,
    /// The tokens of the server.
    pub tokens: Arc<TokenStore>,
    /// Where changes are logged.
    pub audit: Arc<AuditLog>,
    /// The clock of the server.
    pub clock: SharedClock,
}

/// Returns the whole API.
pub fn router(options: ApiOptions) -> Router {
    router_with(options, BodyTimeouts::default(), Router::new(), ROUTE_ROLES)
}

/// Returns the API with other timeouts than the default ones, with more routes, and with other roles.
pub(super) fn router_with(
    options: ApiOptions,
    timeouts: BodyTimeouts,
    more: Router<ApiState>,
    roles: &'static [RouteRole],
) -> Router {
    let ApiOptions { namespaces, component_bytes_max, allowed, phase, tokens, audit, clock } = options;
    let (routes, openapi) = api_routes();
    let (requests, started_at_ms) = (Arc::new(RequestTotals::new(clock.clone())), clock.wall_ms());
    let routes = routes
        .merge(more)
        .merge(dashboard::routes())
        .route("/v1/openapi.json", get(openapi_json))
        .fallback(unknown_route)
        .layer(axum::middleware::from_fn_with_state(roles, check_role))
        .layer(axum::middleware::from_fn_with_state(requests.clone(), count_request));
    let checks =
        CallerChecks { tokens: tokens.clone(), attempts: FailedAttempts::new(clock.clone()), audit: audit.clone() };
    let access = Arc::new(ServerAccess { tokens, audit, clock });
    let (lanes, openapi) = (Arc::new(Lanes::new()), openapi.into());
    let of_host = {
        let phase = phase.clone();
        move |host: Host| ApiState {
            host,
            component_bytes_max,
            openapi: Arc::clone(&openapi),
            lanes: lanes.clone(),
            phase: phase.clone(),
            access: access.clone(),
            requests: requests.clone(),
            // Each namespace has snapshots of its own.
            snapshots: Arc::new(SnapshotHub::new(started_at_ms)),
            started_at_ms,
        }
    };
    let dispatcher = NamespaceRouters { namespaces, routes, state_of: Box::new(of_host), routers: Mutex::default() };
    let refused = |_| {
        let error = request_invalid("a web page of another origin must not send this request");
        Problem::with_status(error, StatusCode::FORBIDDEN).into_response()
    };
    Router::new()
        .fallback(dispatch)
        .with_state(Arc::new(dispatcher))
        .layer(axum::middleware::from_fn_with_state(phase, server_phase::refuse_while_starting))
        .layer(axum::middleware::from_fn_with_state(Arc::new(checks), authentication::identify))
        .layer(CsrfLayer::new().with_rejection_response(refused))
        .layer(axum::middleware::from_fn_with_state(Arc::new(allowed), allowed_hosts::check_host))
        .layer(axum::middleware::from_fn_with_state(timeouts, body::limit_body_time))
        // `problem` logs failures, and limits the number of log lines.
        .layer(TraceLayer::new_for_http().make_span_with(|_: &Request| Span::current()).on_failure(()))
        .layer(axum::middleware::from_fn(request_id::identify_request))
}

/// Returns the routes of one namespace and their description as JSON.
fn api_routes() -> (Router<ApiState>, String) {
    let (routes, openapi) = OpenApiRouter::with_openapi(ApiDescription::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(prometheus::scrape))
        .routes(routes!(components::list, components::push))
        .routes(routes!(components::show, components::remove))
        .routes(routes!(jobs::list, jobs::submit))
        .routes(routes!(jobs::show, jobs::remove))
        .routes(routes!(job_telemetry::graph))
        .routes(routes!(job_telemetry::metrics))
        .routes(routes!(job_telemetry::series))
        .routes(routes!(job_telemetry::events))
        .routes(routes!(stream::watch))
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
        .routes(routes!(faults::list))
        .routes(routes!(faults::show, faults::change))
        .routes(routes!(logs::lines))
        .routes(routes!(logs::level, logs::set_level))
        .routes(routes!(tap::records))
        .routes(routes!(state::list))
        .routes(routes!(state::dump))
        .routes(routes!(state::get))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(tokens::audit))
        .routes(routes!(tokens::caller))
        .split_for_parts();
    let openapi = without_null_parameters(with_unique_operations(openapi)).to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "cannot serialize the OpenAPI description");
        "{}".to_string()
    });
    (routes, openapi)
}

/// The routes of each namespace. They share everything but the host, so that no request finds anything of another namespace.
struct NamespaceRouters {
    namespaces: Arc<Namespaces>,
    routes: Router<ApiState>,
    state_of: Box<dyn Fn(Host) -> ApiState + Send + Sync>,
    routers: Mutex<BTreeMap<String, Router>>,
}

impl NamespaceRouters {
    /// Returns the routes of a namespace. Opens it if a token is for it. Error: `namespace-not-found`. Blocks on files.
    fn find(&self, namespace: &str, is_callers: bool) -> Result<Router> {
        let host = match self.namespaces.get(namespace) {
            Some(host) => host,
            None if is_callers => self.namespaces.create(namespace)?,
            None => return Err(no_namespace(namespace)),
        };
        let router = self.routes.clone().with_state((self.state_of)(host));
        Ok(self.routers.lock().entry(namespace.to_owned()).or_insert(router).clone())
    }
}

/// Sends a request to the routes of its namespace.
async fn dispatch(
    State(routers): State<Arc<NamespaceRouters>>,
    Extension(RequestNamespace(namespace)): Extension<RequestNamespace>,
    Extension(authentication): Extension<Authentication>,
    request: Request,
) -> Response {
    let known = routers.routers.lock().get(&namespace).cloned();
    let router = match known {
        Some(router) => Ok(router),
        None => {
            let callers = NamespaceScope::One(namespace.clone());
            let is_callers = authentication.caller().is_ok_and(|caller| caller.scope == callers);
            let found = request_id::spawn_blocking(move || routers.find(&namespace, is_callers)).await;
            found.unwrap_or_else(|_| Err(internal("the request failed inside the server; see the server's log")))
        }
    };
    match router {
        Ok(router) => match TowerToHyperService::new(router).call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        Err(error) => Problem::from(error).into_response(),
    }
}

async fn openapi_json(State(api): State<ApiState>) -> impl IntoResponse {
    ([("content-type", "application/json")], api.openapi.to_string())
}

async fn unknown_route(request: Request) -> Problem {
    let hint = "the API is described at /v1/openapi.json";
    request_not_found(format!("no resource exists at {}", request.uri().path())).hint(hint).into()
}
