//! Jobs whose sink publishes through the outbox to a peer that can be away: what each request does then, and that nothing is lost or
//! doubled.

use std::time::Duration;

use crate::clock::SystemClock;
use crate::connector::FakePeer;
use crate::job::host::Host;
use crate::job::registry::Submission;
use crate::job::testing::{TestHost, answer};
use crate::job::view::{JobDetail, JobStatus, SavepointFormat};

/// A job that writes numbers to a peer of its own.
struct PeerJob {
    test: TestHost,
    peer: FakePeer,
    name: &'static str,
}

impl PeerJob {
    fn new(name: &'static str) -> PeerJob {
        PeerJob { test: TestHost::new(), peer: FakePeer::named(name), name }
    }

    fn pipeline(&self, checkpoint: &str, source: &str, sink: &str) -> String {
        let name = self.name;
        format!(
            "name = \"{name}\"\n[checkpoint]\ninterval = \"10ms\"\n{checkpoint}\n\
             [source.numbers]\nconnector = \"generator\"\n{source}\n\
             [sink.out]\ninput = \"numbers\"\nconnector = \"fake-peer\"\npeer = \"{name}\"\n{sink}\n"
        )
    }

    fn endless(&self) -> String {
        self.pipeline("", "rate = 20000", "")
    }

    /// Like [`PeerJob::endless`], for tests in which a request waits for a peer that stays away.
    fn endless_and_impatient(&self) -> String {
        self.pipeline("publish_timeout = \"200ms\"", "rate = 20000", "")
    }

    /// Makes the peer leave, and waits until there is output that it has not taken.
    fn leave_with_open_output(&self, host: &Host, id: &str) {
        self.peer.set_away(true);
        wait_for(host, id, "a publication has failed", is_down);
    }

    fn submit(&self, host: &Host, pipeline: String) -> String {
        host.submit(self.test.submission(pipeline)).unwrap().summary.id
    }

    /// Waits until the peer has taken more records than it had.
    fn await_more(&self, host: &Host, id: &str) {
        let before = self.peer.visible().len();
        wait_for(host, id, "more is published", |_| self.peer.visible().len() > before + 100);
    }

    /// Checks that the peer has the numbers from 0 without a gap, once and in order.
    fn assert_exact(&self) -> usize {
        let visible = self.peer.visible();
        let numbers: Vec<u64> = visible.iter().map(|value| value.parse().unwrap()).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "lost, doubled or out of order");
        numbers.len()
    }
}

/// Waits until a condition holds, for a minute at most.
fn wait_for(host: &Host, id: &str, what: &str, condition: impl Fn(&JobDetail) -> bool) -> JobDetail {
    let clock = SystemClock::shared();
    let deadline_ns = clock.monotonic_ns() + 60_000_000_000;
    loop {
        let job = host.await_end(id, Duration::from_millis(5)).unwrap();
        if condition(&job) {
            return job;
        }
        assert!(clock.monotonic_ns() < deadline_ns, "not within a minute: {what}; {:?} {:?}", job.summary, job.failure);
    }
}

/// Returns whether the sink is shown as down.
fn is_down(job: &JobDetail) -> bool {
    job.operators
        .iter()
        .any(|node| node.id == "out" && node.health.as_ref().is_some_and(|health| health.state == "down"))
}

fn await_status(host: &Host, id: &str, status: JobStatus) -> JobDetail {
    wait_for(host, id, &format!("{status:?}"), |job| job.summary.status == status)
}

#[test]
fn a_process_that_ends_and_starts_again_publishes_exactly_once() {
    let scene = PeerJob::new("exact");
    let mut host = scene.test.open();
    let id = scene.submit(&host, scene.endless());
    for _ in 0..3 {
        scene.await_more(&host, &id);
        host.shutdown();
        drop(host);
        host = scene.test.open();
        host.resume_jobs();
    }
    scene.await_more(&host, &id);
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    assert_eq!(answer(&host, &id, &request).status, "completed");
    let job = await_status(&host, &id, JobStatus::Finished);
    assert_eq!(scene.assert_exact() as u64, job.summary.records_in);
    assert!(!scene.peer.has_open_transaction());
    host.remove_job(&id, false).unwrap();
    host.shutdown();
}

#[test]
fn a_job_goes_on_while_its_peer_is_away() {
    let scene = PeerJob::new("away");
    let host = scene.test.open();
    let id = scene.submit(&host, scene.endless());
    scene.await_more(&host, &id);
    scene.peer.set_away(true);
    wait_for(&host, &id, "the trouble is shown", is_down);
    let at = host.job(&id).unwrap().summary;
    wait_for(&host, &id, "checkpoints go on", |job| job.summary.last_checkpoint > at.last_checkpoint.map(|id| id + 20));
    let stale = scene.peer.visible().len();
    scene.peer.set_away(false);
    wait_for(&host, &id, "everything is published", |_| scene.peer.visible().len() > stale + 1000);
    let job = wait_for(&host, &id, "the trouble is over", |job| !is_down(job));
    assert_eq!((job.summary.restarts, job.failure.is_none()), (0, true));
    scene.assert_exact();
    host.shutdown();
}

#[test]
fn a_job_whose_first_start_waits_for_its_peer_names_it() {
    let scene = PeerJob::new("absent");
    scene.peer.set_away(true);
    let host = scene.test.open();
    let id = scene.submit(&host, scene.endless_and_impatient());
    let job = wait_for(&host, &id, "the trouble is shown", is_down);
    assert_eq!((job.summary.records_in, job.failure.is_none()), (0, true));
    scene.peer.set_away(false);
    scene.await_more(&host, &id);
    wait_for(&host, &id, "the trouble is over", |job| !is_down(job));
    host.shutdown();
}

#[test]
fn a_stop_reports_what_is_not_published_and_the_next_job_publishes_it() {
    let scene = PeerJob::new("stopped");
    let host = scene.test.open();
    let id = scene.submit(&host, scene.endless_and_impatient());
    scene.await_more(&host, &id);
    scene.leave_with_open_output(&host, &id);
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    let job = await_status(&host, &id, JobStatus::Finished);
    let view = answer(&host, &id, &request);
    assert_eq!(view.status, "failed");
    let why = view.failure.unwrap();
    assert!(why.contains("sink `out`") && why.contains("not published"), "{why}");
    let savepoint = view.location.expect("the savepoint is complete");
    assert!(job.warnings.iter().any(|warning| warning.contains("not published")), "{:?}", job.warnings);
    let published = scene.assert_exact();

    // The renamed sink would lose it.
    let renamed = scene.endless().replace("sink.out", "sink.other");
    for allow_unclaimed_state in [false, true] {
        let submission = Submission {
            from: Some(savepoint.clone()),
            allow_unclaimed_state,
            ..scene.test.submission(renamed.clone())
        };
        assert_eq!(host.submit(submission).unwrap_err().code, "sink-changed");
    }
    scene.peer.set_away(false);
    let submission = Submission { from: Some(savepoint), ..scene.test.submission(scene.endless()) };
    let next = host.submit(submission).unwrap().summary.id;
    wait_for(&host, &next, "the next job publishes", |_| scene.peer.visible().len() > published + 100);
    scene.assert_exact();
    host.shutdown();
}

#[test]
fn a_cancel_keeps_the_checkpoint_with_unpublished_output() {
    let scene = PeerJob::new("cancelled");
    let host = scene.test.open();
    let id = scene.submit(&host, scene.endless_and_impatient());
    scene.await_more(&host, &id);
    scene.leave_with_open_output(&host, &id);
    host.cancel(&id).unwrap();
    await_status(&host, &id, JobStatus::Canceled);
    let error = host.remove_job(&id, false).unwrap_err();
    assert_eq!(error.code, "job-state");
    assert!(error.hint.unwrap().contains("--discard-unpublished"), "{}", error.message);
    scene.assert_exact();
    host.remove_job(&id, true).unwrap();

    // With its peer, a cancel publishes what is complete, and removes the checkpoints.
    scene.peer.set_away(false);
    host.shutdown();
}

#[test]
fn a_job_has_not_finished_before_its_last_output_is_published() {
    let scene = PeerJob::new("final");
    let host = scene.test.open();
    scene.peer.leave_after(1000);
    let id = scene.submit(&host, scene.pipeline("publish_timeout = \"200ms\"", "records = 2000\nrate = 20000", ""));
    let has_final =
        |host: &Host| host.checkpoints(&id).unwrap().iter().any(|one| one.kind == "final" && one.status == "completed");
    wait_for(&host, &id, "the final checkpoint", |job| has_final(&host) || job.summary.status.is_final());
    // Also in the next process.
    host.shutdown();
    drop(host);
    let host = scene.test.open();
    host.resume_jobs();
    let job = wait_for(&host, &id, "it restores", |job| job.summary.restoring || job.summary.status.is_final());
    assert!(!job.summary.status.is_final(), "{job:?}");
    scene.peer.set_away(false);
    let job = await_status(&host, &id, JobStatus::Finished);
    assert_eq!((scene.assert_exact(), job.summary.restarts), (2000, 0));
    host.shutdown();
}

#[test]
fn a_recovery_that_waits_for_its_peer_hears_commands_and_uses_no_restart() {
    let scene = PeerJob::new("recovering");
    let host = scene.test.open();
    let id = scene.submit(&host, scene.endless_and_impatient());
    scene.await_more(&host, &id);
    scene.leave_with_open_output(&host, &id);
    host.shutdown();
    drop(host);
    let host = scene.test.open();
    host.resume_jobs();
    wait_for(&host, &id, "it restores", |job| job.summary.restoring);
    host.shutdown();
    drop(host);
    let host = scene.test.open();
    host.resume_jobs();
    wait_for(&host, &id, "it restores", |job| job.summary.restoring);
    host.cancel(&id).unwrap();
    let job = await_status(&host, &id, JobStatus::Canceled);
    assert_eq!((job.summary.restarts, job.failure.is_none()), (0, true));
    scene.peer.set_away(false);
    scene.assert_exact();
    host.shutdown();
}

#[test]
fn a_full_backlog_holds_the_sources_back_and_lets_a_stop_pass() {
    let scene = PeerJob::new("full");
    let host = scene.test.open();
    let id =
        scene.submit(&host, scene.pipeline("publish_timeout = \"200ms\"", "rate = 20000", "max_backlog = \"100KiB\""));
    scene.await_more(&host, &id);
    scene.peer.set_away(true);
    let clock = SystemClock::shared();
    let mut before = (host.job(&id).unwrap().summary.records_in, clock.monotonic_ns());
    let deadline_ns = before.1 + 60_000_000_000;
    while clock.monotonic_ns() - before.1 < 500_000_000 {
        assert!(clock.monotonic_ns() < deadline_ns, "the sources are held back");
        let read = host.await_end(&id, Duration::from_millis(20)).unwrap().summary.records_in;
        if read != before.0 {
            before = (read, clock.monotonic_ns());
        }
    }
    let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
    await_status(&host, &id, JobStatus::Finished);
    assert!(answer(&host, &id, &request).location.is_some(), "the barrier has passed the full sink");
    scene.assert_exact();
    host.shutdown();
}

#[test]
fn a_full_backlog_drains_when_the_peer_returns() {
    let scene = PeerJob::new("drains");
    let host = scene.test.open();
    let id = scene.submit(&host, scene.pipeline("", "rate = 20000", "max_backlog = \"50KiB\""));
    scene.await_more(&host, &id);
    for _ in 0..3 {
        scene.peer.set_away(true);
        wait_for(&host, &id, "the trouble is shown", is_down);
        scene.peer.set_away(false);
        scene.await_more(&host, &id);
    }
    scene.assert_exact();
    host.shutdown();
}

#[test]
fn an_exactly_once_sink_without_regular_checkpoints_is_refused() {
    let scene = PeerJob::new("without");
    let host = scene.test.open();
    let pipeline = scene.endless().replace("interval = \"10ms\"\n", "");
    let error = host.submit(scene.test.submission(pipeline)).unwrap_err();
    assert_eq!(error.code, "manifest-invalid");
    assert!(error.message.contains("interval") && error.location.is_some(), "{error}");
    host.shutdown();
}
