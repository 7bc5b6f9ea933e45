//! The command line: parses commands, executes them, and prints results.
//!
//! Results go to stdout, progress and errors to stderr. Commands reach a server only through its HTTP API; `run` opens a
//! [`crate::job::Host`] of its own. `serve` is only declared here: the binary executes it.
//!
//! | file | contents |
//! |---|---|
//! | `arguments`, `access_arguments`, `observe_arguments`, `execute` | the commands with their help texts, and their dispatch |
//! | `variables` | parses the arguments of the process and variables of the environment |
//! | `new`, `vendored_sdk`, `build`, `toolchain` | create and compile a function package |
//! | `run`, `check`, `local_host` | runs a pipeline in this process, or only checks it |
//! | `server_commands`, `client`, `connection` | commands for a server, the HTTP client, and how it reaches the server |
//! | `doctor/` | checks the machine, the data folder and the server |
//! | `tokens` | creates, lists and revokes tokens; shows the audit log |
//! | `state`, `state_load`, `offline_state` | reads stored state, and writes a savepoint from lines of JSON |
//! | `observe` | shows what jobs do and have done |
//! | `dead_letters` | lists, tries and replays dead letters |
//! | `logs`, `tap` | log lines of functions, and their levels; records that pass an operator |
//! | `log_output` | starts the log of the process |
//! | `pipeline_file`, `stale_components` | reads the pipeline file and its components |
//! | `print`, `print_observed`, `progress`, `report`, `signal` | output on the terminal, errors with exit codes, and stop signals |
//! | `shell_files`, `schema` | completions of shells, manual pages, and the JSON Schema of the pipeline file |

mod access_arguments;
mod arguments;
mod build;
mod check;
mod client;
mod connection;
mod dead_letters;
mod doctor;
mod execute;
mod faults;
mod local_host;
mod log_output;
mod logs;
mod new;
mod observe;
mod observe_arguments;
mod offline_state;
mod pipeline_file;
mod print;
mod print_observed;
mod progress;
mod report;
mod run;
mod schema;
mod secrets;
mod server_commands;
mod shell_files;
mod signal;
mod stale_components;
mod state;
mod state_load;
mod tap;
mod tokens;
mod toolchain;
mod variables;
mod vendored_sdk;

pub use access_arguments::{ConnectionArgs, TokenCommand};
pub use arguments::{
    BuildArgs, CheckArgs, Cli, CliCommand, CompileArgs, ComponentCommand, JobCommand, OriginArgs, RunArgs,
    SavepointArgs, SavepointCommand, ServeArgs, StateCommand, StateLoadArgs, StateOriginArgs, SubmitArgs,
};
pub use execute::execute;
pub use log_output::{LogFormat, start_log};
pub use report::report;
pub use signal::{second_stop_signal, stop_signal};
pub use variables::parse_arguments;
