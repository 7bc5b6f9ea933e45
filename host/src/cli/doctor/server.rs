//! Whether a server answers, and what it lets its caller do; or whether one could be started here.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use jiff::fmt::rfc2822;
use serde::Deserialize;
use ureq::http::Uri;

use super::certificate;
use super::finding::{DAY_MS, Finding};
use crate::auth::{CallerView, Role};
use crate::cli::client::ApiClient;
use crate::cli::connection::{ConnectionSettings, DEFAULT_SERVER};
use crate::cli::print;
use crate::error::{Error, Result};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Difference between two clocks at which there is a warning. Expiry of tokens and event time depend on them.
const CLOCK_MS: i64 = 5000;
/// Time before the end of a token at which there is a warning.
const TOKEN_WARNING_MS: i64 = 7 * DAY_MS;
const SERVER: &str = "server";
const TOKEN: &str = "token";

/// The answer of `/v1/health` and `/readyz`.
#[derive(Deserialize)]
struct ServerHealth {
    version: String,
}

/// Checks the server of these settings, and the address on which one would listen.
pub fn examine(settings: Result<ConnectionSettings>, listen: SocketAddr, now: &dyn Fn() -> i64) -> Vec<Finding> {
    let (settings, client) = match settings.and_then(|settings| Ok((ApiClient::new(&settings)?, settings))) {
        Ok((client, settings)) => (settings, client),
        Err(error) => return vec![of_error(SERVER, &error), address(listen, None)],
    };
    let asked_ms = now();
    let health = client.get_dated::<ServerHealth>("/v1/health");
    let now_ms = now();
    let is_here = health.is_ok();
    let server = match &health {
        Ok((health, _)) => version(&settings.server, &health.version),
        Err(error) if error.code == "server-unreachable" && settings.server == DEFAULT_SERVER => {
            Finding::warn(SERVER, error.message.clone(), "start one with `cofferdam serve`, or name one with --server")
        }
        Err(error) => of_error(SERVER, error),
    };
    let mut findings = vec![profile(&settings), server];
    if let Ok((_, date)) = &health {
        let ready = client.get::<ServerHealth>("/readyz").err();
        findings.extend(ready.map(|error| Finding::warn(SERVER, error.message, "wait until it has resumed its jobs")));
        findings.extend(date.as_deref().and_then(date_ms).map(|date_ms| clock(date_ms, asked_ms..=now_ms)));
        findings.push(match client.get::<CallerView>("/v1/caller") {
            Ok(caller) => token(&caller, now_ms),
            Err(error) => of_error(TOKEN, &error),
        });
    }
    let url = settings.server.parse::<Uri>().ok().filter(|url| url.scheme_str() == Some("https"));
    let host = url.as_ref().and_then(|url| Some((url.host()?.trim_matches(['[', ']']), url.port_u16().unwrap_or(443))));
    findings.extend(host.and_then(|(host, port)| certificate::of_server(host, port, now_ms)));
    findings.push(address(listen, is_here.then_some(settings.server.as_str())));
    findings
}

/// Names the profile in use.
pub(super) fn profile(settings: &ConnectionSettings) -> Finding {
    const CHECK: &str = "profile";
    let Some(profile) = &settings.profile else {
        return Finding::ok(CHECK, "none; options, variables and defaults apply");
    };
    let is_other = profile.server.as_ref().is_some_and(|server| *server != settings.server);
    let other = if is_other { format!("; another server is named: {}", settings.server) } else { String::new() };
    Finding::ok(CHECK, format!("`{}` of {}{other}", profile.name, profile.file.display()))
}

fn of_error(check: &'static str, error: &Error) -> Finding {
    let remedy = error.hint.clone().unwrap_or_else(|| format!("see docs/errors.md#{}", error.code));
    Finding::fail(check, format!("{} [{}]", error.message, error.code), remedy)
}

pub(super) fn version(server: &str, version: &str) -> Finding {
    match version == VERSION {
        true => Finding::ok(SERVER, format!("{server} answers, version {version}")),
        false => Finding::warn(
            SERVER,
            format!("{server} has version {version}, and this program {VERSION}"),
            "use the same version for both",
        ),
    }
}

/// Returns the time in a header `date`.
pub(super) fn date_ms(header: &str) -> Option<i64> {
    rfc2822::parse(header).ok().map(|at| at.timestamp().as_millisecond())
}

/// Compares the time of an answer, in whole seconds, with when it was asked for and received.
pub(super) fn clock(server_ms: i64, here_ms: RangeInclusive<i64>) -> Finding {
    const CHECK: &str = "server clock";
    let behind = here_ms.start().saturating_sub(server_ms).saturating_sub(1000);
    let difference = behind.max(server_ms.saturating_sub(*here_ms.end())).max(0);
    match difference > CLOCK_MS {
        true => Finding::warn(
            CHECK,
            format!("it differs by {} s from the one here", difference / 1000),
            "set both, for instance by an NTP client",
        ),
        false => Finding::ok(CHECK, "the same as here"),
    }
}

pub(super) fn token(caller: &CallerView, now_ms: i64) -> Finding {
    let Some(id) = &caller.token else {
        return Finding::ok(TOKEN, "the server requires none");
    };
    let scope =
        if caller.namespace == "*" { "all namespaces".to_owned() } else { format!("namespace {}", caller.namespace) };
    let message = format!("{id} is accepted, role {}, {scope}", caller.role);
    let rest_ms = caller.expires_at_ms.map(|end_ms| end_ms.saturating_sub(now_ms));
    match (rest_ms, caller.expires_at_ms) {
        (Some(..TOKEN_WARNING_MS), Some(end_ms)) => {
            Finding::warn(TOKEN, format!("{message}, ends at {}", print::time(end_ms)), "ask for another one in time")
        }
        _ if caller.role == Role::Read => Finding::ok(TOKEN, format!("{message}: it may submit nothing")),
        _ => Finding::ok(TOKEN, message),
    }
}

/// Checks that a server could listen on an address, unless the one that answers does.
pub(super) fn address(listen: SocketAddr, answers: Option<&str>) -> Finding {
    const CHECK: &str = "address";
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok(CHECK, format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            match answers.filter(|url| url.trim_end_matches('/').ends_with(&format!(":{}", listen.port()))) {
                Some(_) => Finding::ok(CHECK, format!("{listen} is used by the server")),
                None => Finding::fail(
                    CHECK,
                    format!("{listen} is used by another program"),
                    "stop it, or let the server use another --listen",
                ),
            }
        }
        Err(error) => Finding::fail(CHECK, format!("{listen}: {error}"), "let the server use another --listen"),
    }
}
