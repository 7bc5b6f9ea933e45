//! Commands that ask a server.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::{ApiClient, segment};
use super::pipeline_file::{copy_component, push_components, read_pipeline_file};
use super::progress::{JobProgress, WarningPrinter, failure};
use super::stale_components::stale_components;
use super::{ComponentCommand, JobCommand, SavepointArgs, SubmitArgs, print};
use crate::checkpoint::utf8_path;
use crate::clock::SystemClock;
use crate::error::{Result, request_invalid, savepoint_failed};
use crate::job::view::{
    CheckpointSummary, ComponentView, JobDetail, JobStatus, JobSummary, SavepointFormat, SavepointView, StoredSavepoint,
};
use crate::stdio;

const POLL: Duration = Duration::from_millis(300);

/// How long a command that waits goes on without an answer.
const UNREACHABLE_MAX: Duration = Duration::from_secs(60);

/// Gets `path` and shows it with `show`, or as JSON.
fn show<T: DeserializeOwned + Serialize>(
    client: &ApiClient,
    path: &str,
    json: bool,
    show: impl FnOnce(&T),
) -> Result<()> {
    let answer: T = client.get(path)?;
    present(&answer, json, show)
}

fn present<T: Serialize>(answer: &T, json: bool, show: impl FnOnce(&T)) -> Result<()> {
    if json {
        return print::json(answer);
    }
    show(answer);
    Ok(())
}

pub fn component(client: &ApiClient, command: &ComponentCommand, json: bool) -> Result<()> {
    let path = |reference: &str| format!("/v1/components/{}", segment(reference));
    match command {
        ComponentCommand::Push { file, name } => {
            let component = push(client, file, name.as_deref())?;
            present(&component, json, |component| print::line(format_args!("sha256:{}", component.sha256)))
        }
        ComponentCommand::List => {
            show(client, "/v1/components", json, |list: &Vec<ComponentView>| print::components(list))
        }
        ComponentCommand::Show { reference } => show(client, &path(reference), json, print::component),
        ComponentCommand::Rm { reference } => client.delete(&path(reference)),
    }
}

fn push(client: &ApiClient, file: &Path, name: Option<&str>) -> Result<ComponentView> {
    let digest = copy_component(file, &mut std::io::sink())?;
    let query: Vec<(&str, &str)> = name.map(|name| ("name", name)).into_iter().collect();
    client.post_file("/v1/components", &query, file, &digest).map_err(|error| error.context(file.display()))
}

pub fn submit(client: &ApiClient, args: &SubmitArgs, json: bool) -> Result<ExitCode> {
    let manifest = read_pipeline_file(&args.pipeline)?;
    let from = args.origin.location()?;
    stale_components(&manifest).iter().for_each(|warning| stdio::tell(format_args!("warning: {warning}")));
    let text = push_components(&manifest, |path| Ok(push(client, path, None)?.sha256))?;
    let base_dir = utf8_path(&manifest.base_dir)?;
    let mut query = vec![("file_name", manifest.name.as_str()), ("base_dir", &base_dir)];
    query.extend(from.as_deref().map(|from| ("from", from)));
    query.extend(args.origin.claim.then_some(("claim", "true")));
    query.extend(args.origin.allow_unclaimed_state.then_some(("allow_unclaimed_state", "true")));
    query.extend(args.origin.reset_watermarks.then_some(("reset_watermarks", "true")));
    query.extend(args.origin.assume_published.then_some(("assume_published", "true")));
    query.extend(args.origin.ignore_state.then_some(("ignore_state", "true")));
    let job: JobDetail = client.post_text("/v1/jobs", &query, "application/toml", &text)?;
    let mut warnings = WarningPrinter::default();
    warnings.tell(&job);
    if !args.wait {
        present(&job, json, |job| print::line(&job.summary.id))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut progress = JobProgress::new(&manifest.pipeline, SystemClock::shared());
    let path = format!("/v1/jobs/{}", segment(&job.summary.id));
    let job = loop {
        let job: JobDetail = poll(client, &path)?;
        progress.show(&job);
        if job.summary.status.is_final() {
            break job;
        }
        std::thread::sleep(POLL);
    };
    progress.finish(&job);
    warnings.tell(&job);
    present(&job, json, |job| print::line(&job.summary.id))?;
    match job.summary.status {
        JobStatus::Failed => Err(failure(&job)),
        JobStatus::Finished | JobStatus::Stopped => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

pub fn jobs(client: &ApiClient, json: bool) -> Result<()> {
    show(client, "/v1/jobs", json, |list: &Vec<JobSummary>| print::jobs(list))
}

pub fn job(client: &ApiClient, command: &JobCommand, json: bool) -> Result<()> {
    let path = |id: &str| format!("/v1/jobs/{}", segment(id));
    match command {
        JobCommand::Show { id } => show(client, &path(id), json, print::job),
        JobCommand::Cancel { id, wait } => {
            let mut job: JobSummary = client.post(&format!("{}/cancel", path(id)))?;
            let path = path(&job.id);
            while *wait && !job.status.is_final() {
                std::thread::sleep(POLL);
                job = poll(client, &path)?;
            }
            present(&job, json, |job| print::line(format_args!("{}  {}", job.id, print::status(job))))
        }
        JobCommand::Remove { id } => client.delete(&path(id)),
        JobCommand::Stop { id, args, drain } => {
            let body = serde_json::json!({ "format": format(args), "drain": drain });
            let savepoint: SavepointView = client.post_json(&format!("{}/stop", path(id)), &body)?;
            finish(client, id, "savepoints", savepoint, args.wait, json)
        }
    }
}

fn format(args: &SavepointArgs) -> SavepointFormat {
    if args.native { SavepointFormat::Native } else { SavepointFormat::Canonical }
}

pub fn savepoint(client: &ApiClient, id: &str, args: &SavepointArgs, json: bool) -> Result<()> {
    let body = serde_json::json!({ "format": format(args) });
    let savepoint: SavepointView = client.post_json(&format!("/v1/jobs/{}/savepoints", segment(id)), &body)?;
    finish(client, id, "savepoints", savepoint, args.wait, json)
}

pub fn savepoints(client: &ApiClient, id: &str, json: bool) -> Result<()> {
    let path = format!("/v1/jobs/{}/savepoints", segment(id));
    show(client, &path, json, |list: &Vec<StoredSavepoint>| print::savepoints(list))
}

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

pub fn checkpoint(client: &ApiClient, id: &str, wait: bool, json: bool) -> Result<()> {
    let checkpoint: SavepointView = client.post(&format!("/v1/jobs/{}/checkpoints", segment(id)))?;
    finish(client, id, "checkpoints", checkpoint, wait, json)
}

/// Gets `path` from a server that may be starting again meanwhile: what was accepted is carried out then.
fn poll<T: DeserializeOwned>(client: &ApiClient, path: &str) -> Result<T> {
    let clock = SystemClock::shared();
    let begun_ns = clock.monotonic_ns();
    let mut is_told = false;
    loop {
        match client.get(path) {
            Err(error) if matches!(error.code, "server-unreachable" | "server-busy") => {
                if clock.monotonic_ns().saturating_sub(begun_ns) > UNREACHABLE_MAX.as_nanos() as u64 {
                    return Err(error);
                }
                if !std::mem::replace(&mut is_told, true) {
                    stdio::tell("the server does not answer; waiting for it");
                }
                std::thread::sleep(POLL);
            }
            answer => return answer,
        }
    }
}

/// Shows a savepoint or checkpoint that was asked for, with `wait` not before it is complete or has failed.
fn finish(client: &ApiClient, id: &str, of: &str, mut request: SavepointView, wait: bool, json: bool) -> Result<()> {
    let path = format!("/v1/jobs/{}/{of}/{}", segment(id), segment(&request.request_id));
    while wait && request.status == "in-progress" {
        std::thread::sleep(POLL);
        request = poll(client, &path)?;
    }
    present(&request, json, print::savepoint)?;
    match request.failure {
        Some(failure) => {
            let place = request.location.map(|place| format!(" ({place})")).unwrap_or_default();
            Err(savepoint_failed(format!("it failed: {failure}{place}")))
        }
        None => Ok(()),
    }
}

pub fn checkpoints(client: &ApiClient, id: &str, checkpoint: Option<u64>, json: bool) -> Result<()> {
    let path = format!("/v1/jobs/{}/checkpoints", segment(id));
    match checkpoint {
        None => show(client, &path, json, |list: &Vec<CheckpointSummary>| print::checkpoints(list)),
        Some(checkpoint) => show(client, &format!("{path}/details/{checkpoint}"), json, print::checkpoint),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_command_that_waits_outlives_a_server_that_starts_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            // It dies before it answers.
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n7").unwrap();
        });
        assert_eq!(poll::<u8>(&ApiClient::new(&base), "/v1/anything").unwrap(), 7);
        server.join().unwrap();
    }
}
