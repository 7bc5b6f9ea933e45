//! Traces of a server, received by a small collector: their spans, parents and times; and a collector that is away or silent.

#![allow(clippy::disallowed_methods, reason = "a test outside of the host")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    name: String,
    begin_ns: u64,
    end_ns: u64,
    attributes: Vec<(String, Value)>,
    failure: Option<String>,
}

impl Span {
    fn parse(span: &Value) -> Span {
        let text = |name: &str| span[name].as_str().map(str::to_owned);
        let ns = |name: &str| span[name].as_str().unwrap().parse().unwrap();
        let attributes = span["attributes"].as_array().unwrap().iter();
        let value = |value: &Value| value.as_object().unwrap().values().next().unwrap().clone();
        Span {
            trace: text("traceId").unwrap(),
            id: text("spanId").unwrap(),
            parent: text("parentSpanId"),
            name: text("name").unwrap(),
            begin_ns: ns("startTimeUnixNano"),
            end_ns: ns("endTimeUnixNano"),
            attributes: attributes.map(|one| (one["key"].as_str().unwrap().to_owned(), value(&one["value"]))).collect(),
            failure: span["status"]["message"].as_str().map(str::to_owned),
        }
    }

    fn get(&self, attribute: &str) -> Option<&Value> {
        self.attributes.iter().find(|(name, _)| name == attribute).map(|(_, value)| value)
    }

    fn ms(&self) -> f64 {
        (self.end_ns - self.begin_ns) as f64 / 1e6
    }
}

/// A collector that accepts everything.
struct Receiver {
    endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let received = spans.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let received = received.clone();
                thread::spawn(move || while receive(stream.as_ref().unwrap(), &received).is_some() {});
            }
        });
        Receiver { endpoint, spans }
    }

    fn all(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits for the first span of a trace, and returns it with the others. It ends last, so it is sent last.
    fn wait_for(&self, what: &str, is_root: impl Fn(&Span) -> bool) -> (Span, Vec<Span>) {
        wait_until(what, TIMEOUT, || {
            let all = self.all();
            let root = all.iter().find(|span| span.parent.is_none() && is_root(span));
            Ok(root.map(|root| {
                let others = all.iter().filter(|span| span.trace == root.trace && span.id != root.id);
                (root.clone(), others.cloned().collect())
            }))
        })
        .unwrap()
    }
}

/// Answers a request. `None` at the end of the connection.
fn receive(mut stream: &TcpStream, received: &Mutex<Vec<Span>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut head, mut line) = (0, Vec::new(), String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        head.push(line);
    }
    assert_eq!(head[0], "post /v1/traces http/1.1");
    assert!(head.contains(&"content-type: application/json".to_owned()), "{head:?}");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let resource = &body["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "cofferdam");
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    received.lock().unwrap().extend(spans.iter().map(Span::parse));
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}").ok()
}

fn start(name: &str, endpoint: &str) -> (Server, PathBuf) {
    let dir = Checkout::current().fresh_dir(&format!("tests/{name}")).unwrap();
    (start_in(&dir, endpoint), dir)
}

fn start_in(dir: &Path, endpoint: &str) -> Server {
    Server::start(&Checkout::current().cofferdam(), dir, &["--otlp-endpoint", endpoint]).unwrap()
}

/// A job that counts by key and fails once after its third checkpoint.
fn pipeline(interval: &str) -> String {
    format!(
        "name = \"numbers\"\n[checkpoint]\ninterval = \"{interval}\"\n[fault_injection]\nafter_checkpoints = 3\n\
         [restart]\nstrategy = \"fixed-delay\"\nattempts = 10\ndelay = \"10ms\"\n\
         [source.in]\nconnector = \"generator\"\nparallelism = 1\nrate = 1000\nformat = \"ndjson\"\n\
         template = '{{\"number\": {{n}}}}'\nfields = {{ number = \"i64\" }}\n\
         [operator.count]\ninput = \"in\"\nkey = {{ field = \"number\" }}\nparallelism = 2\n\
         window = {{ type = \"tumbling\", size = \"1s\", time = \"processing\" }}\naggregate = {{ type = \"count\" }}\n\
         [sink.out]\ninput = \"count\"\nparallelism = 1\nconnector = \"blackhole\"\n"
    )
}

fn names(spans: &[Span]) -> Vec<&str> {
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Checks that spans are parts of the first one, also by their times.
fn check_parts(root: &Span, parts: &[Span]) {
    for part in parts {
        assert_eq!(part.parent.as_ref(), Some(&root.id), "{part:?}");
        assert!(part.begin_ns <= part.end_ns, "{part:?}");
        // The clock of a span has a resolution of a millisecond.
        let slack_ns = 2_000_000;
        assert!(
            part.begin_ns + slack_ns >= root.begin_ns && part.end_ns <= root.end_ns + slack_ns,
            "{part:?} in {root:?}"
        );
    }
}

#[test]
fn a_submit_a_checkpoint_and_a_restore_are_trees_of_their_steps() {
    let receiver = Receiver::start();
    let (server, _) = start("traces", &receiver.endpoint);
    let api = &server.api;
    let id = api.submit_ok(&pipeline("300ms")).unwrap();

    let (submit, steps) = receiver.wait_for("the submit", |span| span.name == "submit");
    assert_eq!(names(&steps), ["check peers", "compile", "start", "validate"]);
    check_parts(&submit, &steps);
    let mut in_order = steps.clone();
    in_order.sort_by_key(|step| step.begin_ns);
    assert_eq!(in_order.iter().map(|step| step.name.as_str()).next(), Some("validate"), "{in_order:?}");
    assert!(steps.iter().map(Span::ms).sum::<f64>() <= submit.ms() + 4.0, "{submit:?} {steps:?}");
    assert_eq!(submit.get("cofferdam.job.id").unwrap(), &Value::from(id.clone()));
    assert_eq!(submit.get("cofferdam.job.name").unwrap(), "numbers");

    let is_complete = |span: &Span| span.name == "checkpoint" && span.failure.is_none();
    let (checkpoint, steps) = receiver.wait_for("a checkpoint", is_complete);
    let per_operator = ["snapshot", "snapshot", "snapshot", "upload", "upload", "upload"];
    assert_eq!(names(&steps), [&["commit"], &per_operator[..]].concat());
    check_parts(&checkpoint, &steps);
    let operators: BTreeSet<&str> = steps.iter().filter_map(|step| step.get("cofferdam.operator")?.as_str()).collect();
    assert_eq!(operators, BTreeSet::from(["in", "count", "out"]));
    let number = checkpoint.get("cofferdam.checkpoint.id").unwrap().as_str().unwrap();
    let shown = api.get(&format!("/v1/jobs/{id}/checkpoints/details/{number}")).unwrap().ok().unwrap();
    let duration_ms = shown["duration_ms"].as_f64().unwrap();
    assert!((checkpoint.ms() - duration_ms).abs() <= 1.0, "{checkpoint:?}: {duration_ms}");
    let commit = steps.iter().find(|step| step.name == "commit").unwrap();
    assert!(steps.iter().all(|step| step.begin_ns <= commit.begin_ns), "the commit comes last: {steps:?}");

    let is_restored = |span: &Span| span.name == "restore" && span.get("cofferdam.checkpoint.id").is_some();
    let (restore, steps) = receiver.wait_for("the restore after the failure", is_restored);
    let expected = ["load state", "load state", "plan", "read metadata", "recover sinks"];
    assert_eq!(names(&steps), expected, "{steps:?}");
    check_parts(&restore, &steps);
    let loads = steps.iter().filter(|step| step.name == "load state");
    let subtasks: BTreeSet<&str> = loads.map(|load| load.get("cofferdam.subtask").unwrap().as_str().unwrap()).collect();
    assert_eq!(subtasks, BTreeSet::from(["0", "1"]));

    // A submit that is refused has the code of its error, and not its message.
    assert_eq!(api.submit(&pipeline("300ms")).unwrap().code(), "job-name-taken");
    let (refused, steps) =
        receiver.wait_for("the refused submit", |span| span.name == "submit" && span.failure.is_some());
    assert_eq!((refused.failure.as_deref(), names(&steps)), (Some("job-name-taken"), vec!["validate"]));

    // The last spans are sent before the server ends.
    api.submit_ok(&pipeline("300ms").replace("name = \"numbers\"", "name = \"last\"")).unwrap();
    let mut server = server;
    server.terminate().unwrap();
    let has_name = |span: &Span| span.get("cofferdam.job.name").is_some_and(|name| name == "last");
    assert!(receiver.all().iter().any(|span| span.name == "submit" && has_name(span)));
}

fn metric(server: &Server, series: &str) -> u64 {
    let address = server.api.base().strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("{series}: {text}"));
    line.trim().parse::<f64>().unwrap() as u64
}

const DROPPED: &str = "cofferdam_trace_spans_total{result=\"dropped\"}";

#[test]
fn a_collector_that_is_away_or_silent_delays_nothing_and_losses_are_counted() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for (name, address) in [("traces-away", closed), ("traces-silent", silent.local_addr().unwrap())] {
        let (mut server, dir) = start(name, &format!("http://{address}"));
        let id = server
            .api
            .submit_ok(&pipeline("1ms").replace("after_checkpoints = 3\n", "after_checkpoints = 1000000\n"))
            .unwrap();
        // Seven spans of each checkpoint, which is more than the queue holds.
        let completed = || server.api.job(&id).map(|job| job["last_checkpoint"].as_u64().unwrap_or(0));
        wait_until("many checkpoints complete", TIMEOUT, || Ok((completed()? > 700).then_some(()))).unwrap();
        wait_until("dropped spans are counted", TIMEOUT, || Ok((metric(&server, DROPPED) > 0).then_some(()))).unwrap();
        assert!(server.terminate().unwrap().success());
        let log = fs::read_to_string(dir.join("server.log")).unwrap();
        let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        assert_eq!(lines("spans of traces are dropped"), 1, "{log}");
        assert!(lines("traces cannot be exported") <= 1, "{log}");
    }
    drop(silent);
}

#[test]
fn a_server_without_a_collector_traces_nothing_and_a_wrong_address_is_refused() {
    let (server, dir) = Server::start_fresh("traces-off").unwrap();
    server.api.submit_ok(&pipeline("10ms")).unwrap();
    assert_eq!(metric(&server, "cofferdam_trace_spans_total{result=\"exported\"}"), 0);
    assert_eq!(metric(&server, DROPPED), 0);
    let serve = std::process::Command::new(Checkout::current().cofferdam())
        .args(["serve", "--otlp-endpoint", "http://user:s3cret@127.0.0.1", "--data-dir"])
        .arg(dir.join("other"))
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&serve.stderr).into_owned();
    assert!(
        !serve.status.success() && message.contains("[request-invalid]") && !message.contains("s3cret"),
        "{message}"
    );
}
