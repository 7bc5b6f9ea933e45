//! A checkpoint and savepoints written by earlier versions, in `fixtures/`: each still resumes exactly.
//!
//! `cargo xtask test --test fixtures -- --ignored` writes those of the current version. Once a version is released, its
//! fixtures never change, and the next version gets a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cofferdam_tests::kinds::{Kept, plainly, records};
use cofferdam_tests::{Checkout, Server, committed_lines, difference, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);
/// The folder that this version writes to.
const VERSION: &str = "0.1";
const RECORDS: u64 = 20_000;
const RULES: u64 = 5;

fn fixtures() -> PathBuf {
    Checkout::current().root.join("tests/fixtures")
}

/// Numbers from a generator; `spell` turns them into keyed records. `kinds` stores them in every kind of keyed state, with
/// and without a time to live. `rules` keeps broadcast rules that arrive long before anything is written.
fn pipeline(backend: &str, rate: &str, storage: &Path, out: &Path) -> String {
    format!(
        r#"
        name = "every-kind"
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
        records = {RECORDS}
        parallelism = 1
        {rate}
        [source.limits]
        connector = "generator"
        template = "r{{n}},{{n}}"
        records = {RULES}
        parallelism = 1
        [operator.spell]
        input = "numbers"
        component = "kinds@1"
        function = "spell"
        parallelism = 1
        [operator.kinds]
        input = "spell"
        key = "emitted"
        component = "kinds@1"
        function = "kinds"
        [operator.rules]
        input = "spell"
        broadcast = "limits"
        key = "emitted"
        component = "kinds@1"
        function = "rules"
        [sink.out]
        input = "kinds"
        connector = "file"
        path = "{out}/kinds"
        [sink.orders]
        input = "rules"
        connector = "file"
        path = "{out}/rules"
        "#,
        storage.display(),
        out = out.display()
    )
}

fn start(name: &str) -> (Server, PathBuf) {
    let (server, dir) = Server::start_fresh(name).unwrap();
    let component = fs::read(Checkout::current().component("kinds").unwrap()).unwrap();
    server.api.push(&component, Some("kinds@1")).unwrap().ok().unwrap();
    (server, dir)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, &to).map(|_| ()).unwrap() }
    }
}

/// The checkpoints below a storage's root: folders with a metadata file.
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
                    let pipeline = pipeline(backend, "", &copied, &out);
                    let pipeline = pipeline.replacen("parallelism = 2", &format!("parallelism = {parallelism}"), 1);
                    let path = format!("/v1/jobs?from_savepoint={}", image.display());
                    let job = server.api.post(&path, "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
                    let job = server.api.wait_for(job["id"].as_str().unwrap(), "FINISHED").unwrap();
                    assert!(job["restored_checkpoint"].is_u64(), "{job}");
                    assert_eq!(job["records_in"], RECORDS + RULES, "{}", image.display());
                    assert_exact(&out, &image);
                }
            }
        }
    }
    assert!(count >= 18, "two backends wrote a checkpoint and two savepoints each: {count} of 18");
}

/// The output of a resumed job is the tail of the output of the whole run, for every kind of state and every rule.
fn assert_exact(out: &Path, image: &Path) {
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let (mut kinds, mut rules) = (Vec::new(), Vec::new());
    for record in records(RECORDS) {
        let kept = kept.entry(record.split(',').next().unwrap().to_owned()).or_default();
        kinds.push(plainly(kept, &record));
        rules.push(format!("order {record}: {} {RULES} {}", kept.count, (0..RULES).sum::<u64>()));
    }
    for (sink, mut expected) in [("kinds", kinds), ("rules", rules)] {
        let lines = committed_lines(&out.join(sink)).unwrap();
        assert!(!lines.is_empty() && lines.len() < expected.len(), "{}: {} {sink}", image.display(), lines.len());
        let mut expected = expected.split_off(expected.len() - lines.len());
        expected.sort();
        if let Some(difference) = difference(&expected, &lines) {
            panic!("{}: {sink}: {difference}", image.display());
        }
    }
}

#[test]
#[ignore = "writes the fixtures of this version anew"]
fn write_the_fixtures() {
    let folder = fixtures().join(VERSION);
    let _ = fs::remove_dir_all(&folder);
    for backend in ["memory", "rocksdb"] {
        let (server, dir) = start(&format!("write-fixtures-{backend}"));
        let storage = dir.join("storage");
        let pipeline = pipeline(backend, "rate = 2000", &storage, &dir.join("out"));
        let pipeline = pipeline.replacen("interval = \"200ms\"", "records = 4000\nretained = 1", 1);
        let job = server.api.submit_ok(&pipeline).unwrap();
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
        // Nothing else is published, cancelled or removed.
        server.kill().unwrap();
        copy(&storage, &folder.join(backend));
    }
}
