//! The phases of a server: it starts, serves, and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::dashboard::paths;
use super::problem::Problem;
use crate::error::{Error, server_starting};

/// The routes that answer in every phase.
const ALWAYS_SERVED: &[&str] = &["/livez", "/readyz", "/v1/health", "/v1/openapi.json"];

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// The phase of a server. It is starting until its jobs are resumed.
#[derive(Debug, Default)]
pub struct ServerPhase(AtomicU8);

impl ServerPhase {
    /// Returns the phase of a server whose jobs are resumed.
    pub fn ready() -> Arc<ServerPhase> {
        Arc::new(ServerPhase(AtomicU8::new(READY)))
    }

    /// Notes that all jobs are resumed.
    pub fn set_ready(&self) {
        let _ = self.0.compare_exchange(STARTING, READY, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Notes that the server stops.
    pub fn set_stopping(&self) {
        self.0.store(STOPPING, Ordering::SeqCst);
    }

    /// Returns whether clients should send requests to this server. Error: `server-starting`.
    pub(super) fn check_ready(&self) -> Result<(), Error> {
        match self.0.load(Ordering::SeqCst) {
            READY => Ok(()),
            STARTING => Err(server_starting("the server is resuming its jobs").hint("try again in a moment")),
            _ => Err(server_starting("the server stops").hint("try again once it has been started again")),
        }
    }

    /// Returns whether the server stops, so that an answer without an end must end.
    pub(super) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::SeqCst) == STOPPING
    }

    fn is_starting(&self) -> bool {
        self.0.load(Ordering::SeqCst) == STARTING
    }
}

/// Refuses a request for jobs or components before all jobs are resumed. Nothing of them is complete until then.
pub(super) async fn refuse_while_starting(
    State(phase): State<Arc<ServerPhase>>,
    request: Request,
    next: Next,
) -> Response {
    if phase.is_starting()
        && !ALWAYS_SERVED.contains(&request.uri().path())
        && !paths::has_path(request.uri().path())
        && let Err(error) = phase.check_ready()
    {
        return Problem::from(error).into_response();
    }
    next.run(request).await
}
