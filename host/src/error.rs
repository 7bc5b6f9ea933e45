//! Errors of the host. The failure of a guest is a [`crate::model::Fault`], never an error.
//!
//! Every error has a stable code. [`CODES`] lists all codes, `docs/errors.md` explains each, and a test compares the two.
//! Messages and hints may change between versions; codes may not.

use std::fmt;

use crate::escape::one_line;

/// The kind of an error. It determines the HTTP status and the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input is invalid, and will be rejected again.
    Invalid,
    /// The operator of the host, or the role of the caller, does not allow it. It will be rejected until that changes.
    Denied,
    /// The input is larger than a limit allows.
    TooLarge,
    /// A named object does not exist.
    NotFound,
    /// The request conflicts with existing objects or settings.
    Conflict,
    /// Files, sockets or storage failed. The same request may succeed later.
    Environment,
    /// Stored bytes are damaged.
    Corrupt,
    /// The host has a bug.
    Internal,
}

/// A location in a text file that a user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextLocation {
    /// The name of the file.
    pub file: String,
    /// Line number, from 1.
    pub line: usize,
    /// Column number in characters, from 1.
    pub column: usize,
}

/// An error of the host.
#[derive(Clone, Debug)]
pub struct Error {
    /// The kind.
    pub kind: ErrorKind,
    /// The stable code, one of [`CODES`].
    pub code: &'static str,
    /// A sentence that says what is wrong.
    pub message: String,
    /// A sentence that says what to do.
    pub hint: Option<String>,
    /// The location of the mistake in a text file.
    pub location: Option<TextLocation>,
    /// Lines to show below the message, such as a backtrace.
    pub details: Vec<String>,
    /// The part of the pipeline that the error concerns: a node's id and a setting, to find its location in the pipeline file.
    pub subject: Option<(String, &'static str)>,
}

/// The result of an operation of the host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($name:ident = $code:literal, $kind:ident;)*) => {
        /// All codes with their kinds.
        pub const CODES: &[(&str, ErrorKind)] = &[$(($code, ErrorKind::$kind)),*];
        $(
            #[doc = concat!("Creates an error with the code `", $code, "`.")]
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
    schema_mismatch = "schema-mismatch", Invalid;
    component_not_wasm = "component-not-wasm", Invalid;
    component_core_module = "component-core-module", Invalid;
    component_invalid = "component-invalid", Invalid;
    component_wrong_world = "component-wrong-world", Invalid;
    component_contract_version = "component-contract-version", Invalid;
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
    restore_hung = "restore-hung", Corrupt;
    native_denied = "native-denied", Denied;
    checkpoint_mismatch = "checkpoint-mismatch", Conflict;
    state_migration_failed = "state-migration-failed", Conflict;
    checkpoint_timeout = "checkpoint-timeout", Environment;
    fault_injected = "fault-injected", Environment;
    storage_failed = "storage-failed", Environment;
    state_failed = "state-failed", Environment;
    state_unknown = "state-unknown", NotFound;
    state_unavailable = "state-unavailable", Conflict;
    state_line_invalid = "state-line-invalid", Invalid;
    savepoint_exists = "savepoint-exists", Conflict;
    source_missing = "source-missing", Invalid;
    source_failed = "source-failed", Environment;
    source_behind = "source-behind", Conflict;
    peer_unreachable = "peer-unreachable", Environment;
    peer_denied = "peer-denied", Invalid;
    source_encoding = "source-encoding", Invalid;
    schema_registry_failed = "schema-registry-failed", Environment;
    schema_unreadable = "schema-unreadable", Invalid;
    record_undecodable = "record-undecodable", Invalid;
    record_invalid = "record-invalid", Invalid;
    subtask_hung = "subtask-hung", Environment;
    sink_unwritable = "sink-unwritable", Environment;
    sink_changed = "sink-changed", Conflict;
    sink_ahead = "sink-ahead", Conflict;
    sink_marker_lost = "sink-marker-lost", Conflict;
    sink_fenced = "sink-fenced", Conflict;
    dead_letters_full = "dead-letters-full", Conflict;
    dead_letter_not_found = "dead-letter-not-found", NotFound;
    capacity_exceeded = "capacity-exceeded", Environment;
    state_exceeded = "state-exceeded", Environment;
    too_many_faults = "too-many-faults", Environment;
    limit_refused = "limit-refused", Invalid;
    path_denied = "path-denied", Denied;
    address_denied = "address-denied", Denied;
    secret_missing = "secret-missing", Invalid;
    secret_denied = "secret-denied", Denied;
    grant_missing = "grant-missing", Invalid;
    stdout_closed = "stdout-closed", Environment;
    sandbox_unavailable = "sandbox-unavailable", Environment;
    data_dir_locked = "data-dir-locked", Conflict;
    data_dir_failed = "data-dir-failed", Environment;
    request_invalid = "request-invalid", Invalid;
    request_not_found = "request-not-found", NotFound;
    request_too_large = "request-too-large", TooLarge;
    request_timeout = "request-timeout", Invalid;
    token_missing = "token-missing", Invalid;
    token_invalid = "token-invalid", Invalid;
    token_not_found = "token-not-found", NotFound;
    role_insufficient = "role-insufficient", Denied;
    too_many_attempts = "too-many-attempts", Environment;
    namespace_not_found = "namespace-not-found", NotFound;
    quota_exceeded = "quota-exceeded", Environment;
    listen_insecure = "listen-insecure", Invalid;
    connection_invalid = "connection-invalid", Invalid;
    server_starting = "server-starting", Environment;
    tls_invalid = "tls-invalid", Invalid;
    server_busy = "server-busy", Environment;
    ingest_busy = "ingest-busy", Environment;
    ingest_failed = "ingest-failed", Environment;
    ingest_corrupt = "ingest-corrupt", Corrupt;
    ingest_unauthorized = "ingest-unauthorized", Invalid;
    idempotency_key_reused = "idempotency-key-reused", Invalid;
    request_in_progress = "request-in-progress", Conflict;
    server_unreachable = "server-unreachable", Environment;
    toolchain_missing = "toolchain-missing", Environment;
    build_failed = "build-failed", Invalid;
    project_exists = "project-exists", Conflict;
    interrupted = "interrupted", Environment;
    internal = "internal", Internal;
}

impl Error {
    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a location in a text file.
    pub fn at(mut self, location: TextLocation) -> Error {
        self.location = Some(location);
        self
    }

    /// Sets the part of the pipeline that the error concerns, unless it is already set.
    pub fn about(mut self, node: &str, key: &'static str) -> Error {
        self.subject.get_or_insert_with(|| (node.to_owned(), key));
        self
    }

    /// Prefixes the message with `what: `.
    pub fn context(mut self, what: impl fmt::Display) -> Error {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// Formats the error for a terminal or a log. Escapes untrusted text.
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
