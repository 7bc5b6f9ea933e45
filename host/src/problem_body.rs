//! Errors as RFC 9457 problem documents, as the HTTP API and `--json` of the command line write them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Error, ErrorKind};

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
    /// Identifies the request in the log of the server. Also in the header `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
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

impl ProblemBody {
    /// Describes an error. `status` is the HTTP status.
    pub fn new(error: Error, status: u16) -> ProblemBody {
        ProblemBody {
            kind: format!("/docs/errors#{}", error.code),
            title: error.code.replace('-', " "),
            status,
            code: error.code.to_string(),
            detail: error.message,
            hint: error.hint,
            request_id: None,
            location: error.location.map(|location| ProblemLocation {
                file: location.file,
                line: location.line,
                column: location.column,
            }),
        }
    }
}

/// Returns the HTTP status of errors of a kind.
pub fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Invalid => 400,
        ErrorKind::Denied => 403,
        ErrorKind::TooLarge => 413,
        ErrorKind::NotFound => 404,
        ErrorKind::Conflict => 409,
        ErrorKind::Environment => 503,
        ErrorKind::Corrupt | ErrorKind::Internal => 500,
    }
}
