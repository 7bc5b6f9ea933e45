//! The command line: what can be asked for, and how it is answered on a terminal.
//!
//! Results go to stdout, progress and errors to stderr. It reaches a server through its HTTP API alone; only `run` opens a
//! [`crate::job::Host`] of its own. `serve` is only described here: the binary carries it out.

mod build;
mod client;
mod new;
mod pipeline_file;
mod print;
mod progress;
mod remote;
mod run;
mod signal;
mod stale_components;
mod state;
mod toolchain;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};

use crate::checkpoint::utf8_path;
use crate::error::Result;
use crate::job::INSTANCES_MAX;
use crate::sandbox::{CompileLimits, CompileMode, compile_child};

pub use signal::{stop_asked, stop_asked_again};

/// Stateful stream processing with functions that run in a WebAssembly sandbox.
#[derive(Debug, Parser)]
#[command(name = "cofferdam", version, propagate_version = true)]
pub struct Cli {
    /// The server that commands about jobs and components talk to.
    #[arg(long, global = true, env = "COFFERDAM_SERVER", default_value = "http://127.0.0.1:7070", value_name = "URL")]
    pub server: String,
    /// Answer in JSON, where there is something to show.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run a pipeline in this process until it ends, with progress on stderr.
    Run(RunArgs),
    /// Serve the HTTP API; jobs that were running go on by themselves.
    Serve(ServeArgs),
    /// Compile a Rust package of functions to a component.
    Build(BuildArgs),
    /// Begin a function project: code, a test, a pipeline.
    New {
        /// The project's folder and package name.
        name: String,
    },
    /// Components on the server.
    #[command(subcommand)]
    Component(ComponentCommand),
    /// Submit a pipeline to the server.
    Submit(SubmitArgs),
    /// List the server's jobs.
    Jobs,
    /// One job on the server.
    #[command(subcommand)]
    Job(JobCommand),
    /// Take a savepoint of a job, which goes on; or remove one.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Savepoint {
        /// The job's id or name.
        #[arg(required = true)]
        job: Option<String>,
        #[command(flatten)]
        args: SavepointArgs,
        #[command(subcommand)]
        command: Option<SavepointCommand>,
    },
    /// List the savepoints of a job.
    Savepoints {
        /// The job's id or name.
        job: String,
    },
    /// Take a checkpoint of a job now.
    Checkpoint {
        /// The job's id or name.
        job: String,
        /// Wait until it is complete.
        #[arg(long)]
        wait: bool,
    },
    /// List the checkpoints of a job, or show one of them.
    Checkpoints {
        /// The job's id or name.
        job: String,
        /// A checkpoint's number: shows what each operator and subtask did for it.
        checkpoint: Option<u64>,
    },
    /// Look into the state of a job or a savepoint, or write a savepoint.
    #[command(subcommand)]
    State(StateCommand),
    /// Compile one component, as a server's child: see `sandbox/compile_child.rs`.
    #[command(hide = true)]
    CompileComponent {
        #[arg(long)]
        out: PathBuf,
        #[arg(long)]
        cpu_seconds: u64,
        #[arg(long)]
        memory_bytes: u64,
        #[arg(long)]
        nice: i32,
    },
}

/// Limits of compiling a component.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// Processor time that compiling one component may take. One of up to 4 MiB has half of it.
    #[arg(long, default_value_t = CompileLimits::CPU.into(), value_name = "DURATION")]
    pub compile_time: humantime::Duration,
    /// Memory that compiling one component may take. One of up to 4 MiB has half of it.
    #[arg(long, default_value_t = CompileLimits::MEMORY, value_name = "SIZE")]
    pub compile_memory: ByteSize,
}

impl CompileArgs {
    /// In a child process, within these limits.
    pub fn place(&self) -> CompileMode {
        let (cpu, memory_bytes) = (self.compile_time.into(), self.compile_memory.as_u64());
        CompileMode::ChildProcess(CompileLimits { cpu, memory_bytes })
    }
}

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// List operators and their states.
    List {
        #[command(flatten)]
        of: StateOriginArgs,
        /// Count the entries and bytes of each state, which reads all of it.
        #[arg(long)]
        count: bool,
    },
    /// Show the entries of one key, one JSON document a line.
    Get {
        #[command(flatten)]
        of: StateOriginArgs,
        operator: String,
        state: String,
        /// Text, or `hex:` and digits. Of broadcast state the sub-key.
        key: String,
        /// Of a map, one sub-key: text for a map by strings, else JSON, or `hex:` and digits.
        #[arg(long, value_name = "SUB-KEY")]
        map_key: Option<String>,
    },
    /// Write every entry to stdout, one JSON document a line.
    Dump {
        #[command(flatten)]
        of: StateOriginArgs,
        /// Only this operator's state.
        operator: Option<String>,
        /// Only this state of the operator.
        state: Option<String>,
    },
    /// Write a savepoint from lines that a dump wrote, or a person.
    Load(StateLoadArgs),
}

#[derive(Debug, Args)]
pub struct StateOriginArgs {
    /// A job's id or name, for its newest checkpoint; or the folder of a savepoint or checkpoint, with a `/` in it.
    #[arg(value_name = "JOB|FOLDER")]
    pub of: String,
}

#[derive(Debug, Args)]
pub struct StateLoadArgs {
    /// The lines; `-` for stdin.
    pub file: PathBuf,
    /// The savepoint's folder, which is made.
    #[arg(long, value_name = "FOLDER")]
    pub to: String,
    /// The pipeline that the savepoint is for: its functions describe the states.
    #[arg(long, value_name = "FILE", required_unless_present = "base")]
    pub pipeline: Option<PathBuf>,
    /// A savepoint from which everything is taken that the lines do not replace: source positions, other states.
    #[arg(long, value_name = "FOLDER")]
    pub base: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The pipeline's manifest.
    pub pipeline: PathBuf,
    /// Where state, checkpoints and compiled components are kept; a temporary folder where none is named.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Memory for the state of all jobs that is kept in RocksDB.
    #[arg(long, default_value_t = ByteSize(crate::state::DEFAULT_MEMORY_BYTES as u64), value_name = "SIZE")]
    pub state_memory: ByteSize,
    #[command(flatten)]
    pub compile: CompileArgs,
    #[command(flatten)]
    pub origin: OriginArgs,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The address to listen on. There is no authentication: keep it on loopback.
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where jobs, components, state and checkpoints are kept.
    #[arg(long, default_value = "cofferdam-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where checkpoints go unless a pipeline says otherwise, a folder or s3://bucket/folder; in the data folder where none is
    /// named.
    #[arg(long, value_name = "LOCATION")]
    pub checkpoint_storage: Option<String>,
    /// Memory for the state of all jobs that is kept in RocksDB.
    #[arg(long, default_value_t = ByteSize(crate::state::DEFAULT_MEMORY_BYTES as u64), value_name = "SIZE")]
    pub state_memory: ByteSize,
    /// The largest component that may be uploaded.
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    pub component_max: ByteSize,
    #[command(flatten)]
    pub compile: CompileArgs,
    /// Instances of functions that all jobs may have at once. A job takes one for each subtask of a function.
    #[arg(long, default_value_t = INSTANCES_MAX, value_name = "COUNT")]
    pub instances: u32,
    /// A further name under which the server may be called. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The package's folder.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Where the component goes; target/component/NAME.wasm in the package's folder where nothing is named.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum ComponentCommand {
    /// Upload a component.
    Push {
        file: PathBuf,
        /// Give it a name: `name@version`.
        #[arg(long, value_name = "NAME@VERSION")]
        name: Option<String>,
    },
    /// List the server's components.
    List,
    /// Show a component: its functions, their outputs and states.
    Show {
        /// `sha256:...`, `name@version`, or a name that has one version.
        reference: String,
    },
    /// Remove a component that no job needs.
    Rm { reference: String },
}

#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The pipeline's manifest.
    pub pipeline: PathBuf,
    /// Wait until the job has ended, with progress on stderr.
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub origin: OriginArgs,
}

#[derive(Debug, Subcommand)]
pub enum SavepointCommand {
    /// Remove a savepoint for good.
    Remove {
        /// Its folder, on the server's machine, or s3://bucket/folder.
        location: String,
    },
}

/// What a job begins with.
#[derive(Debug, Args)]
pub struct OriginArgs {
    /// Begin from a savepoint or a retained checkpoint: its folder, or s3://bucket/folder.
    #[arg(long, alias = "from-savepoint", value_name = "LOCATION")]
    pub from: Option<String>,
    /// The job owns what it begins from: it may build on its files, and removes it when it needs it no more.
    #[arg(long, requires = "from")]
    pub claim: bool,
    /// Drop what that holds of operators and states that the pipeline does not have.
    #[arg(long, requires = "from")]
    pub allow_unclaimed_state: bool,
    /// Have operators forget the event time that they had reached in it: older records are then not late.
    #[arg(long, requires = "from")]
    pub reset_watermarks: bool,
    /// Take what it promised to publish of its sinks as published, without looking for it.
    #[arg(long, requires = "from")]
    pub assume_published: bool,
    /// Begin without state where it is lost: where all that could be begun from is damaged.
    #[arg(long)]
    pub ignore_state: bool,
}

impl OriginArgs {
    /// Where to begin, as it is called on the server's machine: a path is made absolute.
    fn location(&self) -> Result<Option<String>> {
        let Some(from) = &self.from else { return Ok(None) };
        if from.contains("://") {
            return Ok(Some(from.clone()));
        }
        let folder = std::path::Path::new(from).canonicalize();
        let folder = folder.map_err(|error| {
            crate::error::savepoint_not_found(format!("--from {from}: there is no such folder: {error}")).hint(
                "name the folder of a savepoint or checkpoint, or s3://bucket/folder: `cofferdam savepoints JOB` and \
                 `cofferdam checkpoints JOB` list those of a job",
            )
        })?;
        utf8_path(&folder).map(Some)
    }
}

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Show a job.
    Show {
        /// Its id or name.
        id: String,
    },
    /// Cancel a job.
    Cancel {
        id: String,
        /// Wait until the job has ended.
        #[arg(long)]
        wait: bool,
    },
    /// Remove a job that has ended, with its checkpoints; its savepoints stay.
    Remove { id: String },
    /// Take a savepoint and stop the job.
    Stop {
        id: String,
        #[command(flatten)]
        args: SavepointArgs,
        /// First let everything happen that waits for event time. The job is not meant to go on.
        #[arg(long)]
        drain: bool,
    },
}

#[derive(Debug, Args)]
pub struct SavepointArgs {
    /// Wait until the savepoint is complete.
    #[arg(long)]
    pub wait: bool,
    /// Write the state as its backend does, which is faster; else in the form that any backend reads.
    #[arg(long)]
    pub native: bool,
}

/// Carries out every command but `serve`, which is the binary's; an error is for the caller to print.
pub fn execute(cli: Cli) -> Result<ExitCode> {
    let client = client::ApiClient::new(&cli.server);
    let done = match cli.command {
        CliCommand::Run(args) => return run::run(&args, cli.json),
        CliCommand::Submit(args) => return remote::submit(&client, &args, cli.json),
        CliCommand::Build(args) => build::build(&args, cli.json),
        CliCommand::New { name } => new::new(&name),
        CliCommand::Component(command) => remote::component(&client, &command, cli.json),
        CliCommand::Jobs => remote::jobs(&client, cli.json),
        CliCommand::Job(command) => remote::job(&client, &command, cli.json),
        CliCommand::Savepoint { command: Some(SavepointCommand::Remove { location }), .. } => {
            remote::remove_savepoint(&client, &location)
        }
        CliCommand::Savepoint { job, args, .. } => {
            remote::savepoint(&client, &job.unwrap_or_default(), &args, cli.json)
        }
        CliCommand::Savepoints { job } => remote::savepoints(&client, &job, cli.json),
        CliCommand::Checkpoint { job, wait } => remote::checkpoint(&client, &job, wait, cli.json),
        CliCommand::Checkpoints { job, checkpoint } => remote::checkpoints(&client, &job, checkpoint, cli.json),
        CliCommand::State(command) => state::state(&client, &command, cli.json),
        CliCommand::CompileComponent { out, cpu_seconds, memory_bytes, nice } => {
            return Ok(compile_child(&out, cpu_seconds, memory_bytes, nice));
        }
        CliCommand::Serve(_) => Err(crate::error::internal("`serve` is carried out by the binary")),
    };
    done.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["cofferdam", "jobs", "--json", "--server", "http://h:1"]).unwrap();
        assert!(cli.json && cli.server == "http://h:1");
        let CliCommand::Serve(args) = Cli::try_parse_from(["cofferdam", "serve"]).unwrap().command else {
            panic!("serve")
        };
        assert!(args.listen.ip().is_loopback() && args.component_max == ByteSize::mib(64));
        assert_eq!(Cli::try_parse_from(["cofferdam", "job"]).unwrap_err().exit_code(), 2);
        let savepoint = |arguments: &[&str]| {
            let cli = Cli::try_parse_from(["cofferdam", "savepoint"].iter().chain(arguments)).ok()?;
            let CliCommand::Savepoint { job, command, .. } = cli.command else { return None };
            Some((job, command.map(|SavepointCommand::Remove { location }| location)))
        };
        assert_eq!(savepoint(&["flights", "--wait"]), Some((Some("flights".into()), None)));
        assert_eq!(savepoint(&["remove", "s3://b/x"]), Some((None, Some("s3://b/x".into()))));
        assert_eq!(savepoint(&[]), None);
    }
}
