//! Errors as RFC 9457 problem documents. Each answer that is not a success is one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::clock::{SharedClock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::log_limit::LogLimit;

const CONTENT_TYPE: &str = "application/problem+json";
const REQUEST_TIMEOUT: &str = "request-timeout";
const SERVER_BUSY: &str = "server-busy";
const RETRY_AFTER_SECONDS: &str = "1";

/// An answer that is not a success: an error with its HTTP status.
#[derive(Debug)]
pub struct Problem {
    error: Error,
    status: StatusCode,
    /// A header of the answer besides the usual ones.
    header: Option<(HeaderName, String)>,
}

/// The problem document that a client receives.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// Where the code is explained: `/docs/errors#CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable code of docs/errors.md.
    pub code: String,
    /// Describes the error.
    pub detail: String,
    /// How to correct the request, or what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The place in the pipeline file that the error is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<ProblemLocation>,
}

/// A place in the pipeline file.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemLocation {
    /// Name of the pipeline file.
    pub file: String,
    /// Line, starting at 1.
    pub line: usize,
    /// Column, starting at 1.
    pub column: usize,
}

impl Problem {
    /// Creates a problem with a status that differs from the one of the error's kind.
    pub fn with_status(error: Error, status: StatusCode) -> Problem {
        Problem { error, status, header: None }
    }

    /// Adds a header to the answer.
    pub(super) fn header(self, name: HeaderName, value: &str) -> Problem {
        Problem { header: Some((name, value.to_owned())), ..self }
    }

    fn body(self) -> ProblemBody {
        let Problem { error, status, .. } = self;
        ProblemBody {
            kind: format!("/docs/errors#{}", error.code),
            title: error.code.replace('-', " "),
            status: status.as_u16(),
            code: error.code.to_string(),
            detail: error.message,
            hint: error.hint,
            location: error.location.map(|location| ProblemLocation {
                file: location.file,
                line: location.line,
                column: location.column,
            }),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let status = match error.kind {
            _ if error.code == REQUEST_TIMEOUT => StatusCode::REQUEST_TIMEOUT,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Environment => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem { error, status, header: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = self.status;
        let header = self.header.take();
        let is_busy = self.error.code == SERVER_BUSY;
        if is_busy {
            tracing::debug!(error = %self.error, "a request was refused");
        } else if status.is_server_error() {
            log_failure(&self.error);
        }
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = (status, body).into_response();
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
