//! Reads the log lines of a job, and sets the levels of its functions.

use std::sync::Arc;

use super::handle::JobHandle;
use super::view::{JobDetail, LogLevelView, LogLineView, LogPage};
use crate::error::{self, Result};
use crate::job_log::{KeptLine, LineQuery, NodeLog};
use crate::model::LogLevel;

/// Which log lines are asked for.
#[derive(Clone, Debug)]
pub struct LogRequest {
    /// Only lines of this operator.
    pub operator: Option<String>,
    /// Only lines of this severity and above.
    pub level: LogLevel,
    /// Only lines behind this one. `None` asks for the newest lines.
    pub after: Option<u64>,
    /// Largest number of lines.
    pub limit: usize,
}

/// Returns a page of the kept lines of a job. Error: `request-not-found` if the job has no such operator.
pub fn log_page(job: &JobHandle, request: &LogRequest) -> Result<LogPage> {
    // Before the lines are read, so that a reader misses none when it stops.
    let detail = job.detail();
    let node = request.operator.as_deref();
    if let Some(node) = node.filter(|_| !detail.operators.is_empty()) {
        check_node(&detail, node)?;
    }
    let LogRequest { level, after, limit, .. } = *request;
    let page = job.log.page(&LineQuery { node, level, after, limit });
    let logs = detail.operators.iter().filter(|operator| node.is_none_or(|node| operator.id == node));
    let suppressed = logs.filter_map(|operator| job.log.node(&operator.id)).map(|log| log.suppressed()).sum();
    Ok(LogPage {
        lines: page.lines.into_iter().map(|(node, line)| line_view(&node, line)).collect(),
        next: page.next,
        has_gap: page.has_gap,
        suppressed,
        ended: detail.summary.status.is_final(),
    })
}

fn line_view(node: &str, line: KeptLine) -> LogLineView {
    LogLineView {
        number: line.number,
        at_ms: line.at_ms,
        level: line.level.as_str().to_owned(),
        operator: Some(node.to_owned()).filter(|node| !node.is_empty()),
        subtask: line.subtask,
        record: line.record,
        code: line.code.map(str::to_owned),
        suppressed: line.suppressed,
        message: line.message.into(),
    }
}

/// Returns the level of an operator. Errors: `job-state` if the job has ended, `request-not-found`.
pub fn log_level(job: &JobHandle, operator: &str) -> Result<LogLevelView> {
    Ok(level_view(operator, &*find(job, operator)?))
}

/// Sets the level of an operator until the process ends. Errors: `job-state` if the job has ended, `request-not-found`.
pub fn set_log_level(job: &JobHandle, operator: &str, level: Option<LogLevel>) -> Result<LogLevelView> {
    let log = find(job, operator)?;
    log.set_level(level);
    let (name, level) = (job.record().name, log.level().as_str());
    tracing::info!(job = %name, operator, level, "the level of the operator's log lines was set");
    Ok(level_view(operator, &log))
}

fn level_view(operator: &str, log: &NodeLog) -> LogLevelView {
    let (level, is_set) = (log.level().as_str().to_owned(), log.is_level_set());
    LogLevelView { operator: operator.to_owned(), level, is_set }
}

fn find(job: &JobHandle, operator: &str) -> Result<Arc<NodeLog>> {
    let detail = job.detail();
    let name = &detail.summary.name;
    if detail.summary.status.is_final() {
        return Err(error::job_state(format!("job `{name}` has ended, so that its functions write no lines")));
    }
    let Some(log) = job.log.node(operator) else {
        if !detail.operators.is_empty() {
            check_node(&detail, operator)?;
        }
        return Err(error::request_not_found(format!("`{operator}` of job `{name}` is not an operator that runs"))
            .hint("sources and sinks have no level; a job that was just submitted opens its operators in a moment"));
    };
    Ok(log)
}

/// Checks that a job has a node. Error: `request-not-found`.
pub fn check_node(detail: &JobDetail, node: &str) -> Result<()> {
    if detail.operators.iter().any(|operator| operator.id == node) {
        return Ok(());
    }
    let known: Vec<&str> = detail.operators.iter().map(|operator| operator.id.as_str()).collect();
    Err(error::request_not_found(format!("job `{}` has no operator `{node}`", detail.summary.name))
        .hint(format!("its nodes are {}", known.join(", "))))
}
