//! WASI as guests built by other toolchains import it: granted by name, empty and deterministic unless more is granted.

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

/// Allows what the guest imports, and nothing more.
const EMPTY: &str = "wasi = [\"cli\", \"clocks\", \"filesystem\"], random = true";

fn pipeline(dir: &Path, name: &str, seed: u64, input: &str) -> String {
    granted(dir, name, seed, input, &format!("grants = {{ {EMPTY} }}"))
}

fn granted(dir: &Path, name: &str, seed: u64, input: &str, grants: &str) -> String {
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
        {grants}
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

/// Starts a server with the guest and returns its folder.
fn with_guest(name: &str) -> (Server, std::path::PathBuf) {
    let checkout = Checkout::current();
    let (server, dir) = Server::start_fresh(name).unwrap();
    let bytes = fs::read(checkout.component("ambient").unwrap()).unwrap();
    server.api.push(&bytes, Some("ambient@1")).unwrap().ok().unwrap();
    (server, dir)
}

#[test]
fn a_component_that_needs_more_than_is_granted_is_refused_with_the_missing_grants() {
    let (server, dir) = with_guest("ambient-grants");
    fs::write(dir.join("in.txt"), "look\n").unwrap();
    for (grants, missing) in [
        ("", "wasi = [\"cli\", \"clocks\", \"filesystem\"], random = true"),
        ("grants = { wasi = [\"cli\", \"clocks\", \"filesystem\"] }", "are missing: random = true"),
        ("grants = { env = { A = \"1\" }, clock = true, random = true }", "are missing: wasi = [\"filesystem\"]"),
    ] {
        let answer = server.api.submit(&granted(&dir, "refused", 7, "in.txt", grants)).unwrap();
        assert_eq!((answer.status, answer.code()), (400, "grant-missing"), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(missing), "{}", answer.body);
        assert!(answer.body["hint"].as_str().unwrap().contains("[operator.look]"), "{}", answer.body);
    }
    assert_eq!(server.api.jobs().unwrap().as_array().unwrap().len(), 0);
    // The message says what to add.
    let job = server.api.submit_ok(&pipeline(&dir, "accepted", 7, "in.txt")).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    let operator = &job["operators"][1];
    assert_eq!(
        operator["grants"],
        serde_json::json!(["wasi.cli", "wasi.clocks", "wasi.filesystem", "random"]),
        "{job}"
    );
    assert_eq!(operator["non_deterministic"], serde_json::json!(["random"]), "{job}");
    // A folder of the kernel is never granted.
    for folder in ["/proc", "/sys/kernel", "/dev", "/"] {
        let grants = format!("grants = {{ {EMPTY}, folder = {{ path = \"{folder}\" }} }}");
        let answer = server.api.submit(&granted(&dir, "kernel", 7, "in.txt", &grants)).unwrap();
        assert_eq!((answer.status, answer.code()), (403, "path-denied"), "{folder}: {}", answer.body);
    }
}

#[test]
fn variables_and_a_folder_are_what_was_granted_and_the_folder_cannot_be_changed() {
    let (server, dir) = with_guest("ambient-granted");
    let tables = dir.join("tables");
    fs::create_dir(&tables).unwrap();
    fs::write(tables.join("rates.csv"), "EUR,1\n").unwrap();
    fs::write(dir.join("secret"), "secret\n").unwrap();
    std::os::unix::fs::symlink(dir.join("secret"), tables.join("link")).unwrap();
    let grants = format!(
        "grants = {{ wasi = [\"clocks\"], random = true, env = {{ REGION = \"eu\", EMPTY = \"\" }}, \
         folder = {{ path = \"{}\", at = \"/tables\" }} }}",
        tables.display()
    );
    let ask = |name: &str, record: &str| {
        fs::write(dir.join(format!("{name}.txt")), format!("{record}\n")).unwrap();
        let job = server.api.submit_ok(&granted(&dir, name, 7, &format!("{name}.txt"), &grants)).unwrap();
        server.api.wait_for(&job, "FINISHED").unwrap();
        committed_lines(&dir.join(name)).unwrap()
    };
    assert_eq!(ask("env", "env"), ["EMPTY= REGION=eu"]);
    assert_eq!(ask("read", "read rates.csv"), ["EUR,1"]);
    for (name, record) in [("above", "read ../secret"), ("linked", "read link")] {
        let [refused] = ask(name, record).try_into().unwrap();
        assert!(refused.starts_with("failed: ") && refused.contains("not-permitted"), "{record}: {refused}");
    }
    let [refused] = ask("create", "create new").try_into().unwrap();
    assert!(refused.starts_with("failed: "), "{refused}");
    assert!(!tables.join("new").exists());
}

#[test]
fn the_real_clock_passes_within_a_turn_only_if_it_is_granted() {
    let (server, dir) = with_guest("ambient-clock");
    fs::write(dir.join("in.txt"), "spin\n").unwrap();
    let limits = "limits = { deadline = \"200ms\" }";
    // Without the grant the guest waits until its deadline, and the record becomes a dead letter.
    let still = format!("grants = {{ {EMPTY} }}\n{limits}");
    let job = server.api.submit_ok(&granted(&dir, "still", 7, "in.txt", &still)).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!(job["operators"][1]["records_dead_lettered"], 1, "{job}");
    let real = format!("grants = {{ {EMPTY}, clock = true }}\n{limits}");
    let job = server.api.submit_ok(&granted(&dir, "real", 7, "in.txt", &real)).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!(job["operators"][1]["records_dead_lettered"], 0, "{job}");
    assert_eq!(job["operators"][1]["non_deterministic"], serde_json::json!(["clock", "random"]), "{job}");
}
