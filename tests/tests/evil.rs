//! Evil guests: each attack of `evil_kinds` ends in its own fault or refusal, within its limit, beside a job that notices nothing.
//!
//! One server runs all kinds twice, several at once. Its memory after the second pass shows that nothing was kept.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "a test outside of the host")]

mod evil_kinds;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cofferdam_tests::{Api, Checkout, ProcessMemory, Server, committed_lines, memory_kib, wait_until};
use evil_kinds::{End, Kind, Shape, functions, handmade, refused};
use serde_json::Value;

/// Longer than any wait.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Number of attacks at the same time.
const AT_ONCE: usize = 4;

/// Records of the input of each attack.
const RECORDS: usize = 200;

/// How far the resident memory of the server may rise above that of an idle one, in KiB: the limits of the guests that attack at the
/// same time, and what the server returns to the system late.
const PEAK_KIB: u64 = 1_500_000;

/// Size of the server's log after both passes. The lines that the guests try to write have tens of gigabytes.
const LOG_BYTES_MAX: u64 = 64 << 20;

struct Stage {
    server: Server,
    dir: PathBuf,
}

impl Stage {
    fn start(name: &str) -> Stage {
        let checkout = Checkout::current();
        let dir = checkout.fresh_dir(&format!("tests/{name}")).unwrap();
        let lines = |key: fn(usize) -> String| -> String {
            (0..RECORDS).map(|number| format!("{},{}\n", key(number), number * 10)).collect()
        };
        fs::write(dir.join("distinct.csv"), lines(|number| format!("k{number}"))).unwrap();
        fs::write(dir.join("same.csv"), lines(|_| "k".to_owned())).unwrap();
        // Every other record is 600 ms later, so that sessions with a gap of 500 ms merge when the records between arrive.
        let times = (0..RECORDS).map(|number| (number % 20) * 600).chain((0..20).map(|number| number * 600 + 300));
        fs::write(dir.join("merging.csv"), times.map(|time| format!("k,{time}\n")).collect::<String>()).unwrap();
        let arguments = ["--compile-time", "8s", "--compile-memory", "512MiB"];
        let server = Server::start(&checkout.cofferdam(), &dir, &arguments).unwrap();
        let component = fs::read(checkout.component("evil").unwrap()).unwrap();
        server.api.push(&component, Some("evil@1")).unwrap().ok().unwrap();
        Stage { server, dir }
    }

    fn pipeline(&self, kind: &Kind) -> String {
        let (dir, name) = (self.dir.display(), kind.name);
        let component = if kind.component.is_some() { format!("{name}@1") } else { "evil@1".to_owned() };
        let file = match kind.shape {
            Shape::Plain | Shape::Keyed => "distinct.csv",
            Shape::Session => "merging.csv",
            _ => "same.csv",
        };
        let source = |id: &str| {
            format!(
                "[source.{id}]\nconnector = \"file\"\npath = \"{dir}/{file}\"\nformat = \"csv\"\nheader = false\n\
                 timestamp = {{ column = 1, format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"1h\" }}\n"
            )
        };
        let second =
            if matches!(kind.shape, Shape::Broadcast | Shape::Join) { source("second") } else { String::new() };
        let inputs = match kind.shape {
            Shape::Plain => "",
            Shape::Keyed | Shape::OneKey => "key = { column = 0 }",
            Shape::Window => "key = { column = 0 }\nwindow = { type = \"tumbling\", size = \"1s\" }",
            Shape::Session => "key = { column = 0 }\nwindow = { type = \"session\", gap = \"500ms\" }",
            Shape::Broadcast => "key = { column = 0 }\nbroadcast = \"second\"",
            Shape::Join => "key = { column = 0 }\nsecond = \"second\"\ninterval = { lower = \"-1h\", upper = \"1h\" }",
        };
        let Kind { function, settings, parallelism, .. } = kind;
        format!(
            "name = \"{name}\"\nparallelism = {parallelism}\nbatch = {{ records = 10 }}\n[restart]\nstrategy = \"none\"\n{}{second}\
             [operator.act]\ninput = \"in\"\ncomponent = \"{component}\"\nfunction = \"{function}\"\n{inputs}\n{settings}\n\
             [sink.out]\ninput = \"act\"\nconnector = \"file\"\npath = \"{dir}/out/{name}\"\n",
            source("in")
        )
    }

    /// Runs one attack to its end and removes what it left. Returns what is wrong, if anything.
    fn attack(&self, kind: &Kind) -> Result<(), String> {
        let api = &self.server.api;
        let reference = format!("{}@1", kind.name);
        if let Some(bytes) = &kind.component {
            let answer = api.push(bytes, Some(&reference)).map_err(|error| format!("{error:#}"))?;
            answer.ok().map_err(|error| format!("{error:#}"))?;
        }
        let answer = api.submit(&self.pipeline(kind)).map_err(|error| format!("{error:#}"))?;
        if let End::Refused(code) = kind.end {
            let _ = api.delete(&format!("/v1/components/{reference}"));
            return if answer.code() == code { Ok(()) } else { Err(format!("the submit returned {}", answer.body)) };
        }
        let id = answer.ok().map_err(|error| format!("{error:#}"))?["id"].as_str().unwrap_or_default().to_owned();
        let ended = wait_for_end(api, &id)?;
        let _ = fs::remove_dir_all(self.dir.join("out").join(kind.name));
        let removed = api.delete(&format!("/v1/jobs/{id}")).map_err(|error| format!("{error:#}"))?;
        removed.ok().map_err(|error| format!("{error:#}"))?;
        if kind.component.is_some() {
            let removed = api.delete(&format!("/v1/components/{reference}")).map_err(|error| format!("{error:#}"))?;
            removed.ok().map_err(|error| format!("{error:#}"))?;
        }
        check_end(kind, &ended)
    }

    /// Runs all attacks once, several at a time.
    fn pass(&self, kinds: &[Kind]) {
        let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some(kind) = kinds.get(next.fetch_add(1, Ordering::Relaxed)) {
                let start = Instant::now();
                let result = self.attack(kind);
                let seconds = start.elapsed().as_secs_f64();
                eprintln!(
                    "{:<36} {seconds:>6.2} s  {:>8} KiB",
                    kind.name,
                    memory_kib(self.server.process_id(), ProcessMemory::Resident).expect("the server runs")
                );
                if let Err(error) = result {
                    wrong.lock().unwrap().push(format!("{}: {error}", kind.name));
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(work);
            }
        });
        let wrong = wrong.into_inner().unwrap();
        assert!(wrong.is_empty(), "{} of {} attacks:\n{}", wrong.len(), kinds.len(), wrong.join("\n"));
    }

    /// Uploads components that must be refused.
    fn refuse(&self) {
        let mut wrong = Vec::new();
        for refused in refused::components() {
            let start = Instant::now();
            let answer = self.server.api.push(&refused.bytes, Some("refused@1")).unwrap();
            eprintln!("{:<36} {:>6.2} s  {}", refused.name, start.elapsed().as_secs_f64(), answer.code());
            if answer.code() != refused.code {
                wrong.push(format!("{}: {} {}", refused.name, answer.status, answer.body));
                let _ = self.server.api.delete("/v1/components/refused@1");
            }
        }
        for name in ["..@..", "a@..", "../x@1", "@1", "a@", "a/b@1", "a@1/../2", &"n".repeat(1000)] {
            let answer = self.server.api.push(b"\0asm", Some(name)).unwrap();
            if answer.code() != "component-name" {
                wrong.push(format!("the name {name}: {} {}", answer.status, answer.body));
            }
        }
        assert!(wrong.is_empty(), "{} uploads:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// A job that must not notice anything.
    fn submit_neighbour(&self) -> String {
        let dir = self.dir.display();
        let pipeline = format!(
            "name = \"neighbour\"\n[checkpoint]\ninterval = \"1s\"\n[source.in]\nconnector = \"generator\"\nrate = 1000\n\
             [operator.act]\ninput = \"in\"\ncomponent = \"evil@1\"\nfunction = \"echo\"\non_fault = \"skip\"\n\
             [sink.out]\ninput = \"act\"\nconnector = \"file\"\npath = \"{dir}/neighbour\"\n"
        );
        let id = self.server.api.submit_ok(&pipeline).unwrap();
        self.server.api.wait_for(&id, "RUNNING").unwrap();
        id
    }

    /// Stops the neighbour and checks that each of its records has arrived once.
    fn check_neighbour(&self, id: &str) {
        let api = &self.server.api;
        api.savepoint(id, "stop", "").unwrap();
        let job = api.wait_for(id, "FINISHED").unwrap();
        let operators = job["operators"].as_array().unwrap();
        let act = operators.iter().find(|operator| operator["id"] == "act").unwrap();
        assert_eq!(
            (&job["restarts"], &act["faults"], &act["records_skipped"]),
            (&0.into(), &0.into(), &0.into()),
            "{job}"
        );
        let lines = committed_lines(&self.dir.join("neighbour")).unwrap();
        let mut numbers: Vec<u64> = lines.iter().map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.len() > 100, "it made progress: {}", numbers.len());
        assert!(
            numbers.iter().zip(numbers[0]..).all(|(number, expected)| *number == expected),
            "none lost, none twice"
        );
    }
}

fn wait_for_end(api: &Api, id: &str) -> Result<Value, String> {
    let ended = wait_until(&format!("the end of job {id}"), TIMEOUT, || {
        let job = api.job(id)?;
        let status = job["status"].as_str().unwrap_or_default();
        Ok(["FINISHED", "FAILED", "CANCELED"].contains(&status).then_some(job))
    });
    ended.map_err(|error| {
        let _ = api.post(&format!("/v1/jobs/{id}/cancel"), "application/json", b"");
        format!("{error:#}")
    })
}

fn check_end(kind: &Kind, job: &Value) -> Result<(), String> {
    let operators = job["operators"].as_array().cloned().unwrap_or_default();
    let act = operators.into_iter().find(|operator| operator["id"] == "act").unwrap_or(Value::Null);
    let as_expected = match kind.end {
        End::Fails(code) => job["status"] == "FAILED" && job["failure"]["code"] == code,
        End::Harmless => job["status"] == "FINISHED" && act["records_out"].as_u64() == Some(RECORDS as u64),
        End::Refused(_) => false,
        End::Finishes => job["status"] == "FINISHED",
    };
    let message = job["failure"].to_string();
    // No guest makes a record of the job large.
    let small = job.to_string().len() < 100_000;
    match as_expected && small {
        true => Ok(()),
        false => {
            let shown: String = message.chars().take(600).collect();
            Err(format!(
                "{} with {shown}, {} records out, {} bytes",
                job["status"],
                act["records_out"],
                job.to_string().len()
            ))
        }
    }
}

/// Waits until no job but one is left and the resident memory has not fallen for two seconds. Returns it.
fn settled_memory_kib(stage: &Stage) -> u64 {
    wait_until("all attacks are removed", TIMEOUT, || {
        let jobs = stage.server.api.jobs()?;
        Ok((jobs.as_array().map(Vec::len) == Some(1)).then_some(()))
    })
    .unwrap();
    let mut lowest = (u64::MAX, Instant::now());
    wait_until("the memory settles", TIMEOUT, || {
        let now = memory_kib(stage.server.process_id(), ProcessMemory::Resident).expect("the server runs");
        if now < lowest.0 {
            lowest = (now, Instant::now());
        }
        Ok((lowest.1.elapsed() > Duration::from_secs(2)).then_some(lowest.0))
    })
    .unwrap()
}

#[test]
fn every_evil_guest_ends_in_its_own_code_and_leaves_nothing() {
    let stage = Stage::start("evil");
    let only = std::env::var("COFFERDAM_EVIL").ok();
    let mut kinds = functions::kinds();
    kinds.extend(handmade::kinds());
    kinds.retain(|kind| only.as_deref().is_none_or(|only| kind.name.contains(only)));
    assert!(only.is_some() || kinds.len() >= 40, "{} kinds", kinds.len());
    let neighbour = stage.submit_neighbour();
    let idle = memory_kib(stage.server.process_id(), ProcessMemory::Resident).expect("the server runs");
    stage.pass(&kinds);
    let first = settled_memory_kib(&stage);
    stage.pass(&kinds);
    let second = settled_memory_kib(&stage);
    let peak = memory_kib(stage.server.process_id(), ProcessMemory::Peak).expect("the server runs");
    eprintln!("{idle} KiB at first, {first} KiB after the first pass, {second} KiB after the second, at most {peak}");
    stage.check_neighbour(&neighbour);
    let log = fs::metadata(stage.dir.join("server.log")).unwrap().len();
    assert!(log < LOG_BYTES_MAX, "the server's log has {log} bytes");
    assert!(second * 10 <= first * 11, "{first} KiB after the first pass, {second} KiB after the second");
    assert!(peak < idle + PEAK_KIB, "at most {peak} KiB, {idle} KiB at first");
}

#[test]
fn every_evil_component_is_refused_with_its_own_code() {
    let stage = Stage::start("evil-components");
    stage.refuse();
    assert_eq!(stage.server.api.components().unwrap().as_array().unwrap().len(), 1);
}

#[test]
fn every_evil_migration_ends_the_restore_and_nothing_else() {
    let stage = Stage::start("evil-migrations");
    let api = &stage.server.api;
    let pipeline = |name: &str, function: &str| {
        format!(
            "name = \"{name}\"\n[restart]\nstrategy = \"none\"\n\
             [source.in]\nconnector = \"generator\"\ntemplate = \"{{key}},{{n}}\"\nrate = 1000\n\
             [operator.act]\ninput = \"in\"\nkey = {{ column = 0 }}\ncomponent = \"evil@1\"\nfunction = \"{function}\"\n\
             limits = {{ deadline = \"30ms\" }}\n[sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
        )
    };
    let id = api.submit_ok(&pipeline("migrate-from", "migrate-from")).unwrap();
    wait_until("the state has entries", TIMEOUT, || {
        Ok((api.job(&id)?["records_in"].as_u64() > Some(100)).then_some(()))
    })
    .unwrap();
    let savepoint = api.savepoint(&id, "stop", "").unwrap();
    let mut wrong = Vec::new();
    for function in ["migrate-loop", "migrate-trap", "migrate-fewer", "migrate-bomb"] {
        let path = format!("/v1/jobs?from={savepoint}");
        let answer = api.post(&path, "application/toml", pipeline(function, function).as_bytes()).unwrap();
        let id = answer.ok().unwrap()["id"].as_str().unwrap().to_owned();
        let job = wait_for_end(api, &id).unwrap();
        if job["status"] != "FAILED" || job["failure"]["code"] != "state-migration-failed" {
            wrong.push(format!("{function}: {} with {}", job["status"], job["failure"]));
        }
        api.delete(&format!("/v1/jobs/{id}")).unwrap().ok().unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
