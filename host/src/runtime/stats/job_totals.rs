//! Totals of a job since its process began: counts that never go back.
//!
//! The counts of a checkpoint go back with a restore. A monitoring system would read that as a reset and count everything once more.
//! The totals of an operator's subtask are those of its ended attempts and what the running attempt has added. They include records
//! that are processed again after a restore. A subtask that no longer exists, because the parallelism has changed, keeps its totals.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node_meters::NodeMeters;
use super::node_times::NodeTimes;
use super::stats_reader::{PublishedSubtask, StatsReader};
use super::subtask_stats::{SubtaskEventTime, SubtaskStats};
use crate::model::{Counters, UserMetrics};
use crate::state::StateSize;
use crate::turn::{LimitCounts, SharedLimits};

/// The totals of a job.
#[derive(Default)]
pub struct JobTotals {
    /// The nodes, by their id.
    nodes: BTreeMap<String, NodeAccount>,
}

#[derive(Default)]
struct NodeAccount {
    subtasks: Vec<SubtaskAccount>,
    /// What was exceeded in ended attempts.
    ended_limits: LimitCounts,
    live_limits: Option<Arc<SharedLimits>>,
}

#[derive(Default)]
struct SubtaskAccount {
    ended: SubtaskTotals,
    live: Option<PublishedSubtask>,
    /// The largest times that were read. A wait that has just ended may be read a little shorter than before.
    read_times: NodeTimes,
}

/// Totals of one node in one subtask.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubtaskTotals {
    /// Record counts. They include records that are processed again after a restore.
    pub counters: Counters,
    /// Batches that the node has taken.
    pub batches_in: u64,
    /// The function's own metrics. A gauge is the value that was set last.
    pub metrics: UserMetrics,
    /// Where the time went.
    pub times: NodeTimes,
    /// Turns, timers and the database.
    pub meters: NodeMeters,
}

/// What one subtask of a node shows now.
#[derive(Clone, Debug, Default)]
pub struct SubtaskMetrics {
    /// Totals since the process began.
    pub totals: SubtaskTotals,
    /// Size of the state.
    pub state: StateSize,
    /// Event time.
    pub event_time: SubtaskEventTime,
    /// How full the channels to the subtask are, from 0 to 1. `None` if the node reads none, or does not run.
    pub channel_fill: Option<f64>,
    /// Whether the subtask is part of the running attempt.
    pub is_live: bool,
}

/// What a node shows now.
#[derive(Clone, Debug, Default)]
pub struct NodeMetrics {
    /// Id of the node.
    pub node: String,
    /// The subtasks in order.
    pub subtasks: Vec<SubtaskMetrics>,
    /// What the operator has exceeded since the process began.
    pub limits: LimitCounts,
}

impl SubtaskTotals {
    fn add(&mut self, stats: &SubtaskStats, times: &NodeTimes) {
        self.counters.add(&stats.counters.since(&stats.restored));
        self.batches_in += stats.batches_in;
        self.metrics.add_counts(&stats.metrics);
        self.metrics.gauges.extend(stats.metrics.gauges.iter().map(|(name, value)| (name.clone(), *value)));
        self.times.add(times);
        self.meters.add(&stats.meters);
    }
}

impl SubtaskAccount {
    fn end_live(&mut self) {
        if let Some(live) = self.live.take() {
            self.ended.add(&live.stats(), &live.times());
            self.ended.meters.end();
        }
    }

    fn read(&mut self) -> SubtaskMetrics {
        let mut metrics = SubtaskMetrics { totals: self.ended.clone(), ..SubtaskMetrics::default() };
        if let Some(live) = &self.live {
            let stats = live.stats();
            metrics.totals.add(&stats, &live.times());
            (metrics.state, metrics.event_time, metrics.is_live) = (stats.state, stats.event_time, true);
            metrics.channel_fill = live.channel_fill();
        }
        self.read_times = metrics.totals.times.max(&self.read_times);
        metrics.totals.times = self.read_times;
        metrics
    }
}

impl NodeAccount {
    fn end_live_limits(&mut self) {
        if let Some(limits) = self.live_limits.take() {
            self.ended_limits.add(&limits.counts());
        }
    }
}

impl JobTotals {
    /// Takes over the statistics of an attempt. Parts of an attempt that go on are known already.
    pub fn attach(&mut self, stats: &StatsReader) {
        for published in &stats.0 {
            let account = self.nodes.entry(published.node.clone()).or_default();
            let is_same = match (&account.live_limits, &published.limits) {
                (Some(live), Some(limits)) => Arc::ptr_eq(live, limits),
                _ => false,
            };
            if !is_same {
                account.end_live_limits();
                account.live_limits.clone_from(&published.limits);
            }
            let count = account.subtasks.len().max(published.subtasks.len());
            account.subtasks.resize_with(count, SubtaskAccount::default);
            for (index, subtask) in account.subtasks.iter_mut().enumerate() {
                let new = published.subtasks.get(index);
                let is_same = match (&subtask.live, new) {
                    (Some(live), Some(new)) => Arc::ptr_eq(&live.slot, &new.slot),
                    _ => false,
                };
                if !is_same {
                    subtask.end_live();
                    subtask.live = new.cloned();
                }
            }
        }
    }

    /// Keeps what the subtasks of an attempt have published last, because the attempt has ended.
    pub fn end_attempt(&mut self) {
        for account in self.nodes.values_mut() {
            account.end_live_limits();
            account.subtasks.iter_mut().for_each(SubtaskAccount::end_live);
        }
    }

    /// Returns what the nodes of the job show now, in the order of their ids.
    pub fn read(&mut self) -> Vec<NodeMetrics> {
        let read = |(node, account): (&String, &mut NodeAccount)| {
            let mut limits = account.ended_limits.clone();
            if let Some(live) = &account.live_limits {
                limits.add(&live.counts());
            }
            let subtasks = account.subtasks.iter_mut().map(SubtaskAccount::read).collect();
            NodeMetrics { node: node.clone(), subtasks, limits }
        };
        self.nodes.iter_mut().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permits::SubtaskActivity;
    use crate::runtime::plan::chaining::ChainPlan;
    use crate::runtime::stats::node_times::ChainShape;
    use crate::runtime::stats::stats_reader::PublishedStats;

    fn published(subtasks: usize) -> StatsReader {
        let chain = ChainPlan { parallelism: 1, inputs: Vec::new(), nodes: Vec::new() };
        let subtask = || PublishedSubtask {
            slot: Arc::default(),
            activity: Arc::<SubtaskActivity>::default(),
            chain: Arc::new(ChainShape::of(&chain)),
            position: 0,
            channels: None,
        };
        let subtasks = std::iter::repeat_with(subtask).take(subtasks).collect();
        let limits = Some(Arc::default());
        StatsReader(vec![PublishedStats { node: "op".into(), subtasks, limits, inputs: Vec::new() }])
    }

    fn publish(reader: &StatsReader, subtask: usize, restored: u64, now: u64, seen: u64) {
        let mut stats = reader.0[0].subtasks[subtask].slot.lock();
        stats.restored.records_in = restored;
        stats.counters.records_in = now;
        stats.metrics.counters.insert("seen".into(), seen);
        stats.metrics.gauges.insert("level".into(), now as f64);
    }

    fn totals(totals: &mut JobTotals) -> Vec<(u64, Option<f64>, Option<f64>)> {
        let nodes = totals.read();
        let shown = |subtask: &SubtaskMetrics| {
            let SubtaskTotals { counters, metrics, .. } = &subtask.totals;
            (counters.records_in, metrics.value("seen"), metrics.value("level"))
        };
        nodes[0].subtasks.iter().map(shown).collect()
    }

    #[test]
    fn totals_never_go_back_with_a_restore_and_keep_subtasks_that_are_gone() {
        let mut job = JobTotals::default();
        let first = published(2);
        job.attach(&first);
        assert_eq!(totals(&mut job), [(0, None, None); 2]);
        publish(&first, 0, 0, 100, 10);
        publish(&first, 1, 0, 7, 1);
        // A region that goes on is attached once more with each restart of another one.
        job.attach(&first);
        assert_eq!(totals(&mut job), [(100, Some(10.0), Some(100.0)), (7, Some(1.0), Some(7.0))]);
        job.end_attempt();
        assert_eq!(totals(&mut job), [(100, Some(10.0), Some(100.0)), (7, Some(1.0), Some(7.0))]);

        // The second attempt begins with the counts of a checkpoint, after 60 records, on one subtask.
        let second = published(1);
        job.attach(&second);
        assert_eq!(totals(&mut job)[0].0, 100, "nothing was published yet");
        publish(&second, 0, 60, 61, 2);
        assert_eq!(totals(&mut job), [(101, Some(12.0), Some(61.0)), (7, Some(1.0), Some(7.0))]);
        // What an abandoned thread of the first attempt still publishes does not count.
        publish(&first, 0, 0, 500, 500);
        assert_eq!(totals(&mut job)[0].0, 101);
    }

    #[test]
    fn faults_are_counted_over_all_attempts() {
        let mut job = JobTotals::default();
        for _ in 0..3 {
            let attempt = published(1);
            job.attach(&attempt);
            attempt.0[0].limits.as_ref().unwrap().note_fault(crate::model::FaultCode::ALL[0]);
        }
        let faults = &job.read()[0].limits.faults;
        assert_eq!(faults.values().collect::<Vec<_>>(), [&3]);
    }
}
