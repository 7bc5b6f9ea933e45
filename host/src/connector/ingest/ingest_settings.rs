//! The settings of a source `http`.

use super::log_shared::LogLimits;
use super::request_verifier::{RequestVerifier, SignatureScheme};
use crate::access::PipelinePaths;
use crate::error::Result;
use crate::pipeline::{FileFormat, SecretReference};

/// Who may send requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderAuth {
    /// Everyone who reaches the listener.
    Everyone,
    /// Those with this token.
    Bearer(SecretReference),
    /// Those who sign with this secret.
    Signature(SignatureScheme, SecretReference),
}

/// The settings of a source `http`. Secrets are references.
#[derive(Clone, Debug, PartialEq)]
pub struct IngestSettings {
    /// The format of the records.
    pub format: FileFormat,
    /// The limits of the log.
    pub limits: LogLimits,
    /// Number of requests that may be in progress.
    pub requests_max: u32,
    /// Size limit of a body, in bytes, before and after it is decompressed.
    pub body_max: usize,
    /// Whether each request must have an idempotency key.
    pub requires_key: bool,
    /// Whether requests are accepted while the job is not running.
    pub accepts_while_stopped: bool,
    /// The headers that become attributes of the records, in lower case.
    pub headers: Vec<String>,
    /// Who may send requests.
    pub auth: SenderAuth,
}

impl IngestSettings {
    /// Reads the secret, and returns who may send requests. Errors: `secret-missing`, `secret-denied`.
    pub fn verifier(&self, paths: &PipelinePaths) -> Result<RequestVerifier> {
        let read = |secret| paths.policy.secrets().read(secret, &paths.base_dir);
        Ok(match &self.auth {
            SenderAuth::Everyone => RequestVerifier::everyone(),
            SenderAuth::Bearer(token) => RequestVerifier::bearer(read(token)?.expose()),
            SenderAuth::Signature(scheme, secret) => RequestVerifier::signature(scheme.clone(), read(secret)?.expose()),
        })
    }
}
