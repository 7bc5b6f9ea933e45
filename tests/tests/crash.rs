//! The main promise: a job whose server is killed at random moments commits exactly what an undisturbed job commits.
//!
//! `COFFERDAM_SEED` repeats the plans of an earlier run, `COFFERDAM_CRASH_RUNS` sets the runs per combination (4).

use std::env;
use std::io::Write;
use std::sync::OnceLock;

use cofferdam_tests::late_flights::{self, Plan};
use cofferdam_tests::{Checkout, difference};

/// Together with the kills, a run takes about three seconds.
const RATE: u64 = 160_000;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn base_seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| number("COFFERDAM_SEED").unwrap_or_else(|| fastrand::u64(..)))
}

/// Bypasses the test harness, which shows the output of failed tests only.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn expected() -> &'static [String] {
    static EXPECTED: OnceLock<Vec<String>> = OnceLock::new();
    EXPECTED.get_or_init(|| late_flights::expected(&Checkout::current()).unwrap())
}

fn plan(backend: &str, parallelism: u32, seed: u64) -> Plan {
    let work_dir = Checkout::current().fresh_dir(&format!("tests/crash/{backend}-{parallelism}-{seed}")).unwrap();
    Plan {
        seed,
        backend: backend.to_string(),
        parallelism,
        rate: Some(RATE),
        checkpoint_interval: "200ms".to_string(),
        kills: 2,
        fresh_instance: false,
        unaligned: false,
        work_dir,
    }
}

/// Runs a plan and compares the committed output with that of another program.
fn run_exactly(plan: &Plan) -> late_flights::Outcome {
    let mut story = Vec::new();
    let outcome = late_flights::run(&Checkout::current(), plan, &mut |event| {
        if !matches!(event, late_flights::Event::Progress(_)) {
            story.push(format!("{event:?}"));
        }
    });
    let told = || format!("{plan:?}\n{}", story.join("\n"));
    let outcome = outcome.unwrap_or_else(|error| panic!("{error:#}\n{}", told()));
    if let Some(difference) = difference(expected(), &outcome.delays) {
        panic!("{difference}{}", told());
    }
    assert_eq!(outcome.bad, [""; 0], "{}", told());
    // A checkpoint exists by the time of the second kill. Starting from the beginning would not be a recovery.
    assert!(plan.kills == 0 || outcome.restored.iter().any(Option::is_some), "{}", told());
    std::fs::remove_dir_all(&plan.work_dir).unwrap();
    outcome
}

fn crash(backend: &str, parallelism: u32) {
    for run in 0..number("COFFERDAM_CRASH_RUNS").unwrap_or(4) {
        let seed = base_seed().wrapping_add(run);
        say(&format!("crash: {backend}, parallelism {parallelism}, seed {seed} (COFFERDAM_SEED={})", base_seed()));
        run_exactly(&plan(backend, parallelism, seed));
    }
}

#[test]
fn memory_at_parallelism_1() {
    crash("memory", 1);
}

#[test]
fn memory_at_parallelism_2() {
    crash("memory", 2);
}

#[test]
fn memory_at_parallelism_4() {
    crash("memory", 4);
}

#[test]
fn rocksdb_at_parallelism_1() {
    crash("rocksdb", 1);
}

#[test]
fn rocksdb_at_parallelism_2() {
    crash("rocksdb", 2);
}

#[test]
fn rocksdb_at_parallelism_4() {
    crash("rocksdb", 4);
}

/// The source has no rate limit, so channels are full and every checkpoint holds records in flight.
#[test]
fn unaligned_under_backpressure() {
    for (backend, parallelism) in [("memory", 1), ("rocksdb", 2)] {
        say(&format!("crash: unaligned, {backend}, parallelism {parallelism}, COFFERDAM_SEED={}", base_seed()));
        let work_dir = Checkout::current().fresh_dir(&format!("tests/crash/unaligned-{backend}-{parallelism}"));
        let work_dir = work_dir.unwrap();
        let interval = "100ms".to_string();
        let plan = Plan {
            rate: None,
            unaligned: true,
            fresh_instance: true,
            checkpoint_interval: interval,
            work_dir,
            ..plan(backend, parallelism, base_seed())
        };
        let outcome = run_exactly(&plan);
        assert!(outcome.in_flight_bytes > 0, "no checkpoint held records in flight: {outcome:?}");
    }
}

#[test]
fn without_a_kill() {
    for backend in ["memory", "rocksdb"] {
        run_exactly(&Plan { kills: 0, rate: None, ..plan(backend, 2, 0) });
    }
}
