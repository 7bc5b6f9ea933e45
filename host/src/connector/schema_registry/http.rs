//! One HTTP request, on a thread of its own.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use reqwest::{Client, Method, Url, redirect};

use crate::access::Secret;
use crate::model::Interrupt;
use crate::permits::{self, WaitReason};

/// Time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Upper bound on how long a cancel goes unnoticed.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum length of an answer: a schema as JSON within JSON.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A request to a registry.
#[derive(Clone)]
pub(super) struct RegistryRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) login: Option<(String, Option<Secret>)>,
    /// The body, as JSON.
    pub(super) body: Option<String>,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) struct RegistryAnswer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestFailure {
    /// The registry cannot be reached, or its answer did not arrive.
    Failed(String),
    Interrupted,
}

/// Sends a request and waits for its answer.
pub(super) fn send(request: RegistryRequest, interrupt: &Interrupt) -> Result<RegistryAnswer, RequestFailure> {
    let (sender, receiver) = sync_channel(1);
    let started = thread::Builder::new().name("schema registry".to_owned()).spawn(move || {
        // Nobody waits for it after a cancel.
        let _ = sender.send(exchange(request));
    });
    started.map_err(|error| RequestFailure::Failed(format!("no thread can be started: {error}")))?;
    loop {
        match permits::while_waiting(WaitReason::Peer, || receiver.recv_timeout(CANCEL_INTERVAL)) {
            Ok(answer) => return answer.map_err(RequestFailure::Failed),
            Err(RecvTimeoutError::Timeout) if interrupt.is_set() => return Err(RequestFailure::Interrupted),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(RequestFailure::Failed("the request ended without an answer".to_owned()));
            }
        }
    }
}

fn exchange(request: RegistryRequest) -> Result<RegistryAnswer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(exchange_async(request)).map_err(|error| with_causes(&error))
}

async fn exchange_async(request: RegistryRequest) -> Result<RegistryAnswer, reqwest::Error> {
    // A redirect could lead to an address that is not allowed, and a proxy would see the password.
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .user_agent(concat!("cofferdam/", env!("CARGO_PKG_VERSION")))
        .build()?;
    const JSON: &str = "application/vnd.schemaregistry.v1+json";
    let mut sent = client.request(request.method, request.url).header("accept", JSON);
    if let Some((username, password)) = &request.login {
        sent = sent.basic_auth(username, password.as_ref().map(Secret::expose));
    }
    if let Some(body) = request.body {
        sent = sent.header("content-type", JSON).body(body);
    }
    let mut response = sent.send().await?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            body.clear();
            break;
        }
    }
    Ok(RegistryAnswer { status, body })
}

/// Returns an error with its causes, without the address, which the message names already.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = String::from(if error.is_timeout() { "it does not answer in time" } else { "it cannot be reached" });
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
