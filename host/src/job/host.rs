//! The host of all jobs: the data folder, the components, and every job's thread. What the CLI and HTTP call.
//!
//! The data folder: `lock`, `components/`, `uploads/`, `cache/` (compiled code), `jobs/<id>/job.json`, `checkpoints/`,
//! `reading/` (for as long as state is looked at).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::NamedTempFile;

use super::components::ComponentStore;
use super::failures::without_state;
use super::fit;
use super::known_jobs::{lost_its_state, may_run, newest_of, read_jobs};
use super::lifecycle::{self, Environment};
use super::live::{Command, Job, failure_of};
use super::planning;
use super::promises;
use super::reading::JobState;
use super::record::{self, JobRecord};
use super::removal;
use super::schedule::Request;
use super::stopping::{self, Stop};
use super::view::{
    CheckpointDetail, CheckpointSummary, ComponentView, JobDetail, JobStatus, JobSummary, SavepointFormat,
    SavepointView, StoredSavepoint,
};
use crate::checkpoint::{
    CheckpointKind, CheckpointMetadata, ListedSavepoint, StorageLocation, StoredCheckpoint, Verification, utf8_path,
};
use crate::clock::{self, SharedClock};
use crate::error::{self, ErrorKind, Result};
use crate::pipeline::PipelineSpec;
use crate::runtime::{BarrierKind, ExecutionPlan, PlanPurpose};
use crate::sandbox::{CompileMode, Sandbox, SandboxOptions, Slots};
use crate::state_reader::StateReader;

/// Instances alive at once, over all jobs, unless the command line says otherwise.
pub const INSTANCES_MAX: u32 = 1000;

/// The file, in the data folder, that its process holds locked.
const LOCK: &str = "lock";

/// The folder, in the data folder, for state that is being read.
const READING: &str = "reading";

pub struct HostOptions {
    /// Everything that outlives the process. One process at a time.
    pub data_dir: PathBuf,
    pub clock: SharedClock,
    /// The largest component that is taken, in bytes.
    pub component_bytes_max: u64,
    /// Where checkpoints go, a path or `s3://bucket/folder`, unless a manifest says otherwise; in the data folder where none.
    pub checkpoint_storage: Option<String>,
    /// Instances that operators may have alive at once, over all jobs.
    pub instances_max: u32,
    /// Where components are compiled.
    pub compile_in: CompileMode,
    /// For the storage of checkpoints alone: its calls need threads of this runtime while their callers wait for them. A
    /// runtime that also does other work that blocks can run out of threads, and then everything waits for ever.
    pub runtime: tokio::runtime::Handle,
}

/// A pipeline to run.
pub struct Submission {
    pub manifest: String,
    /// What errors call the manifest.
    pub file_name: String,
    /// Relative paths of the manifest begin here; the process's folder where none.
    pub base_dir: Option<PathBuf>,
    /// The folder of a savepoint or checkpoint to begin with: a path, or `s3://bucket/folder`.
    pub from: Option<String>,
    /// Whether that then belongs to the job, which may build on its files, and removes it when it needs it no more.
    pub claim: bool,
    /// Drop what it holds of operators and states that the pipeline does not have, instead of refusing it.
    pub allow_unclaimed_state: bool,
    /// Have operators forget the event time that they had reached in it.
    pub reset_watermarks: bool,
    /// Take what it promised to publish of its sinks as published, without looking.
    pub assume_published: bool,
    /// Start without state where it is lost: where `from` is damaged, or nothing of the last job of this name can be used.
    pub ignore_state: bool,
}

/// What a job begins with.
struct Origin {
    location: StorageLocation,
    seed: Option<u64>,
    /// The job that took it, and its number there.
    job: String,
    checkpoint: u64,
    warnings: Vec<String>,
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
    lock: File,
}

impl Host {
    /// Opens the data folder, which no other process may have open (`data-dir-locked`). Starts no job.
    pub fn open(options: HostOptions) -> Result<Host> {
        let dir = &options.data_dir;
        // RocksDB and the job's record know paths as text only.
        utf8_path(dir)?;
        record::create_dir(dir)?;
        let failed = |cause: std::io::Error| error::data_dir_failed(format!("{}: {cause}", dir.display()));
        let lock = File::create(dir.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|_| {
            error::data_dir_locked(format!("{} is open in another process", dir.display()))
                .hint("one server per data folder: stop the other one, or choose another folder with --data-dir")
        })?;
        let cache_dir = fs::canonicalize(dir).map_err(failed)?.join("cache");
        record::create_dir(&cache_dir)?;
        let sandbox = Sandbox::open(SandboxOptions {
            cache_dir: Some(cache_dir),
            instances_max: options.instances_max,
            compile_in: options.compile_in.clone(),
            clock: options.clock.clone(),
        })?;
        let storage = match &options.checkpoint_storage {
            Some(text) => StorageLocation::parse(text, Path::new(".")).map_err(error::storage_failed)?,
            None => StorageLocation::Folder(dir.join("checkpoints")),
        };
        let environment = Environment {
            components: Arc::new(ComponentStore::open(dir, Arc::new(sandbox), options.clock.clone())?),
            clock: options.clock.clone(),
            runtime: options.runtime.clone(),
            storage,
            origins: Arc::default(),
            instances: Slots::new(options.instances_max as usize),
        };
        // What a killed process was reading.
        let _ = fs::remove_dir_all(dir.join(READING));
        record::create_dir(&dir.join(READING))?;
        let jobs_dir = dir.join("jobs");
        record::create_dir(&jobs_dir)?;
        let jobs = read_jobs(&jobs_dir)?;
        // Before any of them runs, and removes what another has still to read.
        for record in jobs.values().map(|job| job.record()).filter(|record| may_run(record) && !record.has_image) {
            if let Some(Ok(origin)) = record.from.map(|from| StorageLocation::parse(&from, Path::new(""))) {
                environment.origins.add(&record.id, origin);
            }
        }
        let inner = Inner {
            environment: Arc::new(environment),
            jobs: Mutex::new(jobs),
            threads: Mutex::default(),
            lock,
            options,
        };
        Ok(Host { inner: Arc::new(inner) })
    }

    /// Starts every job that had not ended when the process did, and those whose images were all damaged then: their
    /// storage may have been repaired. Goes on with what was still to be removed of the others. Returns how many it started.
    pub fn resume_jobs(&self) -> usize {
        let jobs: Vec<Arc<Job>> = self.inner.jobs.lock().values().cloned().collect();
        let (mut left, ended): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| self.is_left(job));
        // One that had failed comes last, so that it takes no instances from those that were running.
        left.sort_by_key(|job| job.status().is_final());
        left.iter().for_each(|job| self.resume(job));
        ended.iter().for_each(|job| removal::remove_checkpoints_of_ended(job, &self.inner.environment));
        left.len()
    }

    /// Fails if the data folder was removed or replaced since it was opened: another process may have opened a new one at
    /// its place, so that this one must end.
    pub fn check_data_dir(&self) -> Result<()> {
        let dir = &self.inner.options.data_dir;
        let is_same =
            |named: &fs::Metadata, held: &fs::Metadata| (named.dev(), named.ino()) == (held.dev(), held.ino());
        let found = fs::metadata(dir.join(LOCK)).and_then(|named| Ok(is_same(&named, &self.inner.lock.metadata()?)));
        match found {
            Ok(true) => Ok(()),
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("the data folder {} cannot be looked at: {cause}", dir.display());
                Ok(())
            }
            Ok(false) | Err(_) => Err(error::data_dir_failed(format!(
                "the data folder {} was removed or replaced while it was in use",
                dir.display()
            ))
            .hint("nothing can be stored any more, and the process ends; stop it before its data folder is removed")),
        }
    }

    /// Whether a job should run and does not: its process was killed, or its images were all damaged and no later job of its
    /// name has taken its place.
    fn is_left(&self, job: &Job) -> bool {
        let record = job.record();
        let newest = || newest_of(&self.inner.jobs.lock(), &record.name).is_some_and(|newest| newest.id == record.id);
        job.is_left() || (lost_its_state(&record) && newest())
    }

    /// Goes on with the job of this name that had not ended when its process did. None where there is none;
    /// `job-name-taken` where it was submitted with another manifest.
    pub fn resume_job(&self, name: &str, manifest: &str) -> Result<Option<JobDetail>> {
        let jobs: Vec<Arc<Job>> = self.inner.jobs.lock().values().cloned().collect();
        let left = |job: &&Arc<Job>| job.record().name == name && self.is_left(job);
        let Some(job) = jobs.iter().find(left).cloned() else { return Ok(None) };
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
        let status = record.status;
        job.show(|record| {
            record.status = JobStatus::Created;
            record.ended_at_ms = None;
            record.failure = None;
            record.restored_checkpoint = None;
            // It was asked for, and a kill came in between.
            match status {
                JobStatus::Cancelling => record.stop = None,
                JobStatus::Stopping if record.stop.is_none() => record.stop = Some(Stop::new(false, <_>::default())),
                _ => {}
            }
        });
        let started =
            PipelineSpec::parse(&record.manifest, &record.file_name).and_then(|pipeline| self.start(job, pipeline));
        if status == JobStatus::Cancelling {
            job.command(Command::Cancel);
        }
        if let Err(error) = started {
            if record.status.is_final() {
                // It stays what it was: the next start tries again.
                tracing::warn!(job = %record.name, id = %record.id, "not resumed: {error}");
                return job.show(|shown| *shown = record);
            }
            let ended_at_ms = self.inner.options.clock.wall_ms();
            let stored = job.update(|record| {
                record.status = JobStatus::Failed;
                record.ended_at_ms = Some(ended_at_ms);
                record.failure = Some(failure_of(&error));
            });
            if let Err(unstored) = stored {
                // The job keeps its name, and the next start of the process tries again.
                tracing::error!(job = %record.name, "cannot be resumed: {error}; this cannot be stored: {unstored}");
                job.show(|record| record.failure = Some(failure_of(&error)));
            }
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
        self.add_component_unless(file, sha256, name, &|| false)
    }

    /// As [`Host::add_component`]; ends soon with `compile-stopped` once `stopped` says so.
    pub fn add_component_unless(
        &self,
        file: NamedTempFile,
        sha256: [u8; 32],
        name: Option<&str>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<ComponentView> {
        self.inner.environment.components.add(file, sha256, name, stopped)
    }

    /// Ends every compile that is in progress, and refuses further ones: the first step of a shutdown.
    pub fn stop_compiling(&self) {
        self.inner.environment.components.stop_compiling();
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
        let pipeline = PipelineSpec::parse(&submission.manifest, &submission.file_name)?;
        let base_dir = submission.base_dir.clone().unwrap_or_else(|| ".".into());
        let base_dir = std::path::absolute(&base_dir).unwrap_or(base_dir);
        utf8_path(&base_dir)?;
        self.check_name(&pipeline.name)?;
        let located = |error| planning::locate(error, &submission.manifest, &submission.file_name);
        let components = planning::resolve(&pipeline, &environment.components).map_err(located)?;
        let store = &environment.components;
        let plan = planning::plan(PlanPurpose::Submit, pipeline.clone(), &components, store, &base_dir, &|| false)
            .map_err(located)?;
        let mut warnings = plan.warnings.clone();
        let origin = match submission.from.as_deref().map(|from| self.origin(from, &submission, &plan, &base_dir)) {
            None if submission.claim => return Err(error::request_invalid("there is nothing to claim without `from`")),
            None if submission.reset_watermarks => {
                return Err(error::request_invalid("there are no watermarks to reset without `from`"));
            }
            None => {
                self.check_lost_state(&pipeline.name, submission.ignore_state, &mut warnings)?;
                None
            }
            Some(Err(error)) if submission.ignore_state && error.kind == ErrorKind::Corrupt => {
                warnings.push(ignored(&error));
                None
            }
            Some(origin) => Some(origin?),
        };
        warnings.extend(origin.iter().flat_map(|origin| origin.warnings.clone()));
        let history = origin.as_ref().map(|origin| self.history(&origin.job)).unwrap_or_default();
        let begun_at = origin.as_ref().map(|origin| origin.checkpoint);
        warnings.extend(promises::warn_of_others(&plan.pipeline, &base_dir, &history, begun_at));
        let (origin, seed) = origin.map_or((None, None), |origin| (Some(origin.location), origin.seed));
        environment.storage(&pipeline, &base_dir)?.check_available()?;
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
            seed: pipeline.seed.or(seed).unwrap_or_else(clock::random_u64),
            components,
            claim: submission.claim && origin.is_some(),
            from: origin.as_ref().map(StorageLocation::to_string),
            allow_unclaimed_state: submission.allow_unclaimed_state,
            reset_watermarks: submission.reset_watermarks,
            history,
            promises_kept: submission.assume_published,
            checkpoints_to_remove: false,
            guarantee: plan.guarantee,
            warnings,
            failure: None,
            operators: Vec::new(),
            state_bytes: 0,
            state_entries: 0,
            last_checkpoint: None,
            has_image: false,
            stop: None,
            restored_checkpoint: None,
        };
        let dir = options.data_dir.join("jobs").join(&id);
        let job = Arc::new(Job::new(dir.clone(), record));
        let mut jobs = self.inner.jobs.lock();
        // Looked at again, since another submit may have come in between, or the removal of a component.
        check_name(&jobs, &pipeline.name)?;
        job.record().components.values().try_for_each(|sha256| environment.components.find(sha256).map(drop))?;
        record::create_dir(&dir)?;
        if let Some(origin) = origin {
            environment.origins.add(&id, origin);
        }
        let started = job.update(|_| ()).and_then(|()| self.start(&job, pipeline));
        if let Err(error) = started {
            environment.origins.forget(&id);
            let _ = fs::remove_dir_all(&dir);
            return Err(error);
        }
        jobs.insert(id, job.clone());
        let record = job.record();
        for warning in &record.warnings {
            tracing::warn!(job = %record.name, "{warning}");
        }
        Ok(job.detail())
    }

    fn check_name(&self, name: &str) -> Result<()> {
        check_name(&self.inner.jobs.lock(), name)
    }

    /// The place of what a job is to begin with, after a look whether the pipeline can go on from it.
    fn origin(&self, from: &str, submission: &Submission, plan: &ExecutionPlan, base_dir: &Path) -> Result<Origin> {
        let location = StorageLocation::parse(from, base_dir).map_err(error::request_invalid)?.canonical();
        let StoredCheckpoint { metadata, .. } =
            StoredCheckpoint::open(&location, self.inner.options.runtime.clone(), Verification::Lengths)?;
        fit::fit(&metadata, &plan.pipeline, submission.allow_unclaimed_state)?;
        fit::check_states(&metadata, plan, submission.allow_unclaimed_state)?;
        fit::check_in_flight(&metadata, plan)?;
        let mut warnings = match submission.assume_published {
            true => Vec::new(),
            false => promises::check(&metadata, &plan.pipeline, base_dir)?,
        };
        if !submission.reset_watermarks {
            warnings.extend(fit::kept_watermarks(&metadata, plan));
        }
        if submission.claim {
            self.check_claim(&location, &metadata)?;
        }
        let CheckpointMetadata { seed, job_id: job, checkpoint_id: checkpoint, .. } = metadata;
        Ok(Origin { location, seed, job, checkpoint, warnings })
    }

    /// A job and those that it was begun from, as far as they are known here.
    fn history(&self, job: &str) -> Vec<String> {
        let known = self.inner.jobs.lock().get(job).map(|job| job.record().history);
        std::iter::once(job.to_owned()).chain(known.unwrap_or_default()).collect()
    }

    /// Whether nobody else needs what a job wants to own.
    fn check_claim(&self, location: &StorageLocation, metadata: &CheckpointMetadata) -> Result<()> {
        let owner = self.inner.jobs.lock().get(&metadata.job_id).map(|job| job.record());
        let is_savepoint = metadata.kind == CheckpointKind::Savepoint;
        if let Some(owner) = owner.filter(|owner| may_run(owner) && !is_savepoint) {
            let message = format!("job `{}` runs, and {location} is its own checkpoint", owner.name);
            return Err(
                error::job_state(message).hint("stop or cancel it first, take a savepoint, or begin without --claim")
            );
        }
        match self.inner.environment.origins.beginning_at(location, "") {
            None => Ok(()),
            Some(other) => Err(error::job_state(format!("job {other} begins from {location} as well"))
                .hint("wait for its first checkpoint, or begin without --claim")),
        }
    }

    /// A job that takes the place of one whose images are all damaged begins without its state: only on purpose.
    fn check_lost_state(&self, name: &str, ignore_state: bool, warnings: &mut Vec<String>) -> Result<()> {
        let newest = newest_of(&self.inner.jobs.lock(), name).filter(lost_its_state);
        let Some(lost) = newest else { return Ok(()) };
        let why = lost.failure.map(|failure| failure.message).unwrap_or_default();
        let error = error::checkpoint_none_usable(format!("job {} of this name lost its state: {why}", lost.id));
        if !ignore_state {
            return Err(error.hint(
                "restore its storage from a backup and start the server again; or submit with --from a savepoint, or with \
                 --ignore-state to begin without any state",
            ));
        }
        warnings.push(ignored(&error));
        Ok(())
    }

    /// Starts the job's thread, with the instances that its functions need. Error: `capacity-exceeded`.
    fn start(&self, job: &Arc<Job>, pipeline: PipelineSpec) -> Result<()> {
        let instances = planning::reserve_instances(&pipeline, &self.inner.environment.instances)?;
        let (sender, receiver) = crossbeam_channel::unbounded();
        job.attach(sender.clone());
        let (environment, job) = (self.inner.environment.clone(), job.clone());
        let spawned = std::thread::Builder::new().name(format!("job {}", pipeline.name)).spawn(move || {
            lifecycle::run(&job, &environment, &pipeline, instances, &sender, &receiver);
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

    /// Removes a job that has ended (`job-state`): its record and its checkpoints, not its savepoints.
    pub fn remove_job(&self, id_or_name: &str) -> Result<()> {
        let job = self.find(id_or_name)?;
        removal::remove_job(&job, &self.inner.environment)?;
        self.inner.jobs.lock().remove(&job.record().id);
        Ok(())
    }

    /// The savepoints of a job that are still where they were taken, oldest first.
    pub fn savepoints(&self, id_or_name: &str) -> Result<Vec<StoredSavepoint>> {
        let record = self.find(id_or_name)?.record();
        let pipeline = PipelineSpec::parse(&record.manifest, &record.file_name)?;
        let storage = self.inner.environment.storage(&pipeline, &record.base_dir)?;
        let view = |savepoint: ListedSavepoint| StoredSavepoint {
            id: savepoint.id,
            location: savepoint.location.to_string(),
            taken_at_ms: savepoint.metadata.as_ref().ok().map(|metadata| metadata.taken_at_ms),
            bytes: savepoint.metadata.as_ref().ok().map(CheckpointMetadata::bytes),
            failure: savepoint.metadata.err().map(|error| error.message),
        };
        Ok(storage.savepoints(&record.id)?.into_iter().map(view).collect())
    }

    /// Removes a savepoint by its folder, a path or `s3://bucket/folder`, wherever it is.
    pub fn remove_savepoint(&self, location: &str) -> Result<()> {
        let parsed = StorageLocation::parse(location, Path::new(".")).map_err(error::request_invalid)?;
        removal::remove_savepoint(&parsed.canonical(), &self.inner.environment)
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
    /// not meant to go on. Poll with [`Host::savepoint`]. Asked again, it answers with the same stop and its savepoint.
    pub fn stop(&self, id_or_name: &str, format: SavepointFormat, drain: bool) -> Result<SavepointView> {
        stopping::ask(&*self.find(id_or_name)?, drain, format)
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
        found.ok_or_else(|| error::savepoint_not_found(format!("job `{id_or_name}` has no request `{request_id}`")))
    }

    /// The newest first, since the process started.
    pub fn checkpoints(&self, id_or_name: &str) -> Result<Vec<CheckpointSummary>> {
        Ok(self.find(id_or_name)?.checkpoints())
    }

    /// The state of a job as its newest checkpoint or savepoint has it. The job is not disturbed, and what is read stays
    /// until the answer is dropped. Error: `state-unavailable` where there is none yet.
    pub fn state(&self, id_or_name: &str) -> Result<JobState> {
        let job = self.find(id_or_name)?;
        let record = job.record();
        let pipeline = PipelineSpec::parse(&record.manifest, &record.file_name)?;
        let storage = self.inner.environment.storage(&pipeline, &record.base_dir)?;
        job.readers.open(record.last_checkpoint.unwrap_or(0), || {
            let Some((manifest, _)) = storage.newest_usable(&record.id, Verification::Lengths)? else {
                return Err(without_state(&record));
            };
            let files = Arc::new(storage.files(&record.id, manifest.checkpoint_id, manifest.kind)?);
            let images = StateReader::new(Arc::new(manifest), files, &self.inner.options.data_dir.join(READING))?;
            Ok((images.checkpoint(), images))
        })
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
        self.stop_compiling();
        for job in self.inner.jobs.lock().values() {
            job.command(Command::Shutdown);
        }
        for thread in std::mem::take(&mut *self.inner.threads.lock()) {
            let _ = thread.join();
        }
    }
}

fn ignored(error: &error::Error) -> String {
    tracing::warn!("state is ignored, as was asked for: {error}");
    format!("started without state, as `ignore_state` asked for: {}", error.message)
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

#[cfg(test)]
#[path = "host_stop_tests.rs"]
mod stop_tests;

#[cfg(test)]
#[path = "host_promise_tests.rs"]
mod promise_tests;

#[cfg(test)]
#[path = "host_event_time_tests.rs"]
mod event_time_tests;
