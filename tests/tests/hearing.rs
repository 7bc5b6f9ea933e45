//! A server stays responsive: whatever its clients and the readers of its output do, checkpoints complete, jobs end on
//! request, and the process ends on a signal.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use cofferdam_tests::{Api, Checkout, Server, allowed_in_tests, committed_lines, wait_until};
use serde_json::Value;

/// Far longer than any step takes.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A job with a counter for each of 100,000 keys and five checkpoints per second.
const COUNTING: &str = r#"
    name = "counting"
    [checkpoint]
    interval = "200ms"
    timeout = "60s"
    [restart]
    strategy = "none"
    [source.numbers]
    connector = "generator"
    template = "{key},{n}"
    keys = 100000
    rate = 200000
    [operator.count]
    input = "numbers"
    key = { column = 0 }
    component = "misbehaving@1"
    function = "count-then-trap"
    [sink.out]
    input = "count"
    connector = "blackhole"
"#;

fn push_component(api: &Api) {
    let component = fs::read(Checkout::current().component("misbehaving").unwrap()).unwrap();
    api.push(&component, Some("misbehaving@1")).unwrap().ok().unwrap();
}

fn last_checkpoint(api: &Api, job: &str) -> u64 {
    api.job(job).unwrap()["last_checkpoint"].as_u64().unwrap_or(0)
}

/// Waits until the job has read so many records and then has completed three more checkpoints.
fn checkpoints_complete(api: &Api, job: &str, records: u64) {
    wait_until("the job reads", TIMEOUT, || {
        Ok((api.job(job)?["records_in"].as_u64().unwrap_or(0) >= records).then_some(()))
    })
    .unwrap();
    let before = last_checkpoint(api, job);
    wait_until("three more checkpoints are complete", TIMEOUT, || {
        Ok((last_checkpoint(api, job) >= before + 3).then_some(()))
    })
    .unwrap();
}

fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().unwrap().success());
}

fn wait_for_end(child: &mut Child) -> ExitStatus {
    wait_until("the process ends", TIMEOUT, || Ok(child.try_wait()?)).unwrap_or_else(|error| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{error:#}")
    })
}

fn terminate(mut server: Server) {
    signal(server.process_id(), "TERM");
    wait_until("the server ends", TIMEOUT, || Ok((!server.is_up()?).then_some(()))).unwrap();
}

/// Sends a GET request on a connection of its own.
fn ask(api: &Api, path: &str) -> TcpStream {
    let address = api.base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    stream
}

#[test]
fn six_hundred_requests_for_state_are_all_answered_and_stop_nothing() {
    let (server, _) = Server::start_fresh("hearing-requests").unwrap();
    push_component(&server.api);
    let job = server.api.submit_ok(COUNTING).unwrap();
    checkpoints_complete(&server.api, &job, 200_000);
    let (all, api) = (Barrier::new(600), &server.api);
    let answers: Vec<String> = thread::scope(|scope| {
        let requests: Vec<_> = (0..600)
            .map(|_| {
                scope.spawn(|| {
                    all.wait();
                    let mut answer = String::new();
                    ask(api, &format!("/v1/jobs/{job}/state?count=true")).read_to_string(&mut answer).unwrap();
                    answer
                })
            })
            .collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    let ok = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 200")).count();
    let busy = |answer: &&String| {
        answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: ") && answer.contains("server-busy")
    };
    let refused = answers.iter().filter(busy).count();
    assert_eq!(ok + refused, 600, "{:?}", answers.iter().find(|answer| !answer.starts_with("HTTP/1.1 200")));
    assert!(ok >= 4, "{ok} requests were served");
    checkpoints_complete(&server.api, &job, 0);
    terminate(server);
}

#[test]
fn slow_readers_of_dumps_stop_nothing() {
    let (server, _) = Server::start_fresh("hearing-dumps").unwrap();
    push_component(&server.api);
    let job = server.api.submit_ok(COUNTING).unwrap();
    checkpoints_complete(&server.api, &job, 200_000);
    // No client reads its answer.
    let readers: Vec<TcpStream> = (0..560).map(|_| ask(&server.api, &format!("/v1/jobs/{job}/state/dump"))).collect();
    // Once another request is answered, all connections have reached the server.
    let answer = server.api.get(&format!("/v1/jobs/{job}/state?count=true")).unwrap();
    assert!(answer.ok().is_ok());
    checkpoints_complete(&server.api, &job, 0);
    server.api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    server.api.wait_for(&job, "CANCELED").unwrap();
    drop(readers);
    terminate(server);
}

/// A pipeline without end that prints one number per line.
const CHATTY: &str = r#"
    name = "chatty"
    [checkpoint]
    interval = "200ms"
    [source.numbers]
    connector = "generator"
    template = "number {n} of a line that is long enough to fill a pipe soon"
    [sink.out]
    input = "numbers"
    connector = "stdout"
"#;

/// A server whose output pipe belongs to the test.
struct Piped {
    dir: PathBuf,
    child: Child,
    api: Api,
    /// The read end of the pipe: open, and not read any more.
    _stdout: BufReader<ChildStdout>,
}

impl Piped {
    fn start(name: &str, stderr: Stdio) -> Piped {
        let checkout = Checkout::current();
        let dir = checkout.fresh_dir(&format!("tests/{name}")).unwrap();
        let mut child = Command::new(checkout.cofferdam())
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir.join("data"))
            .args(allowed_in_tests())
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the server did not come up");
        }
        let api = Api::new(line.trim().strip_prefix("listening on ").unwrap());
        Piped { dir, child, api, _stdout: stdout }
    }

    /// Submits [`CHATTY`] and waits until the pipe is full.
    fn fill_stdout(&self) -> String {
        let job = self.api.submit_ok(CHATTY).unwrap();
        let mut before = Value::Null;
        wait_until("the reader holds the job up", TIMEOUT, || {
            thread::sleep(Duration::from_millis(300));
            let now = self.api.job(&job)?;
            let stands = now["status"] == "RUNNING" && now["records_in"] == before["records_in"];
            before = now;
            Ok(stands.then_some(()))
        })
        .unwrap();
        job
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_stdout_that_nothing_reads_holds_up_neither_a_cancel_nor_the_end() {
    let mut server = Piped::start("hearing-unread", Stdio::null());
    let job = server.fill_stdout();
    server.api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    server.api.wait_for(&job, "CANCELED").unwrap();
    // Also without a cancel. A server that is started on the same pipe starts and ends as well.
    server.fill_stdout();
    signal(server.child.id(), "TERM");
    assert!(wait_for_end(&mut server.child).success());
}

#[test]
fn every_line_reaches_a_slow_reader_of_stdout() {
    let lines = run_to_pipe("hearing-slow", "records = 20000", |stdout| {
        let mut lines = Vec::new();
        for line in stdout.lines() {
            lines.push(line.unwrap());
            if lines.len() == 10 {
                thread::sleep(Duration::from_millis(500));
            }
        }
        lines
    });
    let (lines, status, stderr) = lines;
    assert!(status.success(), "{stderr}");
    let expected: Vec<String> = (0..20_000).map(|n| format!("{n}")).collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_stdout_that_is_closed_ends_the_job_with_one_clear_error() {
    let (lines, status, stderr) =
        run_to_pipe("hearing-closed", "", |stdout| stdout.lines().take(5).map(Result::unwrap).collect());
    assert_eq!(lines, ["0", "1", "2", "3", "4"]);
    assert_eq!(status.code(), Some(7), "{stderr}");
    assert_eq!(stderr.matches("stdout-closed").count(), 2, "once in the log and once as the error: {stderr}");
    assert!(!stderr.contains("restarts ") && !stderr.contains("attempt=2"), "there is no second attempt: {stderr}");
}

/// Runs a pipeline from a generator to stdout; `read` reads from stdout and closes it. Returns the result of `read`, the
/// exit status and stderr.
fn run_to_pipe(
    name: &str,
    source: &str,
    read: impl FnOnce(BufReader<ChildStdout>) -> Vec<String>,
) -> (Vec<String>, ExitStatus, String) {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir(&format!("tests/{name}")).unwrap();
    let pipeline = format!(
        "name = \"piped\"\n[checkpoint]\ninterval = \"200ms\"\n[source.numbers]\nconnector = \"generator\"\n\
         template = \"{{n}}\"\n{source}\n[sink.out]\ninput = \"numbers\"\nconnector = \"stdout\"\n"
    );
    fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
    let mut child = Command::new(checkout.cofferdam())
        .args(["run", "pipeline.toml"])
        .current_dir(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(dir.join("stderr")).unwrap())
        .spawn()
        .unwrap();
    let lines = read(BufReader::new(child.stdout.take().unwrap()));
    let status = wait_for_end(&mut child);
    (lines, status, fs::read_to_string(dir.join("stderr")).unwrap())
}

/// A file in which every second record is bad, and a pipeline that skips bad records.
fn write_bad_records(dir: &Path, records: usize) -> String {
    let lines: Vec<String> =
        (0..records).map(|n| format!("{},{n}\n", if n % 2 == 0 { "!bad" } else { "good" })).collect();
    fs::write(dir.join("records.csv"), lines.concat()).unwrap();
    let dir = dir.display();
    format!(
        "name = \"bad-{records}\"\n[restart]\nstrategy = \"none\"\n[source.records]\nconnector = \"file\"\n\
         path = \"{dir}/records.csv\"\nformat = \"csv\"\nheader = false\n\
         [operator.act]\ninput = \"records\"\ncomponent = \"misbehaving@1\"\nfunction = \"panic\"\non_fault = \"skip\"\n\
         [sink.out]\ninput = \"act\"\nconnector = \"file\"\npath = \"{dir}/out\"\n"
    )
}

fn skipped(job: &Value) -> u64 {
    job["operators"].as_array().unwrap().iter().filter_map(|operator| operator["records_skipped"].as_u64()).sum()
}

#[test]
fn a_server_whose_stderr_is_closed_or_not_read_goes_on() {
    for reads in [true, false] {
        let mut server = Piped::start(&format!("hearing-stderr-{reads}"), Stdio::piped());
        let mut stderr = BufReader::new(server.child.stderr.take().unwrap());
        push_component(&server.api);
        let dir = server.dir.clone();
        let pipeline = write_bad_records(&dir, 4000);
        let held = if reads {
            // Like `| head -n 1`.
            let first = server.api.submit_ok(&pipeline).unwrap();
            server.api.wait_for(&first, "FINISHED").unwrap();
            stderr.read_line(&mut String::new()).unwrap();
            fs::remove_dir_all(dir.join("out")).unwrap();
            drop(stderr);
            None
        } else {
            Some(stderr)
        };
        for _ in 0..3 {
            let job = server.api.submit_ok(&pipeline).unwrap();
            let job = server.api.wait_for(&job, "FINISHED").unwrap();
            assert_eq!(skipped(&job), 2000);
            assert_eq!(committed_lines(&dir.join("out")).unwrap().len(), 2000);
            fs::remove_dir_all(dir.join("out")).unwrap();
        }
        signal(server.child.id(), "TERM");
        assert!(wait_for_end(&mut server.child).success());
        drop(held);
    }
}

#[test]
fn a_run_whose_stderr_is_closed_ends_well() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/hearing-run-stderr").unwrap();
    fs::copy(checkout.component("misbehaving").unwrap(), dir.join("misbehaving.wasm")).unwrap();
    let pipeline = write_bad_records(&dir, 4000).replace("misbehaving@1", "./misbehaving.wasm");
    fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
    let mut child = Command::new(checkout.cofferdam())
        .args(["run", "pipeline.toml"])
        .current_dir(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert!(wait_for_end(&mut child).success());
    assert_eq!(committed_lines(&dir.join("out")).unwrap().len(), 2000);
}

#[test]
fn many_bad_records_are_a_few_lines_of_the_log_and_all_are_counted() {
    let (server, dir) = Server::start_fresh("hearing-bad").unwrap();
    push_component(&server.api);
    let job = server.api.submit_ok(&write_bad_records(&dir, 20_000)).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!(skipped(&job), 10_000);
    terminate(server);
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    let seconds = (job["ended_at_ms"].as_i64().unwrap() - job["submitted_at_ms"].as_i64().unwrap()) / 1000;
    let of_guest: Vec<&str> = log.lines().filter(|line| line.contains("guest")).collect();
    // One line per second of each kind (records, bisected batches, panics), and one of each at the end.
    let most = 3 * (seconds + 3);
    assert!((of_guest.len() as i64) <= most, "{} lines in {seconds} s:\n{log}", of_guest.len());
    let number = |line: &&str, name: &str| -> u64 {
        let plain = line.split(&format!("{name}=")).nth(1);
        plain.map_or(0, |rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap())
    };
    let told: u64 = of_guest
        .iter()
        .map(|line| match (line.contains("on_fault="), line.contains("more records failed")) {
            (true, _) => 1 + number(line, "suppressed"),
            (_, true) => number(line, "suppressed"),
            _ => 0,
        })
        .sum();
    assert_eq!(told, 10_000, "{log}");
}

#[test]
fn messages_and_names_cannot_steer_a_terminal_or_forge_lines() {
    let (server, dir) = Server::start_fresh("hearing-names").unwrap();
    push_component(&server.api);
    fs::write(dir.join("records.csv"), "!a\n!b\n").unwrap();
    let pipeline = |input: &str| {
        let dir = dir.display();
        format!(
            "name = \"names\"\n[source.records]\nconnector = \"file\"\npath = \"{dir}/records.csv\"\nformat = \"lines\"\n\
             [operator.act]\ninput = \"records\"\ncomponent = \"misbehaving@1\"\nfunction = \"forge-lines\"\n\
             [sink.out]\ninput = \"{input}\"\nconnector = \"file\"\npath = \"{dir}/out\"\n"
        )
    };
    let job = server.api.submit_ok(&pipeline("act")).unwrap();
    server.api.wait_for(&job, "FINISHED").unwrap();
    // The command line's message for a refused pipeline.
    let forged = "\\u001b]0;title\\u0007\\n2026-01-01T00:00:00Z ERROR forged\\u202e";
    fs::write(dir.join("pipeline.toml"), pipeline(forged)).unwrap();
    let refused = submit(&dir, &server.api);
    assert!(!refused.status.success());
    let stderr = String::from_utf8(refused.stderr).unwrap();
    terminate(server);
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    for (what, text) in [("log", &log), ("stderr", &stderr)] {
        assert!(text.contains("\\n2026-01-01T00:00:00Z ERROR forged\\u{202e}"), "{what}: {text}");
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{what}: {text}");
        assert!(!text.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")), "{what}: {text}");
    }
}

/// Submits the file `pipeline.toml` of a folder through the command line.
fn submit(dir: &Path, api: &Api) -> Output {
    Command::new(Checkout::current().cofferdam())
        .args(["submit", "pipeline.toml", "--server", api.base()])
        .current_dir(dir)
        .output()
        .unwrap()
}

#[test]
fn a_pipeline_file_over_the_size_limit_is_refused() {
    let (server, dir) = Server::start_fresh("hearing-large").unwrap();
    let pipeline = format!("# {}\n{CHATTY}", "x".repeat(8 << 20));
    fs::write(dir.join("pipeline.toml"), &pipeline).unwrap();
    let refused = submit(&dir, &server.api);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && stderr.contains("[request-too-large]"), "{stderr}");
    // Clients that do not send `Expect: 100-continue` can read the answer as well.
    for _ in 0..20 {
        let answer = server.api.post("/v1/jobs", "application/toml", pipeline.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.code()), (413, "request-too-large"));
        let answer = server.api.post("/v1/jobs", "text/plain", pipeline.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.code()), (415, "request-invalid"));
    }
}
