//! `cofferdam logs` and `cofferdam log-level`: the log lines of a job's functions on a server, and their levels.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::client::{ApiClient, segment};
use super::observe_arguments::{LogLevelArgs, LogsArgs};
use super::print;
use crate::clock::SystemClock;
use crate::error::Result;
use crate::job::view::{LogLevelView, LogLineView, LogPage};
use crate::stdio;

/// Interval of the requests while lines are followed.
const POLL: Duration = Duration::from_millis(500);
/// Largest number of lines in an answer.
const PAGE_MAX: usize = 1000;
/// How long a command that follows tolerates an unreachable server.
const UNREACHABLE_MAX: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct LevelBody<'a> {
    level: Option<&'a str>,
}

/// Prints the newest lines of a job, and with `--follow` those that follow, until the job ends.
pub fn logs(client: &ApiClient, args: &LogsArgs, json: bool) -> Result<()> {
    let mut page = request(client, args, None, args.lines)?;
    if page.lines.is_empty() && page.ended && !args.follow {
        stdio::tell("no lines are kept of this job; a server keeps those of the jobs that ended last, until it stops");
    }
    loop {
        if page.has_gap {
            stdio::tell("warning: lines are missing here, because they were written faster than they were read");
        }
        if !print_lines(&page.lines, json)? || !args.follow || (page.ended && page.lines.is_empty()) {
            return Ok(());
        }
        if page.lines.is_empty() {
            std::thread::sleep(POLL);
        }
        page = request_patiently(client, args, page.next)?;
    }
}

/// Asks for the lines behind a line. Waits for a server that restarts.
fn request_patiently(client: &ApiClient, args: &LogsArgs, after: u64) -> Result<LogPage> {
    let clock = SystemClock::shared();
    loop {
        match request(client, args, Some(after), PAGE_MAX) {
            Err(error)
                if error.code == "server-unreachable" && clock.monotonic_ns() < UNREACHABLE_MAX.as_nanos() as u64 =>
            {
                std::thread::sleep(POLL);
            }
            answer => return answer,
        }
    }
}

fn request(client: &ApiClient, args: &LogsArgs, after: Option<u64>, limit: usize) -> Result<LogPage> {
    let (after, limit) = (after.map(|after| after.to_string()), limit.to_string());
    let filters = [
        ("operator", args.operator.as_deref()),
        ("level", args.level.as_deref()),
        ("after", after.as_deref()),
        ("limit", Some(&*limit)),
    ];
    let query: Vec<(&str, &str)> = filters.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
    client.query(&format!("/v1/jobs/{}/logs", segment(&args.job)), &query)
}

/// Prints lines. Returns whether stdout is still open.
fn print_lines(lines: &[LogLineView], json: bool) -> Result<bool> {
    let has_colors = stdio::uses_colors(&std::io::stdout());
    let mut out = std::io::stdout().lock();
    for line in lines {
        let text = if json { print::json_line(line)? } else { print::log_line(line, has_colors) };
        if writeln!(out, "{text}").is_err() {
            return Ok(false);
        }
    }
    Ok(out.flush().is_ok())
}

/// Shows or sets the level of an operator's log lines.
pub fn log_level(client: &ApiClient, args: &LogLevelArgs, json: bool) -> Result<()> {
    let path = format!("/v1/jobs/{}/operators/{}/log-level", segment(&args.job), segment(&args.operator));
    let view: LogLevelView = match args.level.as_deref() {
        None => client.get(&path)?,
        Some("default") => client.put_json(&path, &LevelBody { level: None })?,
        level => client.put_json(&path, &LevelBody { level })?,
    };
    if json {
        return print::json(&view);
    }
    let origin = if view.is_set { "set until the server stops" } else { "as the pipeline file or the server says" };
    print::line(format_args!("{}: {} ({origin})", view.operator, view.level));
    Ok(())
}
