//! Reads the statistics that the subtasks of an attempt publish.

use std::sync::Arc;

use super::node_times::{ChainShape, NodeTimes};
use super::subtask_stats::{SubtaskEventTime, SubtaskStats, SubtaskStatsSlot};
use crate::model::{Counters, GaugeSummary, UserMetrics};
use crate::permits::SubtaskActivity;
use crate::runtime::channel::Inbox;
use crate::runtime::edge_budget::EdgeBudget;
use crate::state::StateSize;
use crate::turn::{LimitCounts, SharedLimits};

/// Statistics of a node, summed over its subtasks.
#[derive(Clone, Debug, Default)]
pub struct NodeStats {
    /// Id of the node.
    pub node: String,
    /// Sum of the counters.
    pub counters: Counters,
    /// Sum of the user metrics. A gauge is the mean of its values in the subtasks.
    pub metrics: UserMetrics,
    /// The values of each gauge in the subtasks.
    pub gauges: Vec<(String, GaugeSummary)>,
    /// Total size of the state, keyed and broadcast.
    pub state: StateSize,
    /// Event time of each subtask, in the order of the subtasks.
    pub event_times: Vec<SubtaskEventTime>,
    /// What the operator has exceeded.
    pub limits: LimitCounts,
    /// Bytes of the records that wait in the channels to the node.
    pub queued_bytes: u64,
    /// Time that the threads which begin with the node have waited for permits, in nanoseconds.
    pub permit_wait_ns: u64,
}

/// Reads the statistics of an attempt, also after the attempt has ended.
#[derive(Clone, Default)]
pub struct StatsReader(pub(crate) Vec<PublishedStats>);

/// The published statistics of the subtasks of a node.
#[derive(Clone, Default)]
pub(crate) struct PublishedStats {
    pub(crate) node: String,
    pub(crate) subtasks: Vec<PublishedSubtask>,
    /// The limits that the subtasks share, if the node is an operator.
    pub(crate) limits: Option<Arc<SharedLimits>>,
    /// The budgets of the edges to the node.
    pub(crate) inputs: Vec<Arc<EdgeBudget>>,
}

/// What one subtask publishes of one node.
#[derive(Clone)]
pub(crate) struct PublishedSubtask {
    pub(crate) slot: SubtaskStatsSlot,
    /// The thread of the subtask.
    pub(crate) activity: Arc<SubtaskActivity>,
    pub(crate) chain: Arc<ChainShape>,
    /// Index of the node in the chain.
    pub(crate) position: usize,
    /// The channels to the subtask, if the node reads them.
    pub(crate) channels: Option<Arc<SubtaskChannels>>,
}

/// The channels to a subtask.
#[derive(Default)]
pub(crate) struct SubtaskChannels {
    pub(crate) inbox: Arc<Inbox>,
    /// The budgets of their edges.
    pub(crate) budgets: Vec<Arc<EdgeBudget>>,
}

impl SubtaskChannels {
    /// Returns how full the channels are, from 0 to 1: the larger one of the shares of credits and of bytes that are taken. Senders wait
    /// at 1.
    fn fill(&self) -> f64 {
        self.budgets.iter().map(|budget| budget.fill()).fold(self.inbox.fill(), f64::max)
    }
}

impl PublishedSubtask {
    /// Returns what the subtask published last.
    pub(crate) fn stats(&self) -> SubtaskStats {
        self.slot.lock().clone()
    }

    /// Returns how full the channels to the subtask are, if the node reads them.
    pub(crate) fn channel_fill(&self) -> Option<f64> {
        self.channels.as_ref().map(|channels| channels.fill())
    }

    /// Returns the time of the node in the subtask, since the attempt began.
    pub(crate) fn times(&self) -> NodeTimes {
        self.chain.times_of(self.position, &self.activity.times())
    }
}

impl StatsReader {
    /// Combines the statistics of executions that run different nodes of one plan.
    pub fn combined<'a>(readers: impl Iterator<Item = &'a StatsReader>) -> StatsReader {
        let mut combined: Vec<PublishedStats> = Vec::new();
        for reader in readers {
            if combined.is_empty() {
                combined.clone_from(&reader.0);
            }
            for (all, own) in combined.iter_mut().zip(&reader.0) {
                if !own.subtasks.is_empty() {
                    all.clone_from(own);
                }
            }
        }
        StatsReader(combined)
    }

    /// Returns the statistics of each node, in the order of the pipeline.
    pub fn read(&self) -> Vec<NodeStats> {
        self.0.iter().map(PublishedStats::read).collect()
    }
}

impl PublishedStats {
    /// Sums what the subtasks have published.
    fn read(&self) -> NodeStats {
        let threads = self.subtasks.iter().filter(|subtask| subtask.position == 0);
        let mut sum = NodeStats {
            node: self.node.clone(),
            limits: self.limits.as_ref().map(|limits| limits.counts()).unwrap_or_default(),
            queued_bytes: self.inputs.iter().map(|budget| budget.used() as u64).sum(),
            permit_wait_ns: threads.map(|subtask| subtask.activity.times().throttled_ns).sum(),
            ..NodeStats::default()
        };
        let mut gauges = GaugeSummary::of_subtasks();
        for subtask in &self.subtasks {
            let stats = subtask.slot.lock();
            sum.counters.add(&stats.counters);
            sum.event_times.push(stats.event_time);
            sum.state.entries += stats.state.entries;
            sum.state.bytes += stats.state.bytes;
            sum.metrics.add_counts(&stats.metrics);
            gauges.add(&stats.metrics);
        }
        sum.gauges = gauges.summaries();
        sum.metrics.gauges = sum.gauges.iter().map(|(name, gauge)| (name.clone(), gauge.mean)).collect();
        sum
    }
}
