//! Guests that break every rule: the job follows its fault policy, the server stays up, and the neighbouring job is not
//! disturbed.
//!
//! The guest is tests/guests/misbehaving: each function echoes its records and misbehaves on the record with a `!`.

use std::fs;
use std::path::Path;

use cofferdam_tests::{Api, Checkout, Server, committed_lines};
use serde_json::Value;

const RECORDS: usize = 3_000;
const BAD: usize = 1_234;

/// One function of the guest and the expected reaction of the host.
struct Misdeed {
    function: &'static str,
    /// The fault code of the one bad record.
    code: &'static str,
    /// Additional settings in the operator's table.
    limits: &'static str,
    /// A part of the fault's message.
    message: &'static str,
}

fn misdeed(function: &'static str, code: &'static str) -> Misdeed {
    Misdeed { function, code, limits: "", message: "" }
}

/// Records `key,number`, with the bad one marked.
fn records() -> Vec<String> {
    let mark = |number| if number == BAD { "!bad" } else { ["a", "b", "c", "d", "e"][number % 5] };
    (0..RECORDS).map(|number| format!("{},{number:05}", mark(number))).collect()
}

/// All records except the bad one, as the guest's function emits them, sorted.
fn good_lines(function: &str) -> Vec<String> {
    let mut counts = std::collections::HashMap::new();
    let mut lines = Vec::new();
    for record in records().into_iter().filter(|record| !record.starts_with('!')) {
        let count: &mut u32 = counts.entry(record.split(',').next().unwrap().to_string()).or_default();
        *count += 1;
        lines.push(if function == "count-then-trap" { format!("{record},{count}") } else { record });
    }
    lines.sort();
    lines
}

fn pipeline(work_dir: &Path, name: &str, misdeed: &Misdeed, on_fault: &str, rate: &str) -> String {
    let Misdeed { function, limits, .. } = misdeed;
    let dir = work_dir.display();
    let bad = if on_fault == "dead-letter" {
        format!("[sink.bad]\ninput = \"act.dead-letter\"\nconnector = \"file\"\npath = \"{dir}/{name}/bad\"\n")
    } else {
        String::new()
    };
    format!(
        r#"
        name = "{name}"
        [restart]
        strategy = "none"
        [source.records]
        connector = "file"
        path = "{dir}/records.csv"
        format = "csv"
        header = false
        {rate}
        [operator.act]
        input = "records"
        key = {{ column = 0 }}
        component = "misbehaving@1"
        function = "{function}"
        on_fault = "{on_fault}"
        {limits}
        [sink.out]
        input = "act"
        connector = "file"
        path = "{dir}/{name}/out"
        {bad}"#
    )
}

/// Runs the misdeed under every fault policy at once, beside a job that must not be disturbed.
fn run(misdeed: &Misdeed) {
    let checkout = Checkout::current();
    let (mut server, dir) = Server::start_fresh(&format!("misbehaving-{}", misdeed.function)).unwrap();
    fs::write(dir.join("records.csv"), records().join("\n") + "\n").unwrap();
    let api = server.api.clone();
    let component = fs::read(checkout.component("misbehaving").unwrap()).unwrap();
    api.push(&component, Some("misbehaving@1")).unwrap().ok().unwrap();

    let echo = Misdeed { function: "echo", code: "", limits: "", message: "" };
    let submit = |name: &str, misdeed: &Misdeed, on_fault: &str, rate: &str| {
        api.submit_ok(&pipeline(&dir, name, misdeed, on_fault, rate)).unwrap()
    };
    let beside = submit("beside", &echo, "fail", "rate = 3000");
    let fail = submit("fail", misdeed, "fail", "");
    let skip = submit("skip", misdeed, "skip", "");
    let letter = submit("letter", misdeed, "dead-letter", "");

    check_fail(&api.wait_for(&fail, "FAILED").unwrap(), misdeed);
    assert_eq!(committed_lines(&dir.join("fail/out")).unwrap(), [""; 0], "a failed job publishes nothing");

    let job = api.wait_for(&skip, "FINISHED").unwrap();
    assert_eq!(operator(&job, "act")["records_skipped"], 1);
    assert!(operator(&job, "act")["faults"].as_u64() > Some(0), "{job}");
    assert_eq!(committed_lines(&dir.join("skip/out")).unwrap(), good_lines(misdeed.function));

    let job = api.wait_for(&letter, "FINISHED").unwrap();
    assert_eq!(operator(&job, "act")["records_dead_lettered"], 1);
    assert_eq!(committed_lines(&dir.join("letter/out")).unwrap(), good_lines(misdeed.function));
    check_letter(&committed_lines(&dir.join("letter/bad")).unwrap(), misdeed);

    assert!(server.is_up().unwrap());
    check_beside(&api, &beside, &dir);
}

fn operator<'a>(job: &'a Value, id: &str) -> &'a Value {
    let operators = job["operators"].as_array().unwrap();
    operators.iter().find(|operator| operator["id"] == id).unwrap()
}

fn check_fail(job: &Value, misdeed: &Misdeed) {
    let failure = &job["failure"];
    assert_eq!(failure["code"], misdeed.code, "{failure}");
    assert_eq!(failure["operator"], "act", "{failure}");
    assert_eq!(failure["fault"]["code"], misdeed.code, "{failure}");
    let message = failure["fault"]["message"].as_str().unwrap();
    assert!(!message.is_empty() && message.contains(misdeed.message), "{failure}");
}

fn check_letter(letters: &[String], misdeed: &Misdeed) {
    let [letter] = letters else { panic!("one letter, not {letters:?}") };
    for part in ["!bad", "01234", misdeed.code, misdeed.message] {
        assert!(letter.contains(part), "{part} is not in {letter}");
    }
}

fn check_beside(api: &Api, beside: &str, dir: &Path) {
    let job = api.wait_for(beside, "FINISHED").unwrap();
    assert_eq!(job["restarts"], 0);
    assert_eq!(operator(&job, "act")["faults"], 0);
    let mut expected = records();
    expected.sort();
    assert_eq!(committed_lines(&dir.join("beside/out")).unwrap(), expected);
}

#[test]
fn an_error_result() {
    run(&Misdeed { message: "this record is refused", ..misdeed("error", "guest-error") });
}

#[test]
fn a_panic_with_last_words() {
    run(&Misdeed { message: "the guest's last words", ..misdeed("panic", "guest-panic") });
}

#[test]
fn a_trap() {
    run(&misdeed("trap", "guest-trap"));
}

#[test]
fn a_trap_after_state_was_written() {
    run(&misdeed("count-then-trap", "guest-trap"));
}

#[test]
fn an_endless_loop() {
    run(&Misdeed { limits: "limits = { deadline = \"50ms\" }", ..misdeed("loop", "deadline-exceeded") });
}

#[test]
fn a_memory_bomb() {
    run(&misdeed("memory-bomb", "memory-exceeded"));
}

#[test]
fn a_deep_recursion() {
    run(&misdeed("recursion", "stack-overflow"));
}

#[test]
fn an_output_over_the_limit() {
    run(&misdeed("output-large", "output-exceeded"));
}

#[test]
fn a_gigabyte_of_output_out_of_shared_memory() {
    run(&misdeed("output-gigabyte", "output-exceeded"));
}

#[test]
fn millions_of_empty_outputs() {
    run(&misdeed("output-many", "output-exceeded"));
}

#[test]
fn offsets_that_decrease() {
    run(&misdeed("offsets-decrease", "invalid-output"));
}

#[test]
fn offsets_beyond_the_bytes() {
    run(&misdeed("offsets-beyond", "invalid-output"));
}

#[test]
fn offsets_that_do_not_start_at_0() {
    run(&misdeed("offsets-start", "invalid-output"));
}

#[test]
fn offsets_that_end_before_the_bytes() {
    run(&misdeed("offsets-short", "invalid-output"));
}

#[test]
fn fewer_timestamps_than_values() {
    run(&misdeed("timestamps-missing", "invalid-output"));
}

#[test]
fn fewer_keys_than_values() {
    run(&misdeed("keys-missing", "invalid-output"));
}

#[test]
fn an_output_that_does_not_exist() {
    run(&misdeed("no-such-output", "invalid-output"));
}

#[test]
fn a_state_that_does_not_exist() {
    run(&misdeed("no-such-state", "invalid-call"));
}

#[test]
fn a_key_that_does_not_exist() {
    run(&misdeed("no-such-key", "invalid-call"));
}

#[test]
fn a_million_bad_records_in_a_row_cost_little_log_and_no_instance() {
    const BAD_RECORDS: u64 = 1_000_000;
    let checkout = Checkout::current();
    let (server, dir) = Server::start_fresh("misbehaving-million").unwrap();
    let component = fs::read(checkout.component("misbehaving").unwrap()).unwrap();
    server.api.push(&component, Some("misbehaving@1")).unwrap().ok().unwrap();
    let pipeline = format!(
        "name = \"bad\"\n[source.in]\nconnector = \"generator\"\ntemplate = \"!{{n}}\"\nrecords = {BAD_RECORDS}\n\
         [operator.act]\ninput = \"in\"\ncomponent = \"misbehaving@1\"\nfunction = \"error\"\non_fault = \"skip\"\n\
         [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
    );
    let job = server.api.submit_ok(&pipeline).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    let act = operator(&job, "act");
    assert_eq!((&act["records_skipped"], &act["records_out"]), (&BAD_RECORDS.into(), &0.into()), "{job}");
    // The search adds a few faults for each batch.
    let faults = act["faults"].as_u64().unwrap();
    assert!((BAD_RECORDS..BAD_RECORDS * 11 / 10).contains(&faults), "{faults} faults");
    let log = fs::metadata(dir.join("server.log")).unwrap().len();
    assert!(log < 1 << 20, "{log} bytes of log");
    let ms = job["ended_at_ms"].as_i64().unwrap() - job["submitted_at_ms"].as_i64().unwrap();
    println!("{} bad records per second", BAD_RECORDS * 1000 / ms.max(1) as u64);
}
