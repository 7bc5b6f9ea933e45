//! The server's connections: their number, and how long one may be inactive.
//!
//! A connection is closed if its client sends no header, or reads nothing of an answer, for too long. [`super::body`]
//! limits the time for bodies.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;

use crate::error::{Result, server_unreachable};

/// Limit of open connections. The same number of further connections can wait to be accepted.
const CONNECTIONS_MAX: u32 = 1024;
/// How long a stopping server waits for requests in progress.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to send a request's header or to start its next request.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// Limit on the size of a request's header, in bytes. Each open connection may hold that much.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// How long a client may read nothing of an answer.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted, for example because no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Binds the address on which the server will listen. Error: `server-unreachable`.
///
/// The queue of connections that wait to be accepted is as long as the limit of open connections. With a shorter queue
/// the system resets connections when many arrive at the same time.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A server that was killed can bind its address again at once.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(CONNECTIONS_MAX)
    };
    listen().map_err(|error: io::Error| {
        server_unreachable(format!("cannot listen on {address}: {error}")).hint("choose another address with --listen")
    })
}

/// Serves until `stop` resolves. Then requests in progress have a few seconds to end.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let (stopping, stopped) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = &mut stop => break,
        };
        if let Some((stream, permit)) = accepted {
            let served = connection(stream, router.clone(), stopped.clone(), HEADER_TIME);
            tokio::spawn(async move {
                served.await;
                drop(permit);
            });
        }
    }
    drop(listener);
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(DRAIN_TIME, connections.acquire_many(CONNECTIONS_MAX)).await;
}

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::debug!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>, header_time: Duration) {
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_time).max_buf_size(HEADER_BYTES_MAX);
    let io = TokioIo::new(WriteTimeout::new(stream, WRITE_TIME));
    let mut connection = pin!(builder.serve_connection(io, service));
    let stops = async { drop(stopped.wait_for(|stopped| *stopped).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stops => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A stream whose writes fail if they make no progress for a while.
struct WriteTimeout<T> {
    stream: T,
    /// Time limit for a write without progress.
    time: Duration,
    /// Runs while a write is blocked.
    blocked: Option<Pin<Box<Sleep>>>,
}

impl<T: AsyncWrite + Unpin> WriteTimeout<T> {
    fn new(stream: T, time: Duration) -> WriteTimeout<T> {
        WriteTimeout { stream, time, blocked: None }
    }

    /// Polls a write. Fails if writes have been blocked for the time limit.
    fn within_time<R>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if let Poll::Ready(written) = write(Pin::new(&mut self.stream), context) {
            self.blocked = None;
            return Poll::Ready(written);
        }
        let time = self.time;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        ready!(blocked.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WriteTimeout<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.within_time(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.within_time(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.within_time(context, |stream, context| stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.within_time(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_sends_no_header_is_closed() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (_stop, stopped) = watch::channel(false);
        let served = connection(stream, Router::new(), stopped, Duration::from_millis(20));
        tokio::time::timeout(Duration::from_secs(60), served).await.expect("the connection is closed");
    }

    #[tokio::test]
    async fn a_write_fails_if_its_reader_reads_nothing() {
        let (ours, mut theirs) = tokio::io::duplex(1000);
        let mut writer = WriteTimeout::new(ours, Duration::from_millis(20));
        writer.write_all(&[0; 1000]).await.unwrap();
        let error = writer.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut [0; 1000]).await.unwrap();
        writer.write_all(&[0; 1000]).await.unwrap();
        assert!(writer.blocked.is_none(), "each write has its own time limit");
    }
}
