//! A few rounds of `cargo xtask crash`: all operators, and savepoints from which a new job in another data folder continues.
//!
//! `COFFERDAM_SEED` repeats earlier rounds. `COFFERDAM_CRASH_RUNS` sets the number of rounds of each kind (default 2).

use std::env;
use std::io::Write;

use cofferdam_tests::Checkout;
use cofferdam_tests::crash::{self, Mode, Options};

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn rounds(mode: Mode) {
    let options = Options {
        mode,
        rounds: number("COFFERDAM_CRASH_RUNS").unwrap_or(2),
        seed: number("COFFERDAM_SEED").unwrap_or_else(|| u64::from(fastrand::u32(..))),
        backend: None,
        operators: Vec::new(),
        binary: None,
        has_fail_points: false,
        aims: Vec::new(),
        parallel: 1,
        keep_going: false,
    };
    // Bypasses the test harness, which shows the output of failed tests only.
    let mut tell = |line: &str| _ = writeln!(std::io::stderr(), "{line}");
    crash::run(&Checkout::current(), &options, &mut tell).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn every_operator_is_exact_through_kills_savepoints_and_rescaling() {
    rounds(Mode::Operators);
}

#[test]
fn a_new_job_publishes_what_a_savepoint_promised() {
    rounds(Mode::Savepoint);
}
