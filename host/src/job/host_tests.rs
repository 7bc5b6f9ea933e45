//! The host from within: what is left after a cancel, a stop or a kill, and what the next start makes of it.

use std::collections::BTreeSet;
use std::path::Path;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::view::SavepointFormat;
use super::*;
use crate::clock::SystemClock;

/// A host over a data folder, which outlives it.
pub(super) struct Subject {
    runtime: Runtime,
    pub(super) folder: TempDir,
}

impl Subject {
    pub(super) fn new() -> Subject {
        Subject { runtime: Runtime::new().unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn open(&self) -> Host {
        let options = HostOptions {
            data_dir: self.folder.path().join("data"),
            clock: SystemClock::shared(),
            component_bytes_max: 1 << 20,
            checkpoint_storage: None,
            instances_max: INSTANCES_MAX,
            compile_in: CompileMode::ThisProcess,
            runtime: self.runtime.handle().clone(),
        };
        Host::open(options).unwrap()
    }

    pub(super) fn out(&self) -> std::path::PathBuf {
        self.folder.path().join("out")
    }

    /// Numbers into files, without end, and without a checkpoint that nobody asks for.
    fn submit(&self, host: &Host, more: &str) -> String {
        self.submit_manifest(
            host,
            format!(
                "name = \"numbers\"\n{more}\n[source.numbers]\nconnector = \"generator\"\nrate = 20000\n\
                 [sink.out]\ninput = \"numbers\"\nconnector = \"file\"\npath = \"out\"\n"
            ),
        )
    }

    pub(super) fn submit_manifest(&self, host: &Host, manifest: String) -> String {
        let base_dir = Some(self.folder.path().to_owned());
        let submission = Submission {
            manifest,
            file_name: "pipeline.toml".into(),
            base_dir,
            from: None,
            claim: false,
            allow_unclaimed_state: false,
            reset_watermarks: false,
            assume_published: false,
            ignore_state: false,
        };
        let id = host.submit(submission).unwrap().summary.id;
        wait(host, &id, |job| job.summary.records_in > 0);
        id
    }
}

/// Waits until a job is as it should be. The caller's test hangs where it never is.
pub(super) fn wait(host: &Host, id: &str, is_so: impl Fn(&JobDetail) -> bool) -> JobDetail {
    loop {
        let job = host.await_end(id, Duration::from_millis(5)).unwrap();
        if is_so(&job) {
            return job;
        }
    }
}

/// Waits until a savepoint request is answered.
pub(super) fn answer(host: &Host, id: &str, request: &SavepointView) -> SavepointView {
    loop {
        let view = host.savepoint(id, &request.request_id).unwrap();
        if view.status != "in-progress" {
            return view;
        }
        host.await_end(id, Duration::from_millis(5)).unwrap();
    }
}

/// What is published: each number once.
pub(super) fn published(out: &Path) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        for line in fs::read_to_string(entry).unwrap().lines() {
            assert!(numbers.insert(line.parse().unwrap()), "{line} is published twice");
        }
    }
    numbers
}

fn in_pending(out: &Path) -> usize {
    fs::read_dir(out.join(".pending")).unwrap().count()
}

#[test]
fn what_a_savepoint_published_stays_when_the_job_is_cancelled() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "");
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "completed");
    let at_savepoint = published(&subject.out());
    assert!(!at_savepoint.is_empty());
    host.cancel(&id).unwrap();
    assert_eq!(wait(&host, &id, |job| job.summary.status.is_final()).summary.status, JobStatus::Cancelled);
    assert_eq!(published(&subject.out()), at_savepoint, "whoever goes on from the savepoint would miss the rest");
    assert_eq!(in_pending(&subject.out()), 0);
}

#[test]
fn a_job_that_is_started_again_does_not_go_back_behind_its_savepoint() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "");
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "completed");
    let at_savepoint = published(&subject.out());
    host.shutdown();
    drop(host);

    let host = subject.open();
    host.resume_jobs();
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "completed");
    let job = wait(&host, &id, |job| job.summary.status == JobStatus::Stopped);
    assert_eq!(job.summary.last_checkpoint, Some(1), "its savepoint is what it began with");
    assert!(published(&subject.out()).is_superset(&at_savepoint));
    let all = published(&subject.out());
    assert_eq!(all.last().map(|last| last + 1), Some(all.len() as u64), "none is missing");
}

#[test]
fn a_savepoint_that_fails_with_its_attempt_is_answered_while_the_job_goes_on() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "[restart]\ndelay = \"1ms\"\nattempts = 1000000");
    // The sink cannot make its part durable; the next attempt makes the folder again.
    fs::remove_dir_all(subject.out().join(".pending")).unwrap();
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.location), ("failed", None));
    wait(&host, &id, |job| job.summary.restarts > 0 && job.summary.status == JobStatus::Running);
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status.is_final());
    assert_eq!(host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap_err().code, "job-state");
}

#[test]
fn a_cancel_between_two_attempts_leaves_nothing_prepared() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "[restart]\ndelay = \"1h\"");
    // The sink prepares its part, but the savepoint's manifest cannot be written.
    let storage = subject.folder.path().join("data/checkpoints");
    fs::remove_dir_all(&storage).unwrap();
    fs::write(&storage, "in the way").unwrap();
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "failed");
    wait(&host, &id, |job| job.summary.status == JobStatus::Restarting);
    fs::remove_file(&storage).unwrap();
    assert_eq!(in_pending(&subject.out()), 1);
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Cancelled);
    assert_eq!(in_pending(&subject.out()), 0);
}

#[test]
fn a_damaged_record_does_not_keep_the_other_jobs_down() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "");
    host.shutdown();
    drop(host);
    let jobs = subject.folder.path().join("data/jobs");
    fs::create_dir(jobs.join("damaged")).unwrap();
    fs::write(jobs.join("damaged/job.json"), "{").unwrap();
    let components = subject.folder.path().join("data/components");
    fs::write(components.join("damaged.json"), "{").unwrap();

    let host = subject.open();
    host.resume_jobs();
    wait(&host, &id, |job| job.summary.status == JobStatus::Running);
    assert_eq!(host.jobs().len(), 1);
    assert!(jobs.join("damaged/job.json").exists(), "what is damaged may still be repaired");
    host.shutdown();
}

/// The next start of a process that was killed when a job had this status, once the job has ended.
fn resume_left(subject: &Subject, status: JobStatus) -> (Host, JobDetail) {
    let host = subject.open();
    let id = subject.submit(&host, "");
    host.shutdown();
    host.find(&id).unwrap().update(|record| record.status = status).unwrap();
    drop(host);

    let host = subject.open();
    host.resume_jobs();
    let job = wait(&host, &id, |job| job.summary.status.is_final());
    (host, job)
}

#[test]
fn a_cancel_that_a_kill_cut_off_is_carried_out_at_the_next_start() {
    let subject = Subject::new();
    let (_host, job) = resume_left(&subject, JobStatus::Cancelling);
    assert_eq!(job.summary.status, JobStatus::Cancelled);
    assert_eq!(in_pending(&subject.out()), 0);
}

#[test]
fn a_stop_that_a_kill_cut_off_is_carried_out_at_the_next_start() {
    let subject = Subject::new();
    let (host, job) = resume_left(&subject, JobStatus::Stopping);
    assert_eq!(job.summary.status, JobStatus::Stopped);
    let taken = host.checkpoints(&job.summary.id).unwrap();
    assert!(taken.iter().any(|taken| taken.kind == "savepoint" && taken.status == "completed"), "{taken:?}");
}

#[test]
fn a_job_whose_images_are_gone_does_not_begin_anew_in_silence() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "");
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert!(answer(&host, &id, &request).location.is_some());
    host.shutdown();
    drop(host);
    fs::remove_dir_all(subject.folder.path().join("data/checkpoints")).unwrap();

    let host = subject.open();
    host.resume_jobs();
    let job = wait(&host, &id, |job| job.summary.status.is_final());
    assert_eq!(job.summary.status, JobStatus::Failed);
    assert_eq!(job.failure.unwrap().code, "checkpoint-none-usable");
    assert_eq!(job.summary.restarts, 0, "another attempt would meet the same");
}

#[test]
fn savepoints_are_found_where_the_manifest_says_that_they_are() {
    let subject = Subject::new();
    let host = subject.open();
    let elsewhere = "[checkpoint]\nstorage = \"elsewhere\"";
    let id = subject.submit(&host, elsewhere);
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    let location = answer(&host, &id, &request).location.unwrap();
    let job = wait(&host, &id, |job| job.summary.status.is_final());
    let submission = Submission {
        manifest: job.manifest,
        file_name: "pipeline.toml".into(),
        base_dir: Some(subject.folder.path().to_owned()),
        from: Some(location),
        claim: false,
        allow_unclaimed_state: false,
        reset_watermarks: false,
        assume_published: false,
        ignore_state: false,
    };
    let job = host.submit(submission).unwrap();
    let seed = |id: &str| host.find(id).unwrap().record().seed;
    assert_eq!(seed(&job.summary.id), seed(&id), "the stream goes on as it was");
    wait(&host, &job.summary.id, |job| job.summary.status == JobStatus::Running);
    host.shutdown();
}

#[test]
fn a_job_that_a_kill_left_goes_on_by_its_name_and_manifest() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "");
    let manifest = host.job(&id).unwrap().manifest;
    assert!(host.resume_job("numbers", &manifest).unwrap().is_none(), "it runs");
    host.shutdown();
    drop(host);

    let host = subject.open();
    assert_eq!(host.resume_job("numbers", "another").unwrap_err().code, "job-name-taken");
    assert_eq!(host.resume_job("numbers", &manifest).unwrap().unwrap().summary.id, id);
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Cancelled);
    assert!(host.resume_job("numbers", &manifest).unwrap().is_none(), "it has ended");
}

#[test]
fn a_checkpoint_that_is_read_stays_until_it_was() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "[checkpoint]\ninterval = \"10ms\"\nretained = 1");
    wait(&host, &id, |job| job.summary.last_checkpoint.is_some());
    let read = host.state(&id).unwrap();
    let manifest =
        |checkpoint: u64| subject.folder.path().join(format!("data/checkpoints/{id}/chk-{checkpoint}/manifest"));
    let held = read.checkpoint();
    wait(&host, &id, |job| job.summary.last_checkpoint > Some(held + 3));
    assert!(manifest(held).exists());
    // Its neighbour was removed, so that this is not for want of removing.
    wait(&host, &id, |_| !manifest(held + 1).exists());
    assert!(manifest(held).exists());
    assert_eq!(read.list(true).unwrap().checkpoint, held);
    drop(read);
    wait(&host, &id, |_| !manifest(held).exists());
    host.shutdown();
}

#[test]
fn an_end_that_cannot_be_stored_is_not_announced_and_the_job_keeps_its_name() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "[restart]\nstrategy = \"none\"");
    // The record cannot be written, as on a disk that is full.
    let (dir, away) = (subject.folder.path().join("data/jobs").join(&id), subject.folder.path().join("away"));
    fs::rename(&dir, &away).unwrap();
    fs::write(&dir, "in the way").unwrap();
    fs::remove_dir_all(subject.out().join(".pending")).unwrap();
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "failed");
    let job = wait(&host, &id, |job| job.warnings.iter().any(|warning| warning.contains("could not be stored")));
    assert!(!job.summary.status.is_final(), "{:?}", job.summary.status);
    let again = host.submit(Submission {
        manifest: job.manifest,
        file_name: "pipeline.toml".into(),
        base_dir: Some(subject.folder.path().to_owned()),
        from: None,
        claim: false,
        allow_unclaimed_state: false,
        reset_watermarks: false,
        assume_published: false,
        ignore_state: false,
    });
    assert_eq!(again.unwrap_err().code, "job-name-taken");
    let late = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &late).status, "failed", "every request is answered");

    fs::remove_file(&dir).unwrap();
    fs::rename(&away, &dir).unwrap();
    assert_eq!(wait(&host, &id, |job| job.summary.status.is_final()).summary.status, JobStatus::Failed);
    host.shutdown();
    drop(host);
    let host = subject.open();
    host.resume_jobs();
    assert_eq!(host.job(&id).unwrap().summary.status, JobStatus::Failed, "it does not rise again");
}

#[test]
fn a_process_ends_though_the_end_of_a_job_cannot_be_stored() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit(&host, "[restart]\nstrategy = \"none\"");
    let (dir, away) = (subject.folder.path().join("data/jobs").join(&id), subject.folder.path().join("away"));
    fs::rename(&dir, &away).unwrap();
    fs::write(&dir, "in the way").unwrap();
    fs::remove_dir_all(subject.out().join(".pending")).unwrap();
    host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    wait(&host, &id, |job| job.warnings.iter().any(|warning| warning.contains("could not be stored")));
    host.shutdown();
    drop(host);
    fs::remove_file(&dir).unwrap();
    fs::rename(&away, &dir).unwrap();

    let host = subject.open();
    host.resume_jobs();
    wait(&host, &id, |job| job.summary.status == JobStatus::Running);
    host.shutdown();
}
