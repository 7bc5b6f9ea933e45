//! The host of all jobs: the data folder, the components, and every job's thread. What the CLI and HTTP call.
//!
//! The data folder: `lock`, `components/`, `uploads/`, `cache/` (compiled code), `jobs/<id>/job.json`, `checkpoints/`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::NamedTempFile;

use super::components::ComponentStore;
use super::fit;
use super::lifecycle::{self, Environment};
use super::live::{Command, Job, failure_of};
use super::planning;
use super::record::{self, JobRecord};
use super::schedule::Request;
use super::view::{
    CheckpointDetail, CheckpointSummary, ComponentView, JobDetail, JobStatus, JobSummary, SavepointFormat, SavepointView,
};
use crate::clock::{self, SharedClock};
use crate::error::{self, Result};
use crate::manifest::Pipeline;
use crate::runtime::{BarrierKind, Plan};
use crate::sandbox::{Sandbox, SandboxOptions};

/// Instances alive at once, over all jobs.
const INSTANCES_MAX: u32 = 1000;

pub struct HostOptions {
    /// Everything that outlives the process. One process at a time.
    pub data_dir: PathBuf,
    pub clock: SharedClock,
    /// The largest component that is taken, in bytes.
    pub component_bytes_max: u64,
    pub runtime: tokio::runtime::Handle,
}

/// A pipeline to run.
pub struct Submission {
    pub manifest: String,
    /// What errors call the manifest.
    pub file_name: String,
    /// Relative paths of the manifest begin here; the process's folder where none.
    pub base_dir: Option<PathBuf>,
    /// A savepoint in the host's storage to begin with.
    pub from_savepoint: Option<PathBuf>,
    /// Drop what the savepoint holds of operators and states that the pipeline does not have, instead of refusing it.
    pub allow_unclaimed_state: bool,
}

/// See the module. Cheap to clone. Its methods block on files: not for an async task.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    options: HostOptions,
    environment: Arc<Environment>,
    jobs: Mutex<BTreeMap<String, Arc<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held for as long as the host lives.
    _lock: File,
}

impl Host {
    /// Opens the data folder, which no other process may have open (`data-dir-locked`). Starts no job.
    pub fn open(options: HostOptions) -> Result<Host> {
        let dir = &options.data_dir;
        record::create_dir(dir)?;
        let failed = |cause: std::io::Error| error::data_dir_failed(format!("{}: {cause}", dir.display()));
        let lock = File::create(dir.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|_| {
            error::data_dir_locked(format!("{} is open in another process", dir.display()))
                .hint("one server per data folder: stop the other one, or choose another folder with --data-dir")
        })?;
        let cache_dir = fs::canonicalize(dir).map_err(failed)?.join("cache");
        record::create_dir(&cache_dir)?;
        let sandbox = Sandbox::open(SandboxOptions { cache_dir: Some(cache_dir), instances_max: INSTANCES_MAX })?;
        let environment = Environment {
            components: Arc::new(ComponentStore::open(dir, Arc::new(sandbox), options.clock.clone())?),
            clock: options.clock.clone(),
            runtime: options.runtime.clone(),
            storage_root: dir.join("checkpoints"),
        };
        let jobs_dir = dir.join("jobs");
        record::create_dir(&jobs_dir)?;
        let jobs = read_jobs(&jobs_dir)?;
        let inner = Inner {
            environment: Arc::new(environment),
            jobs: Mutex::new(jobs),
            threads: Mutex::default(),
            _lock: lock,
            options,
        };
        Ok(Host { inner: Arc::new(inner) })
    }

    /// Starts every job that had not ended when the process did.
    pub fn resume_jobs(&self) {
        let open: Vec<Arc<Job>> =
            self.inner.jobs.lock().values().filter(|job| !job.status().is_final()).cloned().collect();
        open.iter().for_each(|job| self.resume(job));
    }

    /// Goes on with the job of this name that had not ended when its process did. None where there is none;
    /// `job-name-taken` where it was submitted with another manifest.
    pub fn resume_job(&self, name: &str, manifest: &str) -> Result<Option<JobDetail>> {
        let left = |job: &&Arc<Job>| job.is_left() && job.record().name == name;
        let Some(job) = self.inner.jobs.lock().values().find(left).cloned() else { return Ok(None) };
        if job.record().manifest != manifest {
            return Err(error::job_name_taken(format!("a job `{name}` with another manifest has not ended"))
                .hint("run it to its end with its own manifest, or choose another name or data folder"));
        }
        self.resume(&job);
        Ok(Some(job.detail()))
    }

    fn resume(&self, job: &Arc<Job>) {
        let record = job.record();
        tracing::info!(job = %record.name, id = %record.id, "resuming");
        job.show(|record| {
            record.status = JobStatus::Created;
            record.restored_checkpoint = None;
        });
        let started =
            Pipeline::parse(&record.manifest, &record.file_name).and_then(|pipeline| self.start(job, pipeline));
        // It was asked for, and a kill came in between.
        match record.status {
            JobStatus::Cancelling => drop(job.command(Command::Cancel)),
            JobStatus::Stopping => drop(request(job, BarrierKind::Stop, SavepointFormat::default())),
            _ => {}
        }
        if let Err(error) = started {
            let ended_at_ms = self.inner.options.clock.wall_ms();
            let _ = job.update(|record| {
                record.status = JobStatus::Failed;
                record.ended_at_ms = Some(ended_at_ms);
                record.failure = Some(failure_of(&error));
            });
        }
    }

    /// A file in the data folder for an upload; gone when it is dropped.
    pub fn new_upload(&self) -> Result<NamedTempFile> {
        self.inner.environment.components.new_upload()
    }

    /// The largest component that is taken, in bytes.
    pub fn component_bytes_max(&self) -> u64 {
        self.inner.options.component_bytes_max
    }

    /// Checks, describes and keeps an uploaded component. On error nothing stays.
    pub fn add_component(&self, file: NamedTempFile, sha256: [u8; 32], name: Option<&str>) -> Result<ComponentView> {
        self.inner.environment.components.add(file, sha256, name)
    }

    pub fn components(&self) -> Vec<ComponentView> {
        self.inner.environment.components.list()
    }

    /// By `sha256:...`, `name@version`, or a name that has one version only.
    pub fn component(&self, reference: &str) -> Result<ComponentView> {
        self.inner.environment.components.find(reference)
    }

    /// Removes a component that no running job uses (`component-in-use`).
    pub fn remove_component(&self, reference: &str) -> Result<()> {
        let view = self.component(reference)?;
        let jobs = self.inner.jobs.lock();
        let user = jobs.values().map(|job| job.record()).find(|record| {
            !record.status.is_final() && record.components.values().any(|sha256| *sha256 == view.sha256)
        });
        if let Some(record) = user {
            return Err(error::component_in_use(format!("job `{}` uses the component", record.name))
                .hint("stop or cancel the job first"));
        }
        self.inner.environment.components.remove(&view.sha256)
    }

    /// Checks a pipeline whole, then starts it. On error nothing stays.
    pub fn submit(&self, submission: Submission) -> Result<JobDetail> {
        let Inner { environment, options, .. } = &*self.inner;
        let pipeline = Pipeline::parse(&submission.manifest, &submission.file_name)?;
        let base_dir = submission.base_dir.unwrap_or_else(|| ".".into());
        let base_dir = std::path::absolute(&base_dir).unwrap_or(base_dir);
        self.check_name(&pipeline.name)?;
        let located = |error| planning::locate(error, &submission.manifest, &submission.file_name);
        let components = planning::resolve(&pipeline, &environment.components).map_err(located)?;
        let plan =
            planning::plan(pipeline.clone(), &components, &environment.components, &base_dir).map_err(located)?;
        let from_savepoint = submission
            .from_savepoint
            .map(|path| self.check_savepoint(&path, &plan, &base_dir, submission.allow_unclaimed_state))
            .transpose()?;
        let id = format!("{:016x}", clock::random_u64());
        let record = JobRecord {
            id: id.clone(),
            name: pipeline.name.clone(),
            status: JobStatus::Created,
            submitted_at_ms: options.clock.wall_ms(),
            ended_at_ms: None,
            restarts: 0,
            manifest: submission.manifest,
            file_name: submission.file_name,
            base_dir,
            seed: pipeline.seed.unwrap_or_else(clock::random_u64),
            components,
            from_savepoint,
            allow_unclaimed_state: submission.allow_unclaimed_state,
            guarantee: plan.guarantee,
            warnings: plan.warnings,
            failure: None,
            operators: Vec::new(),
            state_bytes: 0,
            state_entries: 0,
            last_checkpoint: None,
            has_image: false,
            restored_checkpoint: None,
        };
        let dir = options.data_dir.join("jobs").join(&id);
        let job = Arc::new(Job::new(dir.clone(), record));
        let mut jobs = self.inner.jobs.lock();
        // Looked at again, since another submit may have come in between, or the removal of a component.
        check_name(&jobs, &pipeline.name)?;
        job.record().components.values().try_for_each(|sha256| environment.components.find(sha256).map(drop))?;
        record::create_dir(&dir)?;
        let started = job.update(|_| ()).and_then(|()| self.start(&job, pipeline));
        if let Err(error) = started {
            let _ = fs::remove_dir_all(&dir);
            return Err(error);
        }
        jobs.insert(id, job.clone());
        Ok(job.detail())
    }

    fn check_name(&self, name: &str) -> Result<()> {
        check_name(&self.inner.jobs.lock(), name)
    }

    /// The savepoint's place in the storage, after a look whether the pipeline can go on from it.
    fn check_savepoint(&self, path: &Path, plan: &Plan, base_dir: &Path, allow_unclaimed: bool) -> Result<String> {
        let storage = self.inner.environment.storage(&plan.pipeline, base_dir)?;
        let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let location = match whole(path).strip_prefix(whole(storage.root())) {
            Ok(inside) => inside.to_string_lossy().into_owned(),
            Err(_) => path.to_string_lossy().into_owned(),
        };
        let hint = || {
            format!(
                "this version finds a savepoint in the storage that it was taken in only, here `{}`",
                storage.root().display()
            )
        };
        let manifest = storage
            .savepoint(&location, crate::checkpoint::Verify::Lengths)
            .map_err(|error| if error.code == "savepoint-not-found" { error.hint(hint()) } else { error })?;
        fit::fit(&manifest, &plan.pipeline, allow_unclaimed)?;
        fit::check_states(&manifest, plan, allow_unclaimed)?;
        fit::check_in_flight(&manifest, plan)?;
        Ok(location)
    }

    fn start(&self, job: &Arc<Job>, pipeline: Pipeline) -> Result<()> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        job.attach(sender.clone());
        let (environment, job) = (self.inner.environment.clone(), job.clone());
        let spawned = std::thread::Builder::new().name(format!("job {}", pipeline.name)).spawn(move || {
            lifecycle::run(&job, &environment, &pipeline, &sender, &receiver);
            job.detach();
            // From here on no request is taken, so that none is left without an answer.
            job.fail_open_savepoints("the job has ended");
        });
        let thread = spawned.map_err(|cause| error::internal(format!("no thread for the job: {cause}")))?;
        let mut threads = self.inner.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// All jobs, the newest first.
    pub fn jobs(&self) -> Vec<JobSummary> {
        let mut jobs: Vec<JobSummary> = self.inner.jobs.lock().values().map(|job| job.summary()).collect();
        jobs.sort_by(|a, b| b.submitted_at_ms.cmp(&a.submitted_at_ms).then_with(|| a.id.cmp(&b.id)));
        jobs
    }

    /// By id, or by name: the one that runs, else the newest.
    fn find(&self, id_or_name: &str) -> Result<Arc<Job>> {
        let jobs = self.inner.jobs.lock();
        if let Some(job) = jobs.get(id_or_name) {
            return Ok(job.clone());
        }
        let named = jobs.values().filter(|job| job.record().name == id_or_name);
        let newest = named.max_by_key(|job| (!job.status().is_final(), job.record().submitted_at_ms));
        newest.cloned().ok_or_else(|| {
            error::job_not_found(format!("there is no job `{id_or_name}`")).hint("`cofferdam jobs` lists them")
        })
    }

    pub fn job(&self, id_or_name: &str) -> Result<JobDetail> {
        Ok(self.find(id_or_name)?.detail())
    }

    /// Ends a job now, without a checkpoint. What its sinks have not committed is removed.
    pub fn cancel(&self, id_or_name: &str) -> Result<JobSummary> {
        let job = self.find(id_or_name)?;
        command(&job, Command::Cancel)?;
        job.update(|record| {
            if !record.status.is_final() {
                record.status = JobStatus::Cancelling;
            }
        })?;
        Ok(job.summary())
    }

    /// Takes a savepoint, and ends the job behind it. With `drain`, all that waits for event time happens before: it is
    /// not meant to go on. Poll with [`Host::savepoint`].
    pub fn stop(&self, id_or_name: &str, format: SavepointFormat, drain: bool) -> Result<SavepointView> {
        let kind = if drain { BarrierKind::Drain } else { BarrierKind::Stop };
        request(&*self.find(id_or_name)?, kind, format)
    }

    /// Takes a savepoint while the job goes on. Poll with [`Host::savepoint`].
    pub fn trigger_savepoint(&self, id_or_name: &str, format: SavepointFormat) -> Result<SavepointView> {
        request(&*self.find(id_or_name)?, BarrierKind::Savepoint, format)
    }

    /// Takes a checkpoint now, as if it were due. Poll with [`Host::savepoint`].
    pub fn trigger_checkpoint(&self, id_or_name: &str) -> Result<SavepointView> {
        request(&*self.find(id_or_name)?, BarrierKind::Checkpoint, SavepointFormat::Native)
    }

    /// How a request stands, for a savepoint or a checkpoint.
    pub fn savepoint(&self, id_or_name: &str, request_id: &str) -> Result<SavepointView> {
        let found = self.find(id_or_name)?.savepoint(request_id);
        found.ok_or_else(|| {
            error::savepoint_not_found(format!("job `{id_or_name}` has no request `{request_id}`"))
        })
    }

    /// The newest first, since the process started.
    pub fn checkpoints(&self, id_or_name: &str) -> Result<Vec<CheckpointSummary>> {
        Ok(self.find(id_or_name)?.checkpoints())
    }

    /// One of them, with what each operator and subtask did.
    pub fn checkpoint(&self, id_or_name: &str, id: u64) -> Result<CheckpointDetail> {
        let found = self.find(id_or_name)?.checkpoint(id);
        found.ok_or_else(|| error::checkpoint_not_found(format!("no checkpoint {id} of job `{id_or_name}` is known")))
    }

    /// The job once it has ended, or as it is when the time is over.
    pub fn await_end(&self, id_or_name: &str, timeout: Duration) -> Result<JobDetail> {
        let job = self.find(id_or_name)?;
        job.await_end(timeout);
        Ok(job.detail())
    }

    /// Ends all subtasks and waits for them. The jobs keep their status, and resume at the next start.
    pub fn shutdown(&self) {
        for job in self.inner.jobs.lock().values() {
            job.command(Command::Shutdown);
        }
        for thread in std::mem::take(&mut *self.inner.threads.lock()) {
            let _ = thread.join();
        }
    }
}

/// The jobs of the data folder. One whose record is damaged is named and passed over: the others go on without it.
fn read_jobs(jobs_dir: &Path) -> Result<BTreeMap<String, Arc<Job>>> {
    let mut jobs = BTreeMap::new();
    for dir in record::list_dir(jobs_dir)? {
        let path = dir.join("job.json");
        if let Ok(false) = fs::exists(&path) {
            // A submit that was cut off: the job never was.
            let _ = fs::remove_dir_all(&dir);
            continue;
        }
        match record::read_json::<JobRecord>(&path) {
            Ok(record) => drop(jobs.insert(record.id.clone(), Arc::new(Job::new(dir, record)))),
            Err(error) => tracing::error!("a job is passed over, since its record cannot be read: {error}"),
        }
    }
    Ok(jobs)
}

fn check_name(jobs: &BTreeMap<String, Arc<Job>>, name: &str) -> Result<()> {
    match jobs.values().map(|job| job.record()).find(|record| record.name == name && !record.status.is_final()) {
        Some(record) => Err(error::job_name_taken(format!("a job `{name}` is running: {}", record.id))
            .hint("stop or cancel it first, or give the pipeline another name")),
        None => Ok(()),
    }
}

fn request(job: &Job, kind: BarrierKind, format: SavepointFormat) -> Result<SavepointView> {
    let request_id = format!("{:016x}", clock::random_u64());
    let view =
        SavepointView { request_id: request_id.clone(), status: "in-progress".into(), location: None, failure: None };
    job.show_savepoint(view.clone());
    if let Err(error) = command(job, Command::Take(Request { request_id, kind, format })) {
        job.forget_savepoint(&view.request_id);
        return Err(error);
    }
    Ok(view)
}

fn command(job: &Job, command: Command) -> Result<()> {
    let record = job.record();
    if record.status.is_final() || !job.command(command) {
        return Err(error::job_state(format!("job `{}` has ended: {:?}", record.name, record.status)));
    }
    Ok(())
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "host_checkpoint_tests.rs"]
mod checkpoint_tests;
