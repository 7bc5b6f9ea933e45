//! Traces a checkpoint once it has ended, from the times that it has recorded.

use std::ops::Range;

use crate::job::view::{CheckpointDetail, CheckpointStats, OperatorCheckpoint};
use crate::tracer::{OpenSpan, SpanValue, Tracer};

/// The attribute with the id of a job.
pub const JOB_ID: &str = "cofferdam.job.id";
/// The attribute with the name of a job.
pub const JOB_NAME: &str = "cofferdam.job.name";
/// The attribute with the id of an operator, a source or a sink.
pub const OPERATOR: &str = "cofferdam.operator";
/// The attribute with the id of a checkpoint.
pub const CHECKPOINT_ID: &str = "cofferdam.checkpoint.id";

/// When the steps of a checkpoint took place, by the monotonic clock.
pub struct CheckpointTimes {
    /// When it was triggered.
    pub triggered_ns: u64,
    /// While its metadata was written, if it was.
    pub commit_ns: Option<Range<u64>>,
    /// When it had ended.
    pub ended_ns: u64,
}

/// Exports the trace of a checkpoint of a job that has ended. `failure` is the code of its failure.
pub fn trace_checkpoint(
    tracer: &Tracer,
    (job_id, job_name): (&str, &str),
    checkpoint: &CheckpointDetail,
    times: CheckpointTimes,
    failure: Option<&str>,
) {
    if !tracer.is_on() {
        return;
    }
    let CheckpointTimes { triggered_ns, commit_ns, ended_ns } = times;
    let root = tracer.begin("checkpoint").between(triggered_ns, ended_ns);
    let summary = &checkpoint.summary;
    root.set_text(JOB_ID, job_id);
    root.set_text(JOB_NAME, job_name);
    root.set(CHECKPOINT_ID, summary.id);
    root.set_text("cofferdam.checkpoint.kind", &summary.kind);
    root.set("cofferdam.checkpoint.bytes", summary.total.bytes);
    root.set("cofferdam.checkpoint.uploaded_bytes", summary.total.bytes_uploaded);
    root.set("cofferdam.checkpoint.in_flight_bytes", summary.total.in_flight_bytes);
    root.set("cofferdam.checkpoint.unaligned", summary.total.unaligned);
    if let Some(code) = failure {
        root.fail(code);
    }
    for operator in &checkpoint.operators {
        trace_operator(&root, triggered_ns, operator);
    }
    if let Some(Range { start, end }) = commit_ns {
        drop(root.child("commit").between(start, end));
    }
}

/// Adds the steps of an operator: from the first barrier until its last subtask goes on, and the upload of its files.
fn trace_operator(root: &OpenSpan, triggered_ns: u64, operator: &OperatorCheckpoint) {
    let span = |name, begins: fn(&CheckpointStats) -> f64, ends: fn(&CheckpointStats) -> f64| {
        let begin_ms = operator.subtasks.iter().map(begins).reduce(f64::min).unwrap_or_default();
        let end_ms = operator.subtasks.iter().map(ends).reduce(f64::max).unwrap_or_default();
        let at_ns = |ms: f64| triggered_ns + (ms.max(0.0) * 1e6) as u64;
        let span = root.child(name).between(at_ns(begin_ms), at_ns(end_ms));
        span.set_text(OPERATOR, &operator.id);
        span.set("cofferdam.subtasks", operator.subtasks.len() as u64);
        span
    };
    let total = &operator.total;
    let snapshot =
        span("snapshot", |one| one.start_delay_ms, |one| one.start_delay_ms + one.alignment_ms + one.sync_ms);
    snapshot.set("cofferdam.checkpoint.start_delay_ms", SpanValue::Millis(total.start_delay_ms));
    snapshot.set("cofferdam.checkpoint.alignment_ms", SpanValue::Millis(total.alignment_ms));
    snapshot.set("cofferdam.checkpoint.sync_ms", SpanValue::Millis(total.sync_ms));
    let upload = span("upload", |one| one.end_to_end_ms - one.async_ms, |one| one.end_to_end_ms);
    upload.set("cofferdam.checkpoint.bytes", total.bytes);
    upload.set("cofferdam.checkpoint.uploaded_bytes", total.bytes_uploaded);
}
