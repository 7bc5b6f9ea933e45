//! A server without a socket, for tests of the API.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::allowed_hosts::AllowedHosts;
use super::api::ApiState;
use super::body::{BodyTimeouts, read_body};
use super::route_roles::{ROUTE_ROLES, RouteRole};
use super::router::{ApiOptions, router_with};
use super::server_phase::ServerPhase;
use crate::access::{AccessPolicy, AllowList};
use crate::auth::{AuditLog, NewToken, Role, TokenFile, TokenStore};
use crate::clock::SystemClock;
use crate::job::{HostOptions, Namespaces, QuotaList};

const COMPONENT_BYTES_MAX: u64 = 1000;

pub(super) struct TestServer {
    pub(super) router: Router,
    pub(super) phase: Arc<ServerPhase>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) dir: TempDir,
}

impl TestServer {
    pub(super) fn new() -> TestServer {
        TestServer::with_timeouts(BodyTimeouts::default())
    }

    pub(super) fn with_timeouts(timeouts: BodyTimeouts) -> TestServer {
        TestServer::with(timeouts, ServerPhase::ready())
    }

    pub(super) fn with(timeouts: BodyTimeouts, phase: Arc<ServerPhase>) -> TestServer {
        TestServer::with_routes(timeouts, phase, Router::new(), ROUTE_ROLES)
    }

    /// Starts a server with more routes, and with other roles.
    pub(super) fn with_routes(
        timeouts: BodyTimeouts,
        phase: Arc<ServerPhase>,
        more: Router<ApiState>,
        roles: &'static [RouteRole],
    ) -> TestServer {
        TestServer::in_folder(TempDir::new().unwrap(), timeouts, phase, more, roles)
    }

    /// Starts a server in a data folder with these files.
    pub(super) fn over(dir: TempDir) -> TestServer {
        TestServer::in_folder(dir, BodyTimeouts::default(), ServerPhase::ready(), Router::new(), ROUTE_ROLES)
    }

    fn in_folder(
        dir: TempDir,
        timeouts: BodyTimeouts,
        phase: Arc<ServerPhase>,
        more: Router<ApiState>,
        roles: &'static [RouteRole],
    ) -> TestServer {
        let clock = SystemClock::shared();
        let options = HostOptions {
            clock: clock.clone(),
            component_bytes_max: COMPONENT_BYTES_MAX,
            policy: AccessPolicy::restricted(AllowList::default()).unwrap(),
            ..HostOptions::new(dir.path(), tokio::runtime::Handle::current())
        };
        let namespaces = Arc::new(Namespaces::open(options, QuotaList::default()).unwrap());
        let options = ApiOptions {
            namespaces: namespaces.clone(),
            component_bytes_max: COMPONENT_BYTES_MAX,
            allowed: AllowedHosts::new("127.0.0.1:7070".parse().unwrap(), Vec::new()),
            phase: phase.clone(),
            tokens: TokenStore::open(TokenFile::of_data_dir(dir.path()), clock.clone()),
            audit: Arc::new(AuditLog::open(dir.path(), clock.clone()).unwrap()),
            clock,
        };
        TestServer { router: router_with(options, timeouts, more, roles), phase, namespaces, dir }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Creates a token.
    pub(super) fn token(&self, role: Role, scope: &str) -> String {
        let new = NewToken { name: role.to_string(), role, scope: scope.parse().unwrap(), expires_at_ms: None };
        TokenFile::of_data_dir(self.dir.path()).create(new, 0).unwrap().token
    }

    /// Returns all files below the data folder except those of the audit log, which has a line of each change.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.dir.path().to_path_buf()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true if path.ends_with("audit") => {}
                    true => folders.push(path),
                    false => files.push(path),
                }
            }
        }
        files.sort();
        files
    }
}

pub(super) fn request(method: &str, uri: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(uri).header("host", "localhost:7070")
}

pub(super) async fn json(response: Response<Body>) -> Value {
    serde_json::from_slice(&read_body(response.into_body(), 1 << 20).await.unwrap()).unwrap()
}

/// Checks the form of a problem document and returns it.
pub(super) async fn problem(response: Response<Body>, status: u16, code: &str) -> Value {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = json(response).await;
    assert_eq!((body["code"].as_str(), body["status"].as_u64()), (Some(code), Some(u64::from(status))), "{body}");
    assert_eq!(body["type"], format!("/docs/errors#{code}"));
    assert!(body["title"].is_string() && body["detail"].is_string());
    body
}
