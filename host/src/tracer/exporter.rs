//! Sends ended spans to the collector, on a thread of its own.
//!
//! Spans that the collector does not accept are sent again, after growing pauses. In the meantime the queue drops the oldest spans if it must.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::collector::Collector;
use super::otlp_json;
use super::span_queue::SpanQueue;
use crate::clock;
use crate::error::{Result, internal};

/// How long a request may take.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// First pause after a failed request. It doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause after a failed request.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why spans were not accepted.
struct ExportFailure {
    why: String,
    /// Whether the collector does not want them, so that they are not sent again.
    is_refused: bool,
}

/// Starts the thread that exports the spans of a queue until it is closed. Error: `internal`.
pub(super) fn start(queue: Arc<SpanQueue>, collector: Collector) -> Result<()> {
    let instance = format!("{:016x}", clock::random_u64());
    let thread = std::thread::Builder::new().name("traces".to_owned());
    let started = thread.spawn(move || export_all(&queue, &collector, &instance));
    started.map(drop).map_err(|cause| internal(format!("cannot start the thread that exports traces: {cause}")))
}

fn export_all(queue: &SpanQueue, collector: &Collector, instance: &str) {
    let agent = agent();
    let (mut pause, mut is_failure_logged) = (PAUSE_MIN, false);
    while let Some(batch) = queue.take_batch() {
        match send(&agent, collector, &otlp_json::request(instance, &batch)) {
            Ok(()) => {
                queue.exported();
                if std::mem::take(&mut is_failure_logged) {
                    tracing::info!("traces are exported again");
                }
                pause = PAUSE_MIN;
            }
            Err(ExportFailure { why, is_refused }) => {
                if !std::mem::replace(&mut is_failure_logged, true) {
                    tracing::warn!("traces cannot be exported to {}: {why}", collector.url);
                }
                queue.put_back(batch, is_refused);
                if !is_refused {
                    queue.pause(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

fn agent() -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(REQUEST_TIME))
        .tls_config(tls)
        .user_agent(concat!("cofferdam/", env!("CARGO_PKG_VERSION")));
    config.build().new_agent()
}

fn send(agent: &Agent, collector: &Collector, body: &[u8]) -> std::result::Result<(), ExportFailure> {
    let headers = collector.headers.iter();
    let request = headers.fold(agent.post(&collector.url), |request, (name, value)| request.header(name, value));
    match request.header("content-type", "application/json").send(body) {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => {
            let status = response.status();
            let comes_back = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            );
            Err(ExportFailure { why: format!("the collector answers {status}"), is_refused: !comes_back })
        }
        Err(error) => Err(ExportFailure { why: error.to_string(), is_refused: false }),
    }
}
