//! A stop is carried out across failed attempts and restarts of the process, and its answer names its savepoint.

use std::fs;
use std::path::PathBuf;

use crate::job::host::Host;
use crate::job::testing::{TestHost, answer, published, wait};
use crate::job::view::{JobStatus, SavepointFormat, SavepointView};

fn pipeline_text(restart: &str) -> String {
    format!(
        "name = \"numbers\"\n[restart]\n{restart}\n[source.numbers]\nconnector = \"generator\"\nrate = 20000\n\
         [sink.out]\ninput = \"numbers\"\nconnector = \"file\"\npath = \"out\"\n"
    )
}

const FREQUENT_RESTARTS: &str = "delay = \"20ms\"\nattempts = 10000";

/// Creates a folder at the path of the first output file, so that no commit succeeds.
fn obstacle(test: &TestHost, job: &str) -> PathBuf {
    let path = test.out().join(format!("part-{job}-out-000-00000001.txt"));
    fs::create_dir(&path).unwrap();
    path
}

fn stop(host: &Host, id: &str) -> SavepointView {
    host.stop(id, SavepointFormat::Canonical, false).unwrap()
}

/// Checks that the job stopped with one savepoint and published everything.
fn assert_stopped(test: &TestHost, host: &Host, id: &str, request: &SavepointView) -> String {
    let view = answer(host, id, request);
    assert_eq!((view.status.as_str(), &view.failure), ("completed", &None));
    wait(host, id, |job| job.summary.status == JobStatus::Finished);
    let taken = host.savepoints(id).unwrap();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(view.location.as_ref(), Some(&taken[0].location));
    let all = published(&test.out());
    assert_eq!(all.last().map(|last| last + 1), Some(all.len() as u64), "no number is missing");
    view.location.unwrap()
}

#[test]
fn a_stop_during_the_restart_delay_is_carried_out_by_the_next_attempt() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, pipeline_text("delay = \"1s\"\nattempts = 10000"));
    fs::remove_dir_all(test.out().join(".pending")).unwrap();
    let failed = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &failed).status, "failed");
    wait(&host, &id, |job| job.summary.status == JobStatus::Restarting);
    let savepoint = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &savepoint).status, "completed", "a savepoint is taken as well");

    fs::remove_dir_all(test.out().join(".pending")).unwrap();
    let failed = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    assert_eq!(answer(&host, &id, &failed).status, "failed");
    wait(&host, &id, |job| job.summary.status == JobStatus::Restarting);
    let request = stop(&host, &id);
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.failure), ("completed", None));
    assert_eq!(wait(&host, &id, |job| job.summary.status.is_final()).summary.status, JobStatus::Finished);
}

#[test]
fn a_stop_whose_commit_fails_is_completed_by_the_next_attempt() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, pipeline_text(FREQUENT_RESTARTS));
    let obstacle = obstacle(&test, &id);
    let request = stop(&host, &id);
    wait(&host, &id, |job| job.summary.restarts > 1);
    let view = host.savepoint(&id, &request.request_id).unwrap();
    assert_eq!((view.status.as_str(), view.location), ("in-progress", None));
    fs::remove_dir(obstacle).unwrap();
    assert_stopped(&test, &host, &id, &request);
}

#[test]
fn a_stop_whose_commit_fails_finally_names_its_savepoint() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, pipeline_text("strategy = \"none\""));
    obstacle(&test, &id);
    let request = stop(&host, &id);
    wait(&host, &id, |job| job.summary.status == JobStatus::Failed);
    let taken = host.savepoints(&id).unwrap();
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.location.as_ref()), ("failed", Some(&taken[0].location)));
    assert!(view.failure.unwrap().contains("a job that starts from the savepoint publishes it"));
    let again = host.stop(&id, SavepointFormat::Canonical, false).unwrap_err();
    assert!(again.code == "job-state" && again.message.contains(&taken[0].location), "{again}");
}

#[test]
fn a_savepoint_whose_commit_fails_names_its_location() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, pipeline_text("strategy = \"none\""));
    obstacle(&test, &id);
    let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
    let view = answer(&host, &id, &request);
    assert_eq!(view.status, "failed");
    assert_eq!(view.location.as_ref(), Some(&host.savepoints(&id).unwrap()[0].location));
}

#[test]
fn a_stop_outlives_its_process_and_its_answer_can_be_polled_at_any_time() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, pipeline_text(FREQUENT_RESTARTS));
    let obstacle = obstacle(&test, &id);
    let request = stop(&host, &id);
    wait(&host, &id, |job| job.summary.restarts > 0);
    host.shutdown();
    drop(host);

    let host = test.open();
    assert_eq!(host.savepoint(&id, &request.request_id).unwrap().status, "in-progress");
    host.resume_jobs();
    assert_eq!(stop(&host, &id).request_id, request.request_id);
    fs::remove_dir(obstacle).unwrap();
    let location = assert_stopped(&test, &host, &id, &request);
    host.shutdown();
    drop(host);

    let host = test.open();
    let again = stop(&host, &id);
    assert_eq!((again.status.as_str(), again.location.as_ref()), ("completed", Some(&location)));
    assert_eq!(host.savepoint(&id, &request.request_id).unwrap().location, Some(location));
}

#[test]
fn a_second_stop_joins_the_first_one_but_a_drain_is_refused() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, pipeline_text(FREQUENT_RESTARTS));
    let obstacle = obstacle(&test, &id);
    let request = stop(&host, &id);
    assert_eq!(stop(&host, &id).request_id, request.request_id);
    let drain = host.stop(&id, SavepointFormat::Canonical, true).unwrap_err();
    assert!(drain.code == "job-state" && drain.message.contains("without --drain"), "{drain}");
    fs::remove_dir(obstacle).unwrap();
    assert_stopped(&test, &host, &id, &request);
}

#[test]
fn a_stop_whose_savepoint_keeps_failing_is_given_up_and_the_job_continues() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, pipeline_text(FREQUENT_RESTARTS));
    // A file at the path of the savepoint's folder.
    let savepoints = test.folder.path().join("data/checkpoints/savepoints");
    fs::create_dir_all(&savepoints).unwrap();
    let blocking_file = savepoints.join(format!("{id}-1"));
    fs::write(&blocking_file, "").unwrap();
    let request = stop(&host, &id);
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.location), ("failed", None));
    let job = wait(&host, &id, |job| job.summary.status == JobStatus::Running);
    assert_eq!(job.summary.restarts, 3);
    fs::remove_file(blocking_file).unwrap();
    let request = stop(&host, &id);
    assert_stopped(&test, &host, &id, &request);
}

#[test]
fn a_cancel_ends_a_stop() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, pipeline_text("delay = \"1h\""));
    obstacle(&test, &id);
    let request = stop(&host, &id);
    wait(&host, &id, |job| job.summary.status == JobStatus::Restarting);
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Canceled);
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.location.is_some()), ("failed", true));
}
