//! HTTP ingest from outside: clients that retry, kills at the worst moments, full disks, and successors of a job.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use cofferdam_tests::{
    Checkout, IngestClient, Server, committed_lines, difference, free_address, preload_library, wait_until,
};

const TIMEOUT: Duration = Duration::from_secs(120);

/// A server with a listener for records, which can be killed and started again.
struct Ingest {
    dir: PathBuf,
    address: std::net::SocketAddr,
    server: Option<Server>,
}

impl Ingest {
    fn start(name: &str) -> Ingest {
        let dir = Checkout::current().fresh_dir(&format!("tests/{name}")).unwrap();
        let mut ingest = Ingest { dir, address: free_address().unwrap(), server: None };
        ingest.start_again(&[]);
        ingest
    }

    fn start_again(&mut self, environment: &[(&str, &str)]) {
        let mut command = Command::new(Checkout::current().cofferdam());
        command.envs(environment.iter().copied());
        let address = self.address.to_string();
        self.server = Some(Server::start_by(command, &self.dir, &["--ingest-listen", &address]).unwrap());
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server is up")
    }

    fn kill(&mut self) {
        self.server.take().expect("the server is up").kill().unwrap();
    }

    fn client(&self) -> IngestClient {
        IngestClient::new(self.address)
    }

    fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    /// A pipeline that copies what is sent to `in` into files.
    fn pipeline(&self, parallelism: u32, source: &str) -> String {
        format!(
            "name = \"copy\"\nparallelism = {parallelism}\n[checkpoint]\ninterval = \"100ms\"\n[state]\nbackend = \"memory\"\n\
             [restart]\nstrategy = \"fixed-delay\"\nattempts = 1000\ndelay = \"10ms\"\n\
             [source.in]\nconnector = \"http\"\nformat = \"raw\"\n{source}\n\
             [sink.out]\ninput = \"in\"\nconnector = \"file\"\npath = \"{}\"\n",
            self.out().display()
        )
    }

    /// Waits until exactly these lines are committed.
    fn await_lines(&self, mut expected: Vec<String>) {
        expected.sort_unstable();
        let all = wait_until("all acknowledged records are committed", TIMEOUT, || {
            let lines = committed_lines(&self.out())?;
            Ok((lines.len() >= expected.len()).then_some(lines))
        });
        let found = all.unwrap_or_else(|_| committed_lines(&self.out()).unwrap());
        assert_eq!(difference(&expected, &found), None);
    }
}

/// Kills the server after the sync number `KILL_AT` of a log, before any answer to it.
const KILL_AFTER_SYNC: &str = r#"
static int syncs = 0;
int fdatasync(int file) {
    char link[64], path[PATH_MAX] = "";
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(file);
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (strstr(path, "/ingest/") && __sync_add_and_fetch(&syncs, 1) == atoi(getenv("KILL_AT")))
        kill(getpid(), SIGKILL);
    return result;
}
"#;

#[test]
fn each_acknowledged_record_is_in_the_result_once_through_kills() {
    const CLIENTS: usize = 100;
    const REQUESTS: usize = 40;
    let mut ingest = Ingest::start("ingest-kills");
    let job = ingest.server().api.submit_ok(&ingest.pipeline(2, "")).unwrap();
    let library = preload_library(&ingest.dir, KILL_AFTER_SYNC).unwrap();
    let record = |client: usize, request: usize, line: usize| format!("client {client} request {request} line {line}");
    // One for each subtask, behind all other records.
    const LAST: [&str; 2] = ["last record 0", "last record 1"];
    let expected: Vec<String> = (0..CLIENTS)
        .flat_map(|client| (0..REQUESTS).flat_map(move |request| (0..2).map(move |line| record(client, request, line))))
        .chain(LAST.map(str::to_owned))
        .collect();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let mut connection = ingest.client();
                scope.spawn(move || {
                    let mut replayed = 0;
                    for request in 0..REQUESTS {
                        let body = format!("{}\n{}\n", record(client, request, 0), record(client, request, 1));
                        let key = format!("{client}-{request}");
                        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", key.as_str())];
                        let answer = connection.send_until_accepted("copy/in", &headers, body.as_bytes()).unwrap();
                        replayed += u32::from(answer.header.contains("idempotency-replayed: true"));
                        // Some send again what was acknowledged, in case the answer was lost.
                        if request % 10 == client % 10 {
                            connection.send_until_accepted("copy/in", &headers, body.as_bytes()).unwrap();
                        }
                    }
                    replayed
                })
            })
            .collect();
        let mut deaths = 0;
        for round in 0..6 {
            if round % 2 == 0 {
                // Between the sync and the answers.
                ingest.kill();
                let at = (5 + 7 * round).to_string();
                ingest.start_again(&[("LD_PRELOAD", &library), ("KILL_AT", &at)]);
                let died = wait_until("the server is killed after a sync", TIMEOUT, || {
                    let is_done = clients.iter().all(|client| client.is_finished());
                    Ok((is_done || !ingest.server.as_mut().expect("it was started").is_up()?).then_some(!is_done))
                });
                deaths += u32::from(died.unwrap());
                ingest.server = None;
            } else {
                thread::sleep(Duration::from_millis(50 * round));
                ingest.kill();
            }
            ingest.start_again(&[]);
        }
        let replayed: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(deaths > 0, "no kill hit the moment after a sync");
        assert!(replayed > 0, "no client lost an answer");
    });
    // The result may be complete before the last server has resumed the job, and must stay so. When the last records are committed, so
    // are those that were taken twice.
    ingest.server().api.wait_for(&job, "RUNNING").unwrap();
    for last in LAST {
        ingest.client().send_until_accepted("copy/in", &[("idempotency-key", last)], last.as_bytes()).unwrap();
    }
    ingest.await_lines(expected);
}

#[test]
fn a_successor_of_a_job_reads_on_and_a_stopped_job_can_refuse() {
    let ingest = Ingest::start("ingest-successor");
    let api = &ingest.server().api;
    let mut client = ingest.client();
    assert_eq!(client.send("copy/in", &[], b"too early").unwrap().code(), "job-not-found");
    let job = api.submit_ok(&ingest.pipeline(1, "")).unwrap();
    assert_eq!(client.send("copy/out", &[], b"x").unwrap().code(), "request-not-found");
    let mut sent = Vec::new();
    let mut send = |client: &mut IngestClient, count: usize| {
        for _ in 0..count {
            sent.push(format!("record {}", sent.len()));
            assert_eq!(client.send("copy/in", &[], sent.last().unwrap().as_bytes()).unwrap().status, 200);
        }
        sent.clone()
    };
    let all = send(&mut client, 10);
    ingest.await_lines(all);
    let savepoint = api.savepoint(&job, "stop", "").unwrap();
    api.wait_for(&job, "FINISHED").unwrap();
    // The log is a queue for the next job of this name.
    send(&mut client, 10);
    let pipeline = ingest.pipeline(3, "accept_while_stopped = false");
    let path = format!("/v1/jobs?from={savepoint}");
    let successor = api.post(&path, "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
    let all = send(&mut client, 10);
    ingest.await_lines(all);
    let successor = successor["id"].as_str().unwrap().to_owned();
    api.post(&format!("/v1/jobs/{successor}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    api.wait_for(&successor, "CANCELED").unwrap();
    assert_eq!(client.send("copy/in", &[], b"refused").unwrap().code(), "job-state");
    api.delete(&format!("/v1/jobs/{successor}")).unwrap().ok().unwrap();
    api.delete(&format!("/v1/jobs/{job}")).unwrap().ok().unwrap();
    assert_eq!(client.send("copy/in", &[], b"refused").unwrap().code(), "job-not-found");
}

/// Mounts a file system of this size. Returns false where that is not allowed.
fn mount(folder: &Path, size: &str) -> bool {
    std::fs::create_dir_all(folder).unwrap();
    let options = format!("size={size}");
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder);
    command.output().is_ok_and(|output| output.status.success())
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_requests_until_there_is_space() {
    let dir = Checkout::current().fresh_dir("tests/ingest-full").unwrap();
    let folder = dir.join("data/ingest");
    if !mount(&folder, "5m") {
        eprintln!("skipped: this user may not mount a file system; `ingest_log_tests` covers a full disk");
        return;
    }
    let mounted = Mounted(folder);
    let mut ingest = Ingest { dir, address: free_address().unwrap(), server: None };
    ingest.start_again(&[]);
    let api = &ingest.server().api;
    // Two savepoint-free jobs: the first is cancelled, so that nothing is read while the disk fills.
    let job = api.submit_ok(&ingest.pipeline(1, "segment = \"1MiB\"")).unwrap();
    api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    api.wait_for(&job, "CANCELED").unwrap();
    let mut client = ingest.client();
    let line = |number: usize| format!("{number} {}", "x".repeat(100_000));
    let mut sent = Vec::new();
    let refused = loop {
        let answer = client.send("copy/in", &[], line(sent.len()).as_bytes()).unwrap();
        if answer.status != 200 {
            break answer;
        }
        sent.push(line(sent.len()));
        assert!(sent.len() < 60, "the disk never fills");
    };
    assert_eq!((refused.status, refused.code().as_str()), (503, "ingest-failed"), "{refused:?}");
    assert!(refused.body.contains("disk is full"), "{refused:?}");
    // A job reads, its checkpoints release segments, and there is space again.
    api.submit_ok(&ingest.pipeline(1, "segment = \"1MiB\"")).unwrap();
    for _ in 0..20 {
        let next = line(sent.len());
        client.send_until_accepted("copy/in", &[], next.as_bytes()).unwrap();
        sent.push(next);
    }
    ingest.await_lines(sent);
    ingest.kill();
    drop(mounted);
}
