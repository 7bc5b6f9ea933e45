//! Exit codes, errors as problem documents, variables, and what `doctor` finds.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use cofferdam_tests::{Checkout, Server};
use serde_json::Value;

fn cofferdam(dir: &Path, server: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(Checkout::current().cofferdam());
    command.args(arguments).env("COFFERDAM_SERVER", server).current_dir(dir).output().unwrap()
}

const ENDLESS: &str = "name = \"endless\"\n[source.in]\nconnector = \"generator\"\nrate = 1\n[sink.out]\ninput = \"in\"\nconnector = \"blackhole\"\n";

/// Writes the pipeline files of the test.
fn write_pipelines(dir: &Path) {
    let source = |settings: &str| ENDLESS.replace("connector = \"generator\"\nrate = 1", settings);
    for (name, text) in [
        ("endless.toml", ENDLESS.to_owned()),
        ("misspelled.toml", source("connector = \"generator\"\nrecord = 1")),
        ("finite.toml", source("connector = \"generator\"\nrecords = 3")),
        ("missing.toml", source("connector = \"file\"\npath = \"no-such-file\"")),
        (
            "undecodable.toml",
            source("connector = \"file\"\npath = \"bad.json\"\nformat = \"ndjson\"\nfields = { a = \"i64\" }")
                .replace(
                    "[sink.out]\ninput = \"in\"",
                    "[operator.pick]\ninput = \"in\"\nselect = { keep = [\"a\"] }\n[sink.out]\ninput = \"pick\"",
                )
                .replace("blackhole", "stdout"),
        ),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    fs::write(dir.join("bad.json"), "{\"a\": \"no number\"}\n").unwrap();
}

#[test]
fn each_kind_of_failure_has_its_exit_code_and_its_problem_document() {
    let (server, dir) = Server::start_fresh("command-line").unwrap();
    write_pipelines(&dir);
    let base = server.api.base().to_owned();
    server.api.submit_ok(ENDLESS).unwrap();
    let away = "http://127.0.0.1:1";
    for (at, arguments, exit, code) in [
        (&*base, &["jobs"][..], 0, ""),
        (&base, &["check", "finite.toml"], 0, ""),
        (&base, &["run", "finite.toml"], 0, ""),
        (&base, &["check", "misspelled.toml"], 3, "manifest-unknown-key"),
        (&base, &["submit", "misspelled.toml"], 3, "manifest-unknown-key"),
        (&base, &["check", "missing.toml"], 3, "source-missing"),
        (&base, &["job", "show", "no-such-job"], 4, "job-not-found"),
        (&base, &["submit", "endless.toml"], 5, "job-name-taken"),
        (away, &["jobs"], 6, "server-unreachable"),
        (&base, &["run", "undecodable.toml"], 7, "job-failed"),
    ] {
        let output = cofferdam(&dir, at, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {stderr}");
        assert!(code.is_empty() || stderr.contains(&format!("[{code}]")), "{arguments:?}: {stderr}");
        if code.is_empty() {
            continue;
        }
        let output = cofferdam(&dir, at, &[&["--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        // The log of a failed job precedes it.
        let last = stderr.lines().last().unwrap_or_default();
        let problem: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        assert_eq!(problem["code"], code, "{problem}");
        assert!(problem["detail"].is_string() && problem["type"].as_str().unwrap().ends_with(code), "{problem}");
        if code == "manifest-unknown-key" {
            assert_eq!(problem["location"]["line"], 4, "{problem}");
        }
    }
    let usage = cofferdam(&dir, &base, &["no-such-command"]);
    assert_eq!(usage.status.code(), Some(2));
    let completions = cofferdam(&dir, &base, &["completions", "bash"]);
    assert!(completions.status.success() && String::from_utf8_lossy(&completions.stdout).contains("dead-letter"));
}

#[test]
fn doctor_names_what_is_missing_and_what_to_do() {
    let (server, dir) = Server::start_fresh("doctor").unwrap();
    let base = server.api.base().to_owned();
    let address = base.strip_prefix("http://").unwrap();
    let output = cofferdam(&dir, &base, &["--json", "doctor", "--data-dir", "data", "--listen", address]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The limits of the machine that runs this test are its own.
    let code = if report["failed"] == true { 6 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{report}");
    let findings = report["findings"].as_array().unwrap();
    for check in ["compiled code", "clock", "profile", "server", "server clock", "token", "address"] {
        let of_check = findings.iter().find(|finding| finding["check"] == check);
        assert_eq!(of_check.unwrap_or_else(|| panic!("{check}: {report}"))["verdict"], "ok", "{report}");
    }
    for finding in findings.iter().filter(|finding| finding["verdict"] != "ok") {
        assert!(finding["remedy"].is_string(), "{finding}");
    }

    let output =
        cofferdam(&dir, "http://127.0.0.1:1", &["doctor", "--data-dir", "/proc/self/none", "--listen", address]);
    assert_eq!(output.status.code(), Some(6));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().all(|line| ["ok  ", "warn", "fail"].contains(&&line[..4])), "{text}");
    for failed in ["fail  data folder ", "fail  server  ", "fail  address  "] {
        assert!(text.lines().any(|line| line.starts_with(failed) && line.contains("; ")), "{failed}: {text}");
    }
}

#[test]
fn colors_are_off_with_no_color_and_can_be_forced() {
    let dir = Checkout::current().fresh_dir("tests/colors").unwrap();
    write_pipelines(&dir);
    let log = |variables: &[(&str, &str)]| {
        let mut command = Command::new(Checkout::current().cofferdam());
        command.args(["run", "finite.toml"]).current_dir(&dir).env("COFFERDAM_LOG", "info");
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(variables.iter().copied());
        let stderr = command.output().unwrap().stderr;
        assert!(!stderr.is_empty(), "nothing was logged");
        stderr.contains(&0x1b)
    };
    assert!(!log(&[]), "a pipe is no terminal");
    assert!(log(&[("CLICOLOR_FORCE", "1")]));
    assert!(!log(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let (server, dir) = Server::start_fresh("empty-variables").unwrap();
    fs::create_dir(dir.join("cofferdam")).unwrap();
    let profile = format!("[profile.default]\nserver = \"{}\"\n", server.api.base());
    fs::write(dir.join("cofferdam/config.toml"), profile).unwrap();
    let command = |variables: &[String]| {
        let mut command = Command::new(Checkout::current().cofferdam());
        command.envs(variables.iter().map(|name| (name, ""))).env("XDG_CONFIG_HOME", &dir).current_dir(&dir);
        command
    };
    let help = command(&[]).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    // `[env: NAME=]`
    let mut variables: Vec<String> =
        help.split("[env: ").skip(1).map(|rest| rest[..rest.find('=').unwrap()].to_owned()).collect();
    assert!(variables.len() >= 6 && variables.contains(&"COFFERDAM_SERVER".to_owned()), "{variables:?}");
    variables.extend(["COFFERDAM_TOKEN", "COFFERDAM_LOG"].map(str::to_owned));
    let output = command(&variables).arg("jobs").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
