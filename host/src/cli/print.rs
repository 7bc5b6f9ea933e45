//! Prints results on stdout, for humans or as JSON.
//!
//! Invariant: untrusted text is escaped. A closed stdout (`| head`) is not an error. Must not request anything from a server.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use crate::auth::{AuditEntry, AuditPage, StoredAuditEntry, TokenView};
use crate::clock::SystemClock;
use crate::error::{Result, internal};
use crate::escape;
use crate::job::view::{
    CheckpointDetail, CheckpointStats, CheckpointSummary, ComponentView, DeadLetterSummary, HealthView, HistogramView,
    JobDetail, JobStatus, JobSummary, LogLineView, OperatorDetail, PastFailure, PortView, SavepointView,
    StoredSavepoint,
};
use crate::state_reader::{StateListing, StateSummary};

/// Prints one line; escapes the text.
pub fn line(text: impl Display) {
    lines(escape::one_line(&text.to_string()));
}

/// Prints lines. The caller has escaped untrusted text.
pub fn lines(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{}", escape::lines(&text.to_string()));
}

/// Prints a table of tokens.
pub fn tokens(tokens: &[TokenView]) {
    let row = |token: &TokenView| {
        let TokenView { id, name, role, namespace, created_at_ms, expires_at_ms } = token.clone();
        [id, name, role.to_string(), namespace, time(created_at_ms), or_dash(expires_at_ms.map(time))]
    };
    table(["TOKEN", "NAME", "ROLE", "NAMESPACE", "CREATED", "EXPIRES"], tokens.iter().map(row));
}

/// Prints a table of changes and refused requests.
pub fn audit(page: &AuditPage) {
    let row = |stored: &StoredAuditEntry| {
        let AuditEntry { token, token_name, namespace, address, method, target, status, code, .. } =
            stored.entry.clone();
        let who = token.map(|id| format!("{id} {}", token_name.unwrap_or_default()));
        let outcome = code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"));
        [
            stored.number.to_string(),
            time(stored.at_ms),
            or_dash(who),
            namespace,
            address,
            format!("{method} {target}"),
            outcome,
        ]
    };
    table(["NUMBER", "TIME", "TOKEN", "NAMESPACE", "ADDRESS", "REQUEST", "OUTCOME"], page.entries.iter().map(row));
}

/// Prints a table of dead letters.
pub fn dead_letters(letters: &[DeadLetterSummary]) {
    let row = |letter: &DeadLetterSummary| {
        let DeadLetterSummary { id, node, code, message, attempt, key, value, .. } = letter.clone();
        [id, node, code, attempt.to_string(), or_dash(key), value, message]
    };
    table(["LETTER", "NODE", "CODE", "ATTEMPT", "KEY", "RECORD", "MESSAGE"], letters.iter().map(row));
}

/// Prints a value as indented JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    let _ = std::io::stdout().lock().write_all(indented_json(value)?.as_bytes());
    Ok(())
}

/// Returns a value as indented JSON that ends with a line break.
pub fn indented_json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| internal(format!("cannot write JSON: {error}")))?;
    Ok(format!("{}\n", escape::json(&text)))
}

/// Returns a value as JSON on one line.
pub fn json_line(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|error| internal(format!("cannot write JSON: {error}")))?;
    Ok(escape::json(&text).into_owned())
}

/// Returns a log line as it is printed: when, how severe, where, and the text.
pub fn log_line(line: &LogLineView, has_colors: bool) -> String {
    let at = Timestamp::from_millisecond(line.at_ms).map_or_else(|_| line.at_ms.to_string(), |at| format!("{at:.3}"));
    let level = format!("{:>5}", escape::one_line(&line.level.to_uppercase()));
    let color = match line.level.as_str() {
        "error" => "31",
        "warn" => "33",
        "info" => "32",
        _ => "2",
    };
    let level = if has_colors { format!("\x1b[{color}m{level}\x1b[0m") } else { level };
    let subtask = line.subtask.map(|subtask| format!("/{subtask}")).unwrap_or_default();
    let node = line.operator.as_ref().map(|node| format!("{node}{subtask}: ")).unwrap_or_default();
    let code = line.code.as_ref().map(|code| format!(" [{code}]")).unwrap_or_default();
    let suppressed = match line.suppressed {
        0 => String::new(),
        lines => format!(" ({lines} lines suppressed)"),
    };
    format!("{at} {level} {}", escape::one_line(&format!("{node}{}{code}{suppressed}", line.message)))
}

/// Returns a number of bytes with a unit.
pub fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// Returns a time as text.
pub(super) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.0}"))
}

/// Prints a table. Escapes its cells.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| escape::one_line(&cell).into_owned()));
    }
    lines(table.trim_fmt());
}

/// Returns a value as text, or a dash if there is none.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_string(), |value| value.to_string())
}

/// Prints a table of jobs.
pub fn jobs(jobs: &[JobSummary]) {
    let row = |job: &JobSummary| {
        [
            job.id.clone(),
            job.name.clone(),
            status(job),
            job.records_in.to_string(),
            job.records_late.to_string(),
            job.records_skipped.to_string(),
            job.records_dead_lettered.to_string(),
            job.records_without_timestamp.to_string(),
            job.restarts.to_string(),
            or_dash(job.last_checkpoint),
            time(job.submitted_at_ms),
        ]
    };
    let header = [
        "ID",
        "NAME",
        "STATUS",
        "RECORDS",
        "LATE",
        "SKIPPED",
        "DEAD LETTERS",
        "NO TIMESTAMP",
        "RESTARTS",
        "CHECKPOINT",
        "SUBMITTED",
    ];
    table(header, jobs.iter().map(row));
}

/// Returns the status of a job as in the HTTP API, such as `RUNNING`, with what the job does meanwhile.
pub fn status(job: &JobSummary) -> String {
    let word = job.status.as_str().to_owned();
    let is_stopped = job.stop.as_ref().is_some_and(|stop| stop.status == "completed");
    match job.status {
        JobStatus::Finished if is_stopped => format!("{word} (stopped)"),
        status if status.is_final() || status == JobStatus::Cancelling => word,
        _ if job.restoring => format!("{word} (restoring)"),
        _ if job.stop.is_some() => format!("{word} (stopping)"),
        _ => word,
    }
}

/// Prints what an operator is granted, and which of it makes its function non-deterministic.
fn grants(operator: &OperatorDetail) {
    if operator.grants.is_empty() {
        return;
    }
    let (id, granted) = (&operator.id, operator.grants.join(", "));
    let note = match &operator.non_deterministic[..] {
        [] => String::new(),
        names => format!(" (not deterministic: {})", names.join(", ")),
    };
    line(format_args!("grants      `{id}`: {granted}{note}"));
}

/// Prints the health of a source or sink that does not work as it should.
fn health(operator: &OperatorDetail) {
    let Some(HealthView { state, since_ms, message, .. }) = &operator.health else { return };
    if !message.is_empty() {
        line(format_args!("health      `{}`: {state} since {}: {message}", operator.id, time(*since_ms)));
    }
}

/// Prints what is special about the log of an operator: its level, and suppressed lines.
fn log(operator: &OperatorDetail) {
    if let Some(level) = &operator.log_level {
        line(format_args!("log level   `{}`: {level}", operator.id));
    }
    if operator.log_lines_dropped > 0 {
        line(format_args!("log         `{}`: {} lines suppressed", operator.id, operator.log_lines_dropped));
    }
}

/// Prints one job with its operators and metrics.
pub fn job(job: &JobDetail) {
    let summary = &job.summary;
    line(format_args!("{} ({}): {}", summary.name, summary.id, status(summary)));
    line(format_args!("submitted   {}", time(summary.submitted_at_ms)));
    if let Some(ended) = summary.ended_at_ms {
        line(format_args!("ended       {}", time(ended)));
    }
    line(format_args!("guarantee   {}", job.guarantee));
    line(format_args!("checkpoint  {}", or_dash(summary.last_checkpoint)));
    line(format_args!("state       {} entries, {}", job.state_entries, size(job.state_bytes)));
    let queued: u64 = job.operators.iter().map(|operator| operator.queued_bytes).sum();
    line(format_args!("queued      {} between subtasks", size(queued)));
    let waited_ms: u64 = job.operators.iter().map(|operator| operator.permit_wait_ms).sum();
    if waited_ms > 0 {
        line(format_args!("processors  waited {waited_ms} ms for those of other jobs"));
    }
    line(format_args!("restarts    {}", summary.restarts));
    for warning in &job.warnings {
        line(format_args!("warning     {warning}"));
    }
    if let Some(failure) = &job.failure {
        let operator = failure.operator.as_ref().map(|id| format!("in `{id}`: ")).unwrap_or_default();
        line(format_args!("failure     {operator}{} [{}]", failure.message, failure.code));
    }
    failures(&job.failures);
    job.operators.iter().for_each(grants);
    job.operators.iter().for_each(health);
    job.operators.iter().for_each(log);
    line("");
    let header = [
        "OPERATOR",
        "KIND",
        "PARALLELISM",
        "IN",
        "OUT",
        "FAULTS",
        "LATE",
        "SKIPPED",
        "DEAD LETTERS",
        "NO TIMESTAMP",
        "WATERMARK",
        "LAG",
    ];
    let now_ms = SystemClock::shared().wall_ms();
    let rows = job.operators.iter().map(|operator| {
        let [watermark, lag] = watermark(operator, now_ms);
        [
            operator.id.clone(),
            operator.kind.clone(),
            operator.parallelism.to_string(),
            operator.records_in.to_string(),
            operator.records_out.to_string(),
            (operator.faults - operator.records_without_timestamp()).to_string(),
            operator.records_late.to_string(),
            operator.records_skipped.to_string(),
            operator.records_dead_lettered.to_string(),
            operator.records_without_timestamp().to_string(),
            watermark,
            lag,
        ]
    });
    table(header, rows);
    job.operators.iter().for_each(metrics);
}

/// Prints the metrics that a function has of its own.
fn metrics(operator: &OperatorDetail) {
    for (name, value) in &operator.metrics {
        line(format_args!("{}.{name} = {value}", operator.id));
    }
    for (name, histogram) in &operator.histograms {
        let HistogramView { count, sum, .. } = histogram;
        let quantile = |q| histogram.quantile(q).map_or_else(|| "-".to_owned(), |bound| format!("{bound:.3}"));
        let (median, p99) = (quantile(0.5), quantile(0.99));
        line(format_args!("{}.{name} = count {count}, sum {sum}, p50 {median}, p99 {p99}", operator.id));
    }
}

/// Prints the history of a job's failures, if there are any.
fn failures(failures: &[PastFailure]) {
    if failures.is_empty() {
        return;
    }
    line("");
    let row = |failure: &PastFailure| {
        let subtask = failure.subtask.map(|subtask| format!("/{subtask}")).unwrap_or_default();
        [
            time(failure.at_ms),
            failure.attempt.to_string(),
            or_dash(failure.operator.as_ref().map(|operator| format!("{operator}{subtask}"))),
            failure.code.clone(),
            failure.outcome.as_str().to_owned(),
            failure.message.clone(),
        ]
    };
    table(["FAILED AT", "ATTEMPT", "SUBTASK", "CODE", "OUTCOME", "MESSAGE"], failures.iter().map(row));
}

/// Returns the smallest watermark of an operator's subtasks, and its lag behind the clock.
fn watermark(operator: &OperatorDetail, now_ms: i64) -> [String; 2] {
    match operator.watermark_ms() {
        Some(i64::MAX) => ["ended".into(), "-".into()],
        Some(watermark) => {
            let lag_ms = u64::try_from(now_ms.saturating_sub(watermark)).unwrap_or(0);
            let lag = humantime::format_duration(Duration::from_millis(lag_ms)).to_string();
            // The two largest units are enough.
            [time(watermark), lag.split(' ').take(2).collect::<Vec<_>>().join(" ")]
        }
        None => [if operator.is_idle() { "idle" } else { "-" }.into(), "-".into()],
    }
}

/// Prints a table of checkpoints.
pub fn checkpoints(checkpoints: &[CheckpointSummary]) {
    let row = |checkpoint: &CheckpointSummary| {
        let total = &checkpoint.total;
        [
            checkpoint.id.to_string(),
            checkpoint.kind.clone(),
            checkpoint.status.clone(),
            time(checkpoint.triggered_at_ms),
            or_dash(checkpoint.duration_ms.map(|ms| format!("{ms} ms"))),
            format!("{} ms", total.alignment_ms),
            format!("{} ms", total.sync_ms),
            format!("{} ms", total.async_ms),
            size(total.bytes),
            size(total.bytes_uploaded),
            size(total.in_flight_bytes),
            or_dash(checkpoint.failure.as_ref().or(checkpoint.location.as_ref())),
        ]
    };
    let header = [
        "ID",
        "KIND",
        "STATUS",
        "TRIGGERED",
        "DURATION",
        "ALIGNMENT",
        "SYNC",
        "ASYNC",
        "SIZE",
        "UPLOADED",
        "IN FLIGHT",
        "LOCATION",
    ];
    table(header, checkpoints.iter().map(row));
}

/// Prints one checkpoint: a line for each operator, followed by its subtasks if it has several.
pub fn checkpoint(checkpoint: &CheckpointDetail) {
    checkpoints(std::slice::from_ref(&checkpoint.summary));
    line("");
    let row = |name: String, part: &CheckpointStats| {
        [
            name,
            format!("{} ms", part.start_delay_ms),
            format!("{} ms", part.alignment_ms),
            format!("{} ms", part.sync_ms),
            format!("{} ms", part.async_ms),
            format!("{} ms", part.end_to_end_ms),
            size(part.bytes),
            size(part.bytes_uploaded),
            size(part.in_flight_bytes),
        ]
    };
    let rows = checkpoint.operators.iter().flat_map(|operator| {
        let subtasks = operator.subtasks.iter().enumerate().filter(|_| operator.subtasks.len() > 1);
        let subtasks = subtasks.map(|(subtask, part)| row(format!("{}/{subtask}", operator.id), part));
        std::iter::once(row(operator.id.clone(), &operator.total)).chain(subtasks)
    });
    let header =
        ["OPERATOR", "START DELAY", "ALIGNMENT", "SYNC", "ASYNC", "END TO END", "SIZE", "UPLOADED", "IN FLIGHT"];
    table(header, rows);
}

/// Prints the state of a requested savepoint or checkpoint.
pub fn savepoint(savepoint: &SavepointView) {
    let rest = savepoint.location.as_ref().or(savepoint.failure.as_ref());
    line(format_args!("{}  {}  {}", savepoint.request_id, savepoint.status, or_dash(rest)));
}

/// Prints the states of each operator.
pub fn states(listing: &StateListing) {
    let StateListing { job_name, job_id, checkpoint, taken_at_ms, max_parallelism, operators } = listing;
    line(format_args!(
        "checkpoint {checkpoint} of {job_name} ({job_id}), taken {}, max_parallelism {max_parallelism}",
        time(*taken_at_ms)
    ));
    for operator in operators {
        line("");
        line(format_args!(
            "{}: parallelism {}, {} entries, {}",
            operator.operator,
            operator.parallelism,
            operator.entries,
            size(operator.bytes)
        ));
        let row = |state: &StateSummary| {
            [
                state.state.clone(),
                state.kind.clone(),
                state.schema.clone(),
                or_dash(state.map_key.as_ref()),
                or_dash(state.ttl.map(|ttl| humantime::format_duration(Duration::from_millis(ttl.milliseconds)))),
                or_dash(state.entries),
                or_dash(state.bytes.map(size)),
            ]
        };
        table(
            ["STATE", "KIND", "SCHEMA", "MAP KEYS", "TIME TO LIVE", "ENTRIES", "SIZE"],
            operator.states.iter().map(row),
        );
    }
}

/// Prints a table of savepoints.
pub fn savepoints(savepoints: &[StoredSavepoint]) {
    let row = |savepoint: &StoredSavepoint| {
        [
            savepoint.id.to_string(),
            or_dash(savepoint.taken_at_ms.map(time)),
            or_dash(savepoint.bytes.map(size)),
            savepoint.location.clone(),
            savepoint.failure.clone().unwrap_or_default(),
        ]
    };
    table(["ID", "TAKEN", "SIZE", "LOCATION", "DAMAGE"], savepoints.iter().map(row));
}

/// Prints a table of components.
pub fn components(components: &[ComponentView]) {
    let row = |component: &ComponentView| {
        let functions: Vec<_> = component.functions.iter().map(|function| function.name.as_str()).collect();
        [
            format!("sha256:{}", component.sha256),
            component.names.join(", "),
            size(component.bytes),
            functions.join(", "),
            time(component.uploaded_at_ms),
        ]
    };
    table(["COMPONENT", "NAMES", "SIZE", "FUNCTIONS", "UPLOADED"], components.iter().map(row));
}

/// Prints one component with its functions.
pub fn component(component: &ComponentView) {
    line(format_args!("sha256:{}", component.sha256));
    line(format_args!("names     {}", component.names.join(", ")));
    line(format_args!("size      {}", size(component.bytes)));
    line(format_args!("uploaded  {}", time(component.uploaded_at_ms)));
    line(format_args!("built by  {}", component.sdk));
    for function in &component.functions {
        line("");
        line(format_args!("function {} ({})", function.name, function.kind));
        line(format_args!("  input   {}", function.input_codec));
        if let Some(codec) = &function.broadcast_codec {
            line(format_args!("  broadcast  {codec}"));
        }
        let outputs: Vec<_> =
            function.outputs.iter().map(|PortView { name, codec, .. }| format!("{name} ({codec})")).collect();
        line(format_args!("  outputs {}", outputs.join(", ")));
        for state in &function.states {
            line(format_args!("  state   {} ({}, {}, {})", state.name, state.kind, state.codec, state.schema));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::view::SubtaskWatermark;

    #[test]
    fn the_smallest_watermark_is_shown_with_its_lag() {
        let shown = |subtasks: &[(Option<i64>, bool)], now_ms| {
            let subtask = |&(watermark_ms, idle)| SubtaskWatermark { watermark_ms, idle };
            let watermarks = subtasks.iter().map(subtask).collect();
            watermark(&OperatorDetail { watermarks, ..OperatorDetail::default() }, now_ms).join(" | ")
        };
        let ended = (Some(i64::MAX), false);
        let three = [(Some(2_000), false), (Some(61_000), false), ended];
        assert_eq!(shown(&three, 92_500), "1970-01-01T00:00:02Z | 1m 30s");
        assert_eq!(shown(&[(Some(2_000), true), (Some(61_000), false)], 1_000), "1970-01-01T00:01:01Z | 0s");
        assert_eq!(shown(&[(Some(2_000), false), (None, false)], 5_000), "- | -");
        assert_eq!(shown(&[(Some(2_000), true), (None, true)], 5_000), "idle | -");
        assert_eq!((shown(&[ended, ended], 5_000), shown(&[], 5_000)), ("ended | -".into(), "- | -".into()));
    }
}
