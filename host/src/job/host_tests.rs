//! A host and its jobs: what remains after a cancel, a stop or a kill, and how the next start continues.

use std::fs;

use super::host::Host;
use super::registry::Submission;
use super::savepoint::StopRequest;
use super::store::JobRecord;
use super::testing::{TestHost, answer, prepared_files, published, wait};
use super::view::{JobDetail, JobStatus, SavepointFormat};

#[test]
fn output_that_a_savepoint_published_remains_after_a_cancel() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "");
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "completed");
    let at_savepoint = published(&test.out());
    assert!(!at_savepoint.is_empty());
    host.cancel(&id).unwrap();
    assert_eq!(wait(&host, &id, |job| job.summary.status.is_final()).summary.status, JobStatus::Canceled);
    assert_eq!(
        published(&test.out()),
        at_savepoint,
        "a job that starts from the savepoint does not write this output again"
    );
    assert_eq!(prepared_files(&test.out()), 0);
}

#[test]
fn a_resumed_job_continues_from_the_checkpoint_of_the_shutdown_that_follows_its_savepoint() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "");
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "completed");
    let at_savepoint = published(&test.out());
    host.shutdown();
    let suspended = host.job(&id).unwrap().summary;
    assert_eq!((suspended.status, suspended.last_checkpoint), (JobStatus::Suspended, Some(2)));
    drop(host);

    let host = test.open();
    host.resume_jobs();
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "completed");
    let job = wait(&host, &id, |job| job.summary.status == JobStatus::Finished);
    assert_eq!(job.summary.restored_checkpoint, Some(2));
    assert!(published(&test.out()).is_superset(&at_savepoint));
    let all = published(&test.out());
    assert_eq!(all.last().map(|last| last + 1), Some(all.len() as u64), "no number is missing");
}

#[test]
fn a_savepoint_that_a_job_would_restart_from_is_not_removed() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "");
    let savepoint = || {
        let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
        answer(&host, &id, &request).location.unwrap()
    };
    let first = savepoint();
    let refused = host.remove_savepoint(&first).unwrap_err();
    assert_eq!(refused.code, "job-state", "{refused}");
    assert!(refused.message.contains("would restart from"), "{refused}");
    let second = savepoint();
    host.remove_savepoint(&first).unwrap();
    assert_eq!(host.remove_savepoint(&second).unwrap_err().code, "job-state");
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status.is_final());
    host.remove_savepoint(&second).unwrap();
}

#[test]
fn a_savepoint_that_fails_with_its_attempt_is_answered_and_the_job_continues() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "[restart]\ndelay = \"1ms\"\nattempts = 10000");
    // The sink cannot sync its file. The next attempt creates the folder again.
    fs::remove_dir_all(test.out().join(".pending")).unwrap();
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.location), ("failed", None));
    wait(&host, &id, |job| job.summary.restarts > 0 && job.summary.status == JobStatus::Running);
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status.is_final());
    assert_eq!(host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap_err().code, "job-state");
}

#[test]
fn a_cancel_between_two_attempts_removes_prepared_output() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "[restart]\ndelay = \"1h\"");
    // The sink prepares its output, but the savepoint's metadata cannot be written.
    let storage = test.folder.path().join("data/checkpoints");
    fs::remove_dir_all(&storage).unwrap();
    fs::write(&storage, "in the way").unwrap();
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "failed");
    wait(&host, &id, |job| job.summary.status == JobStatus::Restarting);
    fs::remove_file(&storage).unwrap();
    assert_eq!(prepared_files(&test.out()), 1);
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Canceled);
    assert_eq!(prepared_files(&test.out()), 0);
}

#[test]
fn a_damaged_record_does_not_prevent_other_jobs_from_running() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "");
    host.shutdown();
    drop(host);
    let jobs = test.folder.path().join("data/jobs");
    fs::create_dir(jobs.join("damaged")).unwrap();
    fs::write(jobs.join("damaged/job.json"), "{").unwrap();
    let components = test.folder.path().join("data/components");
    fs::write(components.join("damaged.json"), "{").unwrap();

    let host = test.open();
    host.resume_jobs();
    wait(&host, &id, |job| job.summary.status == JobStatus::Running);
    assert_eq!(host.jobs().len(), 1);
    assert!(jobs.join("damaged/job.json").exists(), "a damaged record is kept for repair");
    host.shutdown();
}

/// Resumes a job whose process was killed after this change of its record, and waits until it has ended.
fn resume_killed(test: &TestHost, change: impl FnOnce(&mut JobRecord)) -> (Host, JobDetail) {
    let host = test.open();
    let id = test.submit(&host, "");
    host.shutdown();
    host.find(&id).unwrap().update(change).unwrap();
    drop(host);

    let host = test.open();
    host.resume_jobs();
    let job = wait(&host, &id, |job| job.summary.status.is_final());
    (host, job)
}

#[test]
fn a_cancel_interrupted_by_a_kill_is_completed_at_the_next_start() {
    let test = TestHost::new();
    let (_host, job) = resume_killed(&test, |record| record.status = JobStatus::Cancelling);
    assert_eq!(job.summary.status, JobStatus::Canceled);
    assert_eq!(prepared_files(&test.out()), 0);
}

#[test]
fn a_stop_interrupted_by_a_kill_is_completed_at_the_next_start() {
    let test = TestHost::new();
    let (host, job) =
        resume_killed(&test, |record| record.stop = Some(StopRequest::new(false, SavepointFormat::Canonical)));
    assert_eq!(job.summary.status, JobStatus::Finished);
    let taken = host.checkpoints(&job.summary.id).unwrap();
    assert!(taken.iter().any(|taken| taken.kind == "savepoint" && taken.status == "completed"), "{taken:?}");
}

#[test]
fn a_job_whose_checkpoints_are_gone_fails_instead_of_starting_without_state() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "");
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert!(answer(&host, &id, &request).location.is_some());
    host.shutdown();
    drop(host);
    fs::remove_dir_all(test.folder.path().join("data/checkpoints")).unwrap();

    let host = test.open();
    host.resume_jobs();
    let job = wait(&host, &id, |job| job.summary.status.is_final());
    assert_eq!(job.summary.status, JobStatus::Failed);
    assert_eq!(job.failure.unwrap().code, "checkpoint-none-usable");
    assert_eq!(job.summary.restarts, 0, "another attempt would fail in the same way");
}

#[test]
fn savepoints_are_stored_in_the_storage_that_the_pipeline_file_sets() {
    let test = TestHost::new();
    let host = test.open();
    let elsewhere = "[checkpoint]\nstorage = \"elsewhere\"";
    let id = test.submit(&host, elsewhere);
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    let location = answer(&host, &id, &request).location.unwrap();
    let job = wait(&host, &id, |job| job.summary.status.is_final());
    let submission = Submission { from: Some(location), ..test.submission(job.pipeline_text) };
    let job = host.submit(submission).unwrap();
    let seed = |id: &str| host.find(id).unwrap().record().seed;
    assert_eq!(seed(&job.summary.id), seed(&id), "the new job takes over the seed");
    wait(&host, &job.summary.id, |job| job.summary.status == JobStatus::Running);
    host.shutdown();
}

#[test]
fn a_killed_job_is_resumed_by_its_name_and_pipeline_file() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "");
    let pipeline_text = host.job(&id).unwrap().pipeline_text;
    assert!(host.resume_job("numbers", &pipeline_text).unwrap().is_none(), "it runs");
    host.shutdown();
    drop(host);

    let host = test.open();
    assert_eq!(host.resume_job("numbers", "another").unwrap_err().code, "job-name-taken");
    assert_eq!(host.resume_job("numbers", &pipeline_text).unwrap().unwrap().summary.id, id);
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Canceled);
    assert!(host.resume_job("numbers", &pipeline_text).unwrap().is_none(), "it has ended");
}

#[test]
fn a_checkpoint_is_not_removed_while_it_is_read() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "[checkpoint]\ninterval = \"10ms\"\nretained = 1");
    wait(&host, &id, |job| job.summary.last_checkpoint.is_some());
    let read = host.state(&id).unwrap();
    let metadata =
        |checkpoint: u64| test.folder.path().join(format!("data/checkpoints/{id}/chk-{checkpoint}/manifest"));
    let read_id = read.checkpoint();
    wait(&host, &id, |job| job.summary.last_checkpoint > Some(read_id + 3));
    assert!(metadata(read_id).exists());
    // The next checkpoint was removed: removal works.
    wait(&host, &id, |_| !metadata(read_id + 1).exists());
    assert!(metadata(read_id).exists());
    assert_eq!(read.list(true).unwrap().checkpoint, read_id);
    drop(read);
    wait(&host, &id, |_| !metadata(read_id).exists());
    host.shutdown();
}

#[test]
fn an_end_that_cannot_be_stored_is_not_shown_and_the_job_keeps_its_name() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "[restart]\nstrategy = \"none\"");
    // The record cannot be written, as on a full disk.
    let (dir, away) = (test.folder.path().join("data/jobs").join(&id), test.folder.path().join("away"));
    fs::rename(&dir, &away).unwrap();
    fs::write(&dir, "in the way").unwrap();
    fs::remove_dir_all(test.out().join(".pending")).unwrap();
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "failed");
    let job = wait(&host, &id, |job| job.warnings.iter().any(|warning| warning.contains("could not be stored")));
    assert!(!job.summary.status.is_final(), "{:?}", job.summary.status);
    let again = host.submit(test.submission(job.pipeline_text));
    assert_eq!(again.unwrap_err().code, "job-name-taken");
    let late = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &late).status, "failed", "every request is answered");

    fs::remove_file(&dir).unwrap();
    fs::rename(&away, &dir).unwrap();
    assert_eq!(wait(&host, &id, |job| job.summary.status.is_final()).summary.status, JobStatus::Failed);
    host.shutdown();
    drop(host);
    let host = test.open();
    host.resume_jobs();
    assert_eq!(host.job(&id).unwrap().summary.status, JobStatus::Failed, "it is not resumed");
}

#[test]
fn a_process_ends_even_if_the_end_of_a_job_cannot_be_stored() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit(&host, "[restart]\nstrategy = \"none\"");
    let (dir, away) = (test.folder.path().join("data/jobs").join(&id), test.folder.path().join("away"));
    fs::rename(&dir, &away).unwrap();
    fs::write(&dir, "in the way").unwrap();
    fs::remove_dir_all(test.out().join(".pending")).unwrap();
    host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    wait(&host, &id, |job| job.warnings.iter().any(|warning| warning.contains("could not be stored")));
    host.shutdown();
    drop(host);
    fs::remove_file(&dir).unwrap();
    fs::rename(&away, &dir).unwrap();

    let host = test.open();
    host.resume_jobs();
    wait(&host, &id, |job| job.summary.status == JobStatus::Running);
    host.shutdown();
}
