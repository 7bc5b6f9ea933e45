//! The host: the entrance of the CLI and the HTTP API to jobs and components.
//!
//! A host owns one data folder, the component store, and the jobs with their threads. Its methods find a job and
//! delegate to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::capacity::{SUBTASKS_MAX, ServerCapacity};
use super::dead_letters::{self, TrialRequest};
use super::environment::{JobEnvironment, NAMESPACES_FOLDER};
use super::fault_view;
use super::handle::JobHandle;
use super::ingest_endpoints::{IngestEndpoint, IngestEndpoints};
use super::job_place::JobPlace;
use super::log_page::{self, LogRequest};
use super::message::RunningJobCommand;
use super::monitoring::monitored_jobs;
use super::quotas::{Quotas, UsedQuotas};
use super::record_tap::{RecordTap, TapRequest};
use super::registry::{self, JobRegistry, Submission};
use super::savepoint::{request_stop, trigger_checkpoint};
use super::store::{self, ComponentStore, DataDir, JobRecord, JobState};
use super::telemetry::{MonitoredJob, SeriesRequest};
use super::view::{
    CheckpointDetail, CheckpointSummary, ComponentView, DeadLetterDetail, DeadLetterPage, FaultGroupList, JobDetail,
    JobEventPage, JobGraph, JobMetrics, JobSeries, JobStatus, JobSummary, LogLevelView, LogPage, ReplaysStarted,
    SavepointFormat, SavepointView, StoredSavepoint, TrialView,
};
use crate::access::{AccessPolicy, SecretStore};
use crate::auth::DEFAULT_NAMESPACE;
use crate::checkpoint::{CheckpointMetadata, CheckpointStorage, ListedSavepoint, StorageLocation, Verification};
use crate::clock::{SharedClock, SystemClock};
use crate::connector::ingest::IngestLogs;
use crate::error::{self, Error, Result};
use crate::fault_groups::{FaultGroup, FaultGroupDetail, FaultStatus};
use crate::model::LogLevel;
use crate::permits::PermitPool;
use crate::pipeline::{LimitCeilings, PipelineSpec};
use crate::runtime::BarrierKind;
use crate::sandbox::{CodeCacheFolder, CompileMode, CompileTotals, Sandbox, SandboxOptions};
use crate::state_reader::StateReader;
use crate::tracer::Tracer;

/// Default limit of function instances that exist at the same time, over all jobs.
pub const INSTANCES_MAX: u32 = 1000;

/// Default time that the last checkpoint of a job may take when the process ends.
pub const SHUTDOWN_TIME: Duration = Duration::from_secs(10);

/// Default limit on the size of a component. It is larger than that for uploads, since local files are trusted more.
const LOCAL_COMPONENT_BYTES_MAX: u64 = 1 << 30;

/// The options of a host.
pub struct HostOptions {
    /// The folder for everything that outlives the process. One process at a time can open it.
    pub data_dir: PathBuf,
    /// The clock of all jobs.
    pub clock: SharedClock,
    /// Size limit of a component, in bytes.
    pub component_bytes_max: u64,
    /// Default storage for checkpoints: a path or `s3://bucket/folder`. `None` means a folder in the data folder. A
    /// pipeline file can set another one.
    pub checkpoint_storage: Option<String>,
    /// Limit of function instances that exist at the same time, over all jobs.
    pub instances_max: u32,
    /// The largest limits that a pipeline may set.
    pub limit_ceilings: LimitCeilings,
    /// Time that the last checkpoint of a job may take when the process ends.
    pub shutdown_time: Duration,
    /// Where components are compiled.
    pub compile_in: CompileMode,
    /// Where compiled code is kept. `None` means in the data folder.
    pub code_cache: Option<CodeCacheFolder>,
    /// What pipelines may read, write and reach.
    pub policy: AccessPolicy,
    /// What the jobs and components of the host may use.
    pub quotas: Quotas,
    /// Traces submits, checkpoints and restores.
    pub tracer: Tracer,
    /// The runtime for calls to checkpoint storage, and for nothing else. Callers block while they wait for its
    /// threads. On a runtime that also runs other blocking work, all threads could wait for each other.
    pub runtime: tokio::runtime::Handle,
}

impl HostOptions {
    /// The options of a host whose pipelines may do what its user may, without limits but those of a process. It compiles
    /// components itself.
    pub fn new(data_dir: impl Into<PathBuf>, runtime: tokio::runtime::Handle) -> HostOptions {
        HostOptions {
            data_dir: data_dir.into(),
            clock: SystemClock::shared(),
            component_bytes_max: LOCAL_COMPONENT_BYTES_MAX,
            checkpoint_storage: None,
            instances_max: INSTANCES_MAX,
            limit_ceilings: LimitCeilings::default(),
            shutdown_time: SHUTDOWN_TIME,
            compile_in: CompileMode::ThisProcess,
            code_cache: None,
            policy: AccessPolicy::default(),
            quotas: Quotas::default(),
            tracer: Tracer::default(),
            runtime,
        }
    }
}

/// A host of jobs. Clones share it. Its methods block on files, so that an async task must not call them directly.
#[derive(Clone)]
pub struct Host {
    shared: Arc<SharedHost>,
}

struct SharedHost {
    data_dir: DataDir,
    component_bytes_max: u64,
    environment: Arc<JobEnvironment>,
    registry: JobRegistry,
    ingest: IngestEndpoints,
}

impl Host {
    /// Opens the data folder. Starts no job. Errors: `data-dir-locked` if another process has the folder open,
    /// `data-dir-failed`, `sandbox-unavailable`.
    pub fn open(options: HostOptions) -> Result<Host> {
        let host = Host::open_with_all_code(options)?;
        host.forget_unknown_code(std::slice::from_ref(&host));
        Ok(host)
    }

    /// Opens the data folder, and keeps all compiled code: components of other namespaces may use it.
    pub(super) fn open_with_all_code(options: HostOptions) -> Result<Host> {
        let data_dir = DataDir::open(&options.data_dir)?;
        let code_cache = match options.code_cache {
            Some(folder) => folder,
            None => CodeCacheFolder::OfProcess(data_dir.compiled_code()?),
        };
        let permits = PermitPool::of_machine(options.clock.clone());
        let sandbox = Sandbox::open(SandboxOptions {
            code_cache,
            instances_max: options.instances_max,
            compile_in: options.compile_in,
            clock: options.clock.clone(),
            permits: permits.clone(),
        })?;
        let default_storage = match &options.checkpoint_storage {
            Some(text) => StorageLocation::parse(text, Path::new(".")).map_err(error::storage_failed)?,
            None => StorageLocation::Folder(data_dir.checkpoints()),
        };
        let components =
            ComponentStore::open(data_dir.path(), Arc::new(sandbox), options.clock.clone(), options.quotas)?;
        let environment = JobEnvironment {
            namespace: DEFAULT_NAMESPACE.to_owned(),
            components: Arc::new(components),
            ingest_logs: Arc::new(IngestLogs::new(data_dir.ingest(), options.clock.clone())),
            clock: options.clock,
            runtime: options.runtime,
            namespaces_storage: default_storage.join(NAMESPACES_FOLDER),
            default_storage,
            origins: Default::default(),
            limit_ceilings: options.limit_ceilings,
            shutdown_time: options.shutdown_time,
            capacity: ServerCapacity::new(options.instances_max as usize, SUBTASKS_MAX)
                .with_quota(options.quotas.subtasks),
            permits,
            policy: options.policy,
            ended_logs: Default::default(),
            usage: options.quotas.usage(),
            quotas: options.quotas,
            tracer: options.tracer,
        };
        Host::over(data_dir, options.component_bytes_max, environment)
    }

    /// Opens a namespace in a folder of its own. It shares the sandbox, the processors, the capacity and the policy with this host,
    /// which is that of the namespace `default`.
    pub(super) fn open_namespace(&self, name: &str, folder: &Path, quotas: Quotas) -> Result<Host> {
        let data_dir = DataDir::open(folder)?;
        let shared = &*self.shared.environment;
        let components =
            ComponentStore::open(data_dir.path(), shared.components.sandbox(), shared.clock.clone(), quotas)?;
        let ingest_logs = IngestLogs::new(data_dir.ingest(), shared.clock.clone());
        if shared.ingest_logs.has_listener() {
            ingest_logs.set_has_listener();
        }
        let environment = JobEnvironment {
            namespace: name.to_owned(),
            components: Arc::new(components),
            ingest_logs: Arc::new(ingest_logs),
            clock: shared.clock.clone(),
            runtime: shared.runtime.clone(),
            default_storage: shared.namespaces_storage.join(name),
            namespaces_storage: shared.namespaces_storage.clone(),
            // A savepoint that several namespaces may use is not removed while a job of any of them starts from it.
            origins: shared.origins.clone(),
            limit_ceilings: shared.limit_ceilings.clone(),
            shutdown_time: shared.shutdown_time,
            capacity: shared.capacity.with_quota(quotas.subtasks),
            permits: shared.permits.clone(),
            policy: shared.policy.for_namespace(name),
            ended_logs: Default::default(),
            usage: quotas.usage(),
            quotas,
            tracer: shared.tracer.clone(),
        };
        Host::over(data_dir, self.shared.component_bytes_max, environment)
    }

    fn over(data_dir: DataDir, component_bytes_max: u64, environment: JobEnvironment) -> Result<Host> {
        let environment = Arc::new(environment);
        let ingest = IngestEndpoints::new(environment.ingest_logs.clone());
        let registry = JobRegistry::open(&data_dir.jobs(), environment.clone())?;
        Ok(Host { shared: Arc::new(SharedHost { data_dir, component_bytes_max, environment, registry, ingest }) })
    }

    /// Removes compiled code of components that none of these hosts has. They share the cache.
    pub(super) fn forget_unknown_code(&self, hosts: &[Host]) {
        let is_known = |sha256: &str| hosts.iter().any(|host| host.components_store().has(sha256));
        self.components_store().sandbox().keep_code_of(&is_known);
    }

    /// Checks that the data folder was not removed or replaced since it was opened. Error: `data-dir-failed`: the
    /// process must end.
    pub fn check_data_dir(&self) -> Result<()> {
        self.shared.data_dir.check_unchanged()
    }

    /// Starts every job that had not ended when its process did, and jobs whose checkpoints were all damaged. Removes
    /// checkpoints of ended jobs that are still to be removed. Returns the number of jobs that it started.
    pub fn resume_jobs(&self) -> usize {
        registry::resume_all(&self.shared.registry, &self.shared.environment)
    }

    /// Resumes the job of this name that had not ended when its process did. Returns `None` if there is none. Error:
    /// `job-name-taken` if it was submitted with another pipeline file.
    pub fn resume_job(&self, name: &str, pipeline_text: &str) -> Result<Option<JobDetail>> {
        let job = registry::resume_named(&self.shared.registry, &self.shared.environment, name, pipeline_text)?;
        Ok(job.map(|job| job.detail()))
    }

    /// Checks a pipeline completely, then starts its job. On error nothing of the job remains.
    pub fn submit(&self, submission: Submission) -> Result<JobDetail> {
        let SharedHost { data_dir, environment, registry, .. } = &*self.shared;
        let submitted = registry::submit(registry, environment, &data_dir.jobs(), submission);
        let job = submitted.map_err(|error| self.redacted(error))?;
        self.shared.ingest.forget();
        Ok(job)
    }

    /// Checks a submission as [`Host::submit`] does, and creates nothing. Returns the warnings.
    pub fn check(&self, submission: &Submission) -> Result<Vec<String>> {
        let SharedHost { environment, registry, .. } = &*self.shared;
        registry::check(registry, environment, submission).map_err(|error| self.redacted(error))
    }

    /// Replaces the values of secrets in an error, which may contain what a peer has answered.
    fn redacted(&self, error: Error) -> Error {
        self.shared.environment.policy.secrets().redact_error(error)
    }

    /// Notes that the process has a listener for records. Jobs that need one are warned otherwise.
    pub fn set_has_ingest_listener(&self) {
        self.shared.environment.ingest_logs.set_has_listener();
    }

    /// Returns a source `http` that was found before, by the name of its job. Does not block.
    pub fn open_ingest_endpoint(&self, job: &str, source: &str) -> Option<Arc<IngestEndpoint>> {
        self.shared.ingest.get(job, source)
    }

    /// Finds a source `http` by the name of its job, and opens its log. Errors: `job-not-found`, `request-not-found`, and those of the
    /// log and of secrets.
    pub fn find_ingest_endpoint(&self, job: &str, source: &str) -> Result<Arc<IngestEndpoint>> {
        let SharedHost { environment, registry, ingest, .. } = &*self.shared;
        ingest.find(registry, environment, job, source).map_err(|error| self.redacted(error))
    }

    /// Ends all jobs' threads and waits for them. The jobs keep their status, and resume when the data folder is opened
    /// again.
    pub fn shutdown(&self) {
        self.begin_shutdown();
        self.finish_shutdown();
    }

    /// Waits for the jobs' threads, which were told to end.
    pub(super) fn finish_shutdown(&self) {
        self.shared.registry.shutdown();
        self.shared.ingest.close();
    }

    /// Tells all jobs' threads to end.
    pub(super) fn begin_shutdown(&self) {
        self.stop_compiling();
        self.shared.registry.begin_shutdown();
    }

    /// Marks the jobs as failed whose restore goes on long after [`Host::shutdown`] interrupted it. The next start of the process
    /// would hang in the same way.
    pub fn fail_stuck_restores(&self) {
        self.shared.registry.fail_stuck_restores();
    }

    /// Creates a file in the data folder for an upload. The file is deleted when it is dropped.
    pub fn new_upload(&self) -> Result<NamedTempFile> {
        self.components_store().new_upload()
    }

    /// Returns the size limit of a component, in bytes.
    pub fn component_bytes_max(&self) -> u64 {
        self.shared.component_bytes_max
    }

    /// Checks and stores an uploaded component, with a name if one is given. On error nothing is stored. `stopped` is
    /// polled while the component is compiled. Errors: `compile-stopped` and the other `component-` errors.
    pub fn add_component(
        &self,
        file: NamedTempFile,
        sha256: [u8; 32],
        name: Option<&str>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<ComponentView> {
        self.components_store().add(file, sha256, name, stopped)
    }

    /// Ends compilations in progress and refuses further ones. This is the first step of a shutdown.
    pub fn stop_compiling(&self) {
        self.components_store().stop_compiling();
    }

    /// Returns all components.
    pub fn components(&self) -> Vec<ComponentView> {
        self.components_store().list()
    }

    /// Returns up to `limit` components with digests behind `after`, in order of their digests.
    pub fn components_page(&self, after: Option<&str>, limit: usize) -> Vec<ComponentView> {
        self.components_store().page(after, limit)
    }

    /// Finds a component by `sha256:...`, by `name@version`, or by a name that has one version only. Error:
    /// `component-not-found`.
    pub fn component(&self, reference: &str) -> Result<ComponentView> {
        self.components_store().find(reference)
    }

    /// Removes a component that no running job uses. Errors: `component-not-found`, `component-in-use`.
    pub fn remove_component(&self, reference: &str) -> Result<()> {
        self.shared.registry.remove_component(&self.component(reference)?.sha256)
    }

    /// Returns all jobs, newest first.
    pub fn jobs(&self) -> Vec<JobSummary> {
        let mut jobs: Vec<JobSummary> = self.shared.registry.all().iter().map(|job| job.summary()).collect();
        jobs.sort_by(|a, b| b.submitted_at_ms.cmp(&a.submitted_at_ms).then_with(|| a.id.cmp(&b.id)));
        jobs
    }

    /// Returns up to `limit` jobs, newest first, behind the place `after` of another one.
    pub fn jobs_page(&self, after: Option<&JobPlace>, limit: usize) -> Vec<JobSummary> {
        let jobs = self.shared.registry.all();
        let place = |job: &Arc<JobHandle>| job.with_record(|record| JobPlace::of(record.submitted_at_ms, &record.id));
        let mut placed: Vec<_> = jobs.into_iter().map(|job| (place(&job), job)).collect();
        placed.retain(|(place, _)| after.is_none_or(|after| place > after));
        placed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        placed.iter().take(limit).map(|(_, job)| job.summary()).collect()
    }

    /// Returns a job by its id or name. Error: `job-not-found`.
    pub fn job(&self, id_or_name: &str) -> Result<JobDetail> {
        Ok(self.find(id_or_name)?.detail())
    }

    /// Returns the nodes and edges of a job. Error: `job-not-found`, or `job-state` if they are not known yet.
    pub fn graph(&self, id_or_name: &str) -> Result<JobGraph> {
        let graph = self.find(id_or_name)?.graph();
        graph.ok_or_else(|| {
            error::job_state(format!("job `{id_or_name}` is of an earlier version and has not run since"))
        })
    }

    /// Returns the metrics of a job, with those of each subtask if `with_subtasks`.
    pub fn metrics(&self, id_or_name: &str, with_subtasks: bool) -> Result<JobMetrics> {
        Ok(self.find(id_or_name)?.metrics(&*self.shared.environment.clock, with_subtasks))
    }

    /// Returns what the operators of a job did over time. Errors: `job-not-found`, `request-not-found` if it has no such operator.
    pub fn series(&self, id_or_name: &str, request: &SeriesRequest) -> Result<JobSeries> {
        let job = self.find(id_or_name)?;
        if let Some(operator) = &request.operator {
            log_page::check_node(&job.detail(), operator)?;
        }
        Ok(job.series(request))
    }

    /// Returns at most `limit` events of a job: the oldest ones after the one with this number, or else the newest ones.
    pub fn events(&self, id_or_name: &str, after: Option<u64>, limit: usize) -> Result<JobEventPage> {
        let job = self.find(id_or_name)?;
        let page = job.events.page(after, limit);
        page.map_err(|cause| {
            error::data_dir_failed(format!("the events of job `{id_or_name}` cannot be read: {cause}"))
        })
    }

    /// Returns what the jobs show to a monitoring system.
    pub fn monitored_jobs(&self) -> Vec<MonitoredJob> {
        monitored_jobs(self.shared.registry.all(), &*self.shared.environment.clock)
    }

    /// Returns the tracer of submits, checkpoints and restores.
    pub fn tracer(&self) -> &Tracer {
        &self.shared.environment.tracer
    }

    /// Returns the handles of all jobs.
    pub(super) fn handles(&self) -> Vec<Arc<JobHandle>> {
        self.shared.registry.all()
    }

    /// Returns the number of jobs that have each status.
    pub fn job_counts(&self) -> Vec<(JobStatus, u64)> {
        let mut counts = JobStatus::ALL.map(|status| (status, 0));
        for job in self.shared.registry.all() {
            let status = job.status();
            counts.iter_mut().filter(|(other, _)| *other == status).for_each(|(_, count)| *count += 1);
        }
        counts.to_vec()
    }

    /// Returns the name of the host's namespace.
    pub fn namespace(&self) -> &str {
        &self.shared.environment.namespace
    }

    /// Returns what the namespace uses.
    pub fn used_quotas(&self) -> UsedQuotas {
        let SharedHost { environment, registry, .. } = &*self.shared;
        let jobs = registry.all().iter().filter(|job| !job.status().is_final()).count() as u64;
        let subtasks = environment.capacity.used_quota().unwrap_or(0);
        let (components, bytes) = environment.components.used();
        environment.quotas.used([jobs, subtasks, components, bytes], &environment.usage)
    }

    /// Returns what the server has compiled, for all namespaces.
    pub fn compile_totals(&self) -> CompileTotals {
        self.components_store().sandbox().compile_totals()
    }

    /// Returns the clock of all jobs.
    pub fn clock(&self) -> &SharedClock {
        &self.shared.environment.clock
    }

    /// Waits until a job has ended, or until `timeout` has elapsed. Returns the job as it is then.
    pub fn await_end(&self, id_or_name: &str, timeout: Duration) -> Result<JobDetail> {
        let job = self.find(id_or_name)?;
        job.await_end(timeout);
        Ok(job.detail())
    }

    /// Cancels a job: it ends without a checkpoint, and output that its sinks have not committed is removed. Error:
    /// `job-state` if it has ended.
    pub fn cancel(&self, id_or_name: &str) -> Result<JobSummary> {
        let job = self.find(id_or_name)?;
        job.command_running(RunningJobCommand::Cancel)?;
        job.update(|record| {
            if !record.status.is_final() {
                record.status = JobStatus::Cancelling;
            }
        })?;
        Ok(job.summary())
    }

    /// Takes a savepoint, then ends the job. With `drain`, all windows and event-time timers fire before the savepoint.
    /// Returns a request to poll with [`Host::savepoint`]; a repeated call returns the same request. Error:
    /// `job-state`.
    pub fn stop(&self, id_or_name: &str, format: SavepointFormat, drain: bool) -> Result<SavepointView> {
        request_stop(&*self.find(id_or_name)?, drain, format)
    }

    /// Takes a savepoint while the job continues. Returns a request to poll with [`Host::savepoint`]. Error:
    /// `job-state`.
    pub fn trigger_savepoint(&self, id_or_name: &str, format: SavepointFormat) -> Result<SavepointView> {
        trigger_checkpoint(&*self.find(id_or_name)?, BarrierKind::Savepoint, format)
    }

    /// Takes a checkpoint now. Returns a request to poll with [`Host::savepoint`]. Error: `job-state`.
    pub fn trigger_checkpoint(&self, id_or_name: &str) -> Result<SavepointView> {
        trigger_checkpoint(&*self.find(id_or_name)?, BarrierKind::Checkpoint, SavepointFormat::Native)
    }

    /// Returns the state of a request for a savepoint, checkpoint or stop. Error: `savepoint-not-found`.
    pub fn savepoint(&self, id_or_name: &str, request_id: &str) -> Result<SavepointView> {
        let view = self.find(id_or_name)?.savepoint(request_id);
        view.ok_or_else(|| error::savepoint_not_found(format!("job `{id_or_name}` has no request `{request_id}`")))
    }

    /// Returns the savepoints of a job that still exist in its storage, oldest first.
    pub fn savepoints(&self, id_or_name: &str) -> Result<Vec<StoredSavepoint>> {
        let record = self.find(id_or_name)?.record();
        let view = |savepoint: ListedSavepoint| StoredSavepoint {
            id: savepoint.id,
            location: savepoint.location.to_string(),
            taken_at_ms: savepoint.metadata.as_ref().ok().map(|metadata| metadata.taken_at_ms),
            bytes: savepoint.metadata.as_ref().ok().map(CheckpointMetadata::bytes),
            failure: savepoint.metadata.err().map(|error| error.message),
        };
        Ok(self.storage_of(&record)?.savepoints(&record.id)?.into_iter().map(view).collect())
    }

    /// Removes the savepoint in a folder, which is a path or `s3://bucket/folder`. Error: `job-state` if a job starts
    /// from it, or would restart from it.
    pub fn remove_savepoint(&self, location: &str) -> Result<()> {
        let parsed = StorageLocation::parse(location, Path::new(".")).map_err(error::request_invalid)?;
        store::remove_savepoint(&parsed.canonical(), &self.shared.environment, &self.shared.registry.all())
    }

    /// Returns the recent checkpoints of a job, newest first. Checkpoints of earlier processes are not included.
    pub fn checkpoints(&self, id_or_name: &str) -> Result<Vec<CheckpointSummary>> {
        Ok(self.find(id_or_name)?.checkpoints())
    }

    /// Returns a recent checkpoint with the contribution of each operator and subtask. Error: `checkpoint-not-found`.
    pub fn checkpoint(&self, id_or_name: &str, id: u64) -> Result<CheckpointDetail> {
        let found = self.find(id_or_name)?.checkpoint(id);
        found.ok_or_else(|| error::checkpoint_not_found(format!("no checkpoint {id} of job `{id_or_name}` is known")))
    }

    /// Opens the state in a job's newest checkpoint or savepoint. The job is not disturbed, and the checkpoint is not
    /// removed until the returned value is dropped. Error: `state-unavailable` if there is no checkpoint.
    pub fn state(&self, id_or_name: &str) -> Result<JobState> {
        let job = self.find(id_or_name)?;
        let record = job.record();
        let storage = self.storage_of(&record)?;
        job.readers.open(record.last_checkpoint.unwrap_or(0), || {
            let Some((metadata, _)) = storage.newest_usable(&record.id, Verification::Lengths)? else {
                return Err(state_unavailable(&record));
            };
            let files = Arc::new(storage.files(&record.id, metadata.checkpoint_id, metadata.kind)?);
            let reader = StateReader::new(Arc::new(metadata), files, &self.shared.data_dir.reading())?;
            Ok((reader.checkpoint(), reader))
        })
    }

    /// Returns log lines of the functions of a job: the newest ones, or those behind a line. Error: `request-not-found` if the job has no
    /// such operator.
    pub fn logs(&self, id_or_name: &str, request: &LogRequest) -> Result<LogPage> {
        log_page::log_page(&*self.find(id_or_name)?, request)
    }

    /// Shows records that pass a node of a job. Errors: `job-state`, `request-not-found`, `request-invalid`.
    pub fn tap(&self, id_or_name: &str, node: &str, request: TapRequest) -> Result<RecordTap> {
        RecordTap::open(self.find(id_or_name)?, node, request, self.shared.environment.policy.secrets().clone())
    }

    /// Returns the level of an operator's log lines. Errors: `job-state`, `request-not-found`.
    pub fn log_level(&self, id_or_name: &str, operator: &str) -> Result<LogLevelView> {
        log_page::log_level(&*self.find(id_or_name)?, operator)
    }

    /// Sets the level of an operator's log lines until the process ends. `None` returns to that of the pipeline file. Errors:
    /// `job-state`, `request-not-found`.
    pub fn set_log_level(&self, id_or_name: &str, operator: &str, level: Option<LogLevel>) -> Result<LogLevelView> {
        log_page::set_log_level(&*self.find(id_or_name)?, operator, level)
    }

    /// Returns the faults of a job in groups.
    pub fn fault_groups(&self, id_or_name: &str) -> Result<FaultGroupList> {
        Ok(fault_view::fault_groups(&*self.find(id_or_name)?, self.secrets()))
    }

    /// Returns a group of faults with its samples. Error: `request-not-found`.
    pub fn fault_group(&self, id_or_name: &str, group: &str) -> Result<FaultGroupDetail> {
        fault_view::fault_group(&*self.find(id_or_name)?, group, self.secrets())
    }

    /// Sets the status of a group of faults, if one is given. Returns the group. Error: `request-not-found`.
    pub fn set_fault_status(&self, id_or_name: &str, group: &str, status: Option<FaultStatus>) -> Result<FaultGroup> {
        match status {
            Some(status) => fault_view::set_fault_status(&*self.find(id_or_name)?, group, status, self.secrets()),
            None => self.fault_group(id_or_name, group).map(|detail| detail.group),
        }
    }

    /// Returns dead letters that the host keeps for a job: those of an operator or source, or all. At most `limit`, behind the
    /// letter `after`. Error: `dead-letter-not-found` if that is gone.
    pub fn dead_letters(
        &self,
        id_or_name: &str,
        node: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        dead_letters::list_letters(&*self.find(id_or_name)?, node, after, limit)
    }

    /// Returns a dead letter completely. Error: `dead-letter-not-found`.
    pub fn dead_letter(&self, id_or_name: &str, letter: &str) -> Result<DeadLetterDetail> {
        dead_letters::show_letter(&*self.find(id_or_name)?, &self.shared.environment, letter)
    }

    /// Runs dead letters against a version of their component, with the state of the newest checkpoint. Throws the effects away.
    pub fn try_dead_letters(&self, id_or_name: &str, request: &TrialRequest) -> Result<TrialView> {
        let SharedHost { data_dir, environment, .. } = &*self.shared;
        // A job without a checkpoint has no state that matters.
        let held = self.state(id_or_name).ok();
        let job = self.find(id_or_name)?;
        let tried = dead_letters::try_letters(&job, environment, request, held.as_ref(), &data_dir.reading());
        tried.map_err(|error| self.redacted(error))
    }

    /// Replays the dead letters of a job, or of one operator. Errors: `job-state`, `dead-letter-not-found`.
    pub fn replay_dead_letters(&self, id_or_name: &str, operator: Option<&str>) -> Result<ReplaysStarted> {
        let now_ms = self.shared.environment.clock.wall_ms();
        dead_letters::request_replay(&*self.find(id_or_name)?, operator, now_ms)
    }

    /// Removes the dead letters of a job, or of one operator or source, that are not being replayed. Returns how many.
    pub fn discard_dead_letters(&self, id_or_name: &str, node: Option<&str>) -> Result<u64> {
        dead_letters::discard_letters(&*self.find(id_or_name)?, node)
    }

    /// Removes an ended job: its record and its checkpoints, but not its savepoints. Error: `job-state` if it has not
    /// ended, or if its newest checkpoint has output that is not published, unless `discards_unpublished`.
    pub fn remove_job(&self, id_or_name: &str, discards_unpublished: bool) -> Result<()> {
        let job = self.find(id_or_name)?;
        store::remove_job(&job, &self.shared.environment, discards_unpublished)?;
        self.shared.registry.forget(&job.record().id);
        self.shared.ingest.forget();
        Ok(())
    }

    /// Returns the handle of a job by its id or name.
    pub(super) fn find(&self, id_or_name: &str) -> Result<Arc<JobHandle>> {
        self.shared.registry.find(id_or_name)
    }

    fn secrets(&self) -> &SecretStore {
        self.shared.environment.policy.secrets()
    }

    fn components_store(&self) -> &ComponentStore {
        &self.shared.environment.components
    }

    fn storage_of(&self, record: &JobRecord) -> Result<CheckpointStorage> {
        let pipeline = PipelineSpec::parse(&record.pipeline_text, &record.file_name)?;
        self.shared.environment.storage(&pipeline, &record.base_dir)
    }
}

/// Returns the error for a job that has no checkpoint to read state from.
fn state_unavailable(record: &JobRecord) -> Error {
    let name = &record.name;
    let hint = "take a savepoint, or set an interval in [checkpoint] of the pipeline file";
    if !record.status.is_final() {
        let message = format!("job `{name}` has no complete checkpoint of its own yet");
        return error::state_unavailable(message).hint(hint);
    }
    let how = match record.status {
        JobStatus::Canceled => "was cancelled",
        _ if record.was_stopped() => "was stopped",
        JobStatus::Finished => "has finished",
        _ => "has failed",
    };
    if record.has_checkpoint {
        let message = format!("job `{name}` {how}, and its checkpoints are removed");
        return error::state_unavailable(message).hint(
            "name the folder of a savepoint instead; to keep the checkpoints of an ended job, set on_cancel = \"keep\" in \
             [checkpoint]",
        );
    }
    error::state_unavailable(format!("job `{name}` {how} without a complete checkpoint")).hint(hint)
}
