//! The sources `http` of all jobs, as the listener for records finds them.
//!
//! An endpoint is found by the name of a job and the id of a source. It is kept until a job is submitted or removed, so that a request
//! looks up nothing but a map.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::RwLock;

use super::environment::JobEnvironment;
use super::handle::JobHandle;
use super::registry::JobRegistry;
use super::view::JobStatus;
use crate::clock::SharedClock;
use crate::connector::ingest::{IngestLog, IngestLogs, IngestSettings, RequestVerifier};
use crate::connector::ingest_source;
use crate::error::{Result, request_not_found};
use crate::pipeline::{NodeKind, PipelineSpec};

/// One source `http` of a job.
pub struct IngestEndpoint {
    job: Arc<JobHandle>,
    log: Arc<IngestLog>,
    settings: IngestSettings,
    verifier: RequestVerifier,
    clock: SharedClock,
    /// Number of requests in progress.
    requests: AtomicU32,
}

/// A request in progress. It counts until it is dropped.
pub struct RequestInProgress(Arc<IngestEndpoint>);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl IngestEndpoint {
    /// Counts a request. Returns `None` if there are too many.
    pub fn enter(self: &Arc<IngestEndpoint>) -> Option<RequestInProgress> {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        let request = RequestInProgress(self.clone());
        (before < self.settings.requests_max).then_some(request)
    }

    /// Returns whether requests are accepted now: always, unless the source takes none while its job is not running.
    pub fn accepts_now(&self) -> bool {
        let status = || self.job.status();
        self.settings.accepts_while_stopped || !(status().is_final() || status() == JobStatus::Suspended)
    }

    /// Returns the log of the source.
    pub fn log(&self) -> &IngestLog {
        &self.log
    }

    /// Returns the settings of the source.
    pub fn settings(&self) -> &IngestSettings {
        &self.settings
    }

    /// Returns who may send requests.
    pub fn verifier(&self) -> &RequestVerifier {
        &self.verifier
    }

    /// Returns the time in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
}

/// The endpoints that were used, by job name and source id.
type EndpointMap = BTreeMap<String, BTreeMap<String, Arc<IngestEndpoint>>>;

/// The endpoints of a host.
pub struct IngestEndpoints {
    logs: Arc<IngestLogs>,
    endpoints: RwLock<EndpointMap>,
    /// Changes when jobs are submitted or removed.
    generation: AtomicU64,
}

impl IngestEndpoints {
    /// Creates the endpoints over these logs.
    pub fn new(logs: Arc<IngestLogs>) -> IngestEndpoints {
        IngestEndpoints { logs, endpoints: RwLock::default(), generation: AtomicU64::new(0) }
    }

    /// Makes durable what waits, and refuses further requests.
    pub fn close(&self) {
        self.logs.close();
    }

    /// Returns an endpoint that was found before. Does not block.
    pub fn get(&self, job: &str, source: &str) -> Option<Arc<IngestEndpoint>> {
        self.endpoints.read().get(job)?.get(source).cloned()
    }

    /// Forgets all endpoints, because the jobs have changed.
    pub fn forget(&self) {
        let mut endpoints = self.endpoints.write();
        self.generation.fetch_add(1, Ordering::SeqCst);
        endpoints.clear();
    }

    /// Finds an endpoint, and opens its log if necessary. Errors: `job-not-found`, `request-not-found`, those of the log, and those of
    /// secrets.
    pub fn find(
        &self,
        registry: &JobRegistry,
        environment: &JobEnvironment,
        job: &str,
        source: &str,
    ) -> Result<Arc<IngestEndpoint>> {
        let generation = self.generation.load(Ordering::SeqCst);
        let handle = registry.find(job)?;
        let record = handle.record();
        let pipeline = PipelineSpec::parse(&record.pipeline_text, &record.file_name)?;
        let node = pipeline.nodes.iter().find(|node| node.id == source);
        let settings = node.and_then(|node| match &node.kind {
            NodeKind::Source(node) => ingest_source(&node.connector),
            _ => None,
        });
        let Some(settings) = settings else {
            let message = format!("job `{}` has no source `{source}` with connector = \"http\"", record.name);
            return Err(request_not_found(message));
        };
        let verifier = settings.verifier(&environment.paths(record.base_dir.clone()))?;
        let settings = settings.clone();
        let log = self.logs.open(&record.name, source, settings.limits)?;
        let (clock, requests) = (environment.clock.clone(), AtomicU32::new(0));
        let endpoint = Arc::new(IngestEndpoint { job: handle, log, settings, verifier, clock, requests });
        let mut endpoints = self.endpoints.write();
        if generation == self.generation.load(Ordering::SeqCst) {
            let sources = endpoints.entry(job.to_owned()).or_default();
            return Ok(sources.entry(source.to_owned()).or_insert(endpoint).clone());
        }
        Ok(endpoint)
    }
}
