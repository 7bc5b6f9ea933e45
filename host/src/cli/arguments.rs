//! The command line: its commands, their arguments, and the help texts.
//!
//! Must not execute anything; `execute` does.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};

use super::access_arguments::{ConnectionArgs, TokenCommand};
use super::log_output::LogFormat;
use super::observe_arguments::{DoctorArgs, FaultsArgs, LogLevelArgs, LogsArgs, TapArgs};
use crate::access::{AccessGrant, AccessPolicy, AddressPattern, AllowList, NAMESPACE, SecretStore};
use crate::checkpoint::utf8_path;
use crate::error::Result;
use crate::job::{INSTANCES_MAX, SHUTDOWN_TIME};
use crate::sandbox::{CompileLimits, CompileMode};
use crate::state;

/// Stateful stream processing with functions that run in a WebAssembly sandbox.
#[derive(Debug, Parser)]
#[command(name = "cofferdam", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Print results as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Format of the log on stderr. The variable COFFERDAM_LOG selects what is logged, such as `info,guest=debug`.
    #[arg(long, global = true, env = "COFFERDAM_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: CliCommand,
}

/// A command of `cofferdam`.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one command in a process")]
pub enum CliCommand {
    /// Run a pipeline in this process until it ends. Progress goes to stderr.
    Run(RunArgs),
    /// Check a pipeline with its components, inputs and peers, as a submit does. Starts no job and needs no server.
    Check(CheckArgs),
    /// Check what building functions, running a server and reaching one require, and say how to mend what is missing.
    Doctor(DoctorArgs),
    /// Start a server with the HTTP API. Jobs that were running resume.
    Serve(ServeArgs),
    /// Compile a Rust package with functions to a component.
    Build(BuildArgs),
    /// Create a function project with code, a test and a pipeline.
    New {
        /// Name of the package and of its folder.
        name: String,
    },
    /// Manage the components on the server.
    #[command(subcommand)]
    Component(ComponentCommand),
    /// Submit a pipeline to the server.
    Submit(SubmitArgs),
    /// List the jobs on the server.
    Jobs,
    /// Show, stop, cancel or remove a job on the server.
    #[command(subcommand)]
    Job(JobCommand),
    /// Show the newest log lines of a job's functions.
    Logs(LogsArgs),
    /// Show records as they pass an operator, a source or a sink. The job is not delayed.
    Tap(TapArgs),
    /// Show or set the least severe log lines that a function writes.
    LogLevel(LogLevelArgs),
    /// Take a savepoint of a running job, or remove a savepoint.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Savepoint {
        /// Id or name of the job.
        #[arg(required = true)]
        job: Option<String>,
        #[command(flatten)]
        args: SavepointArgs,
        #[command(subcommand)]
        command: Option<SavepointCommand>,
    },
    /// List the savepoints of a job.
    Savepoints {
        /// Id or name of the job.
        job: String,
    },
    /// Take a checkpoint of a job now.
    Checkpoint {
        /// Id or name of the job.
        job: String,
        /// Wait until the checkpoint is complete.
        #[arg(long)]
        wait: bool,
    },
    /// List the checkpoints of a job, or show one checkpoint.
    Checkpoints {
        /// Id or name of the job.
        job: String,
        /// Number of a checkpoint. Shows the times and sizes of each operator and subtask.
        checkpoint: Option<u64>,
    },
    /// Show what jobs do: shares of time, rates, and the operator that slows a job down.
    Top {
        /// Id or name of a job. All running jobs if not set.
        job: Option<String>,
        /// Print one picture and end.
        #[arg(long)]
        once: bool,
    },
    /// Show the history of a job: status, attempts, failures, checkpoints and warnings.
    Events {
        /// Id or name of the job.
        job: String,
        /// Number of an event. Show the oldest ones after it instead of the newest ones.
        #[arg(long)]
        after: Option<u64>,
        /// Largest number of events.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Also show events that come, until interrupted.
        #[arg(long, short)]
        follow: bool,
    },
    /// Read the state of a job or savepoint, or write a savepoint.
    #[command(subcommand)]
    State(StateCommand),
    /// List, show, try, replay or discard the dead letters of a job that no sink reads.
    #[command(subcommand)]
    DeadLetter(DeadLetterCommand),
    /// Show the faults of a job in groups, or the records and call stacks of one group, or set what has been done about it.
    Faults(FaultsArgs),
    /// Store, list or remove the secrets of a server on this machine.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Print the completions for a shell, for instance: cofferdam completions bash > /etc/bash_completion.d/cofferdam
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the JSON Schema of the pipeline file, for editors.
    Schema,
    /// Write the manual pages of all commands into a folder, which is created.
    #[command(hide = true)]
    ManPages { folder: PathBuf },
    /// Create, list or revoke the tokens of a server.
    #[command(subcommand)]
    Token(TokenCommand),
    /// List changes and refused requests of a server, newest first.
    Audit {
        /// Largest number of entries, up to 1000.
        #[arg(long)]
        limit: Option<usize>,
        /// Only entries before the one with this number.
        #[arg(long)]
        before: Option<u64>,
    },
    /// Open the files of a database. Started as a child process, see `state/rocksdb/foreign_files.rs`.
    #[command(hide = true)]
    CheckDatabase {
        #[arg(long)]
        folder: PathBuf,
    },
    /// Compile one component. Started by a server as a child process, see `sandbox/compile/compile_child.rs`.
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

/// Limits for compiling a component.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// Limit on the CPU time for compiling one component. Components of up to 4 MiB get half of it.
    #[arg(long, default_value_t = CompileLimits::CPU.into(), value_name = "DURATION")]
    pub compile_time: humantime::Duration,
    /// Limit on the memory for compiling one component. Components of up to 4 MiB get half of it.
    #[arg(long, default_value_t = CompileLimits::MEMORY, value_name = "SIZE")]
    pub compile_memory: ByteSize,
}

impl CompileArgs {
    /// Returns the mode for compiling in a child process within these limits.
    pub fn compile_mode(&self) -> CompileMode {
        let (cpu, memory_bytes) = (self.compile_time.into(), self.compile_memory.as_u64());
        CompileMode::ChildProcess(CompileLimits { cpu, memory_bytes })
    }
}

/// The commands of `cofferdam dead-letter`.
#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// List the letters, oldest first, and the replays.
    List {
        /// Id or name of the job.
        job: String,
        /// Only letters of this operator or source.
        #[arg(long)]
        operator: Option<String>,
        /// Continue behind this letter.
        #[arg(long, value_name = "LETTER")]
        after: Option<String>,
        /// Largest number of letters, up to 1000.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show a letter completely: record, key, position, fault, backtrace, component and attempt.
    Show {
        /// Id or name of the job.
        job: String,
        /// Id of the letter.
        letter: String,
    },
    /// Run letters against a version of their component, with the state of the newest checkpoint. Nothing takes effect.
    Try {
        /// Id or name of the job.
        job: String,
        /// Ids of letters of one operator. Without any, the oldest letters are tried.
        letters: Vec<String>,
        /// The operator whose oldest letters are tried.
        #[arg(long)]
        operator: Option<String>,
        /// Number of letters, up to 100.
        #[arg(long)]
        limit: Option<usize>,
        /// The component, as a pipeline file names it. By default that of the job.
        #[arg(long, value_name = "NAME@VERSION")]
        component: Option<String>,
    },
    /// Hand all letters to their operators again, exactly once. Those that fail again become letters again.
    Replay {
        /// Id or name of the job, which must be running.
        job: String,
        /// Only letters of this operator.
        #[arg(long)]
        operator: Option<String>,
        /// Wait until a checkpoint contains the effects.
        #[arg(long)]
        wait: bool,
    },
    /// Remove letters for good.
    Discard {
        /// Id or name of the job.
        job: String,
        /// Only letters of this operator or source.
        #[arg(long)]
        operator: Option<String>,
    },
}

/// The commands of `cofferdam secret`.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Store a secret, or replace its value. The value is read from stdin.
    Set {
        /// Name, as pipeline files write it: { secret = "NAME" }.
        name: String,
        #[command(flatten)]
        folder: SecretFolderArgs,
    },
    /// List the names of the secrets.
    List {
        #[command(flatten)]
        folder: SecretFolderArgs,
    },
    /// Remove a secret. Connectors that are open keep its value.
    Remove {
        /// Name of the secret.
        name: String,
        #[command(flatten)]
        folder: SecretFolderArgs,
    },
}

/// Where the secrets of a server are.
#[derive(Debug, Args)]
pub struct SecretFolderArgs {
    /// Data folder of the server.
    #[arg(long, default_value = "cofferdam-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Folder of the secrets. By default `secrets` in the data folder.
    #[arg(long, value_name = "DIR")]
    pub secrets: Option<PathBuf>,
}

/// The commands of `cofferdam state`.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// List the operators and their states.
    List {
        #[command(flatten)]
        origin: StateOriginArgs,
        /// Count the entries and bytes of each state, which reads the whole state.
        #[arg(long)]
        count: bool,
    },
    /// Print the entries of one key, as one JSON document per line.
    Get {
        #[command(flatten)]
        origin: StateOriginArgs,
        /// Id of the operator.
        operator: String,
        /// Name of the state.
        state: String,
        /// Key: text, or `hex:` and digits. For broadcast state, the map key.
        key: String,
        /// Key within a map: text for string keys, JSON for other types, or `hex:` and digits.
        #[arg(long, value_name = "MAP-KEY")]
        map_key: Option<String>,
    },
    /// Print all entries, as one JSON document per line.
    Dump {
        #[command(flatten)]
        origin: StateOriginArgs,
        /// Print only the state of this operator.
        operator: Option<String>,
        /// Print only this state of the operator.
        state: Option<String>,
    },
    /// Write a savepoint from lines of JSON, such as those of a dump.
    Load(StateLoadArgs),
}

/// Where a command reads state.
#[derive(Debug, Args)]
pub struct StateOriginArgs {
    /// Id or name of a job, to read its newest checkpoint; or the folder of a savepoint or checkpoint, written with a `/`.
    #[arg(value_name = "JOB|FOLDER")]
    pub job_or_folder: String,
}

/// The arguments of `cofferdam state load`.
#[derive(Debug, Args)]
pub struct StateLoadArgs {
    /// File with the lines; `-` for stdin.
    pub file: PathBuf,
    /// Folder to create for the savepoint.
    #[arg(long, value_name = "FOLDER")]
    pub to: String,
    /// Pipeline file for which the savepoint is written. Its functions declare the states.
    #[arg(long, value_name = "FILE", required_unless_present = "base")]
    pub pipeline: Option<PathBuf>,
    /// Savepoint that provides everything that the lines do not replace: source positions and other states.
    #[arg(long, value_name = "FOLDER")]
    pub base: Option<String>,
}

/// The arguments of `cofferdam run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The pipeline file.
    pub pipeline: PathBuf,
    /// Folder for state, checkpoints and compiled components. By default a temporary folder.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Limit on the memory of all RocksDB state backends together.
    #[arg(long, default_value_t = ByteSize(state::DEFAULT_MEMORY_BYTES as u64), value_name = "SIZE")]
    pub state_memory: ByteSize,
    /// Compile all components anew, and keep no compiled code. By default it is kept in `cofferdam/code` of the user's cache
    /// folder (`$XDG_CACHE_HOME`, or `~/.cache`), at most 512 MiB.
    #[arg(long)]
    pub no_cache: bool,
    #[command(flatten)]
    pub compile: CompileArgs,
    #[command(flatten)]
    pub origin: OriginArgs,
}

/// The arguments of `cofferdam check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The pipeline file.
    pub pipeline: PathBuf,
    #[command(flatten)]
    pub secrets: SecretFolderArgs,
    #[command(flatten)]
    pub compile: CompileArgs,
}

/// The arguments of `cofferdam serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on. One that other machines can reach requires a token and TLS.
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address to listen on for records, which sources with connector = "http" read. None by default.
    #[arg(long, value_name = "ADDRESS")]
    pub ingest_listen: Option<SocketAddr>,
    /// Folder for jobs, components, state and checkpoints.
    #[arg(long, default_value = "cofferdam-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Default location of checkpoints: a folder or s3://bucket/folder. Pipelines may set another one. By default they are in
    /// the data folder.
    #[arg(long, value_name = "LOCATION")]
    pub checkpoint_storage: Option<String>,
    /// Limit on the memory of all RocksDB state backends together.
    #[arg(long, default_value_t = ByteSize(state::DEFAULT_MEMORY_BYTES as u64), value_name = "SIZE")]
    pub state_memory: ByteSize,
    /// Size limit for uploaded components.
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    pub component_max: ByteSize,
    #[command(flatten)]
    pub compile: CompileArgs,
    /// Limit on the function instances of all jobs together. A job has one instance for each subtask of a function.
    #[arg(long, default_value_t = INSTANCES_MAX, value_name = "COUNT")]
    pub instances: u32,
    /// Largest limit that a pipeline may set, such as memory=256MiB. The keys are those of `limits` in the pipeline file, and
    /// dead_letters. Can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub max_limit: Vec<String>,
    /// Time that a stopping server gives each job for its last checkpoint. A job that needs longer continues from an older one.
    #[arg(long, default_value_t = SHUTDOWN_TIME.into(), value_name = "DURATION")]
    pub shutdown_timeout: humantime::Duration,
    /// Folder or file that pipelines may read and write, with everything below it, also for checkpoints and savepoints. Can be
    /// given several times. By default pipelines may use no path; their checkpoints are in the data folder.
    /// NAMESPACE:DIR allows it to one namespace, and closes it to the others.
    #[arg(long, value_name = "DIR")]
    pub allow_path: Vec<AccessGrant<PathBuf>>,
    /// Address that pipelines may connect to, with the host as pipeline files write it; HOST:* allows every port. Can be given
    /// several times. By default pipelines may connect to no address.
    /// NAMESPACE:HOST:PORT allows it to one namespace.
    #[arg(long, value_name = "HOST:PORT")]
    pub allow_address: Vec<AccessGrant<AddressPattern>>,
    /// Bucket that pipelines may use, with the credentials of the server. NAMESPACE:BUCKET allows it to one namespace. Can be given
    /// several times.
    #[arg(long, value_name = "BUCKET")]
    pub allow_s3: Vec<AccessGrant<String>>,
    /// Let jobs start from native savepoints that are not in the server's own storage. Only for savepoints from a trusted source:
    /// RocksDB opens their files.
    #[arg(long)]
    pub allow_native_savepoints: bool,
    /// Folder of the secrets that pipelines may use, in files `NAMESPACE/NAME` that only the user of the server can read. By default
    /// `secrets` in the data folder. See `cofferdam secret`.
    #[arg(long, value_name = "DIR")]
    pub secrets: Option<PathBuf>,
    /// Additional host name that requests may use. Can be given several times.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// PEM file with the certificate of the server and its chain. Read again at SIGHUP.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Listen on an address that other machines can reach although there is no token or no TLS, for example behind a proxy.
    #[arg(long)]
    pub insecure: bool,
    /// Address of an OpenTelemetry collector, such as http://127.0.0.1:4318, to which traces of submits, checkpoints and restores are
    /// sent as OTLP over HTTP. By default there are no traces.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// What each namespace may use: jobs, subtasks, components, component_bytes, state_bytes, dead_letter_bytes, or log_bytes per
    /// second. NAMESPACE:KEY=VALUE sets it for one. Can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub quota: Vec<String>,
}

impl ServeArgs {
    /// Returns what pipelines may read, write and reach. Error: `path-denied`.
    pub fn access_policy(&self, data_dir: &std::path::Path) -> Result<AccessPolicy> {
        let secrets = self.secrets.clone().unwrap_or_else(|| data_dir.join("secrets"));
        // Pipelines may use secrets, but not read their files.
        let closed =
            std::path::absolute(&secrets).into_iter().chain(secrets.canonicalize()).chain([data_dir.to_owned()]);
        let policy = AccessPolicy::restricted(AllowList {
            paths: self.allow_path.clone(),
            addresses: self.allow_address.clone(),
            buckets: self.allow_s3.clone(),
            closed: closed.collect(),
            native_savepoints: self.allow_native_savepoints,
        })?;
        Ok(policy.with_secrets(SecretStore::of_server(Some(secrets.join(NAMESPACE)))))
    }
}

/// The arguments of `cofferdam build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Folder of the package.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Output file. By default target/component/NAME.wasm in the package's folder.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The commands of `cofferdam component`.
#[derive(Debug, Subcommand)]
pub enum ComponentCommand {
    /// Upload a component.
    Push {
        /// Component file.
        file: PathBuf,
        /// Name for the component: `name@version`.
        #[arg(long, value_name = "NAME@VERSION")]
        name: Option<String>,
    },
    /// List the components on the server.
    List,
    /// Show the functions of a component with their outputs and states.
    Show {
        /// `sha256:...`, `name@version`, or a name that has only one version.
        reference: String,
    },
    /// Remove a component that no job uses.
    Rm {
        /// `sha256:...`, `name@version`, or a name that has only one version.
        reference: String,
    },
}

/// The arguments of `cofferdam submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The pipeline file.
    pub pipeline: PathBuf,
    /// Wait until the job has ended. Progress goes to stderr.
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub origin: OriginArgs,
}

/// The commands of `cofferdam savepoint`.
#[derive(Debug, Subcommand)]
pub enum SavepointCommand {
    /// Remove a savepoint permanently.
    Remove {
        /// Folder of the savepoint on the server's machine, or s3://bucket/folder.
        location: String,
    },
}

/// The state that a job restores at its start.
#[derive(Debug, Args)]
pub struct OriginArgs {
    /// Restore a savepoint or retained checkpoint: its folder, or s3://bucket/folder.
    #[arg(long, alias = "from-savepoint", value_name = "LOCATION")]
    pub from: Option<String>,
    /// Let the job own the restored savepoint or checkpoint: the job may reuse its files, and removes it when it is no longer
    /// needed.
    #[arg(long, requires = "from")]
    pub claim: bool,
    /// Discard restored state of operators and states that the pipeline does not have.
    #[arg(long, requires = "from")]
    pub allow_unclaimed_state: bool,
    /// Reset the event time of operators, so that records older than the restored watermarks are not late.
    #[arg(long, requires = "from")]
    pub reset_watermarks: bool,
    /// Go on if records that follow a restored position are gone from their source, such as a log of HTTP requests.
    #[arg(long)]
    pub allow_loss: bool,
    /// Assume that the sinks have published everything that the restored checkpoint promises, without checking.
    #[arg(long, requires = "from")]
    pub assume_published: bool,
    /// Publish what the restored checkpoint promises if a sink's peer no longer knows whether it is published.
    #[arg(long, requires = "from", conflicts_with = "assume_published")]
    pub assume_lost: bool,
    /// Start although sinks have published later output, which will be published again.
    #[arg(long, requires = "from")]
    pub allow_duplicates: bool,
    /// Start without state if the state is lost because all checkpoints are damaged.
    #[arg(long)]
    pub ignore_state: bool,
}

impl OriginArgs {
    /// Returns the location of `--from`, with an absolute path. Errors: `savepoint-not-found`.
    pub fn location(&self) -> Result<Option<String>> {
        let Some(from) = &self.from else { return Ok(None) };
        if from.contains("://") {
            return Ok(Some(from.clone()));
        }
        let folder = std::path::Path::new(from).canonicalize();
        let folder = folder.map_err(|error| {
            crate::error::savepoint_not_found(format!("--from {from}: cannot find the folder: {error}")).hint(
                "name the folder of a savepoint or checkpoint, or s3://bucket/folder; list those of a job with \
                 `cofferdam savepoints JOB` and `cofferdam checkpoints JOB`",
            )
        })?;
        utf8_path(&folder).map(Some)
    }
}

/// The commands of `cofferdam job`.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Show a job.
    Show {
        /// Id or name of the job.
        id: String,
    },
    /// Cancel a job.
    Cancel {
        /// Id or name of the job.
        id: String,
        /// Wait until the job has ended.
        #[arg(long)]
        wait: bool,
    },
    /// Remove a job that has ended, and its checkpoints. Savepoints are kept.
    Remove {
        /// Id or name of the job.
        id: String,
        /// Remove the job although its newest checkpoint has output that is not published. The output is lost.
        #[arg(long)]
        discard_unpublished: bool,
    },
    /// Take a savepoint, then stop the job.
    Stop {
        /// Id or name of the job.
        id: String,
        #[command(flatten)]
        args: SavepointArgs,
        /// Advance event time to its end first, so that all windows and timers fire. The job is not meant to be resumed.
        #[arg(long)]
        drain: bool,
    },
}

/// The arguments for taking a savepoint.
#[derive(Debug, Args)]
pub struct SavepointArgs {
    /// Wait until the savepoint is complete.
    #[arg(long)]
    pub wait: bool,
    /// Write the state in the format of its backend, which is faster. By default the format can be read by every backend.
    #[arg(long)]
    pub native: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn commands_show_their_own_help_text() {
        let cli = Cli::command();
        let about = |path: &[&str]| {
            let command = path.iter().fold(&cli, |command, name| command.find_subcommand(name).unwrap());
            command.get_about().unwrap().to_string()
        };
        assert!(about(&[]).starts_with("Stateful stream processing"));
        assert!(about(&["run"]).starts_with("Run a pipeline"));
        assert!(about(&["serve"]).starts_with("Start a server"));
        assert!(about(&["submit"]).starts_with("Submit a pipeline"));
        assert!(about(&["build"]).starts_with("Compile a Rust package"));
        assert!(about(&["savepoint"]).starts_with("Take a savepoint"));
        assert!(about(&["job", "stop"]).starts_with("Take a savepoint, then stop"));
        assert!(about(&["state", "list"]).starts_with("List the operators"));
        assert!(about(&["state", "load"]).starts_with("Write a savepoint"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["cofferdam", "jobs", "--json", "--server", "http://h:1"]).unwrap();
        assert!(cli.json && cli.connection.server.as_deref() == Some("http://h:1"));
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
