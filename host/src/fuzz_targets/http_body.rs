//! The body of a request: the first byte is the limit, the second one the size of the pieces in which the rest arrives.

use axum::body::{Body, Bytes};
use futures_util::stream;

use crate::http::body::read_body;

/// A body within its limit is read as it was sent. A larger one is refused.
pub(super) fn run(data: &[u8]) {
    let [limit, piece, body @ ..] = data else { return };
    let (limit, piece) = (usize::from(*limit) * 4, usize::from(*piece).max(1));
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        body.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(read_body(Body::from_stream(stream::iter(pieces)), limit)) {
        Ok(read) => assert!(read == body && body.len() <= limit),
        Err(error) => assert!(error.code == "request-too-large" && body.len() > limit, "{error}"),
    }
}
