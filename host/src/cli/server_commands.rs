//! Commands about jobs, components, checkpoints and savepoints, which send requests to a server.
//!
//! Invariant: a command that waits survives a restart of the server. Must not open a data folder.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments::{ComponentCommand, JobCommand, SavepointArgs, SubmitArgs};
use super::client::{ApiClient, segment};
use super::pipeline_file::{copy_component, push_components, read_pipeline_file};
use super::print;
use super::progress::{JobProgress, WarningPrinter, job_error};
use super::stale_components::stale_components;
use crate::checkpoint::utf8_path;
use crate::clock::SystemClock;
use crate::error::{Result, request_invalid, savepoint_failed};
use crate::job::view::{
    CheckpointSummary, ComponentView, JobDetail, JobStatus, JobSummary, SavepointFormat, SavepointView, StoredSavepoint,
};
use crate::stdio;

/// Interval of the requests of a command that waits.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// How long a command that waits tolerates an unreachable server.
const UNREACHABLE_MAX: Duration = Duration::from_secs(60);

/// Requests `path` and prints the answer with `print`, or as JSON.
fn request_and_print<T: DeserializeOwned + Serialize>(
    client: &ApiClient,
    path: &str,
    json: bool,
    print: impl FnOnce(&T),
) -> Result<()> {
    let answer: T = client.get(path)?;
    print_answer(&answer, json, print)
}

/// Requests all pages of a list and prints it with `print`, or as JSON.
fn list_and_print<T: DeserializeOwned + Serialize>(
    client: &ApiClient,
    path: &str,
    json: bool,
    print: impl FnOnce(&Vec<T>),
) -> Result<()> {
    print_answer(&client.list(path)?, json, print)
}

fn print_answer<T: Serialize>(answer: &T, json: bool, print: impl FnOnce(&T)) -> Result<()> {
    if json {
        return print::json(answer);
    }
    print(answer);
    Ok(())
}

/// Executes `cofferdam component ...`.
pub fn component(client: &ApiClient, command: &ComponentCommand, json: bool) -> Result<()> {
    let path = |reference: &str| format!("/v1/components/{}", segment(reference));
    match command {
        ComponentCommand::Push { file, name } => {
            let component = push(client, file, name.as_deref())?;
            print_answer(&component, json, |component| print::line(format_args!("sha256:{}", component.sha256)))
        }
        ComponentCommand::List => {
            list_and_print(client, "/v1/components", json, |list: &Vec<ComponentView>| print::components(list))
        }
        ComponentCommand::Show { reference } => request_and_print(client, &path(reference), json, print::component),
        ComponentCommand::Rm { reference } => client.delete(&path(reference)),
    }
}

fn push(client: &ApiClient, file: &Path, name: Option<&str>) -> Result<ComponentView> {
    let digest = copy_component(file, &mut std::io::sink())?;
    let query: Vec<(&str, &str)> = name.map(|name| ("name", name)).into_iter().collect();
    client.post_file("/v1/components", &query, file, &digest).map_err(|error| error.context(file.display()))
}

/// Pushes components, submits the pipeline, and follows the job if requested.
pub fn submit(client: &ApiClient, args: &SubmitArgs, json: bool) -> Result<ExitCode> {
    let file = read_pipeline_file(&args.pipeline)?;
    let from = args.origin.location()?;
    stale_components(&file).iter().for_each(|warning| stdio::tell(format_args!("warning: {warning}")));
    let text = push_components(&file, |path| Ok(push(client, path, None)?.sha256))?;
    let base_dir = utf8_path(&file.base_dir)?;
    let mut query = vec![("file_name", file.name.as_str()), ("base_dir", &base_dir)];
    query.extend(from.as_deref().map(|from| ("from", from)));
    query.extend(args.origin.claim.then_some(("claim", "true")));
    query.extend(args.origin.allow_unclaimed_state.then_some(("allow_unclaimed_state", "true")));
    query.extend(args.origin.reset_watermarks.then_some(("reset_watermarks", "true")));
    query.extend(args.origin.allow_loss.then_some(("allow_loss", "true")));
    query.extend(args.origin.assume_published.then_some(("assume_published", "true")));
    query.extend(args.origin.assume_lost.then_some(("assume_lost", "true")));
    query.extend(args.origin.allow_duplicates.then_some(("allow_duplicates", "true")));
    query.extend(args.origin.ignore_state.then_some(("ignore_state", "true")));
    let job: JobDetail = client.post_text("/v1/jobs", &query, "application/toml", &text)?;
    let mut warnings = WarningPrinter::default();
    warnings.print_new(&job);
    if !args.wait {
        print_answer(&job, json, |job| print::line(&job.summary.id))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut progress = JobProgress::new(&file.pipeline, SystemClock::shared());
    let path = format!("/v1/jobs/{}", segment(&job.summary.id));
    let job = loop {
        let job: JobDetail = poll(client, &path)?;
        progress.show(&job);
        if job.summary.status.is_final() {
            break job;
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    progress.finish(&job);
    warnings.print_new(&job);
    print_answer(&job, json, |job| print::line(&job.summary.id))?;
    match job.summary.status {
        JobStatus::Failed => Err(job_error(&job)),
        JobStatus::Finished => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Lists jobs.
pub fn jobs(client: &ApiClient, json: bool) -> Result<()> {
    list_and_print(client, "/v1/jobs", json, |list: &Vec<JobSummary>| print::jobs(list))
}

/// Executes `cofferdam job ...`.
pub fn job(client: &ApiClient, command: &JobCommand, json: bool) -> Result<()> {
    let path = |id: &str| format!("/v1/jobs/{}", segment(id));
    match command {
        JobCommand::Show { id } => request_and_print(client, &path(id), json, print::job),
        JobCommand::Cancel { id, wait } => {
            let mut job: JobSummary = client.post(&format!("{}/cancel", path(id)))?;
            let path = path(&job.id);
            while *wait && !job.status.is_final() {
                std::thread::sleep(POLL_INTERVAL);
                job = poll(client, &path)?;
            }
            print_answer(&job, json, |job| print::line(format_args!("{}  {}", job.id, print::status(job))))
        }
        JobCommand::Remove { id, discard_unpublished } => {
            let query = if *discard_unpublished { "?discard_unpublished=true" } else { "" };
            client.delete(&format!("{}{query}", path(id)))
        }
        JobCommand::Stop { id, args, drain } => {
            let body = serde_json::json!({ "format": format(args), "drain": drain });
            let savepoint: SavepointView = client.post_json(&format!("{}/stop", path(id)), &body)?;
            print_request(client, id, "savepoints", savepoint, args.wait, json)
        }
    }
}

fn format(args: &SavepointArgs) -> SavepointFormat {
    if args.native { SavepointFormat::Native } else { SavepointFormat::Canonical }
}

/// Takes a savepoint of a job.
pub fn savepoint(client: &ApiClient, id: &str, args: &SavepointArgs, json: bool) -> Result<()> {
    let body = serde_json::json!({ "format": format(args) });
    let savepoint: SavepointView = client.post_json(&format!("/v1/jobs/{}/savepoints", segment(id)), &body)?;
    print_request(client, id, "savepoints", savepoint, args.wait, json)
}

/// Lists the savepoints of a job.
pub fn savepoints(client: &ApiClient, id: &str, json: bool) -> Result<()> {
    let path = format!("/v1/jobs/{}/savepoints", segment(id));
    list_and_print(client, &path, json, |list: &Vec<StoredSavepoint>| print::savepoints(list))
}

/// Removes a savepoint by its location.
pub fn remove_savepoint(client: &ApiClient, location: &str) -> Result<()> {
    let location = match location.contains("://") {
        true => location.to_owned(),
        false => {
            let folder = std::path::absolute(location);
            utf8_path(&folder.map_err(|error| request_invalid(format!("{location}: {error}")))?)?
        }
    };
    client.delete(&format!("/v1/savepoints?location={}", segment(&location)))
}

/// Takes a checkpoint of a job.
pub fn checkpoint(client: &ApiClient, id: &str, wait: bool, json: bool) -> Result<()> {
    let checkpoint: SavepointView = client.post(&format!("/v1/jobs/{}/checkpoints", segment(id)))?;
    print_request(client, id, "checkpoints", checkpoint, wait, json)
}

/// Sends a GET request, and retries while the server is restarting. A server carries out accepted requests after a restart.
fn poll<T: DeserializeOwned>(client: &ApiClient, path: &str) -> Result<T> {
    let clock = SystemClock::shared();
    let start_ns = clock.monotonic_ns();
    let mut is_reported = false;
    loop {
        match client.get(path) {
            Err(error) if matches!(error.code, "server-unreachable" | "server-busy") => {
                if clock.monotonic_ns().saturating_sub(start_ns) > UNREACHABLE_MAX.as_nanos() as u64 {
                    return Err(error);
                }
                if !std::mem::replace(&mut is_reported, true) {
                    stdio::tell("the server does not answer; retrying");
                }
                std::thread::sleep(POLL_INTERVAL);
            }
            answer => return answer,
        }
    }
}

/// Prints a requested savepoint or checkpoint; with `wait`, once it is complete or has failed.
fn print_request(
    client: &ApiClient,
    id: &str,
    resource: &str,
    mut request: SavepointView,
    wait: bool,
    json: bool,
) -> Result<()> {
    let path = format!("/v1/jobs/{}/{resource}/{}", segment(id), segment(&request.request_id));
    while wait && request.status == "in-progress" {
        std::thread::sleep(POLL_INTERVAL);
        request = poll(client, &path)?;
    }
    print_answer(&request, json, print::savepoint)?;
    match request.failure {
        Some(failure) => {
            let location = request.location.map(|location| format!(" ({location})")).unwrap_or_default();
            Err(savepoint_failed(format!("the request failed: {failure}{location}")))
        }
        None => Ok(()),
    }
}

/// Lists the checkpoints of a job, or shows one of them.
pub fn checkpoints(client: &ApiClient, id: &str, checkpoint: Option<u64>, json: bool) -> Result<()> {
    let path = format!("/v1/jobs/{}/checkpoints", segment(id));
    match checkpoint {
        None => request_and_print(client, &path, json, |list: &Vec<CheckpointSummary>| print::checkpoints(list)),
        Some(checkpoint) => request_and_print(client, &format!("{path}/details/{checkpoint}"), json, print::checkpoint),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::cli::connection::ConnectionSettings;

    #[test]
    fn a_command_that_waits_survives_a_restart_of_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            // The server stops before it answers.
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n7").unwrap();
        });
        let settings = ConnectionSettings { server: base, ..ConnectionSettings::default() };
        let client = ApiClient::new(&settings).unwrap();
        assert_eq!(poll::<u8>(&client, "/v1/anything").unwrap(), 7);
        server.join().unwrap();
    }
}
