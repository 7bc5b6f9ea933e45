//! The role that each route requires, and the check of it. A route without an entry is refused to everyone.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::authentication::{Authentication, RouteOfAnswer};
use super::problem::Problem;
use crate::auth::Role;
use crate::error::{request_not_found, role_insufficient};

/// What a route requires of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteAccess {
    /// Nothing, not even a token.
    Public,
    /// A token of this role, or of a higher one.
    Role(Role),
}

/// A method, a route, and what it requires.
pub(super) type RouteRole = (Method, &'static str, RouteAccess);

const PUBLIC: RouteAccess = RouteAccess::Public;
const READ: RouteAccess = RouteAccess::Role(Role::Read);
const SUBMIT: RouteAccess = RouteAccess::Role(Role::Submit);
const ADMIN: RouteAccess = RouteAccess::Role(Role::Admin);

/// All routes of the server. Routes that show records or state require [`Role::Submit`].
pub(super) const ROUTE_ROLES: &[RouteRole] = &[
    // The dashboard. Its files hold no data.
    (Method::GET, "/", PUBLIC),
    (Method::GET, "/jobs", PUBLIC),
    (Method::GET, "/jobs/{job}", PUBLIC),
    (Method::GET, "/jobs/{job}/{screen}", PUBLIC),
    (Method::GET, "/components", PUBLIC),
    (Method::GET, "/server", PUBLIC),
    (Method::GET, "/sign-in", PUBLIC),
    (Method::GET, "/docs/errors", PUBLIC),
    (Method::GET, "/docs/errors.md", PUBLIC),
    (Method::GET, "/app.js", PUBLIC),
    (Method::GET, "/app.css", PUBLIC),
    (Method::GET, "/livez", PUBLIC),
    (Method::GET, "/readyz", PUBLIC),
    (Method::GET, "/v1/health", PUBLIC),
    (Method::GET, "/v1/openapi.json", PUBLIC),
    (Method::GET, "/metrics", READ),
    (Method::GET, "/v1/components", READ),
    (Method::POST, "/v1/components", SUBMIT),
    (Method::GET, "/v1/components/{reference}", READ),
    (Method::DELETE, "/v1/components/{reference}", SUBMIT),
    (Method::GET, "/v1/jobs", READ),
    (Method::POST, "/v1/jobs", SUBMIT),
    (Method::GET, "/v1/jobs/{id}", READ),
    (Method::DELETE, "/v1/jobs/{id}", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/graph", READ),
    (Method::GET, "/v1/jobs/{id}/metrics", READ),
    (Method::GET, "/v1/jobs/{id}/series", READ),
    (Method::GET, "/v1/jobs/{id}/events", READ),
    // Hides records from the role `read`, as `/v1/jobs/{id}` does.
    (Method::GET, "/v1/stream", READ),
    // What a function logs may contain its records.
    (Method::GET, "/v1/jobs/{id}/logs", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/tap/{operator}", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/operators/{operator}/log-level", READ),
    (Method::PUT, "/v1/jobs/{id}/operators/{operator}/log-level", SUBMIT),
    (Method::POST, "/v1/jobs/{id}/cancel", SUBMIT),
    (Method::POST, "/v1/jobs/{id}/stop", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/savepoints", READ),
    (Method::POST, "/v1/jobs/{id}/savepoints", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/savepoints/{request_id}", READ),
    (Method::DELETE, "/v1/savepoints", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/checkpoints", READ),
    (Method::POST, "/v1/jobs/{id}/checkpoints", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/checkpoints/{request_id}", READ),
    (Method::GET, "/v1/jobs/{id}/checkpoints/details/{checkpoint}", READ),
    (Method::GET, "/v1/jobs/{id}/faults", READ),
    (Method::GET, "/v1/jobs/{id}/faults/{group}", READ),
    (Method::PATCH, "/v1/jobs/{id}/faults/{group}", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/dead-letters", READ),
    (Method::DELETE, "/v1/jobs/{id}/dead-letters", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/dead-letters/{letter}", SUBMIT),
    (Method::POST, "/v1/jobs/{id}/dead-letters/try", SUBMIT),
    (Method::POST, "/v1/jobs/{id}/dead-letters/replay", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/state", READ),
    (Method::GET, "/v1/jobs/{id}/state/dump", SUBMIT),
    (Method::GET, "/v1/jobs/{id}/state/{operator}/{state}", SUBMIT),
    (Method::GET, "/v1/tokens", ADMIN),
    (Method::POST, "/v1/tokens", ADMIN),
    (Method::DELETE, "/v1/tokens/{id}", ADMIN),
    (Method::GET, "/v1/audit", ADMIN),
    (Method::GET, "/v1/caller", READ),
];

/// Checks that the caller of a request may use its route. Handlers get the caller as an extension.
pub(super) async fn check_role(
    State(routes): State<&'static [RouteRole]>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let checked = check(routes, route.as_deref(), &mut request);
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(route) = route {
        response.extensions_mut().insert(RouteOfAnswer(route));
    }
    response
}

fn check(routes: &[RouteRole], route: Option<&str>, request: &mut Request) -> Result<(), Problem> {
    let authentication = request.extensions().get::<Authentication>().cloned().unwrap_or_default();
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let access = routes.iter().find(|(of, path, _)| of == method && Some(*path) == route).map(|(.., access)| *access);
    if access == Some(RouteAccess::Public) {
        return Ok(());
    }
    // Without a valid token nobody learns which routes exist.
    let caller = authentication.caller()?;
    match (access, route) {
        (Some(RouteAccess::Role(role)), _) if caller.role >= role => {
            request.extensions_mut().insert(caller);
            Ok(())
        }
        (Some(RouteAccess::Role(role)), _) => {
            let message = format!("this request needs the role {role}, and the token has {}", caller.role);
            Err(role_insufficient(message).hint("ask the operator of the server for another token").into())
        }
        (Some(RouteAccess::Public), _) | (None, None) => Ok(()),
        (None, Some(route)) => Err(without_entry(routes, route, request)),
    }
}

/// The answer for a method that the route does not support, or for a route that has no entry.
fn without_entry(routes: &[RouteRole], route: &str, request: &Request) -> Problem {
    let methods: Vec<&str> = routes.iter().filter(|(_, path, _)| *path == route).map(|(of, ..)| of.as_str()).collect();
    if methods.is_empty() {
        return role_insufficient("no role may use this route").into();
    }
    let message = format!("{} does not support the method {}", request.uri().path(), request.method());
    let allow = methods.join(",").replace("GET", "GET,HEAD");
    Problem::with_status(request_not_found(message), StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, &allow)
}
