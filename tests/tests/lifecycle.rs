//! The life of a job without kills: savepoints, stop and resume, restart within the process, cancel, and checkpoints by
//! record count. The input is the flights data; the committed output must be exact every time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cofferdam_tests::{Api, Checkout, Server, committed_lines, difference, late_flights, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

struct Scene {
    server: Server,
    dir: PathBuf,
}

/// A server with the component, and an output folder.
fn scene(name: &str) -> Scene {
    let checkout = Checkout::current();
    let (server, dir) = Server::start_fresh(&format!("lifecycle-{name}")).unwrap();
    let component = fs::read(checkout.component("late-flights").unwrap()).unwrap();
    server.api.push(&component, Some("late-flights@1")).unwrap().ok().unwrap();
    Scene { server, dir }
}

impl Scene {
    fn api(&self) -> &Api {
        &self.server.api
    }

    fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    fn pipeline(&self, backend: &str, rate: u64, settings: &str) -> String {
        let data = Checkout::current().late_flights().join("data/flights.csv.gz");
        format!(
            r#"
            name = "flights"
            parallelism = 2
            {settings}
            [state]
            backend = "{backend}"
            [source.flights]
            connector = "file"
            path = "{}"
            format = "csv"
            rate = {rate}
            [operator.parse]
            input = "flights"
            key = {{ field = "tailnum" }}
            component = "late-flights@1"
            function = "parse"
            [operator.track]
            input = "parse"
            key = {{ field = "tailnum" }}
            component = "late-flights@1"
            function = "track"
            [sink.delays]
            input = "track"
            connector = "file"
            path = "{}"
            format = "csv"
            header = false
            "#,
            data.display(),
            self.out().display(),
        )
    }

    /// Waits until the job has read so many records and has a checkpoint.
    fn wait_for_records(&self, job: &str, records: u64) {
        wait_until("the job makes progress", TIMEOUT, || {
            let job = self.api().job(job)?;
            assert_ne!(job["status"], "FINISHED", "the run was over too early");
            let far = job["records_in"].as_u64() >= Some(records) && !job["last_checkpoint"].is_null();
            Ok(far.then_some(()))
        })
        .unwrap();
    }

    /// Triggers a savepoint or a stop and waits for it. Returns the savepoint's folder.
    fn savepoint(&self, job: &str, trigger: &str) -> String {
        self.api().savepoint(job, trigger, "").unwrap()
    }

    fn assert_exact(&self) {
        let expected = late_flights::expected(&Checkout::current()).unwrap();
        if let Some(difference) = difference(&expected, &committed_lines(&self.out()).unwrap()) {
            panic!("{difference}");
        }
    }

    fn checkpoints(&self, job: &str) -> Vec<Value> {
        let checkpoints = self.api().get(&format!("/v1/jobs/{job}/checkpoints")).unwrap().ok().unwrap();
        checkpoints.as_array().unwrap().clone()
    }
}

const INTERVAL: &str = "[checkpoint]\ninterval = \"200ms\"";

#[test]
fn a_savepoint_under_load_does_not_disturb_and_a_stopped_job_goes_on_from_its_own() {
    for backend in ["memory", "rocksdb"] {
        let scene = scene(&format!("savepoint-{backend}"));
        let pipeline = scene.pipeline(backend, 150_000, INTERVAL);
        let job = scene.api().submit_ok(&pipeline).unwrap();
        scene.wait_for_records(&job, 50_000);
        let savepoint = scene.savepoint(&job, "savepoints");
        assert!(Path::new(&savepoint).join("manifest").is_file(), "{savepoint}");
        assert_eq!(scene.api().job(&job).unwrap()["status"], "RUNNING");

        scene.wait_for_records(&job, 120_000);
        let savepoint = scene.savepoint(&job, "stop");
        let stopped = scene.api().wait_for(&job, "FINISHED").unwrap();
        let before = stopped["records_in"].as_u64().unwrap();

        let path = format!("/v1/jobs?from_savepoint={savepoint}");
        let resumed = scene.api().post(&path, "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
        let resumed = resumed["id"].as_str().unwrap();
        let job = scene.api().wait_for(resumed, "FINISHED").unwrap();
        assert!(job["restored_checkpoint"].is_u64(), "{job}");
        assert_eq!(job["records_in"], late_flights::FLIGHTS, "the counts go on from {before}");
        scene.assert_exact();
    }
}

#[test]
fn a_savepoint_of_another_shape_is_refused() {
    let scene = scene("mismatch");
    let pipeline = scene.pipeline("memory", 150_000, INTERVAL);
    let job = scene.api().submit_ok(&pipeline).unwrap();
    scene.wait_for_records(&job, 20_000);
    let savepoint = scene.savepoint(&job, "stop");
    scene.api().wait_for(&job, "FINISHED").unwrap();
    let submit = |pipeline: &str, savepoint: &str| {
        let path = format!("/v1/jobs?from_savepoint={savepoint}");
        scene.api().post(&path, "application/toml", pipeline.as_bytes()).unwrap()
    };
    let refuse = |pipeline: &str, savepoint: &str, status: u16, code: &str, detail: &str| {
        let answer = submit(pipeline, savepoint);
        assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(detail), "{}", answer.body);
    };
    let sharded = pipeline.replace("parallelism = 2", "parallelism = 2\nmax_parallelism = 64");
    refuse(&sharded, &savepoint, 409, "checkpoint-mismatch", "max_parallelism 128");
    let renamed = pipeline
        .replace("operator.track", "operator.follow")
        .replace("\"track\"\n            connector", "\"follow\"\n            connector");
    refuse(&renamed, &savepoint, 409, "checkpoint-mismatch", "state `stats` of `track`");
    refuse(&pipeline, &format!("{savepoint}-nothing-here"), 404, "savepoint-not-found", "");
    refuse(&pipeline, "savepoints/nothing-here", 400, "request-invalid", "absolute path");
    assert_eq!(scene.api().jobs().unwrap().as_array().unwrap().len(), 1);

    let dropped = submit(&renamed, &format!("{savepoint}&allow_unclaimed_state=true")).ok().unwrap();
    let job = scene.api().wait_for(dropped["id"].as_str().unwrap(), "FINISHED").unwrap();
    assert_eq!(job["records_in"], late_flights::FLIGHTS, "the source went on");
}

#[test]
fn a_job_restarts_within_the_process_when_its_sink_fails() {
    let scene = scene("restart");
    let settings = format!("{INTERVAL}\n[restart]\nstrategy = \"fixed-delay\"\nattempts = 50\ndelay = \"100ms\"");
    let job = scene.api().submit_ok(&scene.pipeline("rocksdb", 150_000, &settings)).unwrap();
    scene.wait_for_records(&job, 60_000);
    // A file replaces the output folder until the job fails on it.
    let away = scene.dir.join("away");
    fs::rename(scene.out(), &away).unwrap();
    fs::write(scene.out(), "in the way").unwrap();
    let restarting = wait_until("the job notices", TIMEOUT, || {
        let job = scene.api().job(&job)?;
        Ok((job["restarts"].as_u64() > Some(0)).then_some(job))
    })
    .unwrap();
    assert_eq!(restarting["failure"]["code"], "sink-unwritable", "{restarting}");
    fs::remove_file(scene.out()).unwrap();
    fs::rename(&away, scene.out()).unwrap();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    scene.assert_exact();
}

#[test]
fn attempts_run_out() {
    let scene = scene("attempts");
    let settings = format!("{INTERVAL}\n[restart]\nstrategy = \"fixed-delay\"\nattempts = 2\ndelay = \"10ms\"");
    let job = scene.api().submit_ok(&scene.pipeline("memory", 150_000, &settings)).unwrap();
    scene.wait_for_records(&job, 20_000);
    // A file in place of the output folder fails every attempt, whatever record it reads.
    fs::rename(scene.out(), scene.dir.join("away")).unwrap();
    fs::write(scene.out(), "in the way").unwrap();
    let job = scene.api().wait_for(&job, "FAILED").unwrap();
    assert_eq!(job["restarts"], 2, "{job}");
    assert_eq!(job["failure"]["code"], "sink-unwritable", "{job}");
}

#[test]
fn a_fault_that_comes_again_on_the_same_record_ends_the_attempts() {
    let scene = scene("repeated-fault");
    let settings = "[restart]\nstrategy = \"fixed-delay\"\nattempts = 50\ndelay = \"10ms\"";
    let flights = scene.dir.join("flights.csv");
    fs::write(&flights, "tailnum,carrier,flight,dep_delay\nN1,UA,1,2\nN1,UA,2,soon\n").unwrap();
    let all = Checkout::current().late_flights().join("data/flights.csv.gz");
    let pipeline = scene.pipeline("memory", 150_000, settings);
    let pipeline = pipeline.replace(&all.display().to_string(), &flights.display().to_string());
    let job = scene.api().submit_ok(&pipeline).unwrap();
    let job = scene.api().wait_for(&job, "FAILED").unwrap();
    assert_eq!(job["restarts"], 1, "{job}");
    assert_eq!(job["failure"]["code"], "guest-error", "{job}");
    assert_eq!(committed_lines(&scene.out()).unwrap(), [""; 0]);
}

#[test]
fn a_cancelled_job_leaves_what_it_committed_and_nothing_else() {
    let scene = scene("cancel");
    let job = scene.api().submit_ok(&scene.pipeline("rocksdb", 100_000, INTERVAL)).unwrap();
    scene.wait_for_records(&job, 60_000);
    scene.api().post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    scene.api().wait_for(&job, "CANCELED").unwrap();
    assert!(!committed_lines(&scene.out()).unwrap().is_empty());
    let pending: Vec<_> =
        fs::read_dir(scene.out().join(".pending")).map(|dir| dir.flatten().collect()).unwrap_or_default();
    assert!(pending.is_empty(), "{pending:?}");
    let again = scene.api().post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap();
    assert_eq!((again.status, again.code()), (409, "job-state"));
}

#[test]
fn checkpoints_by_record_count_alone() {
    let scene = scene("record-count");
    let settings = "[checkpoint]\nrecords = 40000\nretained = 2\non_cancel = \"keep\"";
    let job = scene.api().submit_ok(&scene.pipeline("memory", 200_000, settings)).unwrap();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    scene.assert_exact();
    let checkpoints = scene.checkpoints(&job);
    let of = |kind: &str| checkpoints.iter().filter(|checkpoint| checkpoint["kind"] == kind).count();
    // 336,776 records are 8 times 40,000. A checkpoint that is due while another is in progress is taken after it.
    assert!((6..=8).contains(&of("checkpoint")), "{checkpoints:?}");
    assert_eq!(of("final"), 1);
    let folder = scene.dir.join("data/checkpoints").join(&job);
    let kept = fs::read_dir(&folder).unwrap().flatten().filter(|entry| entry.path().join("manifest").is_file()).count();
    assert_eq!(kept, 2, "`retained` says how many are kept");
}
