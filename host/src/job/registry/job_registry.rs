//! The registry of a host's jobs and their threads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::checkpoint::StorageLocation;
use crate::clock::SharedClock;
use crate::error::{self, Result};
use crate::job::environment::JobEnvironment;
use crate::job::events::created_event;
use crate::job::handle::JobHandle;
use crate::job::lifecycle::JobThread;
use crate::job::message::RunningJobCommand;
use crate::job::quotas::check_quota;
use crate::job::store::{JobRecord, create_dir, list_dir, read_json};
use crate::job::view::{JobFailure, JobStatus};
use crate::namespace_usage::NamespaceUsage;
use crate::pipeline::PipelineSpec;

/// The jobs of a host, running and ended, by id.
pub struct JobRegistry {
    jobs: Mutex<BTreeMap<String, Arc<JobHandle>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    environment: Arc<JobEnvironment>,
}

impl JobRegistry {
    /// Reads the jobs of a data folder. Starts none of them.
    pub fn open(jobs_dir: &Path, environment: Arc<JobEnvironment>) -> Result<JobRegistry> {
        let jobs = read_jobs(jobs_dir, &environment.clock, &environment.usage)?;
        // Registered before any job runs: a running job could remove what another one has yet to restore.
        for record in jobs.values().map(|job| job.record()).filter(|record| record.may_run() && !record.has_checkpoint)
        {
            if let Some(Ok(origin)) = record.from.map(|from| StorageLocation::parse(&from, Path::new(""))) {
                environment.origins.add(&record.id, origin);
            }
        }
        Ok(JobRegistry { jobs: Mutex::new(jobs), threads: Mutex::default(), environment })
    }

    /// Returns all jobs in order of their ids.
    pub fn all(&self) -> Vec<Arc<JobHandle>> {
        self.jobs.lock().values().cloned().collect()
    }

    /// Returns the record of a job by its id.
    pub fn record(&self, id: &str) -> Option<JobRecord> {
        self.jobs.lock().get(id).map(|job| job.record())
    }

    /// Finds a job by its id or name. Of several jobs with the name, returns the running one, or else the newest.
    /// Error: `job-not-found`.
    pub fn find(&self, id_or_name: &str) -> Result<Arc<JobHandle>> {
        let jobs = self.jobs.lock();
        if let Some(job) = jobs.get(id_or_name) {
            return Ok(job.clone());
        }
        let named = jobs.values().filter(|job| job.with_record(|record| record.name == id_or_name));
        let newest =
            named.max_by_key(|job| job.with_record(|record| (!record.status.is_final(), record.submitted_at_ms)));
        newest.cloned().ok_or_else(|| {
            error::job_not_found(format!("there is no job `{id_or_name}`")).hint("`cofferdam jobs` lists all jobs")
        })
    }

    /// Returns the record of the job of this name that was submitted last.
    pub fn newest_named(&self, name: &str) -> Option<JobRecord> {
        let jobs = self.jobs.lock();
        let named = jobs.values().filter(|job| job.with_record(|record| record.name == name));
        named.max_by_key(|job| job.with_record(|record| record.submitted_at_ms)).map(|job| job.record())
    }

    /// Returns a job and the jobs that it was started from, as far as they are known, the latest first.
    pub fn history(&self, job: &str) -> Vec<String> {
        let earlier = self.record(job).map(|record| record.history).unwrap_or_default();
        std::iter::once(job.to_owned()).chain(earlier).collect()
    }

    /// Checks that no running job has this name. Error: `job-name-taken`.
    pub fn check_name_free(&self, name: &str) -> Result<()> {
        check_name_free(&self.jobs.lock(), name)
    }

    /// Adds a new job and starts it. On error neither its folder nor its origin remains. Errors: `job-name-taken`,
    /// `component-not-found`, `capacity-exceeded`.
    pub fn add(&self, job: &Arc<JobHandle>, pipeline: PipelineSpec, origin: Option<StorageLocation>) -> Result<()> {
        let record = job.record();
        let mut jobs = self.jobs.lock();
        // Checked again under the lock: another submission may have taken the name, or a component may have been
        // removed.
        check_name_free(&jobs, &record.name)?;
        let running = jobs.values().filter(|job| !job.status().is_final()).count() as u64;
        check_quota(self.environment.quotas.jobs, running, 1, "jobs")?;
        self.environment.usage.state.check()?;
        self.environment.usage.letters.check()?;
        record.components.values().try_for_each(|sha256| self.environment.components.find(sha256).map(drop))?;
        fail_point!("job.create", error::data_dir_failed);
        create_dir(&job.dir)?;
        if let Some(origin) = origin {
            self.environment.origins.add(&record.id, origin);
        }
        let started = job.update(|_| ()).and_then(|()| {
            job.events.append(vec![created_event()]);
            self.start(job, pipeline)
        });
        if let Err(error) = started {
            self.environment.origins.forget(&record.id);
            let _ = fs::remove_dir_all(&job.dir);
            return Err(error);
        }
        jobs.insert(record.id, job.clone());
        Ok(())
    }

    /// Starts a job's thread with the capacity that it needs. Error: `capacity-exceeded`.
    pub fn start(&self, job: &Arc<JobHandle>, pipeline: PipelineSpec) -> Result<()> {
        let capacity = self.environment.capacity.reserve(&pipeline)?;
        let name = format!("job {}", pipeline.name);
        let job_thread = JobThread::new(job.clone(), self.environment.clone(), pipeline);
        let thread = std::thread::Builder::new().name(name).spawn(move || job_thread.run(capacity));
        let thread = thread.map_err(|cause| error::internal(format!("cannot start a thread for the job: {cause}")))?;
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Removes a job from the registry.
    pub fn forget(&self, id: &str) {
        self.jobs.lock().remove(id);
    }

    /// Removes a component that no running job uses. Error: `component-in-use`.
    pub fn remove_component(&self, sha256: &str) -> Result<()> {
        // The lock is held until the component is removed, so that no job which uses it is added meanwhile.
        let jobs = self.jobs.lock();
        let uses = |record: &JobRecord| {
            !record.status.is_final() && record.components.values().any(|component| component == sha256)
        };
        if let Some(record) = jobs.values().map(|job| job.record()).find(uses) {
            return Err(error::component_in_use(format!("job `{}` uses the component", record.name))
                .hint("stop or cancel the job first"));
        }
        self.environment.components.remove(sha256)
    }

    /// Marks the jobs as failed that are still restoring. Called when they should have ended long ago.
    pub fn fail_stuck_restores(&self) {
        let is_restoring = |job: &&Arc<JobHandle>| job.record().restoring && !job.status().is_final();
        for job in self.all().iter().filter(is_restoring) {
            let hung = error::restore_hung("the restore did not end when the server was stopped")
                .hint("start from another savepoint, or submit the job again to try once more");
            let ended_at_ms = self.environment.clock.wall_ms();
            let stored = job.update(|record| {
                record.status = JobStatus::Failed;
                record.ended_at_ms = Some(ended_at_ms);
                record.failure = Some(JobFailure::from(&hung));
            });
            if let Err(error) = stored {
                tracing::error!(job = %job.record().name, "cannot store that the restore hung: {error}");
            }
        }
    }

    /// Tells the threads of all jobs to end.
    pub fn begin_shutdown(&self) {
        for job in self.jobs.lock().values() {
            job.command(RunningJobCommand::Shutdown);
        }
    }

    /// Waits until the threads of all jobs have ended. The jobs keep their status.
    pub fn shutdown(&self) {
        for thread in std::mem::take(&mut *self.threads.lock()) {
            let _ = thread.join();
        }
    }
}

/// Reads the records of a data folder. Jobs that have not ended are suspended until they are resumed. A damaged record is logged and skipped, so that the other jobs run.
fn read_jobs(jobs_dir: &Path, clock: &SharedClock, usage: &NamespaceUsage) -> Result<BTreeMap<String, Arc<JobHandle>>> {
    let mut jobs = BTreeMap::new();
    for dir in list_dir(jobs_dir)? {
        let path = dir.join("job.json");
        if let Ok(false) = fs::exists(&path) {
            // A submission was interrupted before the record was stored, so that the job does not exist.
            let _ = fs::remove_dir_all(&dir);
            continue;
        }
        match read_json::<JobRecord>(&path) {
            Ok(mut record) => {
                record.status.advance(JobStatus::Suspended);
                jobs.insert(record.id.clone(), Arc::new(JobHandle::new(dir, record, clock.clone(), usage)));
            }
            Err(error) => tracing::error!("skipping a job whose record cannot be read: {error}"),
        }
    }
    Ok(jobs)
}

fn check_name_free(jobs: &BTreeMap<String, Arc<JobHandle>>, name: &str) -> Result<()> {
    let is_running = |record: &JobRecord| record.name == name && !record.status.is_final();
    match jobs.iter().find(|(_, job)| job.with_record(is_running)) {
        Some((id, _)) => Err(error::job_name_taken(format!("a job `{name}` is running: {id}"))
            .hint("stop or cancel it first, or give the pipeline another name")),
        None => Ok(()),
    }
}
