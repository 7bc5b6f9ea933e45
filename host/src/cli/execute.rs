//! Executes the commands of the command line.
//!
//! Must not define arguments; `arguments` does.

use std::process::ExitCode;

use super::arguments::{Cli, CliCommand, SavepointCommand, StateCommand};
use super::client::ApiClient;
use super::connection::ConnectionSettings;
use super::{
    build, check, dead_letters, doctor, faults, logs, new, observe, run, schema, secrets, server_commands, shell_files,
    state, state_load, tap, tokens,
};
use crate::auth::DEFAULT_NAMESPACE;
use crate::error::{Result, internal};
use crate::sandbox::compile_child;
use crate::state::check_database_child;

/// Executes every command except `serve`, which the binary executes. The caller prints the error.
pub fn execute(cli: Cli) -> Result<ExitCode> {
    let connection = &cli.connection;
    let client = || ConnectionSettings::of(connection).and_then(|settings| ApiClient::new(&settings));
    let result = match cli.command {
        CliCommand::Token(command) => tokens::execute(&client, &command, connection.namespace.as_deref(), cli.json),
        CliCommand::Audit { limit, before } => tokens::audit(&client()?, limit, before, cli.json),
        CliCommand::Run(args) => return run::run(&args, cli.json),
        CliCommand::Submit(args) => return server_commands::submit(&client()?, &args, cli.json),
        CliCommand::Build(args) => build::build(&args, cli.json),
        CliCommand::Check(args) => check::check(&args, cli.json),
        CliCommand::Doctor(args) => return doctor::examine(&args, connection, cli.json),
        CliCommand::Completions { shell } => shell_files::print_completions(shell),
        CliCommand::Schema => schema::print_schema(),
        CliCommand::ManPages { folder } => shell_files::write_man_pages(&folder),
        CliCommand::New { name } => new::create_project(&name),
        CliCommand::Component(command) => server_commands::component(&client()?, &command, cli.json),
        CliCommand::Jobs => server_commands::jobs(&client()?, cli.json),
        CliCommand::Job(command) => server_commands::job(&client()?, &command, cli.json),
        CliCommand::Savepoint { command: Some(SavepointCommand::Remove { location }), .. } => {
            server_commands::remove_savepoint(&client()?, &location)
        }
        CliCommand::Savepoint { job, args, .. } => {
            server_commands::savepoint(&client()?, &job.unwrap_or_default(), &args, cli.json)
        }
        CliCommand::Savepoints { job } => server_commands::savepoints(&client()?, &job, cli.json),
        CliCommand::Checkpoint { job, wait } => server_commands::checkpoint(&client()?, &job, wait, cli.json),
        CliCommand::Checkpoints { job, checkpoint } => {
            server_commands::checkpoints(&client()?, &job, checkpoint, cli.json)
        }
        CliCommand::Top { job, once } => observe::top(&client()?, job.as_deref(), once, cli.json),
        CliCommand::Events { job, after, limit, follow } => {
            observe::events(&client()?, &job, after, limit, follow, cli.json)
        }
        CliCommand::Logs(args) => logs::logs(&client()?, &args, cli.json),
        CliCommand::Tap(args) => tap::tap(&client()?, &args, cli.json),
        CliCommand::LogLevel(args) => logs::log_level(&client()?, &args, cli.json),
        CliCommand::State(command) => execute_state(&client()?, &command, cli.json),
        CliCommand::Secret(command) => {
            let namespace = connection.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
            secrets::secret(&command, namespace, cli.json)
        }
        CliCommand::Faults(args) => faults::faults(&client()?, &args, cli.json),
        CliCommand::DeadLetter(command) => dead_letters::execute(&client()?, &command, cli.json),
        CliCommand::CompileComponent { out, cpu_seconds, memory_bytes, nice } => {
            return Ok(compile_child(&out, cpu_seconds, memory_bytes, nice));
        }
        CliCommand::CheckDatabase { folder } => return Ok(check_database_child(&folder)),
        CliCommand::Serve(_) => Err(internal("`serve` is executed by the binary")),
    };
    result.map(|()| ExitCode::SUCCESS)
}

fn execute_state(client: &ApiClient, command: &StateCommand, json: bool) -> Result<()> {
    match command {
        StateCommand::List { origin, count } => state::list(client, &origin.job_or_folder, *count, json),
        StateCommand::Get { origin, operator, state, key, map_key } => {
            state::get(client, &origin.job_or_folder, (operator, state), key, map_key.as_deref(), json)
        }
        StateCommand::Dump { origin, operator, state } => {
            state::dump(client, &origin.job_or_folder, operator.as_deref(), state.as_deref())
        }
        StateCommand::Load(args) => state_load::load(client, args, json),
    }
}
