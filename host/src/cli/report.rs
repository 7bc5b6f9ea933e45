//! How a command ends: its exit code, and its error as text or as a problem document.

use std::process::ExitCode;

use crate::error::{Error, ErrorKind};
use crate::problem_body::{ProblemBody, status_of};
use crate::{escape, stdio};

/// A bug, damaged data, or anything that no other code stands for.
const EXIT_OTHER: u8 = 1;
/// The request was refused as invalid. The parser of the command line ends with 2.
const EXIT_INVALID: u8 = 3;
const EXIT_NOT_FOUND: u8 = 4;
const EXIT_CONFLICT: u8 = 5;
/// The server, a file, a peer or a tool failed or cannot be reached. The same command may succeed later.
pub(super) const EXIT_ENVIRONMENT: u8 = 6;
/// The command did what it should, and the job that it waited for has failed.
const EXIT_JOB_FAILED: u8 = 7;

/// Writes an error to stderr: as text, or with `--json` as a problem document on one line. Returns the exit code.
pub fn report(error: Error, json: bool) -> ExitCode {
    let code = exit_code(&error);
    match json {
        true => {
            let status = status_of(error.kind);
            let document = serde_json::to_string(&ProblemBody::new(error, status)).unwrap_or_default();
            stdio::tell_lines(escape::json(&document));
        }
        false => stdio::tell_lines(format_args!("error: {error}")),
    }
    ExitCode::from(code)
}

/// Returns the exit code of a command that ends with an error. `docs/errors.md` lists them.
fn exit_code(error: &Error) -> u8 {
    match error.kind {
        _ if error.code == "job-failed" => EXIT_JOB_FAILED,
        ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::TooLarge => EXIT_INVALID,
        ErrorKind::NotFound => EXIT_NOT_FOUND,
        ErrorKind::Conflict => EXIT_CONFLICT,
        ErrorKind::Environment => EXIT_ENVIRONMENT,
        ErrorKind::Corrupt | ErrorKind::Internal => EXIT_OTHER,
    }
}
