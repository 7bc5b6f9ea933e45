//! The id of a request. It is in the answer, in a problem document, in the log events of the request and in the audit log.
//!
//! A client may choose the id, so that it finds its request in the log of the server. Other ids are made.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

use crate::clock;

/// The header of a request and of its answer.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of an id that a client chooses.
const CHARS_MAX: usize = 64;

/// The id of a request.
#[derive(Clone, Debug)]
pub(super) struct RequestId(Arc<str>);

tokio::task_local! {
    /// The id of the request that the task serves.
    static CURRENT: RequestId;
}

impl RequestId {
    /// Returns the id that a client chose, or else a new one.
    fn of(headers: &HeaderMap) -> RequestId {
        let mut values = headers.get_all(HEADER).iter();
        let chosen = values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok());
        match chosen.filter(|id| is_well_formed(id)) {
            Some(id) => RequestId(id.into()),
            None => RequestId(format!("{:016x}", clock::random_u64()).into()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether an id cannot be mistaken for anything else in a log.
fn is_well_formed(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && id.len() <= CHARS_MAX && id.bytes().all(is_allowed)
}

/// Returns the id of the request that this task serves.
pub(super) fn current() -> Option<String> {
    CURRENT.try_with(|id| id.as_str().to_owned()).ok()
}

/// Gives a request its id, and its answer the same. The outermost layer.
pub(super) async fn identify_request(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    // It has the level of errors, so that every event of the request is in it.
    let span = tracing::error_span!("request", request_id = id.as_str(), method = %request.method(), path = request.uri().path());
    let mut response = CURRENT.scope(id.clone(), next.run(request).instrument(span)).await;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// Calls a function on a thread that may block. Its log events name the request of this task.
pub(super) fn spawn_blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_that_are_safe_in_a_log_are_taken_over() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_str(value).unwrap());
            }
            RequestId::of(&headers).as_str().to_owned()
        };
        for id in ["a", "deploy-7.2:x_Y", &"a".repeat(CHARS_MAX)] {
            assert_eq!(of(&[id]), id);
        }
        for refused in [&[][..], &[""], &["a b"], &["a\t"], &["id=1"], &["a", "a"], &[&"a".repeat(CHARS_MAX + 1)]] {
            let made = of(refused);
            assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{refused:?}: {made}");
        }
        assert_ne!(of(&[]), of(&[]));
    }
}
