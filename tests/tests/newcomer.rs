//! The first ten minutes of a new user, with the commands of the README: new, test, build, run.

use std::path::Path;
use std::process::{Command, Output};

use cofferdam_tests::Checkout;

/// Runs a command of the README, which must succeed, and returns its output.
fn run(folder: &Path, program: &Path, arguments: &[&str]) -> String {
    let checkout = Checkout::current();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    // A target folder of its own, kept between test runs so that the SDK is not compiled again each time.
    command.env("CARGO_TARGET_DIR", checkout.target.join("newcomer"));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{} {arguments:?} ended with {status}\n{stdout}\n{stderr}", program.display());
    stdout.into_owned()
}

#[test]
fn new_test_build_run() {
    let checkout = Checkout::current();
    let folder = tempfile::tempdir().unwrap();
    let cofferdam = checkout.cofferdam();
    run(folder.path(), &cofferdam, &["new", "my-function"]);

    let project = folder.path().join("my-function");
    let tests = run(&project, Path::new(env!("CARGO")), &["test"]);
    let passed =
        tests.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u32>().ok());
    assert!(passed.sum::<u32>() > 0, "the template's tests did not run: {tests}");
    run(&project, &cofferdam, &["build"]);
    run(&project, &cofferdam, &["run", "pipeline.toml"]);
}
