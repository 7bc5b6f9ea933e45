//! Crash rounds for `cargo xtask crash`: generated pipelines in a real server that is killed at random. A plain model
//! of the operators predicts the committed lines.
//!
//! - [`Mode::Operators`] (`operators.rs`): one data folder. A job is killed, stopped with a savepoint, or cancelled.
//!   The next job continues from its savepoint or newest checkpoint, at another parallelism and sometimes on another
//!   backend.
//!   If the binary has fail points (`fail_points.rs`), the server also dies and fails at places that the round aims at.
//! - [`Mode::Savepoint`] (`savepoint.rs`): a server is killed around a savepoint, and its data folder is set aside. A
//!   new job in another data folder continues, and both together must have published the exact output.
//! - [`Mode::Kafka`] (`kafka.rs`, `kafka_output.rs`): from topic to topic, with kills of the broker, paused servers and replaced jobs.
//! - [`Mode::Ingest`] (`ingest.rs`): clients that send by HTTP and retry through kills, at each step of the log.
//!
//! A seed decides the input (`input.rs`), the operators (`branches.rs`, `model.rs`), the settings (`pipeline.rs`) and
//! the steps. The exact moment of a kill depends on the machine, so a seed repeats the plan, not the moment. [`Tally`]
//! counts what was exercised.

mod branches;
mod fail_points;
mod ingest;
mod input;
mod kafka;
mod kafka_output;
mod model;
mod operators;
mod pipeline;
mod savepoint;
mod site;
mod state_load;
mod story;
mod tally;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};
use fastrand::Rng;

pub use branches::names as operator_names;
pub use fail_points::{Aim, FailPointHits, fail_points_below};
pub use pipeline::BACKENDS;
use story::Story;
pub use tally::Tally;

use crate::Checkout;

/// The kind of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Operators,
    Savepoint,
    Kafka,
    Ingest,
}

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    pub rounds: u64,
    /// Seed of the first round. Each further round uses the next number.
    pub seed: u64,
    /// The only backend, or `None` to use both.
    pub backend: Option<String>,
    /// The operators of each round. If empty, they change from round to round.
    pub operators: Vec<String>,
    /// The `cofferdam` binary to run, if not that of this checkout.
    pub binary: Option<PathBuf>,
    /// Whether the binary was built with fail points.
    pub has_fail_points: bool,
    /// What each round aims at. If empty, rounds aim at points that were not hit yet.
    pub aims: Vec<Aim>,
    /// Number of rounds that run at the same time.
    pub parallel: u64,
    /// Whether a failed round does not end the run.
    pub keep_going: bool,
}

/// One round: its inputs, and its steps.
struct Round<'a> {
    checkout: &'a Checkout,
    binary: PathBuf,
    backend: Option<&'a str>,
    operators: &'a [String],
    seed: u64,
    rng: Rng,
    has_fail_points: bool,
    aims: Vec<Aim>,
    /// An empty folder.
    dir: PathBuf,
    tally: &'a mut Tally,
    story: Story,
}

impl Mode {
    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Operators => "operators",
            Mode::Savepoint => "savepoint",
            Mode::Kafka => "kafka",
            Mode::Ingest => "ingest",
        }
    }

    /// Returns the moments of kills, all of which a long run must hit.
    fn kills(self) -> &'static [&'static str] {
        match self {
            Mode::Operators => operators::KILLS,
            Mode::Savepoint => savepoint::KILLS,
            Mode::Kafka => kafka::KILLS,
            Mode::Ingest => ingest::KILLS,
        }
    }
}

/// What the threads of a run share.
struct SharedProgress<'a> {
    tally: Tally,
    tell: &'a mut (dyn FnMut(&str) + Send),
    failures: Vec<anyhow::Error>,
    started: u64,
}

/// Runs the rounds and prints one line for each. Fails at the first difference, with the command that repeats the round
/// and the folder that was kept. With `keep_going` it runs the other rounds first.
pub fn run(checkout: &Checkout, options: &Options, tell: &mut (dyn FnMut(&str) + Send)) -> Result<Tally> {
    let mut tally = Tally::default();
    if options.has_fail_points && options.mode != Mode::Savepoint {
        let source = checkout.root.join("host/src");
        tally.fail_points = match options.mode {
            Mode::Kafka => FailPointHits::of_areas(&source, kafka::AREAS)?,
            Mode::Ingest => FailPointHits::of_areas(&source, ingest::AREAS)?,
            Mode::Operators | Mode::Savepoint => FailPointHits::of_files(&source)?,
        };
    }
    let shared = Mutex::new(SharedProgress { tally, tell, failures: Vec::new(), started: 0 });
    thread::scope(|scope| {
        for _ in 0..options.parallel.max(1) {
            scope.spawn(|| while run_next(checkout, options, &shared) {});
        }
    });
    let SharedProgress { tally, tell, mut failures, .. } = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failures.is_empty() {
        tell(&tally.to_string());
        let count = failures.len();
        return Err(failures.swap_remove(0).context(format!("{count} of {} rounds failed", tally.rounds)));
    }
    match options.mode {
        Mode::Kafka if options.aims.is_empty() => tally.check_all_kills(kafka::KILLS, kafka::ROUNDS_FOR_ALL_KILLS)?,
        Mode::Kafka => tally.check_kills()?,
        Mode::Ingest => tally.check_all_points(ingest::ROUNDS_FOR_ALL_POINTS)?,
        Mode::Operators | Mode::Savepoint => tally.check(options.mode.kills(), options.backend.is_some())?,
    }
    Ok(tally)
}

/// Runs the next round. Returns whether another one may follow.
fn run_next(checkout: &Checkout, options: &Options, shared: &Mutex<SharedProgress<'_>>) -> bool {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let (number, seed, aims) = {
        let mut shared = lock();
        let number = shared.started;
        if number == options.rounds || (!shared.failures.is_empty() && !options.keep_going) {
            return false;
        }
        shared.started += 1;
        let seed = options.seed.wrapping_add(number);
        let aims = match options.aims.is_empty() {
            true => shared.tally.fail_points.choose(&mut Rng::with_seed(seed)),
            false => options.aims.clone(),
        };
        (number + 1, seed, aims)
    };
    let mut tally = Tally { fail_points: lock().tally.fail_points.without_hits(), ..Tally::default() };
    let result = run_round(checkout, options, (seed, aims), &mut tally);
    let mut shared = lock();
    shared.tally.add(&tally);
    match result {
        Ok(line) => (shared.tell)(&format!("round {number}/{}, seed {seed}, {line}", options.rounds)),
        Err(error) => {
            (shared.tell)(&format!("round {number}/{}, seed {seed}, failed: {error:#}", options.rounds));
            shared.failures.push(error);
        }
    }
    true
}

fn run_round(
    checkout: &Checkout,
    options: &Options,
    (seed, aims): (u64, Vec<Aim>),
    tally: &mut Tally,
) -> Result<String> {
    let mut round = Round {
        checkout,
        binary: options.binary.clone().unwrap_or_else(|| checkout.cofferdam()),
        backend: options.backend.as_deref(),
        operators: &options.operators,
        seed,
        rng: Rng::with_seed(seed),
        has_fail_points: options.has_fail_points && options.mode != Mode::Savepoint,
        aims,
        dir: checkout.fresh_dir(&format!("crash/{}-{seed}", options.mode.name()))?,
        tally,
        story: Story::new(),
    };
    let result = match options.mode {
        Mode::Operators => operators::run(&mut round),
        Mode::Savepoint => savepoint::run(&mut round),
        Mode::Kafka => kafka::run(&mut round),
        Mode::Ingest => ingest::run(&mut round),
    };
    let Round { dir, story, aims, tally, .. } = round;
    tally.rounds += 1;
    let line = result.map_err(|error| failure(options, (seed, &aims), &dir, &story, &error))?;
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    Ok(format!("{:.1} s: {line}", story.seconds()))
}

fn failure(
    options: &Options,
    (seed, aims): (u64, &[Aim]),
    dir: &Path,
    story: &Story,
    error: &anyhow::Error,
) -> anyhow::Error {
    let text = format!("{error:#}\n\n{story}");
    // If the file cannot be written, the message still contains the steps.
    let _ = fs::write(dir.join("story.txt"), &text);
    let mut again = format!("cargo xtask crash --pipeline {} --rounds 1 --seed {seed}", options.mode.name());
    if let Some(backend) = &options.backend {
        again.push_str(&format!(" --backend {backend}"));
    }
    if !options.operators.is_empty() {
        again.push_str(&format!(" --operators {}", options.operators.join(",")));
    }
    for aim in aims {
        again.push_str(&format!(" --aim {aim}"));
    }
    if let Some(binary) = options.binary.as_ref().filter(|_| !options.has_fail_points) {
        again.push_str(&format!(" --binary {}", binary.display()));
    }
    anyhow!("the round with seed {seed} failed: {text}\nWorking folder: {}\nRepeat with: {again}", dir.display())
}
