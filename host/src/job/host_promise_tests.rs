//! A job that begins from another job's checkpoint, whose sinks had not published yet what it promises.

use super::tests::{Subject, answer, published, wait};
use super::*;

/// Numbers into files; the first failure is final.
const MANIFEST: &str = "name = \"numbers\"\n[restart]\nstrategy = \"none\"\n\
     [source.numbers]\nconnector = \"generator\"\nrate = 20000\n\
     [sink.out]\ninput = \"numbers\"\nconnector = \"file\"\npath = \"out\"\n";

/// What promises something that is not published.
#[derive(Clone, Copy, Debug)]
enum Image {
    Stop,
    Savepoint,
    /// Of a job that failed, so that it is kept.
    Checkpoint,
}

/// Where a folder stands in the way of the first part.
fn obstacle(subject: &Subject, job: &str) -> PathBuf {
    subject.out().join(format!("part-{job}-out-000-00000001.txt"))
}

/// A job that failed between a complete image and its publication; its id and the image's place.
fn failed_before_publication(subject: &Subject, host: &Host, image: Image) -> (String, String) {
    let id = subject.submit_manifest(host, MANIFEST.into());
    fs::create_dir(obstacle(subject, &id)).unwrap();
    let request = match image {
        Image::Stop => host.stop(&id, SavepointFormat::Canonical, false),
        Image::Savepoint => host.trigger_savepoint(&id, SavepointFormat::Canonical),
        Image::Checkpoint => host.trigger_checkpoint(&id),
    };
    assert_eq!(answer(host, &id, &request.unwrap()).status, "failed");
    let job = wait(host, &id, |job| job.summary.status.is_final());
    assert_eq!(job.failure.unwrap().code, "sink-unwritable");
    assert_eq!(published(&subject.out()).len(), 0);
    let place = match image {
        Image::Checkpoint => subject.folder.path().join(format!("data/checkpoints/{id}/chk-1")).display().to_string(),
        _ => host.savepoints(&id).unwrap()[0].location.clone(),
    };
    (id, place)
}

fn submission(subject: &Subject, manifest: &str, from: &str) -> Submission {
    Submission {
        manifest: manifest.into(),
        file_name: "pipeline.toml".into(),
        base_dir: Some(subject.folder.path().to_owned()),
        from: Some(from.into()),
        claim: false,
        allow_unclaimed_state: false,
        reset_watermarks: false,
        assume_published: false,
        ignore_state: false,
    }
}

/// Stops a job that begins from an image.
fn go_on_and_stop(host: &Host, submission: Submission) -> JobDetail {
    let id = host.submit(submission).unwrap().summary.id;
    let begun_with = wait(host, &id, |job| job.summary.status == JobStatus::Running).summary.records_in;
    wait(host, &id, |job| job.summary.records_in > begun_with + 1000);
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    assert_eq!(answer(host, &id, &request).status, "completed");
    wait(host, &id, |job| job.summary.status == JobStatus::Stopped)
}

fn assert_none_is_missing(subject: &Subject) {
    let all = published(&subject.out());
    assert_eq!(all.last().map(|last| last + 1), Some(all.len() as u64), "{} numbers", all.len());
}

#[test]
fn a_new_job_publishes_what_the_image_that_it_begins_from_promised() {
    for image in [Image::Stop, Image::Savepoint, Image::Checkpoint] {
        for another_data_folder in [false, true] {
            let subject = Subject::new();
            let host = subject.open();
            let (id, place) = failed_before_publication(&subject, &host, image);
            fs::remove_dir(obstacle(&subject, &id)).unwrap();
            host.shutdown();
            drop(host);
            let data = subject.folder.path().join("data");
            let place = match another_data_folder {
                false => place,
                true => {
                    let aside = subject.folder.path().join("aside");
                    fs::rename(&data, &aside).unwrap();
                    place.replace(&data.display().to_string(), &aside.display().to_string())
                }
            };
            let host = subject.open();
            go_on_and_stop(&host, submission(&subject, MANIFEST, &place));
            assert!(obstacle(&subject, &id).is_file(), "{image:?}: under the name that was promised");
            assert_none_is_missing(&subject);
            host.shutdown();
        }
    }
}

#[test]
fn a_promise_is_kept_once_whatever_a_reader_does_with_it_then() {
    let subject = Subject::new();
    let host = subject.open();
    let (id, place) = failed_before_publication(&subject, &host, Image::Savepoint);
    fs::remove_dir(obstacle(&subject, &id)).unwrap();
    let new = host.submit(submission(&subject, MANIFEST, &place)).unwrap().summary.id;
    wait(&host, &new, |job| job.summary.status == JobStatus::Running);
    fs::remove_file(obstacle(&subject, &id)).unwrap();
    host.shutdown();
    drop(host);

    let host = subject.open();
    host.resume_jobs();
    let job = wait(&host, &new, |job| job.summary.records_in > 0 || job.summary.status.is_final());
    assert_eq!(job.summary.status, JobStatus::Running, "{:?}", job.failure);
    host.shutdown();
}

#[test]
fn a_sink_that_changed_does_not_lose_what_was_promised() {
    let subject = Subject::new();
    let host = subject.open();
    let (id, place) = failed_before_publication(&subject, &host, Image::Savepoint);
    fs::remove_dir(obstacle(&subject, &id)).unwrap();
    let renamed = MANIFEST.replace("sink.out", "sink.other");
    let elsewhere = MANIFEST.replace("path = \"out\"", "path = \"elsewhere\"");
    let removed = MANIFEST.replace("connector = \"file\"\npath = \"out\"", "connector = \"blackhole\"");
    for changed in [&renamed, &elsewhere, &removed] {
        for allow_unclaimed_state in [false, true] {
            let error =
                host.submit(Submission { allow_unclaimed_state, ..submission(&subject, changed, &place) }).unwrap_err();
            assert_eq!(error.code, "sink-changed");
            assert!(error.message.contains("out/.pending") && error.message.contains("`out`"), "{error}");
            assert!(error.hint.unwrap().contains("--assume-published"));
        }
    }
    assert_eq!(host.jobs().len(), 1, "nothing was started");
    // Once it is published the sink may change.
    go_on_and_stop(&host, submission(&subject, MANIFEST, &place));
    assert_none_is_missing(&subject);
    for changed in [&elsewhere, &removed] {
        go_on_and_stop(&host, submission(&subject, changed, &place));
    }
    assert!(!published(&subject.folder.path().join("elsewhere")).is_empty());
    host.shutdown();
}

#[test]
fn what_is_neither_pending_nor_published_is_refused_unless_it_is_assumed() {
    let subject = Subject::new();
    let host = subject.open();
    let (id, place) = failed_before_publication(&subject, &host, Image::Savepoint);
    fs::remove_dir(obstacle(&subject, &id)).unwrap();
    fs::remove_file(subject.out().join(format!(".pending/part-{id}-out-000-00000001.txt"))).unwrap();
    let error = host.submit(submission(&subject, MANIFEST, &place)).unwrap_err();
    assert_eq!(error.code, "sink-changed");
    assert!(error.message.contains("neither pending nor published"), "{error}");
    let assumed = Submission { assume_published: true, ..submission(&subject, MANIFEST, &place) };
    go_on_and_stop(&host, assumed);
    host.shutdown();
}

#[test]
fn a_savepoint_whose_files_a_reader_took_away_is_gone_on_from() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, MANIFEST.into());
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    let place = answer(&host, &id, &request).location.unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Stopped);
    fs::rename(subject.out(), subject.folder.path().join("taken")).unwrap();
    let job = go_on_and_stop(&host, submission(&subject, MANIFEST, &place));
    let told = job.warnings.iter().find(|warning| warning.contains("promised"));
    assert_eq!(told, None, "its publication is recorded beside it");
    host.shutdown();
}

/// The warnings of a job that begins anew or from `from`, and which is then cancelled.
fn warnings(subject: &Subject, host: &Host, from: Option<&str>) -> Vec<String> {
    let job = host.submit(Submission { from: from.map(str::to_owned), ..submission(subject, MANIFEST, "") }).unwrap();
    host.cancel(&job.summary.id).unwrap();
    wait(host, &job.summary.id, |job| job.summary.status.is_final()).warnings
}

#[test]
fn output_of_others_in_a_sinks_folder_is_told_at_submit() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, MANIFEST.into());
    let savepoint = || {
        let request = host.trigger_savepoint(&id, SavepointFormat::Canonical).unwrap();
        let place = answer(&host, &id, &request).location.unwrap();
        let read = host.job(&id).unwrap().summary.records_in;
        wait(&host, &id, |job| job.summary.records_in > read + 1000);
        place
    };
    let (first, second) = (savepoint(), savepoint());
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status.is_final());
    let doubled = |warnings: &[String]| {
        let told = warnings.iter().find(|warning| warning.contains("its folder"));
        told.map(|warning| (warning.contains("of other jobs"), warning.contains("will be there twice")))
    };
    let anew = warnings(&subject, &host, None);
    assert_eq!(doubled(&anew), Some((true, false)), "{anew:?}");
    assert!(anew.iter().any(|warning| warning.contains(&id) && warning.contains("`out`")), "{anew:?}");
    let behind = warnings(&subject, &host, Some(&first));
    assert_eq!(doubled(&behind), Some((false, true)), "{behind:?}");
    assert_eq!(doubled(&warnings(&subject, &host, Some(&second))), None);
    // A job that begins from one that was begun from another goes on with the output of both.
    let third = go_on_and_stop(&host, submission(&subject, MANIFEST, &second)).summary.id;
    let place = host.savepoints(&third).unwrap()[0].location.clone();
    assert_eq!(doubled(&warnings(&subject, &host, Some(&place))), None);
    host.shutdown();
}

#[test]
fn a_file_sink_without_checkpoints_says_when_it_publishes() {
    let subject = Subject::new();
    let host = subject.open();
    let told = |warnings: &[String]| warnings.iter().any(|warning| warning.contains("a cancel removes"));
    assert!(told(&warnings(&subject, &host, None)));
    let periodic = MANIFEST.replace("[restart]", "[checkpoint]\ninterval = \"1h\"\n[restart]");
    let job = host.submit(Submission { from: None, ..submission(&subject, &periodic, "") }).unwrap();
    assert!(!told(&job.warnings), "{:?}", job.warnings);
    host.shutdown();
}
