//! The series of jobs and their operators.

use super::catalog;
use super::exposition::{Exposition, Labels, SampleValue};
use crate::job::view::{JobMetrics, JobStatus, OperatorMetrics};
use crate::job::{CheckpointTotals, MonitoredJob};
use crate::model::DurationHistogram;

/// Adds the series of a job of a namespace, without the metrics of its functions.
pub fn add_job(scrape: &mut Exposition, namespace: &str, job: &MonitoredJob) {
    let with = |more: &[(&'static str, &str)]| {
        let mut labels = job_labels(namespace, &job.name);
        labels.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        labels
    };
    let Some(metrics) = &job.metrics else {
        let labels = with(&[("status", job.status.as_str())]);
        return scrape.add(&catalog::JOB_STATUS, labels, SampleValue::Count(1));
    };
    for status in JobStatus::ALL {
        let is_current = SampleValue::Count(u64::from(status == job.status));
        scrape.add(&catalog::JOB_STATUS, with(&[("status", status.as_str())]), is_current);
    }
    scrape.add(&catalog::RESTARTS, with(&[]), SampleValue::Count(job.restarts.into()));
    scrape.add(&catalog::ATTEMPTS, with(&[]), SampleValue::Count(job.attempts.into()));
    add_times(scrape, job, &with);
    add_checkpoints(scrape, job, &with);
    metrics.operators.iter().for_each(|operator| add_operator(scrape, namespace, metrics, operator));
    for (sink, totals) in &job.commits {
        for (result, count) in [("completed", totals.completed.count()), ("failed", totals.failed)] {
            let labels = with(&[("operator", sink), ("result", result)]);
            scrape.add(&catalog::SINK_COMMITS, labels, SampleValue::Count(count));
        }
        scrape.add(&catalog::SINK_COMMIT, with(&[("operator", sink)]), distribution(&totals.completed));
    }
}

/// Returns the labels of a job.
fn job_labels(namespace: &str, name: &str) -> Labels {
    vec![("namespace", namespace.to_owned()), ("job_name", name.to_owned())]
}

/// Returns the labels of an operator.
pub fn operator_labels(namespace: &str, job: &str, operator: &str) -> Labels {
    let mut labels = job_labels(namespace, job);
    labels.push(("operator", operator.to_owned()));
    labels
}

/// Returns the labels of a job, followed by others.
type LabelsWith<'a> = &'a dyn Fn(&[(&'static str, &str)]) -> Labels;

fn add_times(scrape: &mut Exposition, job: &MonitoredJob, with: LabelsWith<'_>) {
    for (status, seconds) in &job.times.status_seconds {
        scrape.add(&catalog::STATUS_SECONDS, with(&[("status", status)]), SampleValue::Number(*seconds));
    }
    for (from, durations) in &job.times.restores {
        scrape.add(&catalog::RESTORE, with(&[("from", from)]), distribution(durations));
    }
    if let Some(ms) = job.times.last_restore_ms {
        scrape.add(&catalog::LAST_RESTORE, with(&[]), SampleValue::Number(ms as f64 / 1000.0));
    }
}

fn add_checkpoints(scrape: &mut Exposition, job: &MonitoredJob, with: LabelsWith<'_>) {
    let CheckpointTotals { kinds, phases, last, uploaded_bytes } = &job.checkpoints;
    for (kind, totals) in kinds {
        for (result, count) in [("completed", totals.completed), ("failed", totals.failed)] {
            let labels = with(&[("kind", kind), ("result", result)]);
            scrape.add(&catalog::CHECKPOINTS, labels, SampleValue::Count(count));
        }
        scrape.add(&catalog::CHECKPOINT_DURATION, with(&[("kind", kind)]), distribution(&totals.durations));
    }
    for (phase, times) in phases.iter() {
        scrape.add(&catalog::CHECKPOINT_PHASE, with(&[("phase", phase)]), distribution(times));
    }
    scrape.add(&catalog::CHECKPOINTS_IN_PROGRESS, with(&[]), SampleValue::Count(job.checkpoints_in_progress));
    scrape.add(&catalog::CHECKPOINT_UPLOADED, with(&[]), SampleValue::Count(*uploaded_bytes));
    if let Some(last) = last {
        let seconds = SampleValue::Number(last.triggered_at_ms as f64 / 1000.0);
        scrape.add(&catalog::CHECKPOINT_LAST_COMPLETED, with(&[]), seconds);
        scrape.add(&catalog::CHECKPOINT_LAST_BYTES, with(&[]), SampleValue::Count(last.bytes));
        scrape.add(&catalog::CHECKPOINT_IN_FLIGHT, with(&[]), SampleValue::Count(last.in_flight_bytes));
    }
}

/// Returns the value of a histogram of durations.
pub fn distribution(histogram: &DurationHistogram) -> SampleValue {
    SampleValue::Distribution { sum: histogram.sum, count: histogram.count(), buckets: histogram.buckets().collect() }
}

fn add_operator(scrape: &mut Exposition, namespace: &str, job: &JobMetrics, operator: &OperatorMetrics) {
    let labels = || operator_labels(namespace, &job.name, &operator.id);
    let totals = &operator.totals;
    for (metric, count) in [
        (&catalog::RECORDS_IN, totals.records_in),
        (&catalog::RECORDS_OUT, totals.records_out),
        (&catalog::BATCHES_IN, totals.batches_in),
        (&catalog::SKIPPED, totals.records_skipped),
        (&catalog::DEAD_LETTERED, totals.records_dead_lettered),
        (&catalog::SUBTASKS, operator.parallelism.into()),
        (&catalog::QUEUED_BYTES, operator.queued_bytes),
        (&catalog::IDLE_SUBTASKS, operator.event_time_idle_subtasks.into()),
    ] {
        scrape.add(metric, labels(), SampleValue::Count(count));
    }
    for (metric, seconds) in [
        (&catalog::BUSY, totals.busy_seconds),
        (&catalog::IDLE, totals.idle_seconds),
        (&catalog::BACKPRESSURED, totals.backpressured_seconds),
        (&catalog::THROTTLED, totals.throttled_seconds),
    ] {
        scrape.add(metric, labels(), SampleValue::Number(seconds));
    }
    if let Some(worst) = &operator.worst {
        scrape.add(&catalog::BUSY_MAX, labels(), SampleValue::Number(worst.busy));
        scrape.add(&catalog::BACKPRESSURED_MAX, labels(), SampleValue::Number(worst.backpressured));
    }
    if job.bottleneck.as_ref() == Some(&operator.id) {
        scrape.add(&catalog::BOTTLENECK, labels(), SampleValue::Count(1));
    }
    if let Some(watermark_ms) = operator.watermark_ms.filter(|watermark_ms| *watermark_ms != i64::MAX) {
        scrape.add(&catalog::WATERMARK, labels(), SampleValue::Number(watermark_ms as f64 / 1000.0));
        let lag_ms = job.at_ms.saturating_sub(watermark_ms);
        scrape.add(&catalog::WATERMARK_LAG, labels(), SampleValue::Number(lag_ms as f64 / 1000.0));
    }
    if let Some(health) = &operator.health {
        let level = match health.state.as_str() {
            "healthy" => 0,
            "degraded" => 1,
            _ => 2,
        };
        scrape.add(&catalog::CONNECTOR_HEALTH, labels(), SampleValue::Count(level));
        if let Some(lag) = health.lag {
            scrape.add(&catalog::PENDING_RECORDS, labels(), SampleValue::Count(lag));
        }
    }
    match operator.kind.as_str() {
        "source" => {
            let count = SampleValue::Count(totals.records_without_timestamp);
            scrape.add(&catalog::WITHOUT_TIMESTAMP, labels(), count);
        }
        "operator" => add_function(scrape, operator, &labels),
        _ => {}
    }
}

/// Adds what only operators have.
fn add_function(scrape: &mut Exposition, operator: &OperatorMetrics, labels: &dyn Fn() -> Labels) {
    let with = |name: &'static str, value: &str| {
        let mut labels = labels();
        labels.push((name, value.to_owned()));
        labels
    };
    let late = SampleValue::Count(operator.totals.records_late);
    scrape.add(&catalog::LATE, with("handling", "dropped"), late);
    scrape.add(&catalog::ROLLED_BACK, labels(), SampleValue::Count(operator.totals.faults));
    scrape.add(&catalog::LOG_LINES_DROPPED, labels(), SampleValue::Count(operator.log_lines_dropped));
    scrape.add(&catalog::STATE_BYTES, labels(), SampleValue::Count(operator.state_bytes));
    scrape.add(&catalog::STATE_ENTRIES, labels(), SampleValue::Count(operator.state_entries));
    for (code, count) in &operator.faults_by_code {
        scrape.add(&catalog::FAULTS, with("code", code), SampleValue::Count(*count));
    }
}
