//! Who sends a request, and the log of what they changed.
//!
//! Every request of the API passes here first. Invariants: a request without a valid token reaches only public routes; a change is
//! in the audit log before it is answered, also if its client has disconnected.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::connections::PeerAddress;
use super::problem::{Problem, ProblemCode};
use super::request_id::RequestId;
use crate::auth::{AuditEntry, AuditLog, Caller, DEFAULT_NAMESPACE, FailedAttempts, TokenStore};
use crate::error::{Error, Result, namespace_not_found, request_invalid, token_missing, too_many_attempts};

/// The header that names the namespace of a request.
pub const NAMESPACE_HEADER: &str = "x-cofferdam-namespace";

/// Number of characters of a path that are logged.
const TARGET_CHARS_MAX: usize = 500;

/// What checks the callers of a server.
pub(super) struct CallerChecks {
    pub(super) tokens: Arc<TokenStore>,
    pub(super) attempts: FailedAttempts,
    pub(super) audit: Arc<AuditLog>,
}

/// Who sent a request, as far as it is known. Without it, nobody did.
#[derive(Clone, Debug, Default)]
pub(super) struct Authentication(Option<Result<Caller>>);

/// The namespace of a request. Its caller may use it.
#[derive(Clone, Debug)]
pub(super) struct RequestNamespace(pub(super) String);

/// The route of an answer, for the audit log.
#[derive(Clone, Debug)]
pub(super) struct RouteOfAnswer(pub(super) String);

impl Authentication {
    /// Returns the caller. Errors: `token-missing`, `token-invalid`, `too-many-attempts`.
    pub(super) fn caller(self) -> Result<Caller, Problem> {
        match self.0 {
            Some(Ok(caller)) => Ok(caller),
            Some(Err(error)) => Err(refusal(error)),
            None => Err(refusal(token_missing("the request was not authenticated"))),
        }
    }
}

fn refusal(error: Error) -> Problem {
    Problem::with_status(error, StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, "Bearer")
}

/// Returns the token of a request. Error: `request-invalid` for several, or for another scheme.
pub(super) fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(request_invalid("the request has several Authorization headers"));
    }
    let value = value.to_str().unwrap_or_default();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(request_invalid("the header `authorization` is not `Bearer TOKEN`")),
    }
}

/// Returns the namespace that a request names.
fn named_namespace(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(NAMESPACE_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.to_str().ok().filter(|_| values.next().is_none());
    value.map(Some).ok_or_else(|| request_invalid(format!("the header `{NAMESPACE_HEADER}` is not one name")))
}

impl CallerChecks {
    /// Finds the caller and the namespace of a request.
    fn authenticate(&self, request: &Request, peer: Option<IpAddr>) -> Result<(Authentication, String), Problem> {
        let token = bearer_token(request.headers())?;
        let caller = match self.tokens.authenticate(token) {
            Err(error) if token.is_some() => {
                if let Some(Err(wait_s)) = peer.map(|peer| self.attempts.count(peer)) {
                    let error = too_many_attempts("this address has sent too many wrong tokens")
                        .hint("wait for the time in `retry-after`, and send a valid token");
                    return Err(Problem::with_status(error, StatusCode::TOO_MANY_REQUESTS)
                        .header(header::RETRY_AFTER, &wait_s.to_string()));
                }
                Err(error)
            }
            caller => caller,
        };
        let named = named_namespace(request.headers())?;
        let namespace = match &caller {
            Ok(caller) => {
                let namespace = named.unwrap_or_else(|| caller.scope.default_namespace());
                if !caller.scope.contains(namespace) {
                    return Err(no_namespace(namespace).into());
                }
                namespace.to_owned()
            }
            // Only public routes are left.
            Err(_) => DEFAULT_NAMESPACE.to_owned(),
        };
        Ok((Authentication(Some(caller)), namespace))
    }
}

/// Returns the error for a namespace that does not exist, or that the caller may not use.
pub(super) fn no_namespace(namespace: &str) -> Error {
    namespace_not_found(format!("there is no namespace `{namespace}`"))
        .hint(format!("correct the header `{NAMESPACE_HEADER}`, or use a token of that namespace"))
}

/// Authenticates a request, serves it, and writes what it changed to the audit log.
pub(super) async fn identify(State(checks): State<Arc<CallerChecks>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip());
    let mut audit = PendingAudit::new(&checks.audit, &request, peer);
    let response = match checks.authenticate(&request, peer) {
        Ok((authentication, namespace)) => {
            if let Authentication(Some(Ok(Caller { token: Some((id, name)), .. }))) = &authentication {
                (audit.entry.token, audit.entry.token_name) = (Some(id.clone()), Some(name.clone()));
            }
            audit.entry.namespace.clone_from(&namespace);
            request.extensions_mut().insert(authentication);
            request.extensions_mut().insert(RequestNamespace(namespace));
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    if let Some((log, entry)) = audit.finish(&response) {
        let _ = tokio::task::spawn_blocking(move || log.append(entry)).await;
    }
    response
}

/// An entry of the audit log that is written when the request ends.
struct PendingAudit {
    log: Arc<AuditLog>,
    entry: AuditEntry,
    is_change: bool,
    is_written: bool,
}

impl PendingAudit {
    fn new(log: &Arc<AuditLog>, request: &Request, peer: Option<IpAddr>) -> PendingAudit {
        let method = request.method();
        let entry = AuditEntry {
            request_id: request.extensions().get::<RequestId>().map(RequestId::as_str).unwrap_or_default().to_owned(),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            address: peer.map(|peer| peer.to_string()).unwrap_or_default(),
            method: method.to_string(),
            target: request.uri().path().chars().take(TARGET_CHARS_MAX).collect(),
            ..AuditEntry::default()
        };
        let is_change = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        PendingAudit { log: log.clone(), entry, is_change, is_written: false }
    }

    /// Returns the entry of a change, or of a request that was refused for its caller, and the log that it belongs to.
    fn finish(mut self, response: &Response) -> Option<(Arc<AuditLog>, AuditEntry)> {
        self.is_written = true;
        let status = response.status();
        // Wrong tokens beyond the limit would fill the log.
        let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let is_throttled = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::UNAUTHORIZED && self.has_no_token(response);
        if is_throttled || !(self.is_change || is_refusal) {
            return None;
        }
        self.entry.status = status.as_u16();
        self.entry.code = response.extensions().get::<ProblemCode>().map(|code| code.0.to_owned());
        self.entry.route =
            response.extensions().get::<RouteOfAnswer>().map(|route| route.0.clone()).unwrap_or_default();
        Some((self.log.clone(), std::mem::take(&mut self.entry)))
    }

    fn has_no_token(&self, response: &Response) -> bool {
        response.extensions().get::<ProblemCode>().is_some_and(|code| code.0 == "token-missing")
    }
}

impl Drop for PendingAudit {
    /// The client has disconnected. What it asked for may happen nevertheless.
    fn drop(&mut self) {
        if self.is_change && !self.is_written {
            let (log, entry) = (self.log.clone(), std::mem::take(&mut self.entry));
            tokio::task::spawn_blocking(move || log.append(entry));
        }
    }
}
