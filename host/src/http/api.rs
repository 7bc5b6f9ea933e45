//! The state that the handlers share, and calls of the host that do not block the async runtime.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::Query;
use axum::extract::rejection::{PathRejection, QueryRejection};

use super::lanes::{LanePermit, Lanes, WorkKind};
use super::problem::Problem;
use super::prometheus::request_totals::RequestTotals;
use super::request_id;
use super::server_phase::ServerPhase;
use super::stream::snapshot_hub::SnapshotHub;
use crate::auth::{AuditLog, TokenStore};
use crate::clock::SharedClock;
use crate::error::{Result, internal, request_invalid};
use crate::job::Host;

/// The state of the router.
#[derive(Clone)]
pub(super) struct ApiState {
    pub(super) host: Host,
    /// Size limit of a component, in bytes.
    pub(super) component_bytes_max: u64,
    /// The OpenAPI description as JSON.
    pub(super) openapi: Arc<str>,
    pub(super) lanes: Arc<Lanes>,
    /// Counts of all requests.
    pub(super) requests: Arc<RequestTotals>,
    /// The snapshots for those who watch the namespace.
    pub(super) snapshots: Arc<SnapshotHub>,
    /// When the server began to listen, in milliseconds since the Unix epoch.
    pub(super) started_at_ms: i64,
    pub(super) phase: Arc<ServerPhase>,
    pub(super) access: Arc<ServerAccess>,
}

/// The tokens and the audit log of the server, for their own routes.
pub(super) struct ServerAccess {
    pub(super) tokens: Arc<TokenStore>,
    pub(super) audit: Arc<AuditLog>,
    pub(super) clock: SharedClock,
}

impl ServerAccess {
    /// Returns the time in milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
}

/// Calls the host on a thread that may block, once the lane of this kind of work has room. Error: `server-busy`.
pub(super) async fn blocking<T: Send + 'static>(
    api: &ApiState,
    work: WorkKind,
    call: impl FnOnce(&Host) -> Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let permit = api.lanes.enter(work).await?;
    blocking_in(api, permit, call).await.map(|(result, _)| result)
}

/// Calls the host in a lane that was entered before. The permit is held until the call has ended, even if the client
/// disconnects.
pub(super) async fn blocking_in<T: Send + 'static>(
    api: &ApiState,
    permit: LanePermit,
    call: impl FnOnce(&Host) -> Result<T> + Send + 'static,
) -> Result<(T, LanePermit), Problem> {
    let host = api.host.clone();
    match request_id::spawn_blocking(move || (call(&host), permit)).await {
        Ok((result, permit)) => Ok((result?, permit)),
        Err(error) => {
            tracing::error!(%error, "a request panicked");
            Err(internal("the request failed inside the server; see the server's log").into())
        }
    }
}

/// Returns the path parameters. Error: `request-invalid`.
pub(super) fn path_of<T>(path: Result<Path<T>, PathRejection>) -> Result<T> {
    path.map(|Path(value)| value).map_err(|rejection| request_invalid(rejection.body_text()))
}

/// Returns the query parameters. Error: `request-invalid`.
pub(super) fn query_of<T>(query: Result<Query<T>, QueryRejection>) -> Result<T> {
    query.map(|Query(query)| query).map_err(|rejection| request_invalid(rejection.body_text()))
}
