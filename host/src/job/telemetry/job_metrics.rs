//! Turns the totals of a job into the view of the API: shares and rates since an earlier reading, and totals.

use std::collections::BTreeMap;

use super::bottleneck::bottleneck;
use super::rate_window::{RateWindow, TotalsReading};
use crate::job::metrics_view::{gauge_range, histogram_view};
use crate::job::store::JobRecord;
use crate::job::view::{JobMetrics, MetricTotals, OperatorDetail, OperatorMetrics, SubtaskMetricsView, TimeShares};
use crate::model::{Counters, GaugeSummary, NO_TIMESTAMP, UserMetrics};
use crate::runtime::{NodeMeters, NodeMetrics, NodeTimes, SubtaskMetrics};

/// Returns the turns, timers and databases of nodes, summed over their subtasks.
pub fn node_meters(nodes: &[NodeMetrics]) -> BTreeMap<String, NodeMeters> {
    let sum = |node: &NodeMetrics| {
        let mut sum = NodeMeters::default();
        node.subtasks.iter().for_each(|subtask| sum.add(&subtask.totals.meters));
        (node.node.clone(), sum)
    };
    nodes.iter().map(sum).collect()
}

/// Returns the metrics of a job at a time in monotonic nanoseconds and in milliseconds since the Unix epoch. `record` has what its nodes
/// show now, and `nodes` their totals. The subtasks are contained if `with_subtasks`.
pub fn job_metrics(
    record: &JobRecord,
    nodes: &[NodeMetrics],
    window: &mut RateWindow,
    (now_ns, at_ms): (u64, i64),
    with_subtasks: bool,
) -> JobMetrics {
    let earlier = window.advance(TotalsReading::of(nodes, now_ns));
    let indexes: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(index, node)| (&*node.node, index)).collect();
    let shown = record.operators.iter().map(|operator| {
        let Some(&index) = indexes.get(operator.id.as_str()) else {
            return NodeReading { operator, node: None, index: 0, earlier: earlier.as_ref(), now_ns }
                .view(with_subtasks);
        };
        let node = Some(&nodes[index]);
        NodeReading { operator, node, index, earlier: earlier.as_ref(), now_ns }.view(with_subtasks)
    });
    let operators: Vec<OperatorMetrics> = shown.collect();
    JobMetrics {
        id: record.id.clone(),
        name: record.name.clone(),
        status: record.status,
        at_ms,
        window_ms: earlier.map(|earlier| now_ns.saturating_sub(earlier.at_ns) / 1_000_000),
        bottleneck: record.graph.as_ref().and_then(|graph| bottleneck(graph, &operators)),
        operators,
    }
}

/// What was read of one node.
struct NodeReading<'a> {
    operator: &'a OperatorDetail,
    /// `None` before the first attempt.
    node: Option<&'a NodeMetrics>,
    /// Index of the node among those that were read.
    index: usize,
    earlier: Option<&'a TotalsReading>,
    now_ns: u64,
}

impl NodeReading<'_> {
    fn view(&self, with_subtasks: bool) -> OperatorMetrics {
        let operator = self.operator;
        let subtasks = self.node.map(|node| &node.subtasks[..]).unwrap_or_default();
        let views = subtasks.iter().enumerate().map(|(index, subtask)| self.subtask_view(index, subtask));
        let views: Vec<SubtaskMetricsView> = views.collect();
        let (mut counters, mut times, mut batches_in) = (Counters::default(), NodeTimes::default(), 0);
        let (mut metrics, mut gauges) = (UserMetrics::default(), GaugeSummary::of_subtasks());
        for subtask in subtasks {
            counters.add(&subtask.totals.counters);
            times.add(&subtask.totals.times);
            batches_in += subtask.totals.batches_in;
            metrics.add_counts(&subtask.totals.metrics);
            if subtask.is_live {
                gauges.add(&subtask.totals.metrics);
            }
        }
        let limits = self.node.map(|node| node.limits.clone()).unwrap_or_default();
        let sum = |rate: fn(&SubtaskMetricsView) -> Option<f64>| views.iter().map(rate).sum::<Option<f64>>();
        let has_subtasks = !views.is_empty();
        OperatorMetrics {
            id: operator.id.clone(),
            kind: operator.kind.clone(),
            parallelism: operator.parallelism,
            shares: mean_shares(&views),
            worst: worst_shares(&views),
            records_in_per_second: sum(|view| view.records_in_per_second).filter(|_| has_subtasks),
            records_out_per_second: sum(|view| view.records_out_per_second).filter(|_| has_subtasks),
            totals: totals_view(&operator.kind, &counters, batches_in, &times),
            queued_bytes: operator.queued_bytes,
            channel_fill: views.iter().filter_map(|view| view.channel_fill).reduce(f64::max),
            state_bytes: operator.state_bytes,
            state_entries: subtasks.iter().map(|subtask| subtask.state.entries).sum(),
            watermark_ms: operator.watermark_ms(),
            event_time_idle_subtasks: operator.watermarks.iter().filter(|subtask| subtask.idle).count() as u32,
            health: operator.health.clone(),
            faults_by_code: limits.faults.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
            log_lines_dropped: limits.log_lines_dropped,
            counters: metrics.counters,
            gauges: gauges.summaries().iter().map(|(name, gauge)| (name.clone(), gauge_range(gauge))).collect(),
            histograms: metrics.histograms.iter().map(|(name, all)| (name.clone(), histogram_view(all))).collect(),
            subtasks: if with_subtasks { views } else { Vec::new() },
        }
    }

    fn subtask_view(&self, index: usize, subtask: &SubtaskMetrics) -> SubtaskMetricsView {
        let totals = &subtask.totals;
        let earlier = self.earlier.map(|earlier| earlier.subtask(self.index, index));
        let times = totals.times.since(&earlier.unwrap_or_default().times);
        let passed = self.earlier.map(|earlier| self.now_ns.saturating_sub(earlier.at_ns) as f64 / 1e9);
        let rate = |now: u64, before: fn(&super::rate_window::SubtaskReading) -> u64| {
            let (earlier, passed) = (earlier.as_ref()?, passed.filter(|passed| *passed > 0.0)?);
            Some(now.saturating_sub(before(earlier)) as f64 / passed)
        };
        let finite = totals.metrics.gauges.iter().filter(|(_, value)| value.is_finite());
        SubtaskMetricsView {
            subtask: u32::try_from(index).unwrap_or(u32::MAX),
            shares: shares(&times).filter(|_| subtask.is_live),
            records_in_per_second: rate(totals.counters.records_in, |before| before.records_in),
            records_out_per_second: rate(totals.counters.records_out, |before| before.records_out),
            totals: totals_view(&self.operator.kind, &totals.counters, totals.batches_in, &totals.times),
            channel_fill: subtask.channel_fill,
            state_bytes: subtask.state.bytes,
            watermark_ms: Some(subtask.event_time.watermark).filter(|watermark| *watermark != NO_TIMESTAMP),
            event_time_idle: subtask.event_time.idle,
            gauges: finite.map(|(name, value)| (name.clone(), *value)).collect(),
        }
    }
}

/// Returns the shares of a time, or `None` if none has passed.
pub(super) fn shares(times: &NodeTimes) -> Option<TimeShares> {
    let total = times.total_ns() as f64;
    let share = |ns: u64| ns as f64 / total;
    (total > 0.0).then(|| TimeShares {
        busy: share(times.busy_ns),
        idle: share(times.idle_ns),
        backpressured: share(times.backpressured_ns),
        throttled: share(times.throttled_ns),
    })
}

fn mean_shares(subtasks: &[SubtaskMetricsView]) -> Option<TimeShares> {
    let all: Vec<TimeShares> = subtasks.iter().filter_map(|subtask| subtask.shares).collect();
    let mean = |share: fn(&TimeShares) -> f64| all.iter().map(share).sum::<f64>() / all.len() as f64;
    (!all.is_empty()).then(|| TimeShares {
        busy: mean(|shares| shares.busy),
        idle: mean(|shares| shares.idle),
        backpressured: mean(|shares| shares.backpressured),
        throttled: mean(|shares| shares.throttled),
    })
}

fn worst_shares(subtasks: &[SubtaskMetricsView]) -> Option<TimeShares> {
    subtasks.iter().filter_map(|subtask| subtask.shares).reduce(|worst, one| TimeShares {
        busy: worst.busy.max(one.busy),
        idle: worst.idle.max(one.idle),
        backpressured: worst.backpressured.max(one.backpressured),
        throttled: worst.throttled.max(one.throttled),
    })
}

fn totals_view(kind: &str, counters: &Counters, batches_in: u64, times: &NodeTimes) -> MetricTotals {
    let is_source = kind == "source";
    let seconds = |ns: u64| ns as f64 / 1e9;
    MetricTotals {
        records_in: counters.records_in,
        records_out: counters.records_out,
        batches_in,
        faults: if is_source { 0 } else { counters.faults },
        records_without_timestamp: if is_source { counters.records_without_timestamp() } else { 0 },
        records_skipped: counters.records_skipped,
        records_dead_lettered: counters.records_dead_lettered,
        records_late: counters.records_late,
        busy_seconds: seconds(times.busy_ns),
        idle_seconds: seconds(times.idle_ns),
        backpressured_seconds: seconds(times.backpressured_ns),
        throttled_seconds: seconds(times.throttled_ns),
    }
}
