//! The server's connections: how long one may be inactive, and what ends it.
//!
//! A connection is closed if its client does not complete the TLS handshake or a header, or reads nothing of an answer, for too
//! long. [`super::body`] limits the time for bodies, [`super::open_connections`] the number of connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::open_connections::{ConnectionPlace, OpenConnections, RequestOnConnection};
use super::tls::TlsIdentity;
use super::write_timeout::WriteTimeout;
use crate::error::{Result, internal, server_unreachable};

/// Limit of open connections. The same number of further connections can wait to be accepted.
const CONNECTIONS_MAX: u32 = 1024;
/// How long a stopping server waits for requests in progress.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to send a request's header or to start its next request.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Limit on the size of a request's header, in bytes. Each open connection may hold that much.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// How long a client may read nothing of an answer.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted, for example because no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// An address on which a server listens, with or without TLS.
pub struct HttpListener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<TlsIdentity>>,
}

/// The address of the client of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddress(pub(super) SocketAddr);

impl HttpListener {
    /// Binds an address. Error: `server-unreachable`.
    ///
    /// The queue of connections that wait to be accepted is as long as the limit of open connections. With a shorter queue
    /// the system resets connections when many arrive at the same time.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<TlsIdentity>>) -> Result<HttpListener> {
        let listen = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A server that was killed can bind its address again at once.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(CONNECTIONS_MAX)
        };
        let tcp = listen().map_err(|error: io::Error| {
            server_unreachable(format!("cannot listen on {address}: {error}"))
                .hint("choose another address with --listen")
        })?;
        let address =
            tcp.local_addr().map_err(|error| internal(format!("the address of the listener is unknown: {error}")))?;
        Ok(HttpListener { tcp, address, tls })
    }

    /// Returns the address with its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the server at this address.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }
}

/// Serves until `stop` is set or its sender is gone. Then requests in progress have a few seconds to end.
pub async fn serve(listener: HttpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let HttpListener { tcp, tls, .. } = listener;
    let open = OpenConnections::new(CONNECTIONS_MAX);
    let stopping = stop.clone();
    let mut stopped = pin!(async { drop(stop.wait_for(|stop| *stop).await) });
    loop {
        let accepted = tokio::select! {
            accepted = accept(&tcp, &open) => accepted,
            () = &mut stopped => break,
        };
        if let Some((stream, peer, place)) = accepted {
            let (router, stopping, tls) = (router.clone(), stopping.clone(), tls.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let serving = Serving { router, peer, place: place.clone(), stop: stopping, header_time: HEADER_TIME };
                tokio::select! {
                    () = serving.on(stream, tls) => {}
                    () = place.must_close() => {}
                }
            });
        }
    }
    drop(tcp);
    let _ = tokio::time::timeout(DRAIN_TIME, open.all_closed()).await;
}

async fn accept(
    listener: &TcpListener,
    open: &Arc<OpenConnections>,
) -> Option<(TcpStream, SocketAddr, Arc<ConnectionPlace>)> {
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, open.enter().await)),
        Err(error) => {
            tracing::debug!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// What serves one connection.
struct Serving {
    router: Router,
    peer: SocketAddr,
    place: Arc<ConnectionPlace>,
    stop: watch::Receiver<bool>,
    header_time: Duration,
}

impl Serving {
    async fn on(self, stream: TcpStream, tls: Option<Arc<TlsIdentity>>) {
        let Some(tls) = tls else { return self.requests(stream).await };
        match tokio::time::timeout(HANDSHAKE_TIME, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn requests<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) {
        let Serving { router, peer, place, mut stop, header_time } = self;
        let router = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let in_progress = place.begin_request();
            request.extensions_mut().insert(PeerAddress(peer));
            let answer = router.call(request);
            async move {
                let response: Response<Body> = answer.await?;
                Ok::<_, Infallible>(response.map(|body| AnswerBody { body, _in_progress: in_progress }))
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(header_time).max_buf_size(HEADER_BYTES_MAX);
        let io = TokioIo::new(WriteTimeout::new(stream, WRITE_TIME));
        let mut connection = pin!(builder.serve_connection(io, service));
        let stops = async { drop(stop.wait_for(|stop| *stop).await) };
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
}

/// The body of an answer. Its request is in progress until the body has been sent.
struct AnswerBody {
    body: Body,
    _in_progress: RequestOnConnection,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    async fn listener() -> HttpListener {
        HttpListener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_sends_no_header_is_closed() {
        let HttpListener { tcp, address, .. } = listener().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
        let (stream, peer) = tcp.accept().await.unwrap();
        let (_stop, stop) = watch::channel(false);
        let place = OpenConnections::new(1).enter().await;
        let serving = Serving { router: Router::new(), peer, place, stop, header_time: Duration::from_millis(20) };
        tokio::time::timeout(TIMEOUT, serving.on(stream, None)).await.expect("the connection is closed");
    }

    #[tokio::test]
    async fn a_client_is_served_while_others_hold_more_connections_than_there_are() {
        let listener = listener().await;
        let (address, (stop, stopping)) = (listener.address(), watch::channel(false));
        let router = Router::new().route("/", axum::routing::get(async || "served"));
        let serving = tokio::spawn(serve(listener, router, stopping));
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 100 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
            held.push(client);
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(TIMEOUT, client.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        assert!(answer.ends_with("served"), "{answer}");
        stop.send_replace(true);
        tokio::time::timeout(TIMEOUT, serving).await.expect("the server stops with open connections").unwrap();
        drop(held);
    }
}
