//! What a job shows of its work: shares of time, the bottleneck, totals that never go back, its graph and its history.

#![allow(clippy::disallowed_methods, reason = "a test outside of the host")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

/// Steps of work in a record, which take a function about a millisecond.
const STEPS: u64 = 1_000_000;

fn push(server: &Server, name: &str) {
    let bytes = fs::read(Checkout::current().component(name).unwrap()).unwrap();
    server.api.push(&bytes, Some(&format!("{name}@1"))).unwrap().ok().unwrap();
}

fn metrics(server: &Server, job: &str) -> Value {
    server.api.get(&format!("/v1/jobs/{job}/metrics?subtasks=true")).unwrap().ok().unwrap()
}

fn operator<'a>(metrics: &'a Value, id: &str) -> &'a Value {
    // A job that does not run yet shows none.
    metrics["operators"].as_array().unwrap().iter().find(|operator| operator["id"] == id).unwrap_or(&Value::Null)
}

fn share(metrics: &Value, id: &str, kind: &str) -> f64 {
    operator(metrics, id)["shares"][kind].as_f64().unwrap_or(0.0)
}

/// Checks that the shares of all operators and subtasks add up to 1.
fn check_sums(metrics: &Value) {
    let sum = |shares: &Value| {
        let parts = ["busy", "idle", "backpressured", "throttled"];
        parts.map(|part| shares[part].as_f64().unwrap()).iter().sum::<f64>()
    };
    for operator in metrics["operators"].as_array().unwrap() {
        let subtasks = operator["subtasks"].as_array().cloned().unwrap_or_default();
        for shown in subtasks.iter().chain([operator]).filter(|shown| !shown["shares"].is_null()) {
            let sum = sum(&shown["shares"]);
            assert!((sum - 1.0).abs() < 0.02, "{sum}: {operator}");
        }
    }
}

fn pipeline(dir: &Path, name: &str, slow: &str, sink: &str) -> String {
    format!(
        "name = \"{name}\"\n[batch]\nrecords = 16\n[source.in]\nconnector = \"file\"\npath = \"{}/{name}.txt\"\n\
         [operator.slow]\ninput = \"in\"\n{slow}\ncomponent = \"printing@1\"\nfunction = \"work\"\n\
         [sink.out]\ninput = \"slow\"\n{sink}\nconnector = \"blackhole\"\n",
        dir.display()
    )
}

/// Waits until the source is backpressured, the slow operator busy and the sink idle, in a window of its own.
fn wait_for_bottleneck(server: &Server, job: &str) -> Value {
    wait_until("the shares show the slow operator", TIMEOUT, || {
        let metrics = metrics(server, job);
        check_sums(&metrics);
        let is_shown = share(&metrics, "in", "backpressured") > 0.8
            && share(&metrics, "slow", "busy") > 0.9
            && share(&metrics, "out", "idle") > 0.8
            && metrics["window_ms"].as_u64().is_some_and(|window_ms| window_ms >= 1000);
        if !is_shown {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(is_shown.then_some(metrics))
    })
    .unwrap()
}

#[test]
fn a_slow_operator_is_the_bottleneck_behind_an_edge_and_in_a_chain() {
    let (server, dir) = Server::start_fresh("telemetry-bottleneck").unwrap();
    push(&server, "printing");
    // Different keys, which cost the same, and enough of them that both subtasks have as much to do.
    let records: String = (0..200_000).map(|record| format!("{}\n", STEPS + record % 4096)).collect();
    let jobs = [
        ("edges", "key = \"value\"\nparallelism = 2", "parallelism = 1"),
        ("chain", "parallelism = 1", "parallelism = 1"),
    ];
    for (name, slow, sink) in jobs {
        fs::write(dir.join(format!("{name}.txt")), &records).unwrap();
        let job = server.api.submit_ok(&pipeline(&dir, name, slow, sink)).unwrap();
        let metrics = wait_for_bottleneck(&server, &job);
        assert_eq!(metrics["bottleneck"], "slow", "{metrics}");
        let subtasks = operator(&metrics, "slow")["subtasks"].as_array().unwrap();
        assert_eq!(subtasks.len(), if name == "edges" { 2 } else { 1 });
        assert!(subtasks.iter().all(|subtask| subtask["totals"]["records_in"].as_u64() > Some(0)), "{metrics}");

        let graph = server.api.get(&format!("/v1/jobs/{job}/graph")).unwrap().ok().unwrap();
        let edges = graph["edges"].as_array().unwrap().iter();
        let partitions: Vec<&str> = edges.map(|edge| edge["partition"].as_str().unwrap()).collect();
        let expected = if name == "edges" { ["keyed", "rebalance"] } else { ["chained", "chained"] };
        assert_eq!(partitions, expected, "{graph}");
        let chains = graph["nodes"].as_array().unwrap().iter().map(|node| node["chain"].as_u64().unwrap());
        assert_eq!(chains.collect::<BTreeSet<_>>().len(), if name == "edges" { 3 } else { 1 });
        assert_eq!(graph["nodes"][1]["function"], "work");

        let top = Command::new(Checkout::current().cofferdam())
            .args(["--server", server.api.base(), "top", &job, "--once"])
            .output()
            .unwrap();
        let top = String::from_utf8(top.stdout).unwrap();
        assert!(top.contains("bottleneck  `slow`"), "{top}");
        server.api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    }
}

/// A job that counts records by key, checkpoints all the time, and fails three times.
fn failing_pipeline(dir: &Path, name: &str) -> String {
    let failures = [20, 50, 80]
        .map(|checkpoints| format!("{{ at = \"record\", node = \"count\", after = 50, checkpoints = {checkpoints} }}"));
    format!(
        "name = \"{name}\"\n[batch]\nrecords = 16\n[checkpoint]\ninterval = \"10ms\"\n\
         [restart]\nstrategy = \"fixed-delay\"\nattempts = 100\ndelay = \"10ms\"\n\
         [fault_injection]\nfailures = [{}]\n\
         [source.in]\nconnector = \"file\"\npath = \"{}/{name}.txt\"\nrate = 2000\n\
         [operator.count]\ninput = \"in\"\nkey = {{ column = 0 }}\nwindow = {{ type = \"tumbling\", size = \"1s\" }}\n\
         aggregate = {{ type = \"count\" }}\n\
         [sink.out]\ninput = \"count\"\nconnector = \"blackhole\"\n",
        failures.join(", "),
        dir.display()
    )
    .replace("rate = 2000\n", "format = \"csv\"\nheader = false\ntimestamp = { column = 1, format = \"unix-ms\" }\nwatermark = \"ascending\"\nrate = 2000\n")
}

fn failing_input(dir: &Path, name: &str) {
    let records: String = (0..1_000_000).map(|record| format!("k{},{record}\n", record % 10)).collect();
    fs::write(dir.join(format!("{name}.txt")), records).unwrap();
}

/// All events of a job, page by page.
fn all_events(server: &Server, job: &str) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event["number"].as_u64().unwrap());
        let path = format!("/v1/jobs/{job}/events?after={after}&limit=1000");
        let page = server.api.get(&path).unwrap().ok().unwrap();
        let page = page["events"].as_array().unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page.iter().cloned());
    }
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["kind"] == kind).count()
}

#[test]
fn the_history_of_restarts_and_checkpoints_survives_a_kill() {
    let (server, dir) = Server::start_fresh("telemetry-history").unwrap();
    failing_input(&dir, "history");
    let job = server.api.submit_ok(&failing_pipeline(&dir, "history")).unwrap();
    wait_until("200 checkpoints and 3 failures", TIMEOUT, || {
        let events = all_events(&server, &job);
        Ok((count(&events, "checkpoint-completed") >= 200 && count(&events, "failure") >= 3).then_some(()))
    })
    .unwrap();
    let before = all_events(&server, &job);
    server.kill().unwrap();

    let server = Server::start(&Checkout::current().cofferdam(), &dir, &[]).unwrap();
    let after = wait_until("the job runs again", TIMEOUT, || {
        let events = all_events(&server, &job);
        let new = &events[before.len().min(events.len())..];
        Ok(new.iter().any(|event| event["status"] == "RUNNING").then_some(events))
    })
    .unwrap();
    assert_eq!(&after[..before.len()], &before[..], "nothing is lost and nothing is changed");
    let numbers: Vec<u64> = after.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let resumed = after.iter().find(|event| event["message"] == "resumed by a new process");
    assert!(resumed.is_some(), "the history names the new process");
    let failures: Vec<&Value> = after.iter().filter(|event| event["kind"] == "failure").collect();
    assert!(failures.iter().take(3).all(|event| event["code"] == "fault-injected" && event["operator"] == "count"));

    let listed = Command::new(Checkout::current().cofferdam())
        .args(["--server", server.api.base(), "events", &job, "--after", "0", "--limit", "1000"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("fault-injected") && listed.contains("checkpoint-completed"), "{listed}");
}
