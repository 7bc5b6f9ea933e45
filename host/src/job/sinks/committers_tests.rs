//! Jobs that start from another job's checkpoint whose prepared output was not published.

use std::fs;
use std::path::PathBuf;

use crate::job::host::Host;
use crate::job::registry::Submission;
use crate::job::testing::{TestHost, answer, published, wait};
use crate::job::view::{JobDetail, JobStatus, SavepointFormat};

/// Writes numbers to files. The first failure is final.
const PIPELINE: &str = "name = \"numbers\"\n[restart]\nstrategy = \"none\"\n\
     [source.numbers]\nconnector = \"generator\"\nrate = 20000\n\
     [sink.out]\ninput = \"numbers\"\nconnector = \"file\"\npath = \"out\"\n";

/// The kind of checkpoint whose prepared output is not published.
#[derive(Clone, Copy, Debug)]
enum UnpublishedCheckpoint {
    Stop,
    Savepoint,
    Checkpoint,
}

/// Returns the path of the first output file. A folder there makes the publication fail.
fn obstacle(test: &TestHost, job: &str) -> PathBuf {
    test.out().join(format!("part-{job}-out-000-00000001.txt"))
}

/// Runs a job that fails after a complete checkpoint and before its publication. Returns its id and the checkpoint's
/// folder.
fn failed_before_publication(test: &TestHost, host: &Host, checkpoint: UnpublishedCheckpoint) -> (String, String) {
    let id = test.submit_pipeline(host, PIPELINE.into());
    fs::create_dir(obstacle(test, &id)).unwrap();
    let request = match checkpoint {
        UnpublishedCheckpoint::Stop => host.stop(&id, SavepointFormat::Canonical, false),
        UnpublishedCheckpoint::Savepoint => host.trigger_savepoint(&id, SavepointFormat::Canonical),
        UnpublishedCheckpoint::Checkpoint => host.trigger_checkpoint(&id),
    };
    assert_eq!(answer(host, &id, &request.unwrap()).status, "failed");
    let job = wait(host, &id, |job| job.summary.status.is_final());
    assert_eq!(job.failure.unwrap().code, "sink-unwritable");
    assert_eq!(published(&test.out()).len(), 0);
    let commits = host.find(&id).unwrap().commits.totals();
    assert_eq!((commits["out"].failed, commits["out"].completed.count()), (1, 0));
    let folder = match checkpoint {
        UnpublishedCheckpoint::Checkpoint => {
            test.folder.path().join(format!("data/checkpoints/{id}/chk-1")).display().to_string()
        }
        _ => host.savepoints(&id).unwrap()[0].location.clone(),
    };
    (id, folder)
}

fn submission(test: &TestHost, pipeline_text: &str, from: &str) -> Submission {
    Submission { from: Some(from.into()), ..test.submission(pipeline_text) }
}

/// Runs a submitted job until it has read records, then stops it.
fn run_and_stop(host: &Host, submission: Submission) -> JobDetail {
    let id = host.submit(submission).unwrap().summary.id;
    let records_before = wait(host, &id, |job| job.summary.status == JobStatus::Running).summary.records_in;
    wait(host, &id, |job| job.summary.records_in > records_before + 1000);
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    assert_eq!(answer(host, &id, &request).status, "completed");
    wait(host, &id, |job| job.summary.status == JobStatus::Finished)
}

fn assert_none_is_missing(test: &TestHost) {
    let all = published(&test.out());
    assert_eq!(all.last().map(|last| last + 1), Some(all.len() as u64), "{} numbers", all.len());
}

#[test]
fn a_new_job_publishes_the_prepared_output_of_its_starting_checkpoint() {
    for checkpoint in [UnpublishedCheckpoint::Stop, UnpublishedCheckpoint::Savepoint, UnpublishedCheckpoint::Checkpoint]
    {
        for another_data_folder in [false, true] {
            let test = TestHost::new();
            let host = test.open();
            let (id, folder) = failed_before_publication(&test, &host, checkpoint);
            fs::remove_dir(obstacle(&test, &id)).unwrap();
            host.shutdown();
            drop(host);
            let data = test.folder.path().join("data");
            let folder = match another_data_folder {
                false => folder,
                true => {
                    let aside = test.folder.path().join("aside");
                    fs::rename(&data, &aside).unwrap();
                    folder.replace(&data.display().to_string(), &aside.display().to_string())
                }
            };
            let host = test.open();
            run_and_stop(&host, submission(&test, PIPELINE, &folder));
            assert!(obstacle(&test, &id).is_file(), "{checkpoint:?}: under the prepared name");
            assert_none_is_missing(&test);
            host.shutdown();
        }
    }
}

#[test]
fn prepared_output_is_published_once_even_if_a_reader_removes_it_later() {
    let test = TestHost::new();
    let host = test.open();
    let (id, folder) = failed_before_publication(&test, &host, UnpublishedCheckpoint::Savepoint);
    fs::remove_dir(obstacle(&test, &id)).unwrap();
    let new = host.submit(submission(&test, PIPELINE, &folder)).unwrap().summary.id;
    wait(&host, &new, |job| job.summary.status == JobStatus::Running);
    fs::remove_file(obstacle(&test, &id)).unwrap();
    host.shutdown();
    drop(host);

    let host = test.open();
    host.resume_jobs();
    let runs = |job: &JobDetail| job.summary.records_in > 0 && job.summary.status == JobStatus::Running;
    let job = wait(&host, &new, |job| runs(job) || job.summary.status.is_final());
    assert_eq!(job.summary.status, JobStatus::Running, "{:?}", job.failure);
    host.shutdown();
}

#[test]
fn a_changed_sink_is_refused_if_prepared_output_would_be_lost() {
    let test = TestHost::new();
    let host = test.open();
    let (id, folder) = failed_before_publication(&test, &host, UnpublishedCheckpoint::Savepoint);
    fs::remove_dir(obstacle(&test, &id)).unwrap();
    let renamed = PIPELINE.replace("sink.out", "sink.other");
    let elsewhere = PIPELINE.replace("path = \"out\"", "path = \"elsewhere\"");
    let removed = PIPELINE.replace("connector = \"file\"\npath = \"out\"", "connector = \"blackhole\"");
    for changed in [&renamed, &elsewhere, &removed] {
        for allow_unclaimed_state in [false, true] {
            let error =
                host.submit(Submission { allow_unclaimed_state, ..submission(&test, changed, &folder) }).unwrap_err();
            assert_eq!(error.code, "sink-changed");
            assert!(error.message.contains("out/.pending") && error.message.contains("`out`"), "{error}");
            assert!(error.hint.unwrap().contains("--assume-published"));
        }
    }
    assert_eq!(host.jobs().len(), 1, "nothing was started");
    // After the publication the sink may change.
    run_and_stop(&host, submission(&test, PIPELINE, &folder));
    assert_none_is_missing(&test);
    for changed in [&elsewhere, &removed] {
        run_and_stop(&host, submission(&test, changed, &folder));
    }
    assert!(!published(&test.folder.path().join("elsewhere")).is_empty());
    host.shutdown();
}

#[test]
fn missing_prepared_output_is_refused_unless_it_is_assumed_to_be_published() {
    let test = TestHost::new();
    let host = test.open();
    let (id, folder) = failed_before_publication(&test, &host, UnpublishedCheckpoint::Savepoint);
    fs::remove_dir(obstacle(&test, &id)).unwrap();
    fs::remove_file(test.out().join(format!(".pending/part-{id}-out-000-00000001.txt"))).unwrap();
    let error = host.submit(submission(&test, PIPELINE, &folder)).unwrap_err();
    assert_eq!(error.code, "sink-changed");
    assert!(error.message.contains("neither pending nor published"), "{error}");
    let assumed = Submission { assume_published: true, ..submission(&test, PIPELINE, &folder) };
    run_and_stop(&host, assumed);
    host.shutdown();
}

#[test]
fn a_job_starts_from_a_savepoint_whose_published_files_were_removed() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, PIPELINE.into());
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    let folder = answer(&host, &id, &request).location.unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Finished);
    fs::rename(test.out(), test.folder.path().join("taken")).unwrap();
    let job = run_and_stop(&host, submission(&test, PIPELINE, &folder));
    let warning = job.warnings.iter().find(|warning| warning.contains("was prepared for"));
    assert_eq!(warning, None, "the publication is recorded in the storage");
    host.shutdown();
}

/// Submits a job and cancels it. Returns its warnings.
fn warnings(test: &TestHost, host: &Host, from: Option<&str>) -> Vec<String> {
    let job = host.submit(Submission { from: from.map(str::to_owned), ..submission(test, PIPELINE, "") }).unwrap();
    host.cancel(&job.summary.id).unwrap();
    wait(host, &job.summary.id, |job| job.summary.status.is_final()).warnings
}

#[test]
fn a_submission_warns_of_output_of_other_jobs_in_a_sinks_folder() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, PIPELINE.into());
    let savepoint = || {
        let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
        let folder = answer(&host, &id, &request).location.unwrap();
        let read = host.job(&id).unwrap().summary.records_in;
        wait(&host, &id, |job| job.summary.records_in > read + 1000);
        folder
    };
    let (first, second) = (savepoint(), savepoint());
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status.is_final());
    let doubled = |warnings: &[String]| {
        let warning = warnings.iter().find(|warning| warning.contains("its folder"));
        warning.map(|warning| (warning.contains("of other jobs"), warning.contains("will be duplicated")))
    };
    let without_origin = warnings(&test, &host, None);
    assert_eq!(doubled(&without_origin), Some((true, false)), "{without_origin:?}");
    assert!(
        without_origin.iter().any(|warning| warning.contains(&id) && warning.contains("`out`")),
        "{without_origin:?}"
    );
    let from_first = warnings(&test, &host, Some(&first));
    assert_eq!(doubled(&from_first), Some((false, true)), "{from_first:?}");
    assert_eq!(doubled(&warnings(&test, &host, Some(&second))), None);
    // A job may continue a job that continued another one. It then continues the output of both.
    let third = run_and_stop(&host, submission(&test, PIPELINE, &second)).summary.id;
    let folder = host.savepoints(&third).unwrap()[0].location.clone();
    assert_eq!(doubled(&warnings(&test, &host, Some(&folder))), None);
    host.shutdown();
}

#[test]
fn a_file_sink_without_checkpoints_warns_that_it_publishes_at_the_end() {
    let test = TestHost::new();
    let host = test.open();
    let warns_of_publication =
        |warnings: &[String]| warnings.iter().any(|warning| warning.contains("a cancel removes"));
    assert!(warns_of_publication(&warnings(&test, &host, None)));
    let periodic = PIPELINE.replace("[restart]", "[checkpoint]\ninterval = \"1h\"\n[restart]");
    let job = host.submit(Submission { from: None, ..submission(&test, &periodic, "") }).unwrap();
    assert!(!warns_of_publication(&job.warnings), "{:?}", job.warnings);
    host.shutdown();
}
