//! The arguments about servers and their tokens.
//!
//! Must not execute anything; `execute` does.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::auth::Role;

/// How commands reach a server. What is not given comes from the profile, if there is one.
#[derive(Clone, Debug, Default, Args)]
pub struct ConnectionArgs {
    /// Server for the commands about jobs and components. By default http://127.0.0.1:7070.
    #[arg(long, global = true, env = "COFFERDAM_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// File with the token for the server, on one line. COFFERDAM_TOKEN holds the token itself.
    #[arg(long, global = true, env = "COFFERDAM_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Namespace of the jobs, components, secrets and new tokens. By default that of the token, or `default`.
    #[arg(long, global = true, env = "COFFERDAM_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// PEM file with the certificates that may sign the one of the server. By default those of the system.
    #[arg(long, global = true, env = "COFFERDAM_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Profile in cofferdam/config.toml of the user's configuration folder. By default `default`, if it exists.
    #[arg(long, global = true, env = "COFFERDAM_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
}

/// The commands of `cofferdam token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token and print it. It cannot be shown again. From the first token on, the server requires one.
    ///
    /// The token may use the namespace of --namespace, which is created if it does not exist. Without it, the token may use what the
    /// token in use may; with --data-dir, all namespaces.
    Create {
        /// What the token may do: read, submit or admin.
        #[arg(long)]
        role: Role,
        /// Says what the token is for.
        #[arg(long, default_value = "")]
        name: String,
        /// Time after which the token ends, such as 30d. By default it does not.
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<humantime::Duration>,
        /// Data folder of a server on this machine, which need not run. By default the server is asked.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// List the tokens. Their texts are not stored.
    List {
        /// Data folder of a server on this machine. By default the server is asked.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Revoke a token. The server refuses it from then on.
    Revoke {
        /// Id of the token.
        id: String,
        /// Data folder of a server on this machine. By default the server is asked.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}
