//! Checkpoints of running jobs: every way to trigger them, and where a job continues after a kill.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::job::host::Host;
use crate::job::testing::{TestHost, answer, published, wait};
use crate::job::view::{JobStatus, SavepointFormat};

/// Returns a pipeline of two source subtasks that read numbers and one sink that writes them to files.
fn fan_in(settings: &str) -> String {
    format!(
        "name = \"numbers\"\n[checkpoint]\n{settings}\n[source.numbers]\nconnector = \"generator\"\nrate = 20000\n\
         parallelism = 2\n[sink.out]\ninput = \"numbers\"\nconnector = \"file\"\npath = \"out\"\n"
    )
}

/// Waits until `count` checkpoints are complete since the process started.
fn wait_for_checkpoints(host: &Host, id: &str, count: usize) {
    let complete = |host: &Host| {
        let all = host.checkpoints(id).unwrap();
        all.iter().filter(|one| one.kind == "checkpoint" && one.status == "completed").count()
    };
    while complete(host) < count {
        let job = host.await_end(id, Duration::from_millis(5)).unwrap();
        assert!(!job.summary.status.is_final(), "{:?}", job.failure);
    }
}

/// Ends the process without a stop, starts it again, and then stops the job.
fn interrupt_and_stop(test: &TestHost, host: Host, id: &str) -> Host {
    host.shutdown();
    drop(host);
    let host = test.open();
    host.resume_jobs();
    wait_for_checkpoints(&host, id, 2);
    assert!(host.job(id).unwrap().summary.restored_checkpoint.is_some());
    let request = host.stop(id, SavepointFormat::Canonical, false).unwrap();
    assert_eq!(answer(&host, id, &request).status, "completed");
    host
}

/// Checks that no number of a source subtask is missing.
fn assert_complete(numbers: &BTreeSet<u64>) {
    for subtask in [0, 1] {
        let own = numbers.iter().copied().filter(|number| number % 2 == subtask);
        assert!(own.enumerate().all(|(at, number)| number == 2 * at as u64 + subtask));
    }
}

#[test]
fn output_is_exactly_once_with_concurrent_and_with_unaligned_checkpoints() {
    for settings in [
        "interval = \"5ms\"\nunaligned_after = \"0s\"",
        "interval = \"5ms\"\nunaligned_after = \"1ms\"\nmin_pause = \"2ms\"",
        "interval = \"1ms\"\nmax_concurrent = 4\nretained = 1",
    ] {
        let test = TestHost::new();
        let host = test.open();
        let id = test.submit_pipeline(&host, fan_in(settings));
        wait_for_checkpoints(&host, &id, 5);
        interrupt_and_stop(&test, host, &id);
        assert_complete(&published(&test.out()));
    }
}

#[test]
fn at_least_once_loses_nothing_and_is_shown_as_the_guarantee() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, fan_in("interval = \"5ms\"\nmode = \"at-least-once\""));
    assert_eq!(host.job(&id).unwrap().guarantee, "at-least-once because of the checkpoint mode");
    wait_for_checkpoints(&host, &id, 5);
    interrupt_and_stop(&test, host, &id);
    let files = fs::read_dir(test.out()).unwrap().map(|entry| entry.unwrap().path());
    let text: String = files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_complete(&text.lines().map(|line| line.parse().unwrap()).collect());
}

#[test]
fn a_requested_checkpoint_shows_the_contribution_of_each_subtask() {
    let test = TestHost::new();
    let host = test.open();
    let id = test.submit_pipeline(&host, fan_in("unaligned_after = \"0s\""));
    let request = host.trigger_checkpoint(&id).unwrap();
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.failure), ("completed", None));
    assert!(view.location.unwrap().ends_with("chk-1"));
    let taken = host.checkpoint(&id, 1).unwrap();
    let shape: Vec<_> = taken.operators.iter().map(|one| (one.id.as_str(), one.subtasks.len())).collect();
    assert_eq!(shape, [("numbers", 2), ("out", 1)]);
    let (source, sink) = (&taken.operators[0].total, &taken.operators[1].total);
    // If both barriers reach the gate before the signal, there is nothing to overtake.
    assert!(!source.unaligned && taken.summary.total.unaligned == sink.unaligned, "{taken:?}");
    assert!(sink.sync_ms > 0.0 && sink.end_to_end_ms >= sink.sync_ms, "it syncs a file: {taken:?}");
    assert_eq!(taken.summary.total.sync_ms, source.sync_ms.max(sink.sync_ms));
    assert_eq!(host.job(&id).unwrap().summary.last_checkpoint, Some(1));
    assert_eq!(host.checkpoint(&id, 2).unwrap_err().code, "checkpoint-not-found");
    host.shutdown();
}

#[test]
fn a_checkpoint_that_exceeds_its_timeout_fails_and_the_job_continues() {
    let test = TestHost::new();
    let host = test.open();
    let settings = "interval = \"5ms\"\ntimeout = \"1ms\"\ntolerable_failures = 1000000";
    let id = test.submit_pipeline(&host, fan_in(settings));
    let failed = |host: &Host| {
        let all = host.checkpoints(&id).unwrap();
        all.into_iter()
            .filter(|one| one.status == "failed")
            .map(|one| (one.id, one.failure.unwrap()))
            .collect::<Vec<_>>()
    };
    while failed(&host).len() < 5 {
        let job = host.await_end(&id, Duration::from_millis(5)).unwrap();
        assert!(!job.summary.status.is_final(), "{:?}", job.failure);
    }
    assert!(failed(&host).iter().all(|(_, why)| why.contains("was not complete after 1ms")));
    let before = host.job(&id).unwrap();
    assert_eq!((before.summary.status, before.summary.restarts), (JobStatus::Running, 0));
    wait(&host, &id, |job| job.summary.records_in > before.summary.records_in);
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Canceled);
}

#[test]
fn an_injected_fault_fails_the_first_attempt_once() {
    let test = TestHost::new();
    let host = test.open();
    let settings = "interval = \"5ms\"\n[restart]\ndelay = \"1ms\"\n[fault_injection]\nafter_checkpoints = 2";
    let id = test.submit_pipeline(&host, fan_in(settings));
    wait(&host, &id, |job| job.summary.restarts == 1 && job.summary.status == JobStatus::Running);
    let job = host.job(&id).unwrap();
    assert_eq!(job.failure.as_ref().map(|failure| failure.code.as_str()), Some("fault-injected"));
    assert!(job.summary.restored_checkpoint >= Some(2));
    wait_for_checkpoints(&host, &id, 6);
    assert_eq!(host.job(&id).unwrap().summary.restarts, 1);
    host.shutdown();
}

#[test]
fn event_time_progress_triggers_a_checkpoint() {
    let test = TestHost::new();
    let host = test.open();
    let timed =
        "rate = 20000\ntimestamp = { column = 0, format = \"unix-ms\" }\nwatermark = { out_of_orderness = \"0s\" }";
    let pipeline_text = fan_in("event_time = \"1s\"").replace("rate = 20000", timed);
    let id = test.submit_pipeline(&host, pipeline_text);
    wait_for_checkpoints(&host, &id, 2);
    host.shutdown();
}

#[test]
fn checkpoints_are_taken_after_some_sources_have_ended() {
    let test = TestHost::new();
    let host = test.open();
    let pipeline_text = fan_in("interval = \"5ms\"").replace("input = \"numbers\"", "input = [\"numbers\", \"few\"]")
        + "[source.few]\nconnector = \"generator\"\nrecords = 10\ntemplate = \"5000000000{n}\"\n";
    let id = test.submit_pipeline(&host, pipeline_text);
    wait(&host, &id, |job| job.operators.iter().any(|node| node.id == "few" && node.records_in == 10));
    let newest = host.job(&id).unwrap().summary.last_checkpoint.unwrap_or(0);
    wait(&host, &id, |job| job.summary.last_checkpoint > Some(newest + 3));
    interrupt_and_stop(&test, host, &id);
    let mut numbers = published(&test.out());
    let few = numbers.split_off(&50_000_000_000);
    assert_eq!(few.into_iter().collect::<Vec<_>>(), (50_000_000_000..50_000_000_010).collect::<Vec<u64>>());
    assert_complete(&numbers);
}

#[test]
fn a_checkpoint_uploads_files_again_that_are_missing_from_the_storage() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let test = TestHost::new();
    let host = test.open();
    // The state stays the same after all numbers are counted, so that each checkpoint can build on the previous one.
    let id = test.submit_pipeline(
        &host,
        format!(
            "name = \"counting\"\n[state]\nbackend = \"rocksdb\"\n[source.numbers]\nconnector = \"generator\"\n\
             template = \"{{key}}\"\nkeys = 5000\nrecords = 20000\n\
             [source.silent]\nconnector = \"socket\"\naddress = \"{}\"\n\
             [operator.count]\ninputs = [\"numbers\", \"silent\"]\nkey = \"value\"\nwindow = {{ type = \"global\" }}\n\
             trigger = {{ type = \"count\", count = 1000000 }}\naggregate = {{ type = \"count\" }}\n\
             [sink.out]\ninput = \"count\"\nconnector = \"blackhole\"\n",
            listener.local_addr().unwrap()
        ),
    );
    wait(&host, &id, |job| job.operators.iter().any(|node| node.id == "count" && node.records_in == 20_000));
    let checkpoint = || {
        let request = host.trigger_checkpoint(&id).unwrap();
        let view = answer(&host, &id, &request);
        assert_eq!((view.status.as_str(), view.failure), ("completed", None));
    };
    let shared = test.folder.path().join("data/checkpoints").join(&id).join("shared");
    checkpoint();
    checkpoint();
    let files = fs::read_dir(&shared).unwrap().map(|entry| entry.unwrap());
    let largest = files.max_by_key(|file| file.metadata().unwrap().len()).unwrap().path();
    fs::remove_file(&largest).unwrap();
    checkpoint();
    fs::remove_dir_all(&shared).unwrap();
    checkpoint();
    host.shutdown();
    drop(host);

    let host = test.open();
    host.resume_jobs();
    let job = wait(&host, &id, |job| job.summary.restored_checkpoint.is_some() || job.summary.status.is_final());
    // The shutdown has taken the fifth checkpoint.
    assert_eq!(job.summary.restored_checkpoint, Some(5), "{:?} {:?}", job.failure, job.warnings);
    assert!(!job.warnings.iter().any(|warning| warning.contains("was skipped")), "{:?}", job.warnings);
    host.shutdown();
}
