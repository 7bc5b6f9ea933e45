//! The check of a request's host name. A request is refused unless it names this server.
//!
//! Any web page can make a browser send requests to 127.0.0.1. An attacker's name that resolves to 127.0.0.1 (DNS
//! rebinding) is not an allowed name. tower-http's `CsrfLayer` refuses requests from pages of other origins.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::error::request_invalid;

/// The host names that requests may use, with any port: the loopback names, the address on which the server listens,
/// and names that were allowed explicitly.
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    listen: IpAddr,
    names: Vec<String>,
}

impl AllowedHosts {
    /// Allows loopback, the address `listen`, and `names`.
    pub fn new(listen: SocketAddr, names: Vec<String>) -> AllowedHosts {
        AllowedHosts { listen: listen.ip(), names }
    }

    /// Returns whether a `Host` header, or the authority of the request's URI, is allowed.
    fn allows(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if host.contains('@') {
            return false;
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            // An address cannot be rebound. A server on all interfaces may have any address.
            Ok(address) => address.is_loopback() || address == self.listen || self.listen.is_unspecified(),
            Err(_) => {
                host.eq_ignore_ascii_case("localhost") || self.names.iter().any(|name| host.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// Refuses a request that names no host, or a host that is not allowed.
pub(super) async fn check_host(State(allowed): State<Arc<AllowedHosts>>, request: Request, next: Next) -> Response {
    let mut headers = request.headers().get_all(header::HOST).iter();
    let header = headers.next().map(|host| host.to_str().unwrap_or_default());
    if headers.next().is_some() {
        // Another server on the way may go by another one of them.
        return Problem::from(request_invalid("the request has several Host headers")).into_response();
    }
    let authority = request.uri().authority().map(Authority::as_str);
    let hosts = [header, authority];
    let mut given = hosts.iter().flatten().peekable();
    if given.peek().is_some() && given.all(|host| allowed.allows(host)) {
        return next.run(request).await;
    }
    let error = request_invalid("the request's host name does not belong to this server")
        .hint("use localhost or the address on which the server listens, or start the server with --allow-host NAME");
    Problem::with_status(error, StatusCode::FORBIDDEN).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_server_are_allowed() {
        let loopback = AllowedHosts::new("127.0.0.1:7070".parse().unwrap(), vec!["cofferdam.lan".into()]);
        for host in ["localhost", "LOCALHOST:7070", "127.0.0.1:7070", "127.0.0.1", "[::1]:9", "cofferdam.lan:1"] {
            assert!(loopback.allows(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:7070", "localhost.evil.example", "192.168.0.7", "a@localhost", "["]
        {
            assert!(!loopback.allows(host), "{host}");
        }
        let everywhere = AllowedHosts::new("0.0.0.0:7070".parse().unwrap(), vec![]);
        assert!(everywhere.allows("192.168.0.7:7070") && !everywhere.allows("evil.example"));
        let one = AllowedHosts::new("192.168.0.7:7070".parse().unwrap(), vec![]);
        assert!(one.allows("192.168.0.7") && !one.allows("192.168.0.8"));
    }
}
