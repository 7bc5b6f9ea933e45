//! The metrics that a job shows: counts, event-time progress and user metrics of each node, and the totals of the job.
//!
//! The runtime sums counters and user metrics over the subtasks of a node ([`NodeStats`]). This module turns them into
//! the views of the API. It must not change a job.

use super::store::JobRecord;
use super::view::{
    GaugeRange, HealthView, HistogramBucket, HistogramView, JobSummary, OperatorDetail, SubtaskWatermark,
};
use crate::connector::{ConnectorHealth, HealthBoard, HealthState};
use crate::job_log::{JobLog, default_level};
use crate::model::{GaugeSummary, Histogram, NO_TIMESTAMP, UserMetrics};
use crate::pipeline::{Grants, NodeKind, PipelineNode, PipelineSpec};
use crate::runtime::{NodeStats, SubtaskEventTime};

/// Stores the current metrics of all nodes in the job's record. `stats` and `attempts` have one entry for each node, in the
/// pipeline's order.
pub fn record_node_stats(record: &mut JobRecord, pipeline: &PipelineSpec, stats: &[NodeStats], attempts: &[u32]) {
    let nodes = pipeline.nodes.iter().zip(stats).zip(attempts);
    let detail = |((node, stats), attempt): ((&PipelineNode, &NodeStats), &u32)| OperatorDetail {
        attempt: *attempt,
        ..operator_detail(node, stats)
    };
    record.operators = nodes.map(detail).collect();
    record.state_bytes = stats.iter().map(|node| node.state.bytes).sum();
    record.state_entries = stats.iter().map(|node| node.state.entries).sum();
}

/// Stores the current health of all sources and sinks in the job's record, also as gauges. A job that has ended has none.
pub fn record_health(record: &mut JobRecord, board: &HealthBoard) {
    let is_final = record.status.is_final();
    for operator in record.operators.iter_mut().filter(|operator| operator.kind != "operator") {
        let health = board.of_node(&operator.id).filter(|_| !is_final);
        let level = health.as_ref().map(|health| match health.state {
            HealthState::Healthy => 0.0,
            HealthState::Degraded => 1.0,
            HealthState::Down => 2.0,
        });
        let lag = health.as_ref().and_then(|health| health.lag).map(|lag| lag as f64);
        for (name, value) in [("connector_health", level), ("connector_lag", lag)] {
            match value {
                Some(value) => {
                    operator.metrics.insert(name.to_owned(), value);
                    operator.gauges.insert(name.to_owned());
                }
                None => {
                    operator.metrics.remove(name);
                    operator.gauges.remove(name);
                }
            }
        }
        operator.health = health.map(|ConnectorHealth { state, since_ms, message, lag }| HealthView {
            state: state.as_str().to_owned(),
            since_ms,
            message,
            lag,
        });
    }
}

/// Returns operators with the levels of their logs that differ from the default.
pub fn with_levels(log: &JobLog, operators: &[OperatorDetail]) -> Vec<OperatorDetail> {
    let with_level = |operator: &OperatorDetail| {
        let level = log.node(&operator.id).map(|log| log.level()).filter(|level| *level != default_level());
        OperatorDetail { log_level: level.map(|level| level.as_str().to_owned()), ..operator.clone() }
    };
    operators.iter().map(with_level).collect()
}

/// Returns the job's line in the list of jobs, with totals over all nodes.
pub fn job_summary(record: &JobRecord) -> JobSummary {
    let sources = record.operators.iter().filter(|operator| operator.kind == "source");
    let sum = |count: fn(&OperatorDetail) -> u64| record.operators.iter().map(count).sum();
    JobSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        status: record.status,
        restoring: record.restoring && !record.status.is_final(),
        stop: record.stop.as_ref().and_then(|stop| record.stop_view(&stop.request_id)),
        submitted_at_ms: record.submitted_at_ms,
        ended_at_ms: record.ended_at_ms,
        restarts: record.restarts,
        records_in: sources.map(|source| source.records_in).sum(),
        records_late: sum(|operator| operator.records_late),
        records_skipped: sum(|operator| operator.records_skipped),
        records_dead_lettered: sum(|operator| operator.records_dead_lettered),
        records_without_timestamp: sum(OperatorDetail::records_without_timestamp),
        last_checkpoint: record.last_checkpoint,
        restored_checkpoint: record.restored_checkpoint,
    }
}

fn operator_detail(node: &PipelineNode, stats: &NodeStats) -> OperatorDetail {
    let kind = match node.kind {
        NodeKind::Source(_) => "source",
        NodeKind::Operator(_) => "operator",
        NodeKind::Sink(_) => "sink",
    };
    let UserMetrics { counters, gauges, histograms } = &stats.metrics;
    // JSON cannot represent infinity and NaN: a stored record with such a number could not be read back.
    let gauges = gauges.iter().filter(|(_, value)| value.is_finite()).map(|(name, value)| (name.clone(), *value));
    let counters = counters.iter().map(|(name, count)| (name.clone(), *count as f64));
    let grants = match &node.kind {
        NodeKind::Operator(operator) => Some(&operator.grants),
        _ => None,
    };
    let non_deterministic = grants.map(Grants::without_repeatable_results).unwrap_or_default();
    OperatorDetail {
        id: node.id.clone(),
        kind: kind.into(),
        grants: grants.map(Grants::names).unwrap_or_default(),
        non_deterministic: non_deterministic.into_iter().map(str::to_owned).collect(),
        parallelism: node.parallelism,
        records_in: stats.counters.records_in,
        records_out: stats.counters.records_out,
        faults: stats.counters.faults,
        records_skipped: stats.counters.records_skipped,
        records_dead_lettered: stats.counters.records_dead_lettered,
        records_late: stats.counters.records_late,
        metrics: counters.chain(gauges.clone()).collect(),
        gauges: gauges.map(|(name, _)| name).collect(),
        gauge_ranges: stats.gauges.iter().map(|(name, gauge)| (name.clone(), gauge_range(gauge))).collect(),
        histograms: histograms.iter().map(|(name, histogram)| (name.clone(), histogram_view(histogram))).collect(),
        state_bytes: stats.state.bytes,
        faults_by_code: stats.limits.faults.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
        batches_divided: stats.limits.batches_divided,
        log_level: None,
        log_lines_dropped: stats.limits.log_lines_dropped,
        metrics_dropped: stats.limits.metrics_dropped,
        queued_bytes: stats.queued_bytes,
        permit_wait_ms: stats.permit_wait_ns / 1_000_000,
        watermarks: stats.event_times.iter().map(subtask_watermark).collect(),
        attempt: 0,
        health: None,
    }
}

/// Returns the view of a gauge.
pub fn gauge_range(gauge: &GaugeSummary) -> GaugeRange {
    let GaugeSummary { min, max, mean } = *gauge;
    GaugeRange { min, max, mean }
}

/// Returns the view of a histogram.
pub fn histogram_view(histogram: &Histogram) -> HistogramView {
    let buckets = histogram.buckets().map(|(up_to, count)| HistogramBucket { up_to, count });
    HistogramView { count: histogram.count, sum: histogram.sum, buckets: buckets.collect() }
}

fn subtask_watermark(event_time: &SubtaskEventTime) -> SubtaskWatermark {
    let watermark_ms = Some(event_time.watermark).filter(|watermark| *watermark != NO_TIMESTAMP);
    SubtaskWatermark { watermark_ms, idle: event_time.idle }
}
