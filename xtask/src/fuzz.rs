//! `cargo xtask fuzz`: builds the crate `fuzz/` with coverage instrumentation, and runs its targets one after another.
//!
//! The instrumentation is LLVM's, which the stable compiler has. Address sanitizer would need a nightly compiler, but the
//! parsers have no unsafe code. Inputs that reach new code are kept in the target folder, where the next run finds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run, step};

/// The targets: see `host/src/fuzz_targets`.
const TARGETS: [&str; 9] =
    ["pipeline-file", "metadata", "state-file", "in-flight", "rows", "json-rows", "records", "avro", "http-body"];

/// What cargo-fuzz passes as well, without the sanitizer.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Length limit of inputs, in bytes.
const INPUT_BYTES_MAX: usize = 4096;
/// Memory limit of the fuzzer, in MiB.
const MEMORY_MB_MAX: usize = 1024;
/// Time limit of one input, in seconds.
const INPUT_SECONDS_MAX: usize = 20;
/// Length limit of inputs that are kept in the repository, in bytes.
const KEPT_BYTES_MAX: usize = 600;

#[derive(clap::Args)]
pub struct Arguments {
    /// Duration of each target's run, in seconds. 0 runs the kept inputs only
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The targets to run. Without it all are run
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    targets: Vec<String>,
    /// Seed of the fuzzer. Without it a random one is used
    #[arg(long)]
    seed: Option<u32>,
    /// Adds short inputs that reach new code to `fuzz/corpus`
    #[arg(long)]
    keep: bool,
}

pub fn run_targets(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let binary = build(workspace)?;
    let chosen = |target: &&&str| arguments.targets.is_empty() || arguments.targets.iter().any(|name| name == **target);
    let mut findings = Vec::new();
    for target in TARGETS.iter().filter(chosen) {
        let fuzzer = Fuzzer { workspace, binary: &binary, target };
        let seed = arguments.seed.unwrap_or_else(|| fastrand::u32(1..));
        let ran = step(&format!("fuzz {target} for {} s, seed {seed}", arguments.seconds), || {
            fuzzer.run(arguments.seconds, seed)?;
            if arguments.keep { fuzzer.keep() } else { Ok(()) }
        });
        if let Err(error) = ran {
            eprintln!("{error:#}");
            findings.push(*target);
        }
    }
    if !findings.is_empty() {
        bail!("findings in: {}", findings.join(", "));
    }
    println!("No finding.");
    Ok(())
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let compiler = workspace.command("rustc").arg("-vV").output().context("cannot run rustc")?;
    let version = String::from_utf8_lossy(&compiler.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let target = workspace.checkout.target.join("fuzz");
    // With `--target` the flags do not apply to build scripts and macros.
    step("build the fuzzer", || {
        let mut command = workspace.cargo(&["build", "--release", "--target", host]);
        command.args(["--manifest-path", "fuzz/Cargo.toml"]);
        run(command.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", INSTRUMENTATION))
    })?;
    Ok(target.join(host).join("release/cofferdam-fuzz"))
}

struct Fuzzer<'a> {
    workspace: &'a Workspace,
    binary: &'a Path,
    target: &'a str,
}

impl Fuzzer<'_> {
    /// Runs the kept inputs, and then new ones.
    fn run(&self, seconds: u64, seed: u32) -> Result<()> {
        let (found, kept) = (self.found()?, self.kept()?);
        let findings = self.workspace.checkout.target.join("fuzz/findings").join(self.target);
        fs::create_dir_all(&findings)?;
        let mut command = self.command();
        command.arg(&found).arg(&kept);
        if seconds == 0 {
            command.arg("-runs=0");
        }
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-seed={seed}"));
        command.arg(format!("-max_len={INPUT_BYTES_MAX}")).arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MB_MAX}")).arg("-print_final_stats=1");
        command.arg(format!("-artifact_prefix={}/", findings.display()));
        run(&mut command).with_context(|| {
            format!(
                "the target {} has a finding in {}; mend it and move the input to fuzz/findings/{}",
                self.target,
                findings.display(),
                self.target
            )
        })
    }

    /// Adds short inputs to the repository that reach code which its inputs do not reach.
    fn keep(&self) -> Result<()> {
        let short = self.workspace.checkout.target.join("fuzz/short").join(self.target);
        let _ = fs::remove_dir_all(&short);
        fs::create_dir_all(&short)?;
        for input in fs::read_dir(self.found()?)? {
            let input = input?;
            if input.metadata()?.len() <= KEPT_BYTES_MAX as u64 {
                fs::copy(input.path(), short.join(input.file_name()))?;
            }
        }
        run(self.command().arg("-merge=1").arg("-use_value_profile=0").arg(self.kept()?).arg(short))
    }

    fn command(&self) -> Command {
        let mut command = self.workspace.command(self.binary);
        command.env("COFFERDAM_FUZZ_TARGET", self.target);
        command
    }

    /// Returns the folder of inputs that earlier runs found.
    fn found(&self) -> Result<PathBuf> {
        let folder = self.workspace.checkout.target.join("fuzz/corpus").join(self.target);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Returns the folder of inputs in the repository.
    fn kept(&self) -> Result<PathBuf> {
        let folder = self.workspace.checkout.root.join("fuzz/corpus").join(self.target);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}
