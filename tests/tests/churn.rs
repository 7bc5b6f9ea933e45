//! Jobs that come and go: a server that has run many of them holds no more threads, files and memory than before, and a job that runs
//! beside them notices nothing.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use cofferdam_tests::{Api, Checkout, ProcessMemory, Server, committed_lines, memory_kib, wait_until};
use fastrand::Rng;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

/// Jobs of the test.
const JOBS: usize = 50;

/// Jobs at the same time.
const AT_ONCE: usize = 5;

/// Instances of the server. The neighbour has 2, and each other job at most 8.
const INSTANCES: u32 = 2 + 8 * AT_ONCE as u32;

/// Threads and files that may be left in addition: those of a request, and of pools that shrink late.
const SLACK: usize = 8;

/// Growth of the resident memory that is allowed: a tenth, and what the allocator's arenas hold.
const SLACK_KIB: u64 = 48 * 1024;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    threads: usize,
    files: usize,
    resident_kib: u64,
}

impl Held {
    fn by(process: u32) -> Held {
        let count = |folder: &str| fs::read_dir(format!("/proc/{process}/{folder}")).expect("the server runs").count();
        let resident_kib = memory_kib(process, ProcessMemory::Resident).expect("the server runs");
        Held { threads: count("task"), files: count("fd"), resident_kib }
    }

    fn is_within(self, before: Held) -> bool {
        self.threads <= before.threads + SLACK
            && self.files <= before.files + SLACK
            && self.resident_kib <= before.resident_kib * 11 / 10 + SLACK_KIB
    }
}

/// Names of threads of the jobs, which all have a node `fickle`.
fn threads_of_jobs(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the server runs").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.contains("fickle")).collect()
}

/// What a job does, by a random choice.
fn pipeline(random: &mut Rng, dir: &Path, name: &str) -> String {
    let backend = if random.bool() { "memory" } else { "rocksdb" };
    let parallelism = random.u32(1..=4);
    let interval = random.u32(20..200);
    let records = if random.bool() { "records = 20000" } else { "rate = 5000" };
    let functions = ["echo", "trap", "loop", "memory-bomb", "error", "state-under-new-keys", "list-grows", "add-loop"];
    let function = functions[random.usize(..functions.len())];
    let on_fault = ["fail", "skip"][random.usize(..2)];
    let keyed = match function {
        "state-under-new-keys" | "list-grows" => "key = { column = 0 }\n",
        "add-loop" => {
            "key = { column = 0 }\nwindow = { type = \"global\" }\ntrigger = { type = \"count\", count = 100 }\n"
        }
        _ => "",
    };
    let restart = match random.u32(..3) {
        0 => "[restart]\nstrategy = \"none\"",
        _ => "[restart]\nstrategy = \"fixed-delay\"\nattempts = 3\ndelay = \"10ms\"",
    };
    let dir = dir.display();
    format!(
        "name = \"{name}\"\nparallelism = {parallelism}\nbatch = {{ records = 64 }}\n{restart}\n\
         [checkpoint]\ninterval = \"{interval}ms\"\n[state]\nbackend = \"{backend}\"\n\
         [source.fickle-in]\nconnector = \"generator\"\ntemplate = \"{{key}},{{n}}\"\n{records}\n\
         [operator.fickle]\ninput = \"fickle-in\"\ncomponent = \"evil@1\"\nfunction = \"{function}\"\n{keyed}\
         on_fault = \"{on_fault}\"\nlimits = {{ deadline = \"20ms\" }}\n\
         [operator.fickle-echo]\ninput = \"fickle\"\ncomponent = \"evil@1\"\nfunction = \"echo\"\n\
         [sink.fickle-out]\ninput = \"fickle-echo\"\nconnector = \"file\"\npath = \"{dir}/{name}\"\n"
    )
}

fn ended(job: &Value) -> bool {
    ["FINISHED", "FAILED", "CANCELED"].contains(&job["status"].as_str().unwrap_or_default())
}

/// Runs one job through random commands, and removes it.
fn churn(api: &Api, dir: &Path, name: &str, random: &mut Rng) -> Result<()> {
    let pipeline = pipeline(random, dir, name);
    let id = api.submit_ok(&pipeline)?;
    let post = |command: &str, body: &[u8]| api.post(&format!("/v1/jobs/{id}/{command}"), "application/json", body);
    for _ in 0..random.usize(0..4) {
        thread::sleep(Duration::from_millis(random.u64(0..150)));
        // A command that the job's state does not allow is refused. No answer is a defect of the server.
        let answer = match random.u32(..6) {
            0 => post("savepoints", b"{\"format\":\"native\"}")?,
            1 => post("savepoints", b"")?,
            2 => post("checkpoints", b"")?,
            3 => api.get(&format!("/v1/jobs/{id}/state?count=true"))?,
            4 => api.delete(&format!("/v1/jobs/{id}"))?,
            _ => api.submit(&pipeline)?,
        };
        ensure!(answer.status < 500 || answer.status == 503, "{} {}", answer.status, answer.body);
        if answer.status == 204 {
            return remove(api, name); // It had ended, and was removed. Another one of the name may run.
        }
    }
    let end = ["cancel", "stop", "stop", "cancel", "wait"][random.usize(..5)];
    if end != "wait" {
        let body: &[u8] = if random.bool() { b"{\"drain\":true}" } else { b"{}" };
        let answer = post(end, if end == "stop" { body } else { b"" })?;
        ensure!(answer.status < 500, "{end}: {} {}", answer.status, answer.body);
    }
    // A job that waits for no end, and one whose stop failed, may run for ever.
    let mut polls = 0;
    wait_until(&format!("the end of {name} after {end}\n{pipeline}"), TIMEOUT, || {
        polls += 1;
        if polls == 200 {
            post("cancel", b"")?;
        }
        Ok(ended(&api.job(&id)?).then_some(()))
    })?;
    remove(api, name)?;
    let _ = fs::remove_dir_all(dir.join(name));
    Ok(())
}

/// Removes all jobs of this name: the submit of a name that has ended makes another one.
fn remove(api: &Api, name: &str) -> Result<()> {
    wait_until(&format!("the removal of {name}"), TIMEOUT, || {
        let jobs = api.jobs()?;
        let mut left = false;
        for job in jobs.as_array().into_iter().flatten().filter(|job| job["name"] == name) {
            let id = job["id"].as_str().unwrap_or_default();
            left = true;
            if !ended(job) {
                api.post(&format!("/v1/jobs/{id}/cancel"), "application/json", b"")?;
            }
            api.delete(&format!("/v1/jobs/{id}"))?;
        }
        Ok((!left).then_some(()))
    })
}

/// Runs jobs, some at the same time. Their choices follow from the seed.
fn run_jobs(api: &Api, dir: &Path, seed: u64) {
    let work = |worker: usize| {
        for job in (0..JOBS).filter(|job| job % AT_ONCE == worker) {
            let mut random = Rng::with_seed(seed.wrapping_add(job as u64));
            let name = format!("fickle-{job}");
            churn(api, dir, &name, &mut random).unwrap_or_else(|error| panic!("job {job} of seed {seed}: {error:#}"));
        }
    };
    thread::scope(|scope| {
        for number in 0..AT_ONCE {
            scope.spawn(move || work(number));
        }
    });
}

fn start(name: &str) -> (Server, PathBuf) {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir(&format!("tests/{name}")).unwrap();
    let arguments = ["--instances".to_owned(), INSTANCES.to_string()];
    let server = Server::start(&checkout.cofferdam(), &dir, &[&arguments[0], &arguments[1]]).unwrap();
    let component = fs::read(checkout.component("evil").unwrap()).unwrap();
    server.api.push(&component, Some("evil@1")).unwrap().ok().unwrap();
    (server, dir)
}

/// A job that runs through the whole test.
fn submit_neighbour(api: &Api, dir: &Path) -> String {
    let dir = dir.display();
    let pipeline = format!(
        "name = \"calm\"\nparallelism = 2\n[checkpoint]\ninterval = \"500ms\"\n\
         [source.calm-in]\nconnector = \"generator\"\nrate = 1000\n\
         [operator.calm]\ninput = \"calm-in\"\ncomponent = \"evil@1\"\nfunction = \"echo\"\non_fault = \"skip\"\n\
         [sink.calm-out]\ninput = \"calm\"\nconnector = \"file\"\npath = \"{dir}/calm\"\n"
    );
    let id = api.submit_ok(&pipeline).unwrap();
    api.wait_for(&id, "RUNNING").unwrap();
    id
}

fn check_neighbour(api: &Api, id: &str, dir: &Path) {
    api.savepoint(id, "stop", "").unwrap();
    let job = wait_until("the neighbour is stopped", TIMEOUT, || {
        let job = api.job(id)?;
        Ok(ended(&job).then_some(job))
    })
    .unwrap();
    let operators = job["operators"].as_array().unwrap();
    let calm = operators.iter().find(|operator| operator["id"] == "calm").unwrap();
    assert_eq!(
        (&job["restarts"], &calm["faults"], &calm["records_skipped"]),
        (&0.into(), &0.into(), &0.into()),
        "{job}"
    );
    let lines = committed_lines(&dir.join("calm")).unwrap();
    let mut numbers: Vec<u64> = lines.iter().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(!numbers.is_empty(), "it made progress");
    // Each subtask of the generator makes every other number.
    for subtask in 0..2 {
        let numbers = numbers.iter().filter(|number| *number % 2 == subtask);
        assert!(
            numbers.zip((subtask..).step_by(2)).all(|(number, made)| *number == made),
            "none is lost, none is twice"
        );
    }
}

#[test]
fn fifty_jobs_that_come_and_go_leave_threads_files_and_memory_where_they_were() {
    let (server, dir) = start("churn");
    let api = &server.api;
    let seed = std::env::var("COFFERDAM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(14);
    let neighbour = submit_neighbour(api, &dir);
    // Pools, caches and arenas have the size that these jobs need once they have run.
    run_jobs(api, &dir, seed);
    let before = Held::by(server.process_id());
    run_jobs(api, &dir, seed);
    let after = wait_until(&format!("the server holds what it held before, {before:?}"), TIMEOUT, || {
        let held = Held::by(server.process_id());
        Ok((held.is_within(before) && threads_of_jobs(server.process_id()).is_empty()).then_some(held))
    });
    let after = after.unwrap_or_else(|error| {
        let (held, threads) = (Held::by(server.process_id()), threads_of_jobs(server.process_id()));
        panic!("{error}: {held:?}, threads of jobs: {threads:?}")
    });
    eprintln!("{before:?}\n{after:?}");
    check_neighbour(api, &neighbour, &dir);
    let left = fs::read_dir(dir.join("data/jobs")).unwrap().count();
    assert_eq!(left, 1, "only the neighbour's folder is left");
}

#[test]
fn a_job_that_asks_for_more_instances_than_are_left_is_refused_and_running_jobs_never_notice() {
    let (server, dir) = start("churn-instances");
    let api = &server.api;
    let neighbour = submit_neighbour(api, &dir);
    let large = |name: &str, parallelism: u32, function: &str| {
        format!(
            "name = \"{name}\"\nparallelism = {parallelism}\n[source.fickle-in]\nconnector = \"generator\"\nrate = 1000\n\
             [operator.fickle]\ninput = \"fickle-in\"\ncomponent = \"evil@1\"\nfunction = \"{function}\"\n\
             on_fault = \"skip\"\n[sink.fickle-out]\ninput = \"fickle\"\nconnector = \"blackhole\"\n"
        )
    };
    // It takes all instances and loses one again and again.
    let greedy = api.submit_ok(&large("fickle-greedy", INSTANCES - 2, "trap")).unwrap();
    thread::scope(|scope| {
        for client in 0..4 {
            let large = &large;
            scope.spawn(move || {
                for number in 0..10 {
                    let answer = api.submit(&large(&format!("fickle-{client}-{number}"), 1 + number, "echo")).unwrap();
                    assert_eq!((answer.status, answer.code()), (503, "capacity-exceeded"), "{}", answer.body);
                    assert!(answer.body["detail"].as_str().unwrap().contains("are free"), "{}", answer.body);
                }
            });
        }
    });
    let beyond = api.submit(&large("fickle-beyond", INSTANCES + 1, "echo")).unwrap();
    assert_eq!((beyond.status, beyond.code()), (503, "capacity-exceeded"), "{}", beyond.body);
    api.post(&format!("/v1/jobs/{greedy}/cancel"), "application/json", b"").unwrap();
    check_neighbour(api, &neighbour, &dir);
}
