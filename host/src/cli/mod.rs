//! The command line: parses commands, executes them, and prints results.
//!
//! Results go to stdout, progress and errors to stderr. Commands reach a server only through its HTTP API; `run` opens a
//! [`crate::job::Host`] of its own. `serve` is only declared here: the binary executes it.
//!
//! | file | contents |
//! |---|---|
//! | `arguments`, `execute` | the commands with their help texts, and their dispatch |
//! | `new`, `build`, `toolchain` | create and compile a function package |
//! | `run` | runs a pipeline in this process |
//! | `server_commands`, `client` | commands for a server, and the HTTP client |
//! | `state`, `state_load`, `offline_state` | reads stored state, and writes a savepoint from lines of JSON |
//! | `dead_letters` | lists, tries and replays dead letters |
//! | `pipeline_file`, `stale_components` | reads the pipeline file and its components |
//! | `print`, `progress`, `signal` | output on the terminal, and stop signals |

mod arguments;
mod build;
mod client;
mod dead_letters;
mod execute;
mod new;
mod offline_state;
mod pipeline_file;
mod print;
mod progress;
mod run;
mod secrets;
mod server_commands;
mod signal;
mod stale_components;
mod state;
mod state_load;
mod toolchain;

pub use arguments::{
    BuildArgs, Cli, CliCommand, CompileArgs, ComponentCommand, JobCommand, OriginArgs, RunArgs, SavepointArgs,
    SavepointCommand, ServeArgs, StateCommand, StateLoadArgs, StateOriginArgs, SubmitArgs,
};
pub use execute::execute;
pub use signal::{second_stop_signal, stop_signal};
