//! The life of a replay: requested, complete with a checkpoint, removed when no older checkpoint is left, opened again after a return.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::listing::list_letters;
use super::recovery::reopen;
use super::replays::{discard_letters, request_replay, settle_replays};
use crate::checkpoint::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::connector::LetterQuota;
use crate::job::handle::JobHandle;
use crate::job::store::{JobRecord, read_json};
use crate::job::view::JobStatus;

const PIPELINE: &str = r#"
name = "a"
[source.in]
connector = "generator"
[operator.track]
input = "in"
component = "c"
function = "f"
on_fault = "dead-letter"
[sink.out]
input = "track"
connector = "blackhole"
"#;

fn job(folder: &Path) -> JobHandle {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/job-v1.json");
    let record: JobRecord = read_json(&fixture).unwrap();
    let record = JobRecord { pipeline_text: PIPELINE.into(), status: JobStatus::Running, ..record };
    fs::create_dir_all(folder.join("letters")).unwrap();
    JobHandle::new(folder.to_owned(), record, crate::clock::SystemClock::shared(), &Default::default())
}

fn write_part(job: &JobHandle, name: &str, letters: usize) {
    fs::write(job.letters().path(name), "{\"code\":\"guest-error\",\"message\":\"\"}\n".repeat(letters)).unwrap();
}

/// A checkpoint in which the two subtasks of the operator have read these numbers of letters.
fn checkpoint(id: u64, replay: u64, read: [u64; 2]) -> CheckpointMetadata {
    let position = |read: u64| {
        let position = (BTreeMap::from([(replay, read)]), Vec::<Vec<BTreeMap<u64, u64>>>::new());
        Some(postcard::to_extend(&position, vec![1]).unwrap())
    };
    let subtask = |read| SubtaskMetadata { source_position: position(read), ..SubtaskMetadata::default() };
    CheckpointMetadata {
        format: CheckpointMetadata::FORMAT,
        job_id: "ab".into(),
        job_name: "a".into(),
        checkpoint_id: id,
        kind: CheckpointKind::Checkpoint,
        taken_at_ms: 0,
        seed: None,
        max_parallelism: 128,
        schemas: Vec::new(),
        operators: vec![OperatorMetadata::new("track", read.map(subtask).into())],
    }
}

#[test]
fn letters_are_gone_with_the_checkpoint_that_contains_their_effects() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    let parts = ["part-ab-track-000-00000001", "part-ab-track-001-00000002"];
    write_part(&job, parts[0], 3);
    write_part(&job, parts[1], 2);
    let total = || list_letters(&job, None, None, 10).unwrap().total;
    let replay = request_replay(&job, None, 1000).unwrap().replays[0].clone();
    assert_eq!((replay.id, replay.letters, total()), (1000, 5, 5));
    assert_eq!(
        request_replay(&job, Some("track"), 2000).unwrap_err().code,
        "dead-letter-not-found",
        "each letter once"
    );
    assert_eq!(
        discard_letters(&job, None).unwrap_err().code,
        "dead-letter-not-found",
        "letters that are replayed stay"
    );

    let quota = LetterQuota::default();
    let settle = |id, read, retained| settle_replays(&job, &quota, &checkpoint(id, replay.id, read), retained);
    settle(4, [5, 4], Some(2));
    assert_eq!(total(), 5);
    settle(5, [5, 5], Some(2));
    let page = list_letters(&job, None, None, 10).unwrap();
    assert_eq!((page.total, page.replays[0].completed_in), (0, Some(5)));
    settle(6, [5, 5], Some(2));
    settle(7, [5, 5], None);
    assert!(parts.iter().all(|part| job.letters().path(part).exists()), "checkpoint 5 may be restored");
    settle(8, [5, 5], Some(2));
    assert!(parts.iter().all(|part| !job.letters().path(part).exists()));

    // A letter that failed again is a new one.
    write_part(&job, "part-ab-track-000-00000009", 1);
    assert_eq!((total(), request_replay(&job, None, 1000).unwrap().replays[0].id), (1, 1001));
}

#[test]
fn a_return_to_an_older_checkpoint_opens_a_replay_again() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    write_part(&job, "part-ab-track-000-00000001", 1);
    let replay = request_replay(&job, None, 7).unwrap().replays[0].id;
    settle_replays(&job, &LetterQuota::default(), &checkpoint(5, replay, [1, 1]), Some(1));
    let mut replays = job.record().replays;
    assert_eq!((reopen(&mut replays, Some(5)), replays[0].completed_in), (Vec::new(), Some(5)));
    assert_eq!((reopen(&mut replays, Some(4)), replays[0].completed_in), (Vec::new(), None));
    replays = job.record().replays;
    replays[0].is_removed = true;
    assert_eq!((reopen(&mut replays, None), replays[0].completed_in), (vec![replay], Some(5)));
}

#[test]
fn a_page_continues_behind_a_letter() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    write_part(&job, "part-ab-track-000-00000001", 3);
    write_part(&job, "part-ab-in-000-00000002", 2);
    let ids = |after: Option<&str>, limit| {
        let page = list_letters(&job, None, after, limit).unwrap();
        assert_eq!(page.total, 5);
        page.letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    let first = ids(None, 2);
    assert_eq!(first, ["part-ab-track-000-00000001.1", "part-ab-track-000-00000001.2"]);
    assert_eq!(ids(Some(&first[1]), 2), ["part-ab-track-000-00000001.3", "part-ab-in-000-00000002.1"]);
    assert_eq!(ids(Some("part-ab-in-000-00000002.2"), 2), [""; 0]);
    assert_eq!(list_letters(&job, Some("in"), None, 9).unwrap().total, 2);
    for id in ["part-gone.1", "x", "part-ab-track-000-00000001.0", "../job.json.1"] {
        assert_eq!(list_letters(&job, None, Some(id), 9).unwrap_err().code, "dead-letter-not-found", "{id}");
    }
    assert_eq!(
        request_replay(&job, Some("in"), 1).unwrap_err().code,
        "dead-letter-not-found",
        "a source has no replay"
    );
}
