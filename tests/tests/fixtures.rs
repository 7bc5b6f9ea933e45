//! A checkpoint and savepoints that earlier versions wrote, kept below `fixtures/`: each still resumes, and goes on exactly.
//!
//! `cargo xtask test --test fixtures -- --ignored` writes those of this version anew. Once a version is released its
//! fixtures stay as they are, and the next version gets a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cofferdam_tests::{Place, Server, committed_lines, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);
/// What this version writes to.
const VERSION: &str = "0.1";
const KEYS: u64 = 42;
const TIMES: u64 = 1500;

fn fixtures() -> PathBuf {
    Place::of_this_checkout().root.join("tests/fixtures")
}

/// Numbers from a generator; the function `spread` makes keys of them, and `sum` adds each key's up.
fn manifest(backend: &str, rate: &str, storage: &Path, out: &Path) -> String {
    format!(
        r#"
        name = "sums"
        parallelism = 2
        max_parallelism = 13
        [checkpoint]
        interval = "200ms"
        storage = "{}"
        [state]
        backend = "{backend}"
        [source.numbers]
        connector = "generator"
        template = "{{n}}"
        records = {}
        {rate}
        [operator.spread]
        input = "numbers"
        component = "sums@1"
        function = "spread"
        [operator.sum]
        input = "spread"
        key = "emitted"
        component = "sums@1"
        function = "sum"
        [sink.out]
        input = "sum"
        connector = "file"
        path = "{}"
        "#,
        storage.display(),
        KEYS * TIMES,
        out.display()
    )
}

fn start(name: &str) -> (Server, PathBuf) {
    let (server, dir) = Server::start_fresh(name).unwrap();
    let component = fs::read(Place::of_this_checkout().component("sums").unwrap()).unwrap();
    server.api.push(&component, Some("sums@1")).unwrap().ok().unwrap();
    (server, dir)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, &to).map(|_| ()).unwrap() }
    }
}

/// The images below a storage's root: folders with a manifest.
fn images(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        match entry.path().join("manifest").is_file() {
            true => found.push(entry.path()),
            false => found.extend(images(&entry.path())),
        }
    }
    found.sort();
    found
}

#[test]
fn images_of_every_version_resume_and_go_on_exactly() {
    let (server, dir) = start("fixtures");
    let mut count = 0;
    for version in fs::read_dir(fixtures()).unwrap().flatten() {
        for written_by in fs::read_dir(version.path()).unwrap().flatten() {
            let copied = dir.join(written_by.file_name());
            copy(&written_by.path(), &copied);
            for image in images(&copied) {
                for (backend, parallelism) in [("memory", 2), ("rocksdb", 2), ("rocksdb", 3)] {
                    count += 1;
                    let out = dir.join(format!("out-{count}"));
                    let manifest = manifest(backend, "", &copied, &out);
                    let manifest = manifest.replacen("parallelism = 2", &format!("parallelism = {parallelism}"), 1);
                    let path = format!("/v1/jobs?from_savepoint={}", image.display());
                    let job = server.api.post(&path, "application/toml", manifest.as_bytes()).unwrap().ok().unwrap();
                    let job = server.api.wait_for(job["id"].as_str().unwrap(), "FINISHED").unwrap();
                    assert!(job["restored_checkpoint"].is_u64(), "{job}");
                    assert_eq!(job["records_in"], KEYS * TIMES, "{}", image.display());
                    assert_sums(&out, &image);
                }
            }
        }
    }
    assert!(count >= 18, "two backends wrote a checkpoint and two savepoints each: {count} of 18");
}

fn assert_sums(out: &Path, image: &Path) {
    let mut sums = BTreeMap::<u64, u64>::new();
    for line in committed_lines(out).unwrap() {
        let mut numbers = line.split(',').map(|number| number.parse::<u64>().unwrap());
        let (key, sum) = (numbers.next().unwrap(), numbers.next().unwrap());
        let last = sums.entry(key).or_default();
        *last = sum.max(*last);
    }
    let expected: BTreeMap<u64, u64> = (0..KEYS).map(|key| (key, key * TIMES)).collect();
    assert_eq!(sums, expected, "{}", image.display());
}

#[test]
#[ignore = "writes the fixtures of this version anew"]
fn write_the_fixtures() {
    let folder = fixtures().join(VERSION);
    let _ = fs::remove_dir_all(&folder);
    for backend in ["memory", "rocksdb"] {
        let (server, dir) = start(&format!("write-fixtures-{backend}"));
        let storage = dir.join("storage");
        let manifest = manifest(backend, "rate = 5000", &storage, &dir.join("out"));
        let manifest = manifest.replacen("interval = \"200ms\"", "records = 5000\nretained = 1", 1);
        let job = server.api.submit_ok(&manifest).unwrap();
        wait_until("a checkpoint", TIMEOUT, || {
            let job = server.api.job(&job)?;
            Ok(job["last_checkpoint"].is_u64().then_some(()))
        })
        .unwrap();
        for format in ["canonical", "native"] {
            let body = format!("{{\"format\":\"{format}\"}}");
            let path = format!("/v1/jobs/{job}/savepoints");
            let view = server.api.post(&path, "application/json", body.as_bytes()).unwrap().ok().unwrap();
            let request = view["request_id"].as_str().unwrap();
            wait_until("a savepoint", TIMEOUT, || {
                let view = server.api.get(&format!("{path}/{request}"))?.ok()?;
                Ok((view["status"] == "completed").then_some(()))
            })
            .unwrap();
        }
        // Nothing is published, cancelled or removed any more.
        server.kill().unwrap();
        copy(&storage, &folder.join(backend));
    }
}
