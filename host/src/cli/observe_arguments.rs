//! The arguments of commands that show what a job or a machine does.
//!
//! Must not execute anything.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Args;

use crate::fault_groups::FaultStatus;
use crate::state;

/// The arguments of `cofferdam logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Id or name of the job.
    pub job: String,
    /// Show only lines of this operator.
    pub operator: Option<String>,
    /// Print further lines as they are written, until the job ends.
    #[arg(long, short)]
    pub follow: bool,
    /// Show only lines of this severity and above: error, warn, info, debug or trace.
    #[arg(long)]
    pub level: Option<String>,
    /// Number of the newest lines to begin with, up to 1000.
    #[arg(long, short = 'n', default_value_t = 100, value_name = "COUNT")]
    pub lines: usize,
}

/// The arguments of `cofferdam log-level`.
#[derive(Debug, Args)]
pub struct LogLevelArgs {
    /// Id or name of the job.
    pub job: String,
    /// Id of the operator.
    pub operator: String,
    /// New level: off, error, warn, info, debug or trace; or default, for that of the pipeline file or the server. It applies until
    /// the server stops.
    pub level: Option<String>,
}

/// The arguments of `cofferdam tap`.
#[derive(Debug, Args)]
pub struct TapArgs {
    /// Id or name of the job.
    pub job: String,
    /// Id of the operator, source or sink.
    pub operator: String,
    /// Show the records that it takes.
    #[arg(long, conflicts_with = "out")]
    pub r#in: bool,
    /// Show the records that it emits. This is the default, except for sinks.
    #[arg(long)]
    pub out: bool,
    /// Show one of this many records.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub every: u64,
    /// Largest number of records per second, up to 1000.
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    pub rate: u64,
    /// End after so many records.
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub limit: Option<u64>,
}

/// The arguments of `cofferdam faults`.
#[derive(Debug, Args)]
pub struct FaultsArgs {
    /// Id or name of the job.
    pub job: String,
    /// Id of a group, to show its records and call stacks.
    pub group: Option<String>,
    /// Set what has been done about the group: new, acknowledged or resolved.
    #[arg(long, requires = "group")]
    pub status: Option<FaultStatus>,
}

/// The arguments of `cofferdam doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Data folder of the server.
    #[arg(long, default_value = "cofferdam-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Limit on the memory of all RocksDB state backends together, as for `serve`.
    #[arg(long, default_value_t = ByteSize(state::DEFAULT_MEMORY_BYTES as u64), value_name = "SIZE")]
    pub state_memory: ByteSize,
    /// Address on which the server listens or would listen.
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// PEM file with the certificate of the server.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
}
