//! `cofferdam run` keeps compiled code in the cache folder of the user, so that a second run compiles nothing.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;

use cofferdam_tests::Checkout;

/// Runs a small job. Returns the number of compiled components, and the output on stderr.
fn run(dir: &Path, arguments: &[&str]) -> (usize, String) {
    let run = Command::new(Checkout::current().cofferdam())
        .args(["run", "pipeline.toml"])
        .args(arguments)
        .current_dir(dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("COFFERDAM_LOG", "warn,cofferdam::sandbox=debug")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{log}");
    (log.matches("component compiled").count(), log)
}

#[test]
fn a_second_run_compiles_nothing() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/code-cache").unwrap();
    let component = checkout.component("relay").unwrap();
    let pipeline = format!(
        "name = \"cached\"\n[source.in]\nconnector = \"generator\"\nrecords = 10\ntemplate = \"{{key}},{{n}}\"\n\
         [operator.forward]\ninput = \"in\"\ncomponent = {component:?}\nfunction = \"forward\"\n\
         [sink.out]\ninput = \"forward\"\nconnector = \"blackhole\"\n"
    );
    fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
    assert_eq!(run(&dir, &["--no-cache"]).0, 1);
    assert!(!dir.join("cache").exists(), "--no-cache keeps nothing");
    assert_eq!(run(&dir, &[]).0, 1);
    assert_eq!(run(&dir, &[]).0, 0);
    assert_eq!(run(&dir, &["--no-cache"]).0, 1);

    let file = fs::read_dir(dir.join("cache/cofferdam/code")).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, "damaged").unwrap();
    assert_eq!(run(&dir, &[]).0, 1, "damaged code counts as missing");
    assert_eq!(run(&dir, &[]).0, 0);

    fs::remove_dir_all(dir.join("cache")).unwrap();
    fs::write(dir.join("cache"), "a file").unwrap();
    let (compiled, log) = run(&dir, &[]);
    assert_eq!(compiled, 1, "the job runs without a cache");
    assert!(log.contains("compiled code is not kept"), "{log}");
}
