//! Bodies of requests: none may dribble for ever, and a client that sends one gets to read why it was refused.
//!
//! A body comes in pieces of at least [`PIECE_BYTES`], each within a limited time; a stalled or dribbling one ends with
//! `request-timeout`. Where a request is refused before its body was read, the rest is read and thrown away: a
//! server that closes with unread bytes resets the connection, and the client sees a broken pipe instead of the answer.

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

/// A client has to send at least this much within [`Times::piece`].
const PIECE_BYTES: usize = 16 << 10;

/// How patient the server is with bodies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// For each piece of a body.
    pub(super) piece: Duration,
    /// For the rest of a body that nobody wants.
    pub(super) rest: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times { piece: Duration::from_secs(30), rest: Duration::from_secs(5) }
    }
}

/// A body that is being read.
struct Incoming {
    stream: BodyDataStream,
    time: Duration,
    begun: bool,
    /// Nothing more will come, or nothing more is waited for.
    ended: bool,
}

/// The client sent nothing, or too little, for too long.
#[derive(Debug)]
struct Stalled;

impl std::fmt::Display for Stalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client stopped sending")
    }
}

impl std::error::Error for Stalled {}

/// Limits the time of a request's body, and reads the rest of one whose request was refused.
pub(super) async fn pace(State(times): State<Times>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let asks_first = parts.headers.contains_key(header::EXPECT);
    let incoming = Incoming { stream: body.into_data_stream(), time: times.piece, begun: false, ended: false };
    let incoming = Arc::new(Mutex::new(incoming));
    let pieces = stream::unfold(incoming.clone(), async |incoming| {
        let piece = incoming.lock().await.piece().await?;
        Some((piece, incoming))
    });
    let response = next.run(Request::from_parts(parts, Body::from_stream(pieces))).await;
    let mut incoming = incoming.lock().await;
    // A client that waits to be asked for its body has sent nothing.
    let unsent = asks_first && !incoming.begun;
    if !response.status().is_success() && !incoming.ended && !unsent {
        let _ = tokio::time::timeout(times.rest, incoming.discard()).await;
    }
    response
}

impl Incoming {
    /// The next piece. None behind the last.
    async fn piece(&mut self) -> Option<Result<Bytes, axum::Error>> {
        if self.ended {
            return None;
        }
        self.begun = true;
        let piece = match tokio::time::timeout(self.time, gather(&mut self.stream)).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(axum::Error::new(Stalled)),
        };
        self.ended = piece.as_ref().map_or(true, |piece| piece.len() < PIECE_BYTES);
        match piece {
            Ok(piece) if piece.is_empty() => None,
            piece => Some(piece),
        }
    }

    async fn discard(&mut self) {
        while self.stream.next().await.is_some_and(|chunk| chunk.is_ok()) {}
        self.ended = true;
    }
}

/// At least [`PIECE_BYTES`], or all there is.
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

/// The whole body, if it has `bytes_max` bytes or fewer.
pub(super) async fn read_body(body: Body, bytes_max: usize) -> Result<Vec<u8>> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk =
            chunk.map_err(|error| broken(&error, |error| request_invalid(format!("the body ended early: {error}"))))?;
        if bytes.len().saturating_add(chunk.len()) > bytes_max {
            return Err(request_too_large(format!("the body is larger than {bytes_max} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Why a body cannot be read: `request-timeout` where its client stopped sending, else what `otherwise` says.
pub(super) fn broken(error: &axum::Error, otherwise: impl FnOnce(&axum::Error) -> Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Stalled>() {
            return request_timeout("the body stopped coming: too little of it arrived in time")
                .hint("check the connection and send it again");
        }
        cause = error.source();
    }
    otherwise(error)
}
