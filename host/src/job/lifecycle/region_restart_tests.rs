//! A region fails and restarts while the other one runs on.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::job::host::Host;
use crate::job::testing::{TestHost, answer, published, wait};
use crate::job::view::{FailureOutcome, JobDetail, JobStatus, OperatorDetail, SavepointFormat};

/// Records of the source in each region.
const FAILING: u64 = 20_000;
const HEALTHY: u64 = 30_000;

/// A job of two regions. Each reads numbers and writes them to a folder.
struct TwoRegions {
    test: TestHost,
    host: Host,
    id: String,
}

impl TwoRegions {
    /// Starts the job. `rate` is that of the source in the region that fails.
    fn start(restart: &str, rate: u64) -> TwoRegions {
        let test = TestHost::new();
        let host = test.open();
        let region = |name: &str, records: u64, rate: u64| {
            format!(
                "[source.{name}]\nconnector = \"generator\"\nrecords = {records}\nrate = {rate}\n[sink.{name}-out]\n\
                 input = \"{name}\"\nconnector = \"file\"\npath = \"{name}\"\n"
            )
        };
        let regions = [region("failing", FAILING, rate), region("healthy", HEALTHY, 10_000)].concat();
        let id = test.submit_pipeline(&host, format!("name = \"two\"\n[restart]\n{restart}\n{regions}"));
        TwoRegions { test, host, id }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.test.folder.path().join(name)
    }

    /// Waits for a condition. Checks meanwhile that the healthy region never starts again.
    fn wait(&self, condition: impl Fn(&JobDetail) -> bool) -> JobDetail {
        let read = std::cell::Cell::new(0);
        wait(&self.host, &self.id, |job| {
            for name in ["healthy", "healthy-out"] {
                assert!(node(job, name).is_none_or(|node| node.attempt == 1), "{name} has restarted: {job:?}");
            }
            let now = node(job, "healthy").map_or(0, |node| node.records_in);
            assert!(now >= read.replace(now), "records are read again: {job:?}");
            condition(job)
        })
    }

    fn checkpoint(&self) -> String {
        let request = self.host.trigger_checkpoint(&self.id).unwrap();
        answer(&self.host, &self.id, &request).status
    }

    /// Lets the next checkpoint fail in the sink of one region, once it has written so many records, and takes it.
    fn fail_one_region(&self, records: u64) {
        self.wait(|job| node(job, "failing-out").is_some_and(|node| node.records_in >= records));
        fs::remove_dir_all(self.folder("failing").join(".pending")).unwrap();
        assert_eq!(self.checkpoint(), "failed", "it is aborted");
    }
}

fn node<'a>(job: &'a JobDetail, id: &str) -> Option<&'a OperatorDetail> {
    job.operators.iter().find(|node| node.id == id)
}

#[test]
fn a_region_restarts_without_the_other_and_nothing_is_lost_or_repeated() {
    #[derive(Debug, PartialEq)]
    enum Before {
        /// A checkpoint, and the source is still reading.
        Checkpoint,
        /// A savepoint, and the source is still reading.
        Savepoint,
        /// No checkpoint, and the source has ended.
        Nothing,
    }
    for before in [Before::Checkpoint, Before::Savepoint, Before::Nothing] {
        let rate = if before == Before::Nothing { 1_000_000 } else { 10_000 };
        let job = TwoRegions::start("delay = \"10ms\"", rate);
        let restored = match before {
            Before::Checkpoint => {
                assert_eq!(job.checkpoint(), "completed");
                Some(1)
            }
            Before::Savepoint => {
                let request = job.host.trigger_savepoint(&job.id, SavepointFormat::Canonical).unwrap();
                assert_eq!(answer(&job.host, &job.id, &request).status, "completed");
                Some(1)
            }
            Before::Nothing => None,
        };
        let written = node(&job.host.job(&job.id).unwrap(), "failing-out").map_or(0, |node| node.records_in);
        job.fail_one_region((written + 1_000).min(FAILING));
        let restarted = job.wait(|job| {
            job.summary.status == JobStatus::Running && node(job, "failing").is_some_and(|node| node.attempt == 2)
        });
        assert_eq!((restarted.summary.restarts, restarted.summary.restored_checkpoint), (1, restored), "{before:?}");
        let [failure] = &restarted.failures[..] else { panic!("one failure: {restarted:?}") };
        assert_eq!((failure.outcome, failure.attempt), (FailureOutcome::RegionRestart, 1));
        assert_eq!((&failure.code[..], failure.operator.as_deref()), ("sink-unwritable", Some("failing-out")));
        assert_eq!((failure.subtask, failure.at_ms > 0), (Some(0), true));
        assert_eq!(job.checkpoint(), "completed", "checkpoints are complete again");
        let ended = job.wait(|job| job.summary.status.is_final());
        assert_eq!(ended.summary.status, JobStatus::Finished, "{ended:?}");
        assert_eq!(published(&job.folder("failing")), (0..FAILING).collect::<BTreeSet<_>>());
        assert_eq!(published(&job.folder("healthy")), (0..HEALTHY).collect::<BTreeSet<_>>());
    }
}

#[test]
fn a_cancel_and_a_shutdown_are_heard_while_a_region_waits_for_its_restart() {
    let job = TwoRegions::start("delay = \"1h\"", 1_000);
    job.fail_one_region(100);
    job.wait(|job| job.summary.status == JobStatus::Restarting);
    job.host.shutdown();
    assert_eq!(job.host.job(&job.id).unwrap().summary.status, JobStatus::Suspended);
    let TwoRegions { test, host, id } = job;
    drop(host);
    let job = TwoRegions { host: test.open(), test, id };
    job.host.resume_jobs();
    let writes = |job: &JobDetail| node(job, "failing-out").is_some_and(|node| node.records_in > 0);
    wait(&job.host, &job.id, |job| job.summary.status == JobStatus::Running && writes(job));
    fs::remove_dir_all(job.folder("failing").join(".pending")).unwrap();
    job.host.trigger_checkpoint(&job.id).unwrap();
    let waiting = wait(&job.host, &job.id, |job| job.summary.status == JobStatus::Restarting);
    assert_eq!(waiting.failures.len(), 2, "the history outlives the process: {waiting:?}");
    job.host.cancel(&job.id).unwrap();
    wait(&job.host, &job.id, |job| job.summary.status == JobStatus::Canceled);
}

#[test]
fn a_region_that_may_not_restart_fails_the_job() {
    let job = TwoRegions::start("strategy = \"none\"", 10_000);
    job.fail_one_region(100);
    let failed = wait(&job.host, &job.id, |job| job.summary.status.is_final());
    assert_eq!((failed.summary.status, failed.summary.restarts), (JobStatus::Failed, 0));
    let [failure] = &failed.failures[..] else { panic!("one failure: {failed:?}") };
    assert_eq!((failure.outcome, &failure.code[..]), (FailureOutcome::Failed, "sink-unwritable"));
}

#[test]
fn the_whole_job_restarts_if_a_region_fails_during_a_stop() {
    let job = TwoRegions::start("delay = \"10ms\"", 10_000);
    job.wait(|job| node(job, "failing-out").is_some_and(|node| node.records_in > 100));
    fs::remove_dir_all(job.folder("failing").join(".pending")).unwrap();
    let request = job.host.stop(&job.id, SavepointFormat::Canonical, false).unwrap();
    assert_eq!(answer(&job.host, &job.id, &request).status, "completed");
    let stopped = wait(&job.host, &job.id, |job| job.summary.status.is_final());
    assert_eq!(stopped.summary.status, JobStatus::Finished);
    let [failure] = &stopped.failures[..] else { panic!("one failure: {stopped:?}") };
    assert_eq!(failure.outcome, FailureOutcome::Restart);
    // The stop may take effect before the second attempt has read anything.
    let all = published(&job.folder("failing"));
    assert_eq!(all.last().map_or(0, |last| last + 1), all.len() as u64, "no number is missing");
}
