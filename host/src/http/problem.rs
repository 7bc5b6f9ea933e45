//! Errors as RFC 9457 problem documents. Each answer that is not a success is one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::request_id;
use crate::clock::{SharedClock, SystemClock};
use crate::error::Error;
use crate::log_limit::LogLimit;
use crate::problem_body::status_of;
pub use crate::problem_body::{ProblemBody, ProblemLocation};

const CONTENT_TYPE: &str = "application/problem+json";
const REQUEST_TIMEOUT: &str = "request-timeout";
/// The codes of refusals that clients cause or expect. They are not failures of the server.
const RETRY_CODES: &[&str] = &["server-busy", "server-starting"];
const RETRY_AFTER_SECONDS: &str = "1";

/// An answer that is not a success: an error with its HTTP status.
#[derive(Debug)]
pub struct Problem {
    error: Error,
    status: StatusCode,
    /// A header of the answer besides the usual ones.
    header: Option<(HeaderName, String)>,
}

/// The code of an answer that is not a success, for the layers that it passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProblemCode(pub(super) &'static str);

impl Problem {
    /// Creates a problem with a status that differs from the one of the error's kind.
    pub fn with_status(error: Error, status: StatusCode) -> Problem {
        Problem { error, status, header: None }
    }

    /// Adds a header to the answer.
    pub(super) fn header(self, name: HeaderName, value: &str) -> Problem {
        Problem { header: Some((name, value.to_owned())), ..self }
    }

    /// Returns whether something that the request names does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    fn body(self) -> ProblemBody {
        ProblemBody { request_id: request_id::current(), ..ProblemBody::new(self.error, self.status.as_u16()) }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let status = match error.kind {
            _ if error.code == REQUEST_TIMEOUT => StatusCode::REQUEST_TIMEOUT,
            kind => StatusCode::from_u16(status_of(kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        Problem { error, status, header: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = self.status;
        let (header, code) = (self.header.take(), self.error.code);
        let is_busy = RETRY_CODES.contains(&self.error.code);
        if is_busy {
            tracing::debug!(error = %self.error, "a request was refused");
        } else if status.is_server_error() {
            log_failure(&self.error);
        }
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = (status, body).into_response();
        response.extensions_mut().insert(ProblemCode(code));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if is_busy {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if let Some((name, value)) = header
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Logs a failure of the server. Clients decide how many failures occur, so that the number of log lines per second is
/// limited.
fn log_failure(error: &Error) {
    static LIMIT: LazyLock<(LogLimit, SharedClock)> = LazyLock::new(|| (LogLimit::new(10, 10), SystemClock::shared()));
    let (limit, clock) = &*LIMIT;
    if let Some(suppressed) = limit.admit(clock.monotonic_ns()) {
        tracing::error!(%error, suppressed, "a request failed");
    }
}

impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name(ProblemBody::name()))));
        let response = ResponseBuilder::new().description("Not a success").content(CONTENT_TYPE, content).build();
        BTreeMap::from([("default".to_string(), RefOr::T(response))])
    }
}
