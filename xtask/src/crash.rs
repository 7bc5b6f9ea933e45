//! `cargo xtask crash`: rounds of generated pipelines in a server that is killed at random and at its fail points, compared
//! with a plain model.

use std::path::PathBuf;

use anyhow::Result;
use cofferdam_tests::crash::{self, Aim, BACKENDS, Mode, Options};

use crate::fail_points;
use crate::workspace::{Workspace, step};

#[derive(Clone, Copy, clap::ValueEnum)]
enum Pipeline {
    /// Every operator, in one data folder: kills, savepoints, cancels, changes of parallelism and backend
    Operators,
    /// A kill around a savepoint, and a new job in another data folder
    Savepoint,
    /// From Kafka to Kafka, in a broker that is killed as well
    Kafka,
    /// From clients that send by HTTP, and retry, to files
    Ingest,
}

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, value_enum, default_value = "operators")]
    pipeline: Pipeline,
    /// Number of rounds, of about five seconds each
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Seed of the first round; each further round uses the next number. It decides input, operators, settings and
    /// steps
    #[arg(long)]
    seed: Option<u64>,
    /// Keeps all jobs on one backend. Without it both are used
    #[arg(long, value_parser = BACKENDS)]
    backend: Option<String>,
    /// Operators of each round, such as `sliding,broadcast`. Without it they change from round to round
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(crash::operator_names()))]
    operators: Vec<String>,
    /// Uses this `cofferdam` binary instead of this checkout's, without fail points
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Uses the released binary, which has no fail points
    #[arg(long)]
    plain: bool,
    /// Aims every round at this fail point, such as `sink.publish=kill@2`: at its second pass the process is killed. May be
    /// repeated. Without it rounds aim at points that were not hit yet
    #[arg(long = "aim", value_name = "POINT=ACTION@PASS", conflicts_with = "plain")]
    aims: Vec<Aim>,
    /// Number of rounds that run at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    parallel: u64,
    /// Runs the remaining rounds after a failed one
    #[arg(long)]
    keep_going: bool,
}

pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    workspace.build(match arguments.pipeline {
        Pipeline::Kafka => &[("kafka-count", "tests/guests/kafka-count")],
        Pipeline::Ingest => &[],
        _ => &[
            ("kinds", "tests/guests/kinds"),
            ("event-time", "tests/guests/event-time"),
            ("repairable", "tests/guests/repairable"),
        ],
    })?;
    let has_fail_points =
        !arguments.plain && arguments.binary.is_none() && !matches!(arguments.pipeline, Pipeline::Savepoint);
    let binary = match has_fail_points {
        true => Some(fail_points::build(workspace)?),
        false => arguments.binary.clone(),
    };
    let options = Options {
        mode: match arguments.pipeline {
            Pipeline::Operators => Mode::Operators,
            Pipeline::Savepoint => Mode::Savepoint,
            Pipeline::Kafka => Mode::Kafka,
            Pipeline::Ingest => Mode::Ingest,
        },
        rounds: arguments.rounds,
        seed: arguments.seed.unwrap_or_else(|| u64::from(fastrand::u32(..))),
        backend: arguments.backend.clone(),
        operators: arguments.operators.clone(),
        binary,
        has_fail_points,
        aims: arguments.aims.clone(),
        parallel: arguments.parallel,
        keep_going: arguments.keep_going,
    };
    let tally = step(&format!("{} crash rounds, seed {}", options.rounds, options.seed), || {
        crash::run(&workspace.checkout, &options, &mut |line| eprintln!("    {line}"))
    })?;
    println!("No difference.\n\n{tally}");
    Ok(())
}
