//! The bodies of requests: their time limit, and what happens to the body of a refused request.
//!
//! A body must arrive in pieces of at least [`PIECE_BYTES`], each within a time limit. A slower body ends with
//! `request-timeout`. If a request is refused before its body was read, the rest is read and discarded. A server that
//! closes a connection with unread bytes resets it, so that the client sees a broken pipe instead of the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;

use crate::error::{Error, Result, request_invalid, request_timeout, request_too_large};

/// Bytes that a client must send within [`BodyTimeouts::piece`], unless the body ends.
const PIECE_BYTES: usize = 16 << 10;

/// Time limits for bodies.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyTimeouts {
    /// Time limit for each piece of a body.
    pub(super) piece: Duration,
    /// Time limit for the rest of a body that is discarded.
    pub(super) rest: Duration,
}

impl Default for BodyTimeouts {
    fn default() -> BodyTimeouts {
        BodyTimeouts { piece: Duration::from_secs(30), rest: Duration::from_secs(5) }
    }
}

/// A body that is being read.
struct IncomingBody {
    stream: BodyDataStream,
    /// Time limit for each piece.
    time: Duration,
    /// Whether any of it was requested.
    started: bool,
    /// Whether the body has ended, or has exceeded its time limit.
    ended: bool,
}

/// The error of a body of which too little arrived within the time limit.
#[derive(Debug)]
struct BodyStalled;

impl std::fmt::Display for BodyStalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client stopped sending")
    }
}

impl std::error::Error for BodyStalled {}

/// Limits the time for a request's body, and discards the rest of the body of a refused request.
pub(super) async fn limit_body_time(State(timeouts): State<BodyTimeouts>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let expects_continue = parts.headers.contains_key(header::EXPECT);
    let incoming = IncomingBody { stream: body.into_data_stream(), time: timeouts.piece, started: false, ended: false };
    let incoming = Arc::new(Mutex::new(incoming));
    let pieces = stream::unfold(incoming.clone(), async |incoming| {
        let piece = incoming.lock().await.piece().await?;
        Some((piece, incoming))
    });
    let response = next.run(Request::from_parts(parts, Body::from_stream(pieces))).await;
    let mut incoming = incoming.lock().await;
    // A client that expects `100 Continue` sends no body before it.
    let is_unsent = expects_continue && !incoming.started;
    if !response.status().is_success() && !incoming.ended && !is_unsent {
        let _ = tokio::time::timeout(timeouts.rest, incoming.discard()).await;
    }
    response
}

impl IncomingBody {
    /// Returns the next piece, or `None` after the last one.
    async fn piece(&mut self) -> Option<Result<Bytes, axum::Error>> {
        if self.ended {
            return None;
        }
        self.started = true;
        let piece = match tokio::time::timeout(self.time, gather(&mut self.stream)).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(axum::Error::new(BodyStalled)),
        };
        self.ended = piece.as_ref().map_or(true, |piece| piece.len() < PIECE_BYTES);
        match piece {
            Ok(piece) if piece.is_empty() => None,
            piece => Some(piece),
        }
    }

    /// Reads and drops the rest of the body.
    async fn discard(&mut self) {
        while self.stream.next().await.is_some_and(|chunk| chunk.is_ok()) {}
        self.ended = true;
    }
}

/// Collects at least [`PIECE_BYTES`], or the rest of the body.
async fn gather(stream: &mut BodyDataStream) -> Result<Bytes, axum::Error> {
    let mut piece = Vec::new();
    while piece.len() < PIECE_BYTES {
        match stream.next().await.transpose()? {
            Some(chunk) if piece.is_empty() && chunk.len() >= PIECE_BYTES => return Ok(chunk),
            Some(chunk) => piece.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok(piece.into())
}

/// Returns the whole body. Errors: `request-too-large` if it has more than `bytes_max` bytes, `request-timeout`,
/// `request-invalid`.
pub(crate) async fn read_body(body: Body, bytes_max: usize) -> Result<Vec<u8>> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            unreadable_body(&error, |error| request_invalid(format!("the body ended early: {error}")))
        })?;
        if bytes.len().saturating_add(chunk.len()) > bytes_max {
            return Err(request_too_large(format!("the body is larger than {bytes_max} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Returns the error for a body that cannot be read: `request-timeout` if the client stopped sending, else the result
/// of `otherwise`.
pub(super) fn unreadable_body(error: &axum::Error, otherwise: impl FnOnce(&axum::Error) -> Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<BodyStalled>() {
            return request_timeout("the body stalled: too little of it arrived in time")
                .hint("check the connection and send the request again");
        }
        cause = error.source();
    }
    otherwise(error)
}
