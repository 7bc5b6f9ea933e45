//! The end of event time and of the input, through the binary: what fires then, what does not, and that the job ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(60);

fn fresh(name: &str) -> (Server, PathBuf) {
    Server::start_fresh(&format!("timing-{name}")).unwrap()
}

/// A pipeline over `records.csv`, whose column 1 is the time.
fn pipeline(dir: &Path, watermark: &str, operator: &str) -> String {
    let path = dir.display();
    format!(
        "name = \"timing\"\n[checkpoint]\ninterval = \"100ms\"\n\
         [source.records]\nconnector = \"file\"\npath = \"{path}/records.csv\"\nformat = \"csv\"\nheader = false\n\
         timestamp = {{ column = 1, format = \"unix-ms\" }}\nwatermark = {watermark}\n\
         [operator.op]\ninput = \"records\"\nkey = {{ column = 0 }}\n{operator}\n\
         [sink.out]\ninput = \"op\"\nconnector = \"file\"\npath = \"{path}/out\"\n"
    )
}

/// Runs a pipeline over these lines to its end. Returns the job and the committed lines.
fn run(name: &str, lines: &str, operator: &str) -> (Value, Vec<String>) {
    let (server, dir) = fresh(name);
    fs::write(dir.join("records.csv"), lines).unwrap();
    let job = server.api.submit_ok(&pipeline(&dir, "\"ascending\"", operator)).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    (job, committed_lines(&dir.join("out")).unwrap())
}

fn counts(lines: &[String]) -> Vec<(String, i64)> {
    let json = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut counts: Vec<_> =
        json.map(|line| (line["column0"].as_str().unwrap().to_owned(), line["count"].as_i64().unwrap())).collect();
    counts.sort();
    counts
}

/// The entry of the operator in a job's details, or null before the job runs.
fn shown(job: &Value) -> &Value {
    let nodes = job["operators"].as_array();
    nodes.and_then(|nodes| nodes.iter().find(|node| node["id"] == "op")).unwrap_or(&Value::Null)
}

#[test]
fn windows_of_processing_time_give_what_they_hold_at_the_end_of_the_input() {
    // In the year 2100, so that the clock has not passed the end of an event-time window either.
    let lines = "a,4102444800001\nb,4102444800002\na,4102444800003\n";
    for (name, window) in [
        ("tumbling", "window = { type = \"tumbling\", size = \"1d\", time = \"processing\" }"),
        ("session", "window = { type = \"session\", gap = \"1d\", time = \"processing\" }"),
        (
            "continuous",
            "window = { type = \"global\", time = \"processing\" }\ntrigger = { type = \"continuous\", interval = \"1d\", purge = true }",
        ),
        ("mixed", "window = { type = \"tumbling\", size = \"1d\" }\ntrigger = { type = \"processing-time\" }"),
    ] {
        let (job, committed) = run(name, lines, &format!("{window}\naggregate = {{ type = \"count\" }}"));
        assert_eq!(counts(&committed), [("a".to_owned(), 2), ("b".to_owned(), 1)], "{name}: {job}");
        let fired = shown(&job)["metrics"]["numProcessingTimersFiredAtEnd"].as_f64();
        assert!(fired >= Some(2.0), "{name}: {job}");
    }
}

/// The renewed timers are due among the timers of other keys, which a component receives in the same call.
#[test]
fn a_timer_that_renews_itself_does_not_keep_the_input_from_ending() {
    let lines = "a,repeats 10 9000000000000000000,1\na,event 10,1\nc,event 15000,1\nb,processing 9000000000000000,1\n";
    let (server, dir) = fresh("renewing");
    fs::write(dir.join("records.csv"), lines).unwrap();
    let bytes = fs::read(Checkout::current().component("event-time").unwrap()).unwrap();
    server.api.push(&bytes, Some("event-time@1")).unwrap().ok().unwrap();
    let operator = "component = \"event-time@1\"\nfunction = \"timers\"";
    let pipeline = pipeline(&dir, "\"ascending\"", operator).replace("column = 1", "column = 2");
    let job = server.api.submit_ok(&pipeline).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    let committed = committed_lines(&dir.join("out")).unwrap();
    assert_eq!(committed, ["a,event,10", "b,processing,9000000000000000", "c,event,15000"], "{job}");
    assert_eq!(shown(&job)["metrics"]["numTimersDroppedAtEnd"].as_f64(), Some(1.0), "{job}");
}

#[test]
fn a_jump_of_event_time_fires_a_continuous_trigger_once() {
    let window = "window = { type = \"global\" }\ntrigger = { type = \"continuous\", interval = \"1s\" }";
    let (job, committed) =
        run("jump", "a,0\na,1700000000000\n", &format!("{window}\naggregate = {{ type = \"count\" }}"));
    let largest = counts(&committed).into_iter().map(|(_, count)| count).max();
    assert_eq!(largest, Some(2), "{job}");
    assert!(committed.len() <= 4, "{committed:?}");
}

/// Returns the milliseconds of a time of the last day before the Unix epoch, or of the first day after it.
fn milliseconds(time: &str) -> i64 {
    let (day, clock) = time.strip_suffix('Z').unwrap().split_once('T').unwrap();
    let day = match day {
        "1969-12-31" => -1,
        "1970-01-01" => 0,
        other => panic!("{other}"),
    };
    let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap());
    (day * 86_400 + seconds) * 1000
}

/// 86,400 windows per record: each counts the records within it, and the records of one second are stored once.
#[test]
fn a_day_that_slides_by_a_second_takes_each_record_once() {
    let times: Vec<i64> = (0..3000).map(|number| number * 100).collect();
    let lines: String = times.iter().map(|time| format!("a,{time}\n")).collect();
    let window = "window = { type = \"sliding\", size = \"1d\", slide = \"1s\" }\naggregate = { type = \"count\" }";
    let (job, committed) = run("day", &lines, window);
    let mut seen = BTreeMap::new();
    for line in &committed {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(seen.insert(milliseconds(line["start"].as_str().unwrap()), line["count"].as_i64().unwrap()), None);
    }
    // 300 seconds have records: the first window ends with the first second, and the last one begins with the last second.
    assert_eq!(seen.len(), 86_400 + 299, "{job}");
    for (&start, &count) in &seen {
        let within = times.iter().filter(|time| (start..start + 86_400_000).contains(*time)).count();
        assert_eq!(count, within as i64, "the window from {start}");
    }
}

#[test]
fn windows_that_are_kept_one_by_one_are_refused_with_their_number_where_a_record_has_too_many() {
    let (server, dir) = fresh("refused");
    fs::write(dir.join("records.csv"), "a,1\n").unwrap();
    let window = "window = { type = \"sliding\", size = \"1d\", slide = \"1s\" }\n\
                  trigger = { type = \"count\", count = 2 }\naggregate = { type = \"count\" }";
    let pipeline = pipeline(&dir, "\"ascending\"", window);
    let reply = server.api.post("/v1/jobs", "application/toml", pipeline.as_bytes()).unwrap();
    let text = format!("{reply:?}");
    assert!(text.contains("manifest-invalid") && text.contains("86400 windows"), "{text}");
}

/// Ten historic rows that end, beside a socket that is quiet for a while: the socket's records are not late.
#[test]
fn what_comes_from_an_idle_input_is_not_late_because_another_one_has_ended() {
    let (server, dir) = fresh("idle");
    let history: String = (0..10).map(|number| format!("a,{}\n", number * 100)).collect();
    fs::write(dir.join("records.csv"), history).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel::<()>();
    let feeding = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        receiver.recv().unwrap();
        (10..20).for_each(|number| writeln!(stream, "a,{}", number * 100).unwrap());
    });
    let path = dir.display();
    let pipeline = pipeline(
        &dir,
        "\"ascending\"",
        "window = { type = \"tumbling\", size = \"1s\" }\naggregate = { type = \"count\" }",
    )
    .replace("input = \"records\"\nkey", "inputs = [\"records\", \"live\"]\nkey")
        + &format!(
            "[source.live]\nconnector = \"socket\"\naddress = \"{address}\"\nformat = \"csv\"\n\
             timestamp = {{ column = 1, format = \"unix-ms\" }}\n\
             watermark = {{ out_of_orderness = \"0s\", idle_after = \"50ms\" }}\n\
             [sink.late]\ninput = \"op.late\"\nconnector = \"file\"\npath = \"{path}/late\"\n"
        );
    let job = server.api.submit_ok(&pipeline).unwrap();
    wait_until("the history has ended, and the socket is idle", TIMEOUT, || {
        let job = server.api.job(&job)?;
        let operator = shown(&job);
        let is_idle = operator["watermarks"][0]["idle"] == true;
        Ok((operator["records_in"].as_u64() == Some(10) && is_idle).then_some(()))
    })
    .unwrap();
    sender.send(()).unwrap();
    feeding.join().unwrap();
    server.api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!(committed_lines(&dir.join("late")).unwrap(), [""; 0]);
    let windows = counts(&committed_lines(&dir.join("out")).unwrap());
    assert_eq!(windows, [("a".to_owned(), 10), ("a".to_owned(), 10)]);
}
