//! Limits of an operator in a whole job: batches that are divided, totals that fail the job, and the ceilings of a server.
//!
//! The guest is tests/guests/misbehaving. `tests/tests/evil.rs` tries each limit against a guest that attacks it.

use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_tests::{Checkout, Server, committed_lines};
use serde_json::Value;

const RECORDS: usize = 3000;

/// Starts a server with the guest and an input of records `KEY,NUMBER`.
fn start(name: &str, arguments: &[&str], key: impl Fn(usize) -> String) -> (Server, PathBuf) {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir(&format!("tests/limits-{name}")).unwrap();
    let server = Server::start(&checkout.cofferdam(), &dir, arguments).unwrap();
    let component = fs::read(checkout.component("misbehaving").unwrap()).unwrap();
    server.api.push(&component, Some("misbehaving@1")).unwrap().ok().unwrap();
    let lines: String = (0..RECORDS).map(|number| format!("{},{number:05}\n", key(number))).collect();
    fs::write(dir.join("records.csv"), lines).unwrap();
    (server, dir)
}

/// A job that runs a function of the guest, with further settings of its operator.
fn pipeline(dir: &Path, function: &str, settings: &str) -> String {
    let dir = dir.display();
    format!(
        "name = \"limited\"\n[restart]\nstrategy = \"fixed-delay\"\nattempts = 3\ndelay = \"10ms\"\n\
         [source.records]\nconnector = \"file\"\npath = \"{dir}/records.csv\"\nformat = \"csv\"\nheader = false\n\
         [operator.act]\ninput = \"records\"\nkey = {{ column = 0 }}\ncomponent = \"misbehaving@1\"\n\
         function = \"{function}\"\n{settings}\n\
         [sink.out]\ninput = \"act\"\nconnector = \"file\"\npath = \"{dir}/out\"\n"
    )
}

fn operator(job: &Value) -> &Value {
    job["operators"].as_array().unwrap().iter().find(|operator| operator["id"] == "act").unwrap()
}

#[test]
fn a_batch_that_writes_too_much_state_is_divided_without_a_fault() {
    let (server, dir) = start("divided", &[], |number| format!("k{}", number % 7));
    // A batch of 1024 records writes 24 KiB.
    let settings = "limits = { state_per_turn = \"4KiB\" }";
    let job = server.api.submit_ok(&pipeline(&dir, "count-then-trap", settings)).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    let act = operator(&job);
    assert_eq!((act["faults"].as_u64(), job["restarts"].as_u64()), (Some(0), Some(0)), "{job}");
    assert!(act["batches_divided"].as_u64() > Some(0), "{job}");
    let lines = committed_lines(&dir.join("out")).unwrap();
    let mut expected: Vec<String> =
        (0..RECORDS).map(|number| format!("k{},{number:05},{}", number % 7, number / 7 + 1)).collect();
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn the_total_of_an_operators_state_fails_the_job_whatever_its_fault_policy() {
    let (server, dir) = start("total", &[], |number| format!("k{number}"));
    let settings = "parallelism = 2\non_fault = \"skip\"\nlimits = { state = \"64KiB\" }";
    let job = server.api.submit_ok(&pipeline(&dir, "count-then-trap", settings)).unwrap();
    let job = server.api.wait_for(&job, "FAILED").unwrap();
    let failure = &job["failure"];
    assert_eq!((failure["code"].as_str(), job["restarts"].as_u64()), (Some("state-exceeded"), Some(0)), "{job}");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("`act`") && message.contains("limits.state, 64.0 KiB"), "{message}");
    assert_eq!(operator(&job)["records_skipped"], 0, "{job}");
}

#[test]
fn a_large_share_of_bad_records_fails_the_job() {
    let (server, dir) = start("share", &[], |number| if number % 5 == 0 { "!".to_string() } else { "k".to_string() });
    let settings =
        |share: &str| format!("on_fault = \"skip\"\nlimits = {{ faults = {{ share = {share}, window = \"1h\" }} }}");
    let job = server.api.submit_ok(&pipeline(&dir, "error", &settings("0.1"))).unwrap();
    let job = server.api.wait_for(&job, "FAILED").unwrap();
    assert_eq!(job["failure"]["code"], "too-many-faults", "{job}");
    assert!(operator(&job)["faults_by_code"]["guest-error"].as_u64() > Some(0), "{job}");
    let job = server.api.submit_ok(&pipeline(&dir, "error", &settings("0.3")).replace("limited", "lenient")).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!(operator(&job)["records_skipped"], RECORDS / 5, "{job}");
}

#[test]
fn a_ceiling_of_the_server_cuts_defaults_and_refuses_more() {
    let arguments = ["--max-limit", "memory=8MiB", "--max-limit", "deadline=30s"];
    let (server, dir) = start("ceiling", &arguments, |number| if number == 7 { "!".into() } else { "k".into() });
    let answer = server.api.submit(&pipeline(&dir, "memory-bomb", "limits = { memory = \"16MiB\" }")).unwrap();
    assert_eq!((answer.status, answer.code()), (400, "limit-refused"), "{}", answer.body);
    let message = answer.body.to_string();
    assert!(message.contains("limits.memory = 16.0 MiB") && message.contains("8.0 MiB"), "{message}");
    assert_eq!(server.api.jobs().unwrap().as_array().map(Vec::len), Some(0), "nothing remains of a refused job");

    let job = server.api.submit_ok(&pipeline(&dir, "memory-bomb", "")).unwrap();
    let job = server.api.wait_for(&job, "FAILED").unwrap();
    let fault = &job["failure"]["fault"];
    assert_eq!(fault["code"], "memory-exceeded", "{job}");
    assert!(fault["message"].as_str().unwrap().contains("8388608 bytes"), "{fault}");
}
