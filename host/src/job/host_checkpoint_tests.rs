//! Checkpoints as the manifest asks for them: each way of taking them, and what a job goes on from behind an end without notice.

use std::collections::BTreeSet;

use super::tests::{Subject, answer, published, wait};
use super::*;

/// Two subtasks that read numbers, and one that writes them to files.
fn fan_in(settings: &str) -> String {
    format!(
        "name = \"numbers\"\n[checkpoint]\n{settings}\n[source.numbers]\nconnector = \"generator\"\nrate = 20000\n\
         parallelism = 2\n[sink.out]\ninput = \"numbers\"\nconnector = \"file\"\npath = \"out\"\n"
    )
}

/// Waits until so many checkpoints are complete since the process started.
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

/// Ends the process without notice, starts it again, and stops the job then.
fn interrupt_and_stop(subject: &Subject, host: Host, id: &str) -> Host {
    host.shutdown();
    drop(host);
    let host = subject.open();
    host.resume_jobs();
    wait_for_checkpoints(&host, id, 2);
    assert!(host.job(id).unwrap().summary.restored_checkpoint.is_some());
    let request = host.stop(id, SavepointFormat::Canonical, false).unwrap();
    assert_eq!(answer(&host, id, &request).status, "completed");
    host
}

/// Of the numbers of each source subtask none is missing.
fn assert_complete(numbers: &BTreeSet<u64>) {
    for subtask in [0, 1] {
        let own = numbers.iter().copied().filter(|number| number % 2 == subtask);
        assert!(own.enumerate().all(|(at, number)| number == 2 * at as u64 + subtask));
    }
}

#[test]
fn what_is_published_is_exact_however_checkpoints_overlap_or_overtake() {
    for settings in [
        "interval = \"5ms\"\nunaligned_after = \"0s\"",
        "interval = \"5ms\"\nunaligned_after = \"1ms\"\nmin_pause = \"2ms\"",
        "interval = \"1ms\"\nmax_concurrent = 4\nretained = 1",
    ] {
        let subject = Subject::new();
        let host = subject.open();
        let id = subject.submit_manifest(&host, fan_in(settings));
        wait_for_checkpoints(&host, &id, 5);
        interrupt_and_stop(&subject, host, &id);
        assert_complete(&published(&subject.out()));
    }
}

#[test]
fn at_least_once_loses_nothing_and_says_what_it_is() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, fan_in("interval = \"5ms\"\nmode = \"at-least-once\""));
    assert_eq!(host.job(&id).unwrap().guarantee, "at-least-once by the checkpoints' mode");
    wait_for_checkpoints(&host, &id, 5);
    interrupt_and_stop(&subject, host, &id);
    let files = fs::read_dir(subject.out()).unwrap().map(|entry| entry.unwrap().path());
    let text: String = files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_complete(&text.lines().map(|line| line.parse().unwrap()).collect());
}

#[test]
fn a_checkpoint_on_request_shows_what_each_subtask_did() {
    let subject = Subject::new();
    let host = subject.open();
    let id = subject.submit_manifest(&host, fan_in("unaligned_after = \"0s\""));
    let request = host.trigger_checkpoint(&id).unwrap();
    let view = answer(&host, &id, &request);
    assert_eq!((view.status.as_str(), view.failure), ("completed", None));
    assert!(view.location.unwrap().ends_with("chk-1"));
    let taken = host.checkpoint(&id, 1).unwrap();
    let shape: Vec<_> = taken.operators.iter().map(|one| (one.id.as_str(), one.subtasks.len())).collect();
    assert_eq!(shape, [("numbers", 2), ("out", 1)]);
    let (source, sink) = (&taken.operators[0].total, &taken.operators[1].total);
    // A gate that both barriers have reached before it hears the signal has nothing to overtake.
    assert!(!source.unaligned && taken.summary.total.unaligned == sink.unaligned, "{taken:?}");
    assert!(sink.sync_ms > 0.0 && sink.end_to_end_ms >= sink.sync_ms, "it syncs a file: {taken:?}");
    assert_eq!(taken.summary.total.sync_ms, source.sync_ms.max(sink.sync_ms));
    assert_eq!(host.job(&id).unwrap().summary.last_checkpoint, Some(1));
    assert_eq!(host.checkpoint(&id, 2).unwrap_err().code, "checkpoint-not-found");
    host.shutdown();
}

#[test]
fn a_checkpoint_that_takes_too_long_has_failed_and_the_job_goes_on() {
    let subject = Subject::new();
    let host = subject.open();
    let settings = "interval = \"5ms\"\ntimeout = \"1ms\"\ntolerable_failures = 1000000";
    let id = subject.submit_manifest(&host, fan_in(settings));
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
    wait(&host, &id, |job| job.summary.status == JobStatus::Cancelled);
}

#[test]
fn event_time_that_passes_a_step_makes_a_checkpoint_due() {
    let subject = Subject::new();
    let host = subject.open();
    let timed =
        "rate = 20000\ntimestamp = { column = 0, format = \"unix-ms\" }\nwatermark = { out_of_orderness = \"0s\" }";
    let manifest = fan_in("event_time = \"1s\"").replace("rate = 20000", timed);
    let id = subject.submit_manifest(&host, manifest);
    wait_for_checkpoints(&host, &id, 2);
    host.shutdown();
}

#[test]
fn checkpoints_are_taken_when_some_sources_have_ended() {
    let subject = Subject::new();
    let host = subject.open();
    let manifest = fan_in("interval = \"5ms\"").replace("input = \"numbers\"", "input = [\"numbers\", \"few\"]")
        + "[source.few]\nconnector = \"generator\"\nrecords = 10\ntemplate = \"5000000000{n}\"\n";
    let id = subject.submit_manifest(&host, manifest);
    wait(&host, &id, |job| job.operators.iter().any(|node| node.id == "few" && node.records_in == 10));
    let newest = host.job(&id).unwrap().summary.last_checkpoint.unwrap_or(0);
    wait(&host, &id, |job| job.summary.last_checkpoint > Some(newest + 3));
    interrupt_and_stop(&subject, host, &id);
    let mut numbers = published(&subject.out());
    let few = numbers.split_off(&50_000_000_000);
    assert_eq!(few.into_iter().collect::<Vec<_>>(), (50_000_000_000..50_000_000_010).collect::<Vec<u64>>());
    assert_complete(&numbers);
}

#[test]
fn a_checkpoint_stores_again_what_is_gone_from_the_storage() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let subject = Subject::new();
    let host = subject.open();
    // The state does not change any more once all numbers are counted, so that each checkpoint could build on the last.
    let id = subject.submit_manifest(
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
    let shared = subject.folder.path().join("data/checkpoints").join(&id).join("shared");
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

    let host = subject.open();
    host.resume_jobs();
    let job = wait(&host, &id, |job| job.summary.restored_checkpoint.is_some() || job.summary.status.is_final());
    assert_eq!(job.summary.restored_checkpoint, Some(4), "{:?} {:?}", job.failure, job.warnings);
    assert!(!job.warnings.iter().any(|warning| warning.contains("passed over")), "{:?}", job.warnings);
    host.shutdown();
}
