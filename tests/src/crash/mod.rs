//! `cargo xtask crash`: real pipelines in a real server that is killed at random, and what they commit compared with a plain
//! model of their operators.
//!
//! - [`Mode::Operators`] (`operators.rs`): one data folder. A job is killed, stopped with a savepoint, cancelled; the next job
//!   goes on from its savepoint or newest checkpoint at another parallelism and perhaps on another backend.
//! - [`Mode::Savepoint`] (`savepoint.rs`): a server is killed around a savepoint, and its data folder set aside. A new job in another data
//!   folder goes on, and what both have published must be exact together.
//!
//! A seed decides the input (`input.rs`), the operators (`branches.rs`, `model.rs`), the settings (`pipeline.rs`) and the steps. Where a
//! kill hits the engine depends on the machine, so a seed repeats the plan and not the moment. [`Tally`] counts what was exercised.

mod branches;
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
pub use pipeline::BACKENDS;
use story::Story;
pub use tally::Tally;

use crate::Place;

/// What a round does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Operators,
    Savepoint,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    pub rounds: u64,
    /// Of the first round; each has the next one.
    pub seed: u64,
    /// The only backend, where one is given.
    pub backend: Option<String>,
    /// The operators of each round; where none are named, they change.
    pub operators: Vec<String>,
    /// The `cofferdam` to run, where it is not that of this checkout.
    pub binary: Option<PathBuf>,
}

/// One round: what it is made with, and what it tells.
struct Round<'a> {
    place: &'a Place,
    binary: PathBuf,
    backend: Option<&'a str>,
    operators: &'a [String],
    seed: u64,
    rng: Rng,
    /// An empty folder.
    dir: PathBuf,
    tally: &'a mut Tally,
    story: Story,
}

impl Mode {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Operators => "operators",
            Mode::Savepoint => "savepoint",
        }
    }

    /// The moments of kills, all of which many rounds must hit.
    fn kills(self) -> &'static [&'static str] {
        match self {
            Mode::Operators => operators::KILLS,
            Mode::Savepoint => savepoint::KILLS,
        }
    }
}

/// Runs the rounds, and tells one line about each. An error at the first difference, with the command that repeats it and
/// the folder that was left.
pub fn run(place: &Place, options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Tally> {
    let mut tally = Tally::default();
    for number in 0..options.rounds {
        let seed = options.seed.wrapping_add(number);
        let mut round = Round {
            place,
            binary: options.binary.clone().unwrap_or_else(|| place.cofferdam()),
            backend: options.backend.as_deref(),
            operators: &options.operators,
            seed,
            rng: Rng::with_seed(seed),
            dir: place.fresh_dir(&format!("crash/{}-{seed}", options.mode.name()))?,
            tally: &mut tally,
            story: Story::new(),
        };
        let result = match options.mode {
            Mode::Operators => operators::run(&mut round),
            Mode::Savepoint => savepoint::run(&mut round),
        };
        let (dir, story) = (round.dir.clone(), round.story);
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
            Err(error) => return Err(failure(options, seed, &dir, &story, &error)),
        }
    }
    tally.check(options.mode.kills(), options.backend.is_some())?;
    Ok(tally)
}

fn failure(options: &Options, seed: u64, dir: &Path, story: &Story, error: &anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}\n\n{story}");
    // Where it cannot be written it is told all the same.
    let _ = fs::write(dir.join("story.txt"), &text);
    let mut again = format!("cargo xtask crash --pipeline {} --rounds 1 --seed {seed}", options.mode.name());
    if let Some(backend) = &options.backend {
        again.push_str(&format!(" --backend {backend}"));
    }
    if !options.operators.is_empty() {
        again.push_str(&format!(" --operators {}", options.operators.join(",")));
    }
    if let Some(binary) = &options.binary {
        again.push_str(&format!(" --binary {}", binary.display()));
    }
    anyhow!("the round with seed {seed} failed: {text}\nWorking folder: {}\nAgain: {again}", dir.display())
}
