//! Browsers reach loopback, so a page of anyone's could: requests are refused unless they name this server as their host.
//!
//! A name that an attacker points at 127.0.0.1 (DNS rebinding) is not among the allowed ones. Requests from pages of other
//! origins are refused by tower-http's `CsrfLayer`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;
use crate::error::request_invalid;

/// The hosts by which this server may be called, whatever the port: loopback by its names, the address on which it
/// listens, and names that were allowed on purpose.
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    listen: IpAddr,
    names: Vec<String>,
}

impl AllowedHosts {
    /// `names` are allowed beside what `listen` makes allowed.
    pub fn new(listen: SocketAddr, names: Vec<String>) -> AllowedHosts {
        AllowedHosts { listen: listen.ip(), names }
    }

    /// Whether a `Host` header (or the authority of the request's URI) may be served.
    fn allows(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if host.contains('@') {
            return false;
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            // No name, no rebinding: on all interfaces, any address may be this machine's.
            Ok(address) => address.is_loopback() || address == self.listen || self.listen.is_unspecified(),
            Err(_) => {
                host.eq_ignore_ascii_case("localhost") || self.names.iter().any(|name| host.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// Refuses a request under a host that is not allowed, or under none.
pub(super) async fn check_host(State(allowed): State<Arc<AllowedHosts>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let authority = request.uri().authority().map(Authority::as_str);
    let hosts = [header, authority];
    let mut given = hosts.iter().flatten().peekable();
    if given.peek().is_some() && given.all(|host| allowed.allows(host)) {
        return next.run(request).await;
    }
    let error = request_invalid("the request names a host that this server does not answer for")
        .hint("call it as localhost or by the address on which it listens, or start it with --allow-host NAME");
    Problem::with_status(error, StatusCode::FORBIDDEN).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_by_its_own_names() {
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
