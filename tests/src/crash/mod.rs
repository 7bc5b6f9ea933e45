//! Crash rounds for `cargo xtask crash`: generated pipelines in a real server that is killed at random. A plain model
//! of the operators predicts the committed lines.
//!
//! - [`Mode::Operators`] (`operators.rs`): one data folder. A job is killed, stopped with a savepoint, or cancelled.
//!   The next job continues from its savepoint or newest checkpoint, at another parallelism and sometimes on another
//!   backend.
//!   If the binary has fail points (`fail_points.rs`), the server also dies and fails at places that the round aims at.
//! - [`Mode::Savepoint`] (`savepoint.rs`): a server is killed around a savepoint, and its data folder is set aside. A
//!   new job in another data folder continues, and both together must have published the exact output.
//!
//! A seed decides the input (`input.rs`), the operators (`branches.rs`, `model.rs`), the settings (`pipeline.rs`) and
//! the steps. The exact moment of a kill depends on the machine, so a seed repeats the plan, not the moment. [`Tally`]
//! counts what was exercised.

mod branches;
mod fail_points;
mod input;
mod model;
mod operators;
mod pipeline;
mod savepoint;
mod site;
mod story;
mod tally;

use std::fs;
use std::path::{Path, PathBuf};

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
        }
    }

    /// Returns the moments of kills, all of which a long run must hit.
    fn kills(self) -> &'static [&'static str] {
        match self {
            Mode::Operators => operators::KILLS,
            Mode::Savepoint => savepoint::KILLS,
        }
    }
}

/// Runs the rounds and prints one line for each. Fails at the first difference, with the command that repeats the round
/// and the folder that was kept.
pub fn run(checkout: &Checkout, options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Tally> {
    let mut tally = Tally::default();
    let has_fail_points = options.has_fail_points && options.mode == Mode::Operators;
    if has_fail_points {
        tally.fail_points = FailPointHits::of_source(&checkout.root.join("host/src"))?;
    }
    for number in 0..options.rounds {
        let seed = options.seed.wrapping_add(number);
        let aims = match options.aims.is_empty() {
            true => tally.fail_points.choose(&mut Rng::with_seed(seed)),
            false => options.aims.clone(),
        };
        let mut round = Round {
            checkout,
            binary: options.binary.clone().unwrap_or_else(|| checkout.cofferdam()),
            backend: options.backend.as_deref(),
            operators: &options.operators,
            seed,
            rng: Rng::with_seed(seed),
            has_fail_points,
            aims,
            dir: checkout.fresh_dir(&format!("crash/{}-{seed}", options.mode.name()))?,
            tally: &mut tally,
            story: Story::new(),
        };
        let result = match options.mode {
            Mode::Operators => operators::run(&mut round),
            Mode::Savepoint => savepoint::run(&mut round),
        };
        let (dir, story, aims) = (round.dir.clone(), round.story, round.aims);
        tally.rounds += 1;
        match result {
            Ok(line) => {
                tell(&format!(
                    "round {}/{}, seed {seed}, {:.1} s: {line}",
                    number + 1,
                    options.rounds,
                    story.seconds()
                ));
                fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
            }
            Err(error) => return Err(failure(options, (seed, &aims), &dir, &story, &error)),
        }
    }
    tally.check(options.mode.kills(), options.backend.is_some())?;
    Ok(tally)
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
