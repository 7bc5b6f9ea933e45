//! Prints metrics and events of jobs.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use super::print::{line, lines, or_dash, size, table, time};
use crate::error::{Result, internal};
use crate::escape;
use crate::job::view::{JobEvent, JobMetrics, OperatorMetrics, TimeShares};

/// Clears the terminal and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Clears the screen if stdout is a terminal.
pub fn clear_screen() {
    let mut stdout = std::io::stdout().lock();
    if stdout.is_terminal() {
        let _ = write!(stdout, "{CLEAR}");
    }
}

/// Prints a value as one line of JSON.
pub fn json_line(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| internal(format!("cannot write JSON: {error}")))?;
    let _ = writeln!(std::io::stdout().lock(), "{}", escape::json(&text));
    Ok(())
}

/// Prints the metrics of a job: a line for each operator, and the one that slows the job down.
pub fn job_metrics(job: &JobMetrics) {
    line(format_args!("{} ({}): {}", job.name, job.id, job.status.as_str()));
    match &job.bottleneck {
        Some(operator) => line(format_args!("bottleneck  `{operator}`: busy, while those before it wait for it")),
        None => line("bottleneck  none"),
    }
    let row = |operator: &OperatorMetrics| {
        let OperatorMetrics { totals, .. } = operator;
        [
            operator.id.clone(),
            operator.parallelism.to_string(),
            share(operator.shares, |shares| shares.busy),
            share(operator.shares, |shares| shares.backpressured),
            share(operator.shares, |shares| shares.idle),
            share(operator.shares, |shares| shares.throttled),
            share(operator.worst, |shares| shares.busy),
            rate(operator.records_in_per_second),
            rate(operator.records_out_per_second),
            size(operator.queued_bytes),
            size(operator.state_bytes),
            (totals.records_late + totals.records_skipped + totals.records_dead_lettered).to_string(),
            totals.faults.to_string(),
        ]
    };
    let header = [
        "OPERATOR",
        "SUBTASKS",
        "BUSY",
        "BACKPRESSURED",
        "IDLE",
        "THROTTLED",
        "BUSIEST",
        "IN/S",
        "OUT/S",
        "QUEUED",
        "STATE",
        "LOST",
        "FAULTS",
    ];
    table(header, job.operators.iter().map(row));
    line("");
}

fn share(shares: Option<TimeShares>, part: impl Fn(&TimeShares) -> f64) -> String {
    or_dash(shares.map(|shares| format!("{:.0} %", part(&shares) * 100.0)))
}

fn rate(per_second: Option<f64>) -> String {
    or_dash(per_second.map(|rate| if rate >= 10.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }))
}

/// Prints a table of events.
pub fn events(events: &[JobEvent]) {
    table(["NUMBER", "AT", "EVENT", "OPERATOR", "MESSAGE"], events.iter().map(columns));
}

/// Prints one event on a line.
pub fn event(event: &JobEvent) {
    lines(columns(event).map(|column| escape::one_line(&column).into_owned()).join("  "));
}

fn columns(event: &JobEvent) -> [String; 5] {
    let subtask = event.subtask.map(|subtask| format!("/{subtask}")).unwrap_or_default();
    [
        event.number.to_string(),
        time(event.at_ms),
        event.kind.as_str().to_owned(),
        or_dash(event.operator.as_ref().map(|operator| format!("{operator}{subtask}"))),
        message(event),
    ]
}

fn message(event: &JobEvent) -> String {
    let mut text = match (event.checkpoint, event.status) {
        (Some(checkpoint), None) => format!("{checkpoint}: {}", event.message),
        _ => event.message.clone(),
    };
    if let Some(code) = &event.code {
        text.push_str(&format!(" [{code}]"));
    }
    if let (Some(ms), Some(bytes)) = (event.duration_ms, event.bytes) {
        text.push_str(&format!(" in {ms} ms, {}", size(bytes)));
    }
    text
}
