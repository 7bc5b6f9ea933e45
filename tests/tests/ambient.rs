//! WASI as guests built by other toolchains import it: present, empty and deterministic.

use std::fs;
use std::path::Path;

use cofferdam_tests::{Api, Checkout, Server, committed_lines};

/// What a guest reported: the clock in milliseconds, a random number, and the numbers of files, variables and arguments.
type Seen = (i64, u64, usize);

/// Sends one record through the guest.
fn look(api: &Api, dir: &Path, name: &str, seed: u64) -> Seen {
    let out = dir.join(name);
    let job = api.submit_ok(&pipeline(dir, name, seed, "look.txt")).unwrap();
    api.wait_for(&job, "FINISHED").unwrap();
    let lines = committed_lines(&out).unwrap();
    let [now, random, given] = lines[0].split(' ').collect::<Vec<_>>().try_into().unwrap();
    (now.parse().unwrap(), random.parse().unwrap(), given.parse().unwrap())
}

fn pipeline(dir: &Path, name: &str, seed: u64, input: &str) -> String {
    let dir = dir.display();
    format!(
        r#"
        name = "{name}"
        seed = {seed}
        [source.in]
        connector = "file"
        path = "{dir}/{input}"
        [operator.look]
        input = "in"
        component = "ambient@1"
        function = "look"
        on_fault = "dead-letter"
        [sink.out]
        input = ["look", "look.dead-letter"]
        connector = "file"
        path = "{dir}/{name}"
        "#
    )
}

#[test]
fn wasi_is_empty_and_deterministic_and_a_wait_ends_at_once() {
    let checkout = Checkout::current();
    let (server, dir) = Server::start_fresh("ambient").unwrap();
    let api = &server.api;
    api.push(&fs::read(checkout.component("ambient").unwrap()).unwrap(), Some("ambient@1")).unwrap().ok().unwrap();
    fs::write(dir.join("look.txt"), "look\n").unwrap();
    fs::write(dir.join("wait.txt"), "wait\n").unwrap();

    let first = look(api, &dir, "first", 7);
    assert_eq!(first.2, 0, "no files, no environment, no arguments");
    let again = look(api, &dir, "again", 7);
    assert_eq!(first.1, again.1, "randomness comes from the seed");
    assert_ne!(first.1, look(api, &dir, "other", 8).1);
    let submitted = api.job("first").unwrap()["submitted_at_ms"].as_i64().unwrap();
    assert!(
        first.0 >= submitted && again.0 >= first.0,
        "the clock shows processing time: {first:?} {again:?} {submitted}"
    );

    // Time stands still during a turn. A guest that waits for it continues at once, not after an hour.
    let job = api.submit_ok(&pipeline(&dir, "waits", 7, "wait.txt")).unwrap();
    api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!(committed_lines(&dir.join("waits")).unwrap().len(), 1);
    assert_eq!(api.job("waits").unwrap()["operators"][1]["faults"], 0);
}

#[test]
fn what_a_component_without_the_sdk_wrote_before_it_aborted_is_in_its_fault() {
    let checkout = Checkout::current();
    let (server, dir) = Server::start_fresh("ambient-panics").unwrap();
    let api = &server.api;
    api.push(&fs::read(checkout.component("ambient").unwrap()).unwrap(), Some("ambient@1")).unwrap().ok().unwrap();
    fs::write(dir.join("panic.txt"), "panic\n").unwrap();
    let job = api.submit_ok(&pipeline(&dir, "panics", 7, "panic.txt")).unwrap();
    api.wait_for(&job, "FINISHED").unwrap();
    let letter = &committed_lines(&dir.join("panics")).unwrap()[0];
    assert!(letter.contains("guest-panic") && letter.contains("the last words"), "{letter}");
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    assert!(log.contains("thread 'main' panicked at src/lib.rs:7:9:"), "the lines are in the log:\n{log}");
}
