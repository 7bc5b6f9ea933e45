//! `cofferdam dead-letter list`, `show`, `try`, `replay` and `discard`: the dead letters that the server keeps for a job.

use std::time::Duration;

use serde::Serialize;

use super::arguments::DeadLetterCommand;
use super::client::{ApiClient, segment};
use super::print;
use crate::error::{Result, job_failed};
use crate::job::view::{
    DeadLetterDetail, DeadLetterPage, DiscardedLetters, JobDetail, RecordPlace, ReplaysStarted, TrialView,
};

/// Time between two looks at a replay.
const REPLAY_POLL: Duration = Duration::from_millis(200);

#[derive(Serialize)]
struct TrialBody<'a> {
    operator: Option<&'a str>,
    letters: &'a [String],
    limit: Option<usize>,
    component: Option<&'a str>,
}

#[derive(Serialize)]
struct ReplayBody<'a> {
    operator: Option<&'a str>,
}

/// Executes a command about dead letters.
pub fn execute(client: &ApiClient, command: &DeadLetterCommand, json: bool) -> Result<()> {
    match command {
        DeadLetterCommand::List { job, operator, after, limit } => {
            let page = page(client, job, operator.as_deref(), after.as_deref(), *limit)?;
            if json { print::json(&page) } else { list(&page) }
        }
        DeadLetterCommand::Show { job, letter } => {
            let path = format!("{}/{}", path(job), segment(letter));
            let detail: DeadLetterDetail = client.get(&path)?;
            if json {
                return print::json(&detail);
            }
            print::json(&detail.letter)?;
            if let Some(RecordPlace { file, line, byte }) = &detail.first_with_same_value {
                let place = line.map_or_else(|| format!("byte {byte}"), |line| format!("line {line}"));
                print::line(format_args!("the first record with this value is {place} of `{file}`"));
            }
            Ok(())
        }
        DeadLetterCommand::Try { job, letters, operator, limit, component } => {
            let (operator, component) = (operator.as_deref(), component.as_deref());
            let body = TrialBody { operator, letters, limit: *limit, component };
            let trial: TrialView = client.post_json(&format!("{}/try", path(job)), &body)?;
            if json { print::json(&trial) } else { tried(&trial) }
        }
        DeadLetterCommand::Replay { job, operator, wait } => {
            let body = ReplayBody { operator: operator.as_deref() };
            let started: ReplaysStarted = client.post_json(&format!("{}/replay", path(job)), &body)?;
            if *wait {
                await_replays(client, job, &started)?;
            }
            if json { print::json(&started) } else { replays(&started, *wait) }
        }
        DeadLetterCommand::Discard { job, operator } => {
            let query: Vec<(&str, &str)> = operator.iter().map(|operator| ("operator", operator.as_str())).collect();
            let discarded: DiscardedLetters = client.delete_query(&path(job), &query)?;
            if json {
                return print::json(&discarded);
            }
            print::line(format_args!("discarded {} letters", discarded.discarded));
            Ok(())
        }
    }
}

fn path(job: &str) -> String {
    format!("/v1/jobs/{}/dead-letters", segment(job))
}

fn page(
    client: &ApiClient,
    job: &str,
    operator: Option<&str>,
    after: Option<&str>,
    limit: Option<usize>,
) -> Result<DeadLetterPage> {
    let limit = limit.map(|limit| limit.to_string());
    let filters = [("operator", operator), ("after", after), ("limit", limit.as_deref())];
    let query: Vec<(&str, &str)> = filters.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
    client.query(&path(job), &query)
}

fn list(page: &DeadLetterPage) -> Result<()> {
    if !page.letters.is_empty() {
        print::dead_letters(&page.letters);
    }
    print::line(format_args!("{} letters, {}", page.total, print::size(page.bytes)));
    if page.total == 0 {
        print::line(format_args!(
            "a letter appears with the first checkpoint that contains it; letters that a sink reads are not kept here"
        ));
    }
    for replay in &page.replays {
        let state = match replay.completed_in {
            Some(checkpoint) => format!("complete in checkpoint {checkpoint}"),
            None => "running".to_owned(),
        };
        print::line(format_args!("replay {} of {} letters of {}: {state}", replay.id, replay.letters, replay.operator));
    }
    Ok(())
}

fn tried(trial: &TrialView) -> Result<()> {
    for letter in &trial.letters {
        match (&letter.code, &letter.message) {
            (Some(code), message) => {
                print::line(format_args!("{}: {} [{code}]", letter.id, message.as_deref().unwrap_or_default()))
            }
            (None, _) => print::line(format_args!("{}: ok", letter.id)),
        }
        for output in &letter.outputs {
            print::line(format_args!("  {}: {}", output.output, output.value));
        }
    }
    let state = match trial.checkpoint {
        Some(checkpoint) => format!("with the state of checkpoint {checkpoint}"),
        None => "without state".to_owned(),
    };
    print::line(format_args!("{} ok, {} failed, {state}; nothing has taken effect", trial.succeeded, trial.failed));
    Ok(())
}

fn replays(started: &ReplaysStarted, are_complete: bool) -> Result<()> {
    let state = if are_complete { "replayed" } else { "replaying" };
    for replay in &started.replays {
        print::line(format_args!("{state} {} letters of {}", replay.letters, replay.operator));
    }
    Ok(())
}

/// Waits until a checkpoint contains the effects of all replays. Error: `job-failed` if the job ends before.
fn await_replays(client: &ApiClient, job: &str, started: &ReplaysStarted) -> Result<()> {
    loop {
        let ended = client.get::<JobDetail>(&format!("/v1/jobs/{}", segment(job)))?.summary.status.is_final();
        let page = page(client, job, None, None, Some(0))?;
        let is_complete = |id| page.replays.iter().any(|replay| replay.id == id && replay.completed_in.is_some());
        if started.replays.iter().all(|replay| is_complete(replay.id)) {
            return Ok(());
        }
        if ended {
            return Err(job_failed("the job has ended before the replay was complete")
                .hint("a job that starts from its last checkpoint continues the replay"));
        }
        std::thread::sleep(REPLAY_POLL);
    }
}
