//! Checkpoint storage: in a folder or in S3, moved between them, claimed or not, kept or removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use cofferdam_tests::{S3, Scene, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(60);
const BUCKET: &str = "cofferdam";

fn s3() -> Option<&'static S3> {
    static SERVER: OnceLock<Option<S3>> = OnceLock::new();
    SERVER.get_or_init(|| S3::start(BUCKET).unwrap()).as_ref()
}

/// All objects of a bucket below a key, sorted.
fn objects(s3: &S3, key: &str) -> Vec<String> {
    let listing = ureq::get(format!("{}/{BUCKET}?list-type=2&prefix={key}", s3.endpoint())).call().unwrap();
    let text = listing.into_body().read_to_string().unwrap();
    text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_string()).collect()
}

/// All files below a folder with their bytes, sorted.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn checkpoints(scene: &Scene, job: &str) -> Vec<Value> {
    let checkpoints = scene.api().get(&format!("/v1/jobs/{job}/checkpoints")).unwrap().ok().unwrap();
    checkpoints.as_array().unwrap().clone()
}

/// The location of the newest complete checkpoint.
fn newest_checkpoint(scene: &Scene, job: &str) -> String {
    let newest = scene.api().job(job).unwrap()["last_checkpoint"].clone();
    let of_newest = checkpoints(scene, job).into_iter().find(|checkpoint| checkpoint["id"] == newest).unwrap();
    of_newest["location"].as_str().unwrap().to_string()
}

fn cancel(scene: &Scene, job: &str) {
    scene.api().post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    scene.api().wait_for(job, "CANCELED").unwrap();
}

#[test]
fn a_job_with_checkpoints_in_s3_is_killed_and_goes_on_exactly() {
    let Some(s3) = s3() else { return };
    for backend in ["memory", "rocksdb"] {
        let mut scene = Scene::new(&format!("storage-s3-{backend}"), 40_000).unwrap();
        scene.environment = s3.environment();
        scene.arguments = vec!["--checkpoint-storage".into(), format!("s3://{BUCKET}/{backend}")];
        scene.start().unwrap();
        let job = scene.submit(&scene.pipeline(backend, 20_000, "interval = \"100ms\""), "").unwrap();
        for flights in [8_000, 20_000] {
            scene.wait_for(&job, flights, 2).unwrap();
            scene.kill().unwrap();
            scene.start().unwrap();
            let job = scene.wait_until_up(&job).unwrap();
            assert!(job["restored_checkpoint"].is_u64(), "{job}");
        }
        assert!(objects(s3, backend).iter().any(|key| key.ends_with("/manifest")));
        assert!(!scene.checkpoints().join(&job).exists());
        scene.finish_exactly(&job).unwrap();
        wait_until("the checkpoints are removed", TIMEOUT, || Ok(objects(s3, backend).is_empty().then_some(())))
            .unwrap();
    }
}

#[test]
fn a_bucket_that_is_not_there_is_told_at_submit() {
    let Some(s3) = s3() else { return };
    let mut scene = Scene::new("storage-no-bucket", 10).unwrap();
    scene.environment = s3.environment();
    scene.arguments = vec!["--allow-s3".into(), "nothing-here".into()];
    scene.start().unwrap();
    for (storage, status, code) in
        [("s3://nothing-here/x", 503, "storage-failed"), ("ftp://somewhere", 400, "manifest-invalid")]
    {
        let pipeline = scene.pipeline("memory", 10, &format!("storage = \"{storage}\""));
        let answer = scene.api().submit(&pipeline).unwrap();
        assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
    }
    assert_eq!(scene.api().jobs().unwrap().as_array().unwrap().len(), 0);
}

#[test]
fn a_savepoint_goes_on_from_wherever_it_was_moved() {
    let Some(s3) = s3() else { return };
    let mut scene = Scene::new("storage-moved", 60_000).unwrap();
    scene.environment = s3.environment();
    scene.arguments = vec!["--allow-s3".into(), BUCKET.into()];
    scene.start().unwrap();
    // In a folder, which is then moved; from there to S3; from there to a folder again.
    let job = scene.submit(&scene.pipeline("rocksdb", 30_000, "interval = \"100ms\""), "").unwrap();
    scene.wait_for(&job, 10_000, 1).unwrap();
    let savepoint = scene.savepoint(&job, "stop").unwrap();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    let moved = scene.dir.join("moved");
    fs::rename(savepoint, &moved).unwrap();
    let before = files(&moved);

    let in_s3 = scene.pipeline("rocksdb", 30_000, &format!("interval = \"100ms\"\nstorage = \"s3://{BUCKET}/moved\""));
    let job = scene.submit(&in_s3, &format!("from={}", moved.display())).unwrap();
    scene.wait_for(&job, 25_000, 1).unwrap();
    let savepoint = scene.savepoint(&job, "stop").unwrap();
    assert!(savepoint.starts_with(&format!("s3://{BUCKET}/moved/savepoints/")), "{savepoint}");
    scene.api().wait_for(&job, "FINISHED").unwrap();
    assert_eq!(files(&moved), before, "without a claim nothing of it is touched");

    let objects_before = objects(s3, "moved/savepoints");
    let pipeline = scene.pipeline("memory", 60_000, "interval = \"100ms\"");
    let job = scene.submit(&pipeline, &format!("from={savepoint}")).unwrap();
    scene.finish_exactly(&job).unwrap();
    assert_eq!(objects(s3, "moved/savepoints"), objects_before);
    scene.cofferdam(&["savepoint", "remove", &savepoint]).unwrap();
    assert_eq!(objects(s3, "moved/savepoints"), [""; 0]);
}

/// A job that was cancelled with a kept checkpoint, and the checkpoint's location.
fn cancelled_with_checkpoints(scene: &Scene) -> (String, String) {
    // Few files: RocksDB would compact several files as soon as it opens them, and then the next checkpoint could share
    // none.
    let pipeline = scene.pipeline("rocksdb", 20_000, "interval = \"300ms\"\non_cancel = \"keep\"");
    let job = scene.submit(&pipeline, "").unwrap();
    scene.wait_for(&job, 1_000, 1).unwrap();
    cancel(scene, &job);
    let newest = newest_checkpoint(scene, &job);
    assert!(Path::new(&newest).join("manifest").is_file(), "{newest}");
    (job, newest)
}

#[test]
fn a_claimed_checkpoint_is_built_on_and_goes_when_it_is_not_needed() {
    let mut scene = Scene::new("storage-claim", 40_000).unwrap();
    scene.start().unwrap();
    let (first, newest) = cancelled_with_checkpoints(&scene);
    let pipeline = scene.pipeline("rocksdb", 20_000, "interval = \"200ms\"\nretained = 1\non_cancel = \"keep\"");
    let second = scene.submit(&pipeline, &format!("from={newest}&claim=true")).unwrap();
    scene.wait_for(&second, 10_000, 1).unwrap();
    let own = checkpoints(&scene, &second).pop().unwrap();
    assert!(own["bytes_uploaded"].as_u64() < own["bytes"].as_u64(), "it builds on claimed files: {own}");
    wait_until("the claimed one is removed", TIMEOUT, || Ok((!Path::new(&newest).exists()).then_some(()))).unwrap();
    for flights in [15_000, 25_000] {
        scene.wait_for(&second, flights, 1).unwrap();
        scene.kill().unwrap();
        scene.start().unwrap();
        assert!(scene.wait_until_up(&second).unwrap()["restored_checkpoint"].is_u64());
    }
    // The other files of the first job can be removed now without a loss to the second.
    scene.cofferdam(&["job", "remove", &first]).unwrap();
    assert!(!scene.checkpoints().join(&first).exists());
    assert_eq!(scene.api().get(&format!("/v1/jobs/{first}")).unwrap().code(), "job-not-found");
    scene.finish_exactly(&second).unwrap();
}

#[test]
fn what_is_not_claimed_stays_and_nothing_of_it_is_named() {
    let mut scene = Scene::new("storage-no-claim", 40_000).unwrap();
    scene.start().unwrap();
    let (first, newest) = cancelled_with_checkpoints(&scene);
    let before = files(&scene.checkpoints().join(&first));
    let pipeline = scene.pipeline("rocksdb", 40_000, "interval = \"50ms\"\non_cancel = \"keep\"");
    let second = scene.submit(&pipeline, &format!("from={newest}")).unwrap();
    scene.wait_for(&second, 10_000, 1).unwrap();
    let own = checkpoints(&scene, &second).pop().unwrap();
    assert_eq!(own["bytes_uploaded"], own["bytes"], "{own}");
    scene.finish_exactly(&second).unwrap();
    assert_eq!(files(&scene.checkpoints().join(&first)), before);
    let of_second = files(&scene.checkpoints().join(&second));
    let metadata_files = of_second.iter().filter(|(path, _)| path.ends_with("manifest"));
    for (path, bytes) in metadata_files {
        assert!(
            !bytes.windows(first.len()).any(|window| window == first.as_bytes()[..].to_vec()),
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_runs_or_is_begun_from_is_neither_claimed_nor_removed() {
    let mut scene = Scene::new("storage-claim-refused", 60_000).unwrap();
    scene.start().unwrap();
    let running = scene.pipeline("memory", 2_000, "interval = \"50ms\"\nretained = 1000");
    let job = scene.submit(&running, "").unwrap();
    scene.wait_for(&job, 0, 1).unwrap();
    let newest = newest_checkpoint(&scene, &job);
    let other = running.replace("name = \"flights\"", "name = \"other\"").replace("out\"", "out-2\"");
    let refuse = |query: &str, status: u16, code: &str| {
        let answer = scene.api().post(&format!("/v1/jobs?{query}"), "application/toml", other.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
    };
    refuse(&format!("from={newest}&claim=true"), 409, "job-state");
    refuse("claim=true", 400, "request-invalid");
    assert_eq!(scene.api().delete(&format!("/v1/jobs/{job}")).unwrap().code(), "job-state");

    // A job without a checkpoint of its own protects the one that it started from.
    let without = other.replace("interval = \"50ms\"", "");
    let second = scene.submit(&without, &format!("from={newest}")).unwrap();
    cancel(&scene, &job);
    assert_eq!(scene.api().delete(&format!("/v1/jobs/{job}")).unwrap().code(), "job-state");
    assert!(Path::new(&newest).join("manifest").is_file(), "a restart of the other job has to find it");
    cancel(&scene, &second);
    assert_eq!(scene.api().delete(&format!("/v1/jobs/{job}")).unwrap().status, 204);
    assert!(!scene.checkpoints().join(&job).exists());
}

#[test]
fn what_is_kept_of_a_job_that_ended() {
    let mut scene = Scene::new("storage-kept", 40_000).unwrap();
    scene.start().unwrap();
    let folder = |job: &str| scene.checkpoints().join(job);
    let gone = |job: &str| {
        wait_until("the checkpoints are removed", TIMEOUT, || Ok((!folder(job).exists()).then_some(()))).unwrap();
    };
    let job = scene.submit(&scene.pipeline("memory", 20_000, "interval = \"50ms\""), "").unwrap();
    scene.wait_for(&job, 1_000, 2).unwrap();
    let savepoint = scene.savepoint(&job, "savepoints").unwrap();
    cancel(&scene, &job);
    gone(&job);
    assert!(Path::new(&savepoint).join("manifest").is_file(), "savepoints are never removed by themselves");

    let fails = scene.pipeline("memory", 20_000, "interval = \"50ms\"\n[restart]\nstrategy = \"none\"");
    let failed = scene.submit(&fails, &format!("from={savepoint}")).unwrap();
    scene.wait_for(&failed, 2_000, 1).unwrap();
    fs::remove_dir_all(scene.out()).unwrap();
    fs::write(scene.out(), "in the way").unwrap();
    scene.api().wait_for(&failed, "FAILED").unwrap();
    assert!(folder(&failed).exists(), "a failed job's checkpoints are kept");

    // A server that did not take them lists them from the storage.
    scene.kill().unwrap();
    scene.start().unwrap();
    let listed = scene.cofferdam(&["savepoints", &job]).unwrap();
    assert!(listed.contains(&savepoint), "{listed}");
    scene.cofferdam(&["job", "remove", &failed]).unwrap();
    assert!(!scene.checkpoints().join(&failed).exists());
    scene.cofferdam(&["job", "remove", &job]).unwrap();
    assert!(Path::new(&savepoint).join("manifest").is_file());
    scene.cofferdam(&["savepoint", "remove", &savepoint]).unwrap();
    assert!(!Path::new(&savepoint).exists());
    assert_eq!(scene.api().jobs().unwrap().as_array().unwrap().len(), 0);
}

/// Each checkpoint retires its predecessor while the server is killed again and again, so that some kill interrupts a
/// deletion.
#[test]
fn kills_while_checkpoints_are_retired_lose_nothing() {
    let mut scene = Scene::new("storage-kills", 40_000).unwrap();
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    scene.start().unwrap();
    let settings = "interval = \"2ms\"\nretained = 1";
    let mut job = scene.submit(&scene.pipeline("rocksdb", 20_000, settings), "").unwrap();
    let mut restored = 0;
    for kill in 1..=8 {
        let at = scene.wait_for(&job, kill * 3_500, 1).unwrap();
        std::thread::sleep(Duration::from_micros(rng.u64(0..20_000))); // It spreads the kills.
        scene.kill().unwrap();
        scene.start().unwrap();
        let up = scene.wait_until_up(&job).unwrap();
        assert!(up["restored_checkpoint"].as_u64() >= at["last_checkpoint"].as_u64(), "seed {seed}: {up}");
        assert_eq!(up["warnings"].as_array().unwrap().len(), 0, "seed {seed}: nothing is damaged by a kill: {up}");
        restored += 1;
        if kill == 4 {
            // The rest of the input is read by another job, which claims the checkpoint where this one stopped.
            scene.wait_for(&job, kill * 3_500, 1).unwrap();
            let savepoint = scene.savepoint(&job, "stop").unwrap();
            scene.api().wait_for(&job, "FINISHED").unwrap();
            let pipeline = scene.pipeline("rocksdb", 20_000, settings);
            job = scene.submit(&pipeline, &format!("from={savepoint}&claim=true")).unwrap();
        }
    }
    assert_eq!(restored, 8);
    scene.finish_exactly(&job).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(
        files(&scene.checkpoints().join("savepoints")),
        [],
        "the claimed savepoint went with the first checkpoint"
    );
}
