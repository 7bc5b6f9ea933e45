//! `GET /metrics`: the metrics of all jobs for Prometheus.
//!
//! - `catalog` lists the metrics.
//! - `exposition` collects the series of one scrape, within a limit, and writes them as text.
//! - `namespace_samples`, `job_samples`, `node_samples`, `user_samples`, `process_samples`, `request_totals` add the series.

mod catalog;
mod exposition;
mod job_samples;
mod namespace_samples;
mod node_samples;
mod process_samples;
#[cfg(test)]
mod prometheus_tests;
pub(super) mod request_totals;
mod user_samples;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use self::exposition::{Exposition, SampleValue};
use super::api::{ApiState, blocking};
use super::lanes::WorkKind;
use super::problem::Problem;
use crate::error::internal;
use crate::job::MonitoredJob;
use crate::job::view::JobStatus;
use crate::state::database_memory;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Shows the metrics of the server, its jobs and their functions: as OpenMetrics if that is accepted, or else in the text format of
/// Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"), Problem))]
pub(super) async fn scrape(State(api): State<ApiState>, headers: HeaderMap) -> Result<Response, Problem> {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_open_metrics = accepted.contains("application/openmetrics-text");
    let (requests, started_at_ms) = (api.requests.clone(), api.started_at_ms);
    let text = blocking(&api, WorkKind::Quick, move |host| {
        let mut scrape = Exposition::default();
        process_samples::add_process(&mut scrape, started_at_ms);
        process_samples::add_traces(&mut scrape, host.tracer().counts());
        requests.add_to(&mut scrape);
        process_samples::add_databases(&mut scrape, &database_memory());
        process_samples::add_compilations(&mut scrape, &host.compile_totals());
        namespace_samples::add_quotas(&mut scrape, host.namespace(), &host.used_quotas());
        add_jobs(&mut scrape, host.namespace(), &host.monitored_jobs(), &host.job_counts());
        scrape.into_text(is_open_metrics).map_err(|error| internal(format!("cannot write the metrics: {error}")))
    });
    let content_type = if is_open_metrics { OPEN_METRICS } else { PROMETHEUS_TEXT };
    Ok(([(header::CONTENT_TYPE, content_type)], text.await?).into_response())
}

/// Adds the series of all jobs. Those of functions come last, so that they are dropped first; before them come histograms of turns,
/// which have many series.
fn add_jobs(scrape: &mut Exposition, namespace: &str, jobs: &[MonitoredJob], counts: &[(JobStatus, u64)]) {
    for (status, count) in counts {
        let labels = vec![("status", status.as_str().to_owned())];
        scrape.add(&catalog::JOBS, labels, SampleValue::Count(*count));
    }
    for job in jobs {
        job_samples::add_job(scrape, namespace, job);
        node_samples::add_timers_and_databases(scrape, namespace, job);
    }
    let metrics = || jobs.iter().filter_map(|job| job.metrics.as_ref());
    jobs.iter().for_each(|job| node_samples::add_turns(scrape, namespace, job));
    metrics().for_each(|job| user_samples::add_user_metrics(scrape, namespace, job));
    scrape.add_dropped(&catalog::DROPPED_SERIES);
}
