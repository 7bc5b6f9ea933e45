//! A long restore is visible, and a cancel, a stop and a signal interrupt it. The source is a compressed file: finding its
//! position means reading all data before it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Api, Server, wait_until};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(180);
const LINE_BYTES: usize = 1 << 20;
/// Lines of one gzip member, and members of the file: 16 GiB.
const LINES: usize = 16;
const MEMBERS: usize = 1024;
/// Minimum number of lines that the first run reads: 8 GiB.
const READ_BEFORE: u64 = 8 << 10;

fn write_input(path: &Path) {
    let mut member = GzEncoder::new(Vec::new(), Compression::fast());
    let line = [vec![b'a'; LINE_BYTES - 1], vec![b'\n']].concat();
    (0..LINES).for_each(|_| member.write_all(&line).unwrap());
    let member = member.finish().unwrap();
    let mut file = File::create(path).unwrap();
    (0..MEMBERS).for_each(|_| file.write_all(&member).unwrap());
}

fn pipeline(dir: &Path) -> String {
    format!(
        "name = \"lines\"\n[checkpoint]\non_cancel = \"keep\"\n[source.lines]\nconnector = \"file\"\npath = \"{}\"\n\
         format = \"lines\"\n[sink.out]\ninput = \"lines\"\nconnector = \"blackhole\"\n",
        dir.join("lines.gz").display()
    )
}

/// Waits for a status. Fails if the job reaches one of `never` first.
fn wait_for(api: &Api, job: &str, status: &str, never: &[&str]) -> Value {
    wait_until(&format!("the job is {status}"), TIMEOUT, || {
        let job = api.job(job)?;
        let now = job["status"].as_str().unwrap_or_default();
        assert!(!never.contains(&now), "{job}");
        Ok((now == status).then_some(job))
    })
    .unwrap()
}

/// Waits until the job is being restored. Fails if it runs or ends first.
fn wait_until_restoring(api: &Api, job: &str) {
    wait_until("the job is restoring", TIMEOUT, || {
        let job = api.job(job)?;
        let status = job["status"].as_str().unwrap_or_default();
        assert!(!["RUNNING", "FINISHED", "FAILED"].contains(&status), "{job}");
        Ok((status == "CREATED" && job["restoring"] == true).then_some(()))
    })
    .unwrap();
}

fn submit(api: &Api, pipeline: &str, from: &str) -> String {
    let job = api.post(&format!("/v1/jobs?from={from}"), "application/toml", pipeline.as_bytes()).unwrap();
    job.ok().unwrap()["id"].as_str().unwrap().to_owned()
}

fn stop(api: &Api, job: &str) -> String {
    let view = api.post(&format!("/v1/jobs/{job}/stop"), "application/json", b"").unwrap().ok().unwrap();
    view["request_id"].as_str().unwrap().to_owned()
}

/// A server, and a savepoint far into the file.
fn scene(name: &str) -> (Server, PathBuf, String) {
    let (server, dir) = Server::start_fresh(name).unwrap();
    write_input(&dir.join("lines.gz"));
    let job = server.api.submit_ok(&pipeline(&dir)).unwrap();
    wait_until("the job is far into the file", TIMEOUT, || {
        let job = server.api.job(&job)?;
        assert_ne!(job["status"], "FINISHED");
        Ok((job["records_in"].as_u64() >= Some(READ_BEFORE)).then_some(()))
    })
    .unwrap();
    let request = stop(&server.api, &job);
    wait_for(&server.api, &job, "FINISHED", &["FAILED"]);
    let view = server.api.get(&format!("/v1/jobs/{job}/savepoints/{request}")).unwrap().ok().unwrap();
    (server, dir, view["location"].as_str().unwrap().to_owned())
}

#[test]
fn a_restore_is_shown_and_hears_cancel_stop_and_signals() {
    let (server, dir, savepoint) = scene("restoring");
    let pipeline = pipeline(&dir);

    // A cancel ends the job before its source has found its position: it never runs.
    let job = submit(&server.api, &pipeline, &savepoint);
    wait_until_restoring(&server.api, &job);
    server.api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    wait_for(&server.api, &job, "CANCELED", &["RUNNING", "FINISHED", "FAILED"]);

    // A stop is visible, and the job stops at or shortly after the position from which it was restored.
    let job = submit(&server.api, &pipeline, &savepoint);
    wait_until_restoring(&server.api, &job);
    let request = stop(&server.api, &job);
    assert_eq!(server.api.job(&job).unwrap()["stop"]["status"], "in-progress");
    let stopped = wait_for(&server.api, &job, "FINISHED", &["FAILED"]);
    assert_eq!(stopped["stop"]["status"], "completed", "{stopped}");
    let view = server.api.get(&format!("/v1/jobs/{job}/savepoints/{request}")).unwrap().ok().unwrap();
    assert_eq!(view["status"], "completed", "{view}");

    // A signal ends the server. The next server restores the job again.
    let job = submit(&server.api, &pipeline, &savepoint);
    wait_until_restoring(&server.api, &job);
    let mut server = server;
    let killed = Command::new("kill").arg("-TERM").arg(server.process_id().to_string()).status().unwrap();
    assert!(killed.success());
    wait_until("the server has ended", TIMEOUT, || Ok((!server.is_up()?).then_some(()))).unwrap();
    let checkout = cofferdam_tests::Checkout::current();
    let server = Server::start(&checkout.cofferdam(), &dir, &[]).unwrap();
    wait_until_restoring(&server.api, &job);
    server.api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    wait_for(&server.api, &job, "CANCELED", &["RUNNING", "FINISHED", "FAILED"]);
    fs::remove_file(dir.join("lines.gz")).unwrap();
}
