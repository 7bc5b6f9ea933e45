//! A stop is carried out whatever happens to attempts and processes meanwhile, and always names its savepoint.

use super::tests::{Subject, answer, published, wait};
use super::*;

fn manifest(restart: &str) -> String {
    format!(
        "name = \"numbers\"\n[restart]\n{restart}\n[source.numbers]\nconnector = \"generator\"\nrate = 20000\n\
         [sink.out]\ninput = \"numbers\"\nconnector = \"file\"\npath = \"out\"\n"
    )
}

const OFTEN: &str = "delay = \"20ms\"\nattempts = 1000000";

/// A folder in the way of the first part, so that no commit succeeds.
fn obstacle(subject: &Subject, job: &str) -> PathBuf {
    let path = subject.out().join(format!("part-{job}-out-000-00000001.txt"));
    fs::create_dir(&path).unwrap();
    path
}

fn stop(host: &Host, id: &str) -> SavepointView {
    host.stop(id, SavepointFormat::Canonical, false).unwrap()
}

/// The job has stopped with one savepoint, and published everything.
fn assert_stopped(subject: &Subject, host: &Host, id: &str, request: &SavepointView) -> String {
    let view = answer(host, id, request);
    assert_eq!((view.status.as_str(), &view.failure), ("completed", &None));
    wait(host, id, |job| job.summary.status == JobStatus::Stopped);
    let taken = host.savepoints(id).unwrap();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(view.location.as_ref(), Some(&taken[0].location));
    let all = published(&subject.out());
    assert_eq!(all.last().map(|last| last + 1), Some(all.len() as u64), "none is missing");
    view.location.unwrap()
}

#[test]
fn a_stop_while_the_job_restarts_is_carried_out_by_the_next_attempt() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, manifest("delay = \"1s\"\nattempts = 1000000"));
    fs::remove_dir_all(subject.out().join(".pending")).unwrap();
    let failed = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &failed).status, "failed");
    wait(&host, &id, |job| job.summary.status == JobStatus::Restarting);
    let savepoint = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &savepoint).status, "completed", "so is a savepoint");

    fs::remove_dir_all(subject.out().join(".pending")).unwrap();
    let failed = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &failed).status, "failed");
    wait(&host, &id, |job| job.summary.status == JobStatus::Restarting);
    let request = stop(&host, &id);
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.failure), ("completed", None));
    assert_eq!(wait(&host, &id, |job| job.summary.status.is_final()).summary.status, JobStatus::Stopped);
}

#[test]
fn a_stop_whose_commit_fails_is_completed_by_the_next_attempt() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, manifest(OFTEN));
    let obstacle = obstacle(&subject, &id);
    let request = stop(&host, &id);
    wait(&host, &id, |job| job.summary.restarts > 1);
    let view = host.savepoint(&id, &request.request_id).unwrap();
    assert_eq!((view.status.as_str(), view.location), ("in-progress", None));
    fs::remove_dir(obstacle).unwrap();
    assert_stopped(&subject, &host, &id, &request);
}

#[test]
fn a_stop_whose_commit_fails_for_good_names_its_savepoint() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, manifest("strategy = \"none\""));
    obstacle(&subject, &id);
    let request = stop(&host, &id);
    wait(&host, &id, |job| job.summary.status == JobStatus::Failed);
    let taken = host.savepoints(&id).unwrap();
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.location.as_ref()), ("failed", Some(&taken[0].location)));
    assert!(view.failure.unwrap().contains("a job that begins from the savepoint publishes it"));
    let again = host.stop(&id, SavepointFormat::Canonical, false).unwrap_err();
    assert!(again.code == "job-state" && again.message.contains(&taken[0].location), "{again}");
}

#[test]
fn a_savepoint_whose_commit_fails_names_its_place() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, manifest("strategy = \"none\""));
    obstacle(&subject, &id);
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    let view = answer(&host, &id, &request);
    assert_eq!(view.status, "failed");
    assert_eq!(view.location.as_ref(), Some(&host.savepoints(&id).unwrap()[0].location));
}

#[test]
fn a_stop_outlives_its_process_and_is_answered_whenever_it_is_asked_for() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, manifest(OFTEN));
    let obstacle = obstacle(&subject, &id);
    let request = stop(&host, &id);
    wait(&host, &id, |job| job.summary.restarts > 0);
    host.shutdown();
    drop(host);

    let host = subject.open();
    assert_eq!(host.savepoint(&id, &request.request_id).unwrap().status, "in-progress");
    host.resume_jobs();
    assert_eq!(stop(&host, &id).request_id, request.request_id);
    fs::remove_dir(obstacle).unwrap();
    let location = assert_stopped(&subject, &host, &id, &request);
    host.shutdown();
    drop(host);

    let host = subject.open();
    let again = stop(&host, &id);
    assert_eq!((again.status.as_str(), again.location.as_ref()), ("completed", Some(&location)));
    assert_eq!(host.savepoint(&id, &request.request_id).unwrap().location, Some(location));
}

#[test]
fn a_stop_that_is_asked_for_twice_is_one_and_a_drain_is_another() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, manifest(OFTEN));
    let obstacle = obstacle(&subject, &id);
    let request = stop(&host, &id);
    assert_eq!(stop(&host, &id).request_id, request.request_id);
    let drain = host.stop(&id, SavepointFormat::Canonical, true).unwrap_err();
    assert!(drain.code == "job-state" && drain.message.contains("without --drain"), "{drain}");
    fs::remove_dir(obstacle).unwrap();
    assert_stopped(&subject, &host, &id, &request);
}

#[test]
fn a_stop_whose_savepoint_cannot_be_taken_is_given_up_and_the_job_goes_on() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, manifest(OFTEN));
    // A file in the way of the savepoint's folder.
    let savepoints = subject.folder.path().join("data/checkpoints/savepoints");
    fs::create_dir_all(&savepoints).unwrap();
    let in_the_way = savepoints.join(format!("{id}-1"));
    fs::write(&in_the_way, "").unwrap();
    let request = stop(&host, &id);
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.location), ("failed", None));
    let job = wait(&host, &id, |job| job.summary.status == JobStatus::Running);
    assert_eq!(job.summary.restarts, 3);
    fs::remove_file(in_the_way).unwrap();
    let request = stop(&host, &id);
    assert_stopped(&subject, &host, &id, &request);
}

#[test]
fn a_cancel_ends_a_stop() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, manifest("delay = \"1h\""));
    obstacle(&subject, &id);
    let request = stop(&host, &id);
    wait(&host, &id, |job| job.summary.status == JobStatus::Restarting);
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Cancelled);
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.location.is_some()), ("failed", true));
}
