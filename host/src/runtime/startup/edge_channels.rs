//! The channels of all edges, and the partitions and receivers that each subtask takes from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::channel::{ChannelReceiver, ChannelSender, Inbox, channel};
use crate::runtime::edge_budget::EdgeBudget;
use crate::runtime::output::result_partition::ResultPartition;
use crate::runtime::plan::chaining::{EdgePartitioning, EdgePlan};
use crate::runtime::plan::execution_plan::ExecutionPlan;
use crate::runtime::records::record_converter::RecordConverter;
use crate::runtime::stats::stats_reader::SubtaskChannels;

/// Number of credits of a channel: the number of batches that a slow receiver lets pile up.
const CHANNEL_CREDITS: usize = 8;

/// Smallest budget of an edge, in bytes.
const EDGE_BYTES_MIN: usize = 1 << 20;

/// The channels of one edge.
#[derive(Default)]
struct EdgeChannels {
    /// For each sending subtask, one sender for each of its receivers.
    senders: Vec<Vec<ChannelSender>>,
    /// For each receiving subtask, one receiver for each of its senders, in the order of the senders.
    receivers: Vec<Vec<ChannelReceiver>>,
    budget: Arc<EdgeBudget>,
}

/// The channels that no subtask has taken yet, by the index of their edge in the plan, and the inboxes of all subtasks.
pub(crate) struct UnclaimedChannels {
    edges: Vec<EdgeChannels>,
    /// For each chain of the plan, the inbox of each subtask.
    inboxes: Vec<Vec<Arc<Inbox>>>,
}

impl UnclaimedChannels {
    /// Creates the channels of all edges between chains that run.
    pub(crate) fn new(plan: &ExecutionPlan, runs_chain: &dyn Fn(usize) -> bool) -> UnclaimedChannels {
        let inboxes = |parallelism: u32| (0..parallelism).map(|_| Arc::<Inbox>::default()).collect();
        let inboxes: Vec<Vec<Arc<Inbox>>> = plan.graph.chains.iter().map(|chain| inboxes(chain.parallelism)).collect();
        let edges = &plan.graph.edges;
        // Each edge has a part of its own. With a common budget, records that wait on one edge could stop the next one.
        let budget = (plan.pipeline.batch.channel_bytes / edges.len().max(1)).max(EDGE_BYTES_MIN);
        let edges = edges.iter().map(|edge| match runs_chain(edge.from) {
            true => connect(edge, &inboxes[edge.from], &inboxes[edge.to], budget),
            false => EdgeChannels::default(),
        });
        UnclaimedChannels { edges: edges.collect(), inboxes }
    }

    /// Returns the inbox of a subtask.
    pub(crate) fn inbox(&self, chain: usize, subtask: u32) -> Arc<Inbox> {
        self.inboxes[chain][subtask as usize].clone()
    }

    /// Returns the channels to a subtask, for its statistics. `None` for a chain that begins with a source.
    pub(crate) fn incoming(&self, plan: &ExecutionPlan, chain: usize, subtask: u32) -> Option<Arc<SubtaskChannels>> {
        let budgets = self.input_budgets(plan, chain);
        (!budgets.is_empty()).then(|| Arc::new(SubtaskChannels { inbox: self.inbox(chain, subtask), budgets }))
    }

    /// Returns the budgets of the edges that lead to a chain.
    pub(crate) fn input_budgets(&self, plan: &ExecutionPlan, chain: usize) -> Vec<Arc<EdgeBudget>> {
        plan.graph.chains[chain].inputs.iter().map(|&edge| self.edges[edge].budget.clone()).collect()
    }

    /// Takes the receivers of a subtask, in the order of the chain's edges.
    pub(crate) fn take_receivers(&mut self, plan: &ExecutionPlan, chain: usize, subtask: u32) -> Vec<ChannelReceiver> {
        let inputs = plan.graph.chains[chain].inputs.iter();
        inputs.flat_map(|&edge| std::mem::take(&mut self.edges[edge].receivers[subtask as usize])).collect()
    }

    /// Takes the senders of a subtask. Returns its partitions, by the index of their edge in the plan.
    pub(crate) fn take_partitions(
        &mut self,
        plan: &ExecutionPlan,
        chain: usize,
        subtask: u32,
        signals: &Arc<AttemptSignals>,
    ) -> BTreeMap<usize, ResultPartition> {
        let settings = plan.pipeline.batch;
        let mut partitions = BTreeMap::new();
        for (index, edge) in plan.graph.edges.iter().enumerate().filter(|(_, edge)| edge.from == chain) {
            let mut senders = std::mem::take(&mut self.edges[index].senders[subtask as usize]);
            let signals = signals.clone();
            let partition = match &edge.partitioning {
                EdgePartitioning::Forward => {
                    senders.pop().map(|sender| ResultPartition::forward(sender, settings, signals))
                }
                EdgePartitioning::Rebalance => Some(ResultPartition::rebalance(senders, settings, signals)),
                EdgePartitioning::Broadcast => Some(ResultPartition::broadcast(senders, settings, signals)),
                EdgePartitioning::Keyed(origin) => {
                    let max_parallelism = plan.pipeline.max_parallelism;
                    let origin = origin.clone();
                    Some(ResultPartition::keyed(edge.role, senders, origin, max_parallelism, settings, signals))
                }
            };
            let converter = edge.format.clone().map(RecordConverter::new);
            partitions.extend(partition.map(|partition| (index, partition.converted_by(converter))));
        }
        partitions
    }
}

/// Creates the channels of one edge, between subtasks with these inboxes. `budget` is in bytes.
fn connect(edge: &EdgePlan, from: &[Arc<Inbox>], to: &[Arc<Inbox>], budget: usize) -> EdgeChannels {
    let budget = Arc::new(EdgeBudget::new(budget));
    let receivers = to.iter().map(|_| Vec::new()).collect();
    let mut channels = EdgeChannels { senders: Vec::new(), receivers, budget: budget.clone() };
    for (sending, sending_inbox) in from.iter().enumerate() {
        let is_forward = matches!(edge.partitioning, EdgePartitioning::Forward);
        let receiving = if is_forward { sending..sending + 1 } else { 0..to.len() };
        let mut senders = Vec::new();
        for receiving in receiving {
            let (sender, receiver) = channel(CHANNEL_CREDITS, &sending_inbox.wakeup, &to[receiving], &budget);
            senders.push(sender);
            channels.receivers[receiving].push(receiver);
        }
        channels.senders.push(senders);
    }
    channels
}
