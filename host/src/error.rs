//! Errors of the host: environment, input, or a bug. A guest's failure is a [`crate::model::Fault`], never an error.
//!
//! Every error carries a stable code. [`CODES`] lists them all, `docs/errors.md` explains each, and a test holds the
//! two together. Text may change between versions, codes may not.

#[cfg(test)]
#[path = "error_tests.rs"]
mod error_tests;

use std::fmt;

use crate::escape::one_line;

/// What the caller can do about it; decides the HTTP status and the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input is wrong; the same input will be refused again.
    Invalid,
    /// The input is larger than a limit allows.
    TooLarge,
    /// What was named does not exist.
    NotFound,
    /// It contradicts what is already there.
    Conflict,
    /// Files, sockets or storage failed; it may work later.
    Environment,
    /// Stored bytes are not what was written.
    Corrupt,
    /// A bug of ours.
    Internal,
}

/// A place in a text that a person wrote: 1-based line and column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextLocation {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

/// An error of the host. See [`ErrorKind`] for who can do what about it.
#[derive(Clone, Debug)]
pub struct Error {
    pub kind: ErrorKind,
    /// One of [`CODES`].
    pub code: &'static str,
    pub message: String,
    /// What would be right, or what to do next.
    pub hint: Option<String>,
    pub location: Option<TextLocation>,
    /// Lines to show below it, such as a backtrace.
    pub details: Vec<String>,
    /// The part of a pipeline that it is about: a node's id and a key of it, for finding its place in the manifest.
    pub subject: Option<(String, &'static str)>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($name:ident = $code:literal, $kind:ident;)*) => {
        /// Every code with its kind.
        pub const CODES: &[(&str, ErrorKind)] = &[$(($code, ErrorKind::$kind)),*];
        $(
            #[doc = concat!("An error with the code `", $code, "`.")]
            pub fn $name(message: impl Into<String>) -> Error {
                Error { kind: ErrorKind::$kind, code: $code, message: message.into(), hint: None, location: None, details: Vec::new(), subject: None }
            }
        )*
    };
}

codes! {
    manifest_syntax = "manifest-syntax", Invalid;
    manifest_unknown_key = "manifest-unknown-key", Invalid;
    manifest_invalid = "manifest-invalid", Invalid;
    manifest_unknown_input = "manifest-unknown-input", Invalid;
    manifest_cycle = "manifest-cycle", Invalid;
    manifest_parallelism = "manifest-parallelism", Invalid;
    manifest_key = "manifest-key", Invalid;
    component_not_wasm = "component-not-wasm", Invalid;
    component_core_module = "component-core-module", Invalid;
    component_invalid = "component-invalid", Invalid;
    component_wrong_world = "component-wrong-world", Invalid;
    component_import_denied = "component-import-denied", Invalid;
    component_description = "component-description", Invalid;
    component_limits = "component-limits", Invalid;
    component_too_complex = "component-too-complex", TooLarge;
    compile_stopped = "compile-stopped", Environment;
    component_too_large = "component-too-large", TooLarge;
    component_truncated = "component-truncated", Invalid;
    component_name = "component-name", Invalid;
    component_not_found = "component-not-found", NotFound;
    component_in_use = "component-in-use", Conflict;
    component_name_taken = "component-name-taken", Conflict;
    function_not_found = "function-not-found", Invalid;
    job_not_found = "job-not-found", NotFound;
    job_name_taken = "job-name-taken", Conflict;
    job_state = "job-state", Conflict;
    job_failed = "job-failed", Environment;
    savepoint_failed = "savepoint-failed", Environment;
    savepoint_not_found = "savepoint-not-found", NotFound;
    checkpoint_not_found = "checkpoint-not-found", NotFound;
    checkpoint_corrupt = "checkpoint-corrupt", Corrupt;
    checkpoint_none_usable = "checkpoint-none-usable", Corrupt;
    checkpoint_mismatch = "checkpoint-mismatch", Conflict;
    state_migration_failed = "state-migration-failed", Conflict;
    checkpoint_timeout = "checkpoint-timeout", Environment;
    storage_failed = "storage-failed", Environment;
    state_failed = "state-failed", Environment;
    state_unknown = "state-unknown", NotFound;
    state_unavailable = "state-unavailable", Conflict;
    state_line_invalid = "state-line-invalid", Invalid;
    savepoint_exists = "savepoint-exists", Conflict;
    source_missing = "source-missing", Invalid;
    source_failed = "source-failed", Environment;
    source_encoding = "source-encoding", Invalid;
    record_undecodable = "record-undecodable", Invalid;
    sink_unwritable = "sink-unwritable", Environment;
    sink_changed = "sink-changed", Conflict;
    capacity_exceeded = "capacity-exceeded", Environment;
    stdout_closed = "stdout-closed", Environment;
    sandbox_unavailable = "sandbox-unavailable", Environment;
    data_dir_locked = "data-dir-locked", Conflict;
    data_dir_failed = "data-dir-failed", Environment;
    request_invalid = "request-invalid", Invalid;
    request_not_found = "request-not-found", NotFound;
    request_too_large = "request-too-large", TooLarge;
    request_timeout = "request-timeout", Invalid;
    server_busy = "server-busy", Environment;
    server_unreachable = "server-unreachable", Environment;
    toolchain_missing = "toolchain-missing", Environment;
    build_failed = "build-failed", Invalid;
    project_exists = "project-exists", Conflict;
    interrupted = "interrupted", Environment;
    internal = "internal", Internal;
}

impl Error {
    /// Adds what would be right, or what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the place in the text that a person wrote.
    pub fn at(mut self, location: TextLocation) -> Error {
        self.location = Some(location);
        self
    }

    /// Names the part of a pipeline that it is about, where no part is named yet.
    pub fn about(mut self, node: &str, key: &'static str) -> Error {
        self.subject.get_or_insert_with(|| (node.to_owned(), key));
        self
    }

    /// Puts `what: ` in front of the message.
    pub fn context(mut self, what: impl fmt::Display) -> Error {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// For a terminal or a log: names, keys and messages of others in it are escaped.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(TextLocation { file, line, column }) = &self.location {
            write!(f, "{}:{line}:{column}: ", one_line(file))?;
        }
        write!(f, "{} [{}]", one_line(&self.message), self.code)?;
        for line in &self.details {
            write!(f, "\n    {}", one_line(line))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {}", one_line(hint)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
