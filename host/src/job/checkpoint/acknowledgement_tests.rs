//! Jobs that read a source with several splits: what it is told of checkpoints, and what is read after a restore.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::connector::split_log::SplitLog;
use crate::job::host::Host;
use crate::job::registry::Submission;
use crate::job::testing::{TestHost, answer, published, wait};
use crate::job::view::SavepointFormat;

fn pipeline(log: &str, parallelism: u32) -> String {
    format!(
        "name = \"log\"\n[checkpoint]\nretained = 2\n[source.in]\nconnector = \"split-log\"\nlog = \"{log}\"\n\
         parallelism = {parallelism}\n[sink.out]\ninput = \"in\"\nconnector = \"file\"\npath = \"out\"\n"
    )
}

/// Appends the numbers from `from` to `to` to the splits below `splits`, in turn.
fn append(log: &SplitLog, splits: usize, from: usize, to: usize) {
    (from..to).for_each(|number| log.append(number % splits, [number.to_string()]));
}

/// Takes a checkpoint. Returns its location.
fn checkpoint(host: &Host, id: &str) -> String {
    let request = host.trigger_checkpoint(id).unwrap();
    let view = answer(host, id, &request);
    assert_eq!((view.status.as_str(), view.failure), ("completed", None));
    view.location.unwrap()
}

/// Waits until sources were told all of `expected`. Returns all that they were told, in order.
fn await_told(host: &Host, id: &str, log: &SplitLog, expected: &[&str]) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..12_000 {
        told.extend(log.take_told());
        if expected.iter().all(|expected| told.iter().any(|one| one == expected)) {
            return told;
        }
        host.await_end(id, Duration::from_millis(5)).unwrap();
    }
    panic!("{expected:?} is missing in {told:?}");
}

fn assert_all(out: &Path, numbers: usize) {
    assert_eq!(published(out), (0..numbers as u64).collect::<BTreeSet<u64>>());
}

#[test]
fn sources_hear_of_durable_checkpoints_of_the_oldest_that_is_left_and_after_a_restart_of_the_restored_one() {
    let (test, log) = (TestHost::new(), SplitLog::named("acknowledged"));
    append(&log, 3, 0, 30);
    let host = test.open();
    let id = test.submit_pipeline(&host, pipeline("acknowledged", 1));
    let first = checkpoint(&host, &id);
    log.watch_checkpoints(Path::new(&first).parent().unwrap().to_owned());
    (0..2).for_each(|_| drop(checkpoint(&host, &id)));
    let told = await_told(&host, &id, &log, &["complete 3", "released 2"]);
    let expected =
        ["complete 1", "released 1", "complete 2", "released 1", "complete 3", "released 2"].map(str::to_owned);
    assert_eq!(told, expected);

    host.shutdown();
    drop(host);
    let host = test.open();
    log.take_told();
    host.resume_jobs();
    let restored = format!("complete {}", newest(&host, &id));
    let told = await_told(&host, &id, &log, &[&restored]);
    assert_eq!(told, [restored], "the process before may have ended before it could tell");
    host.shutdown();
}

/// Returns the number of the newest checkpoint.
fn newest(host: &Host, id: &str) -> u64 {
    for _ in 0..12_000 {
        if let Some(newest) = host.job(id).unwrap().summary.restored_checkpoint {
            return newest;
        }
        host.await_end(id, Duration::from_millis(5)).unwrap();
    }
    panic!("no checkpoint is restored");
}

#[test]
fn a_source_restored_at_another_parallelism_reads_each_record_once_and_new_splits_from_their_beginning() {
    let (test, log) = (TestHost::new(), SplitLog::named("rescaled"));
    log.await_completion();
    append(&log, 3, 0, 300);
    let host = test.open();
    let mut from: Option<String> = None;
    for (step, parallelism) in [2_u32, 3, 1, 4].into_iter().enumerate() {
        let numbers = 300 * (step + 1);
        let submission = test.submission(pipeline("rescaled", parallelism));
        let id = host.submit(Submission { from: from.clone(), ..submission }).unwrap().summary.id;
        if step > 0 {
            // Splits that the checkpoint does not know appear before and after the restore.
            append(&log, 3 + step, numbers - 300, numbers);
        }
        let is_read = |host: &Host| host.job(&id).unwrap().summary.records_in >= numbers as u64;
        for _ in 0..12_000 {
            if is_read(&host) {
                break;
            }
            host.await_end(&id, Duration::from_millis(5)).unwrap();
        }
        assert!(is_read(&host), "{:?}", host.job(&id).unwrap().summary.records_in);
        let request = host.stop(&id, SavepointFormat::Canonical, false).unwrap();
        let view = answer(&host, &id, &request);
        assert_eq!(view.status, "completed", "{:?}", view.failure);
        wait(&host, &id, |job| job.summary.status.is_final());
        let told = log.take_told();
        assert_eq!(
            told,
            vec!["complete 1"; parallelism as usize],
            "each subtask hears of the savepoint before it ends"
        );
        from = view.location;
        assert_all(&test.out(), numbers);
    }
    host.shutdown();
}
