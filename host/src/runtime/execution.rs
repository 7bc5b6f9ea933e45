//! One attempt at running a plan: opens everything, starts the subtasks, injects barriers, cancels.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::checkpoint::{CheckpointMetadata, SubtaskMetadata};
use crate::clock::SharedClock;
use crate::connector::{self, ConnectorContext};
use crate::error::{self, Result};
use crate::model::{Column, Counters, Interrupt, NO_TIMESTAMP, common_groups, groups_of_subtask};
use crate::operator::{
    FunctionOperator, FunctionSettings, IntervalJoin, Operator, OperatorLog, WindowOperator, WindowOptions,
};
use crate::pipeline::{NodeKind, OperatorNode, PipelineNode, SourceNode};
use crate::runtime::channel::{LinkReceiver, LinkSender, link};
use crate::runtime::input::in_flight_data::InFlightData;
use crate::runtime::input::input_gate::Gate;
use crate::runtime::output::result_partition::EdgeWriter;
use crate::runtime::plan::execution_plan::{ExecutionPlan, FunctionPlan, GuestOptions, PartitionPlan};
use crate::runtime::plan::window_functions::window_function;
use crate::runtime::signals::Signals;
use crate::runtime::source::checkpoint_triggers::Triggers;
use crate::runtime::source::source_reader::{Pace, SourceReader};
use crate::runtime::source::timestamp_assigner::Stamper;
use crate::runtime::source::watermark_alignment::{self as alignment, Groups};
use crate::runtime::stream_element::Barrier;
use crate::runtime::subtask::operator_chain::{Chain, Ended, Member, MemberKind, MemberStats, SubtaskEventTime};
use crate::runtime::subtask::subtask_runner::{Notify, Subtask, SubtaskEvent};
use crate::runtime::subtask_failure::SubtaskFailure;
use crate::state::{
    self, BroadcastState, FileStore, RestoreSource, StateId, StateLayout, StateMigrator, StateOptions, StateSize,
};
use crate::turn::{Guest, Turn, TurnContext, TurnFailure};

/// Batches that wait in one channel, at most: what a slow receiver lets pile up.
const CHANNEL_BATCHES: usize = 8;

/// Stack of a subtask's thread: the guest's stack, and room for the host above it.
const STACK_BYTES: usize = 4 << 20;

/// The code of an error that only says that the attempt is over.
const INTERRUPTED: &str = "interrupted";

/// What an attempt runs with.
pub struct ExecutionOptions {
    pub job_id: String,
    pub base_dir: PathBuf,
    /// A folder for the running state; what it holds is from before and worth nothing.
    pub working_dir: PathBuf,
    pub seed: u64,
    /// How often the job was restarted before.
    pub restarts: u32,
    pub clock: SharedClock,
    /// The image to begin with, and where its files are.
    pub restore: Option<(Arc<CheckpointMetadata>, Arc<dyn FileStore>)>,
    /// Whether states of the image that no function declares are dropped.
    pub allow_unclaimed_state: bool,
    /// Whether operators forget the event time that the image has for them.
    pub reset_watermarks: bool,
    /// Ends the attempt, what is still being restored too.
    pub interrupt: Interrupt,
    pub notify: Notify,
}

/// What all subtasks of a node show together.
#[derive(Clone, Debug, Default)]
pub struct NodeStats {
    pub node: String,
    pub counters: Counters,
    pub metrics: BTreeMap<String, f64>,
    pub state: StateSize,
    /// Of each subtask.
    pub event_times: Vec<SubtaskEventTime>,
}

/// A running attempt.
pub struct Execution {
    controls: Vec<Sender<Barrier>>,
    threads: Vec<JoinHandle<()>>,
    signals: Arc<Signals>,
    shown: Vec<(String, Vec<Arc<Mutex<MemberStats>>>)>,
}

/// Channels of one edge: `senders[from][to]`, and `receivers[to]` in the order of the senders.
struct Channels {
    senders: Vec<Vec<LinkSender>>,
    receivers: Vec<Vec<LinkReceiver>>,
}

impl Execution {
    /// Starts all subtasks. What they cannot open or restore they report as a failure.
    pub fn start(plan: &Arc<ExecutionPlan>, options: ExecutionOptions) -> Result<Execution> {
        let options = Arc::new(options);
        let mut execution = Execution {
            controls: Vec::new(),
            threads: Vec::new(),
            signals: Arc::new(Signals::new(options.interrupt.flag())),
            shown: plan.pipeline.nodes.iter().map(|node| (node.id.clone(), Vec::new())).collect(),
        };
        let mut channels: Vec<Channels> =
            plan.edges.iter().map(|edge| connect(plan, edge.from, edge.to, &edge.partition)).collect();
        let sources = plan.chains.iter().filter(|chain| chain.inputs.is_empty());
        let sources = sources.map(|chain| chain.parallelism as usize).sum();
        let triggers = Arc::new(Triggers::new(&plan.pipeline.checkpoint, sources));
        let mut aligned = aligned(plan).into_iter();
        let logs = Arc::new(operator_logs(plan, &options.clock));
        for (index, chain) in plan.chains.iter().enumerate() {
            for subtask in 0..chain.parallelism {
                let writers = writers(plan, index, subtask, &mut channels, &execution.signals);
                let receivers = chain
                    .inputs
                    .iter()
                    .flat_map(|&edge| std::mem::take(&mut channels[edge].receivers[subtask as usize]))
                    .collect();
                let shown: Vec<_> = chain.members.iter().map(|member| execution.show(member.node)).collect();
                let input = if chain.inputs.is_empty() {
                    let (sender, control) = crossbeam_channel::unbounded();
                    execution.controls.push(sender);
                    let (index, triggers) = (execution.controls.len() - 1, triggers.clone());
                    Begin::Source { index, control, triggers, alignment: aligned.next().flatten() }
                } else {
                    let mode = plan.pipeline.checkpoint.mode;
                    Begin::Gate(Gate::new(receivers, mode, execution.signals.clone(), options.clock.clone()))
                };
                let start = Start {
                    plan: plan.clone(),
                    options: options.clone(),
                    chain: index,
                    subtask,
                    writers,
                    shown,
                    signals: execution.signals.clone(),
                    logs: logs.clone(),
                };
                let node = &plan.pipeline.nodes[chain.members[0].node].id;
                let thread = std::thread::Builder::new()
                    .name(format!("{node}/{subtask}"))
                    .stack_size(STACK_BYTES)
                    .spawn(move || start.run(input))
                    .map_err(|cause| {
                        error::internal(format!("no thread for subtask {subtask} of `{node}`: {cause}"))
                    })?;
                execution.threads.push(thread);
            }
        }
        Ok(execution)
    }

    fn show(&mut self, node: usize) -> Arc<Mutex<MemberStats>> {
        let shown = Arc::<Mutex<MemberStats>>::default();
        self.shown[node].1.push(shown.clone());
        shown
    }

    /// Has every source inject a barrier.
    pub fn inject(&self, barrier: Barrier) {
        for control in &self.controls {
            // A source that is gone has reported why.
            let _ = control.send(barrier);
        }
    }

    /// Lets a barrier that was injected overtake all records that are still in front of it.
    pub fn overtake(&self, barrier: Barrier) {
        self.signals.overtake(barrier);
    }

    /// The checkpoints up to this one are over. Barriers of theirs that are still under way hold nobody up any more.
    pub fn abandon(&self, checkpoint: u64) {
        self.signals.abandon(checkpoint);
    }

    /// Asks all subtasks to end; [`Execution::join`] waits for it.
    pub fn cancel(&self) {
        self.signals.cancel.store(true, Ordering::Relaxed);
    }

    /// Waits until all subtasks have ended.
    pub fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic was caught and reported in the thread.
            let _ = thread.join();
        }
    }

    /// Number of subtasks.
    pub fn subtasks(&self) -> usize {
        self.threads.len()
    }

    /// Number of source subtasks.
    pub fn sources(&self) -> usize {
        self.controls.len()
    }

    /// What each node shows now, in the pipeline's order.
    pub fn stats(&self) -> Vec<NodeStats> {
        let sum = |(node, subtasks): &(String, Vec<Arc<Mutex<MemberStats>>>)| {
            let mut stats = NodeStats { node: node.clone(), ..NodeStats::default() };
            for subtask in subtasks {
                let shown = subtask.lock();
                stats.counters.add(&shown.counters);
                stats.event_times.push(shown.event_time);
                stats.state.entries += shown.state.entries;
                stats.state.bytes += shown.state.bytes;
                shown
                    .metrics
                    .iter()
                    .for_each(|(name, value)| *stats.metrics.entry(name.clone()).or_insert(0.0) += value);
            }
            stats
        };
        self.shown.iter().map(sum).collect()
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.cancel();
        self.join();
    }
}

/// One log for all subtasks of an operator.
fn operator_logs(plan: &ExecutionPlan, clock: &SharedClock) -> BTreeMap<String, Arc<OperatorLog>> {
    let log = |(id, function): (&String, &FunctionPlan)| {
        let log = OperatorLog::new(&plan.pipeline.name, id, &function.description.name, clock.clone());
        (id.clone(), Arc::new(log))
    };
    plan.functions.iter().map(log).collect()
}

/// For each source subtask its place in the group that waits for each other, where it names one.
fn aligned(plan: &ExecutionPlan) -> Vec<Option<alignment::Member>> {
    let mut groups = Groups::default();
    let mut members = Vec::new();
    for chain in plan.chains.iter().filter(|chain| chain.inputs.is_empty()) {
        let watermark = match &plan.pipeline.nodes[chain.members[0].node].kind {
            NodeKind::Source(source) => source.watermark.as_ref(),
            _ => None,
        };
        let settings = watermark.and_then(|watermark| watermark.alignment.as_ref());
        members.extend((0..chain.parallelism).map(|_| settings.map(|settings| groups.join(settings))));
    }
    members
}

fn connect(plan: &ExecutionPlan, from: usize, to: usize, partition: &PartitionPlan) -> Channels {
    let (from, to) = (plan.chains[from].parallelism as usize, plan.chains[to].parallelism as usize);
    let mut channels = Channels { senders: Vec::new(), receivers: (0..to).map(|_| Vec::new()).collect() };
    for sender in 0..from {
        let targets = if matches!(partition, PartitionPlan::Forward) { sender..sender + 1 } else { 0..to };
        let mut senders = Vec::new();
        for target in targets {
            let (sender, receiver) = link(CHANNEL_BATCHES);
            senders.push(sender);
            channels.receivers[target].push(receiver);
        }
        channels.senders.push(senders);
    }
    channels
}

fn writers(
    plan: &ExecutionPlan,
    chain: usize,
    subtask: u32,
    channels: &mut [Channels],
    signals: &Arc<Signals>,
) -> BTreeMap<usize, EdgeWriter> {
    let batch = plan.pipeline.batch;
    let mut writers = BTreeMap::new();
    for (index, edge) in plan.edges.iter().enumerate().filter(|(_, edge)| edge.from == chain) {
        let mut senders = std::mem::take(&mut channels[index].senders[subtask as usize]);
        let signals = signals.clone();
        let writer = match &edge.partition {
            PartitionPlan::Forward => senders.pop().map(|sender| EdgeWriter::forward(sender, batch, signals)),
            PartitionPlan::Rebalance => Some(EdgeWriter::rebalance(senders, batch, signals)),
            PartitionPlan::Broadcast => Some(EdgeWriter::to_all(senders, batch, signals)),
            PartitionPlan::Key(origin) => {
                let max_parallelism = plan.pipeline.max_parallelism;
                Some(EdgeWriter::keyed(edge.role, senders, origin.clone(), max_parallelism, batch, signals))
            }
        };
        writers.extend(writer.map(|writer| (index, writer)));
    }
    writers
}

/// Where a subtask's input comes from.
enum Begin {
    Source {
        /// Among all source subtasks of the job.
        index: usize,
        control: Receiver<Barrier>,
        triggers: Arc<Triggers>,
        alignment: Option<alignment::Member>,
    },
    Gate(Gate),
}

/// Everything that a subtask's thread begins with.
struct Start {
    plan: Arc<ExecutionPlan>,
    options: Arc<ExecutionOptions>,
    chain: usize,
    subtask: u32,
    writers: BTreeMap<usize, EdgeWriter>,
    shown: Vec<Arc<Mutex<MemberStats>>>,
    signals: Arc<Signals>,
    logs: Arc<BTreeMap<String, Arc<OperatorLog>>>,
}

impl Start {
    fn run(self, input: Begin) {
        let notify = self.options.notify.clone();
        let node = self.plan.pipeline.nodes[self.plan.chains[self.chain].members[0].node].id.clone();
        let subtask = self.subtask;
        let (plan, options, signals) = (self.plan.clone(), self.options.clone(), self.signals.clone());
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| self.run_chain(input)));
        let failure = match result {
            Ok(Ok(()) | Err(Ended::Cancelled)) => return,
            // The attempt is over, and knows why.
            Ok(Err(Ended::Failed(failure))) if failure.code == INTERRUPTED => return,
            Ok(Err(Ended::Failed(failure))) => failure.looked_up(&plan, &options.base_dir, &|| signals.is_cancelled()),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                SubtaskFailure::error(
                    &node,
                    subtask,
                    error::internal(format!("a subtask panicked: {}", text.unwrap_or("no message"))),
                )
            }
        };
        notify(SubtaskEvent::Failed(Box::new(failure)));
    }

    fn run_chain(mut self, input: Begin) -> Result<(), Ended> {
        let plan = self.plan.clone();
        let nodes = &plan.pipeline.nodes;
        let failed =
            |node: &PipelineNode, subtask, error| Ended::Failed(SubtaskFailure::error(&node.id, subtask, error));
        let mut members = Vec::new();
        let mut reader = None;
        for member in &plan.chains[self.chain].members {
            let node = &nodes[member.node];
            let kind = match &node.kind {
                NodeKind::Source(_) => {
                    let opened = self.open_source(node).map_err(|error| failed(node, self.subtask, error))?;
                    let counters = opened.counters();
                    reader = Some(opened);
                    MemberKind::Source(counters)
                }
                NodeKind::Operator(operator) => {
                    let opened =
                        self.open_operator(node, operator).map_err(|error| failed(node, self.subtask, error))?;
                    MemberKind::Operator(opened)
                }
                NodeKind::Sink(config) => {
                    let sink = connector::open_sink(config, &self.connector_context(node))
                        .map_err(|error| failed(node, self.subtask, error))?;
                    MemberKind::Sink { sink, counters: self.counters(node) }
                }
            };
            members.push(Member { node: node.id.clone(), kind, routes: member.routes.clone() });
        }
        let edges = std::mem::take(&mut self.writers);
        let chain = Chain::new(self.subtask, members, edges, self.options.clock.clone());
        let mut subtask = Subtask {
            chain,
            signals: self.signals.clone(),
            notify: self.options.notify.clone(),
            shown: std::mem::take(&mut self.shown),
            shown_ns: 0,
            fixed: None,
        };
        if self.options.restore.is_some() {
            subtask.chain.resume()?;
        }
        match (input, reader) {
            (Begin::Source { index, control, triggers, alignment }, Some(reader)) => {
                (self.options.notify)(SubtaskEvent::Opened);
                subtask.run_source(SourceReader { index, alignment, ..reader }, control, &triggers)
            }
            (Begin::Gate(mut gate), _) => {
                let first = &nodes[plan.chains[self.chain].members[0].node];
                gate.restore(self.in_flight(first).map_err(|error| failed(first, self.subtask, error))?);
                (self.options.notify)(SubtaskEvent::Opened);
                subtask.run_gate(gate)
            }
            (Begin::Source { .. }, None) => Err(Ended::Cancelled),
        }
    }

    /// The images of the node's subtasks, as many as there were.
    fn images(&self, node: &PipelineNode) -> &[SubtaskMetadata] {
        self.options.restore.as_ref().map_or(&[], |(manifest, _)| manifest.subtasks(&node.id))
    }

    /// What the subtask counts on from: its own counts, or at another parallelism its share of all.
    fn counters(&self, node: &PipelineNode) -> Counters {
        let mut counters = Counters::default();
        let share = self.images(node).iter().skip(self.subtask as usize).step_by(node.parallelism as usize);
        share.for_each(|image| counters.add(&image.counters));
        counters
    }

    /// The images that hold any of the key groups which the subtask owns.
    fn restored_state(&self, node: &PipelineNode, groups: &Range<u32>) -> Vec<RestoreSource<'_>> {
        let Some((manifest, files)) = &self.options.restore else { return Vec::new() };
        let images = self.images(node);
        let mut restored = Vec::new();
        for (subtask, image) in (0..).zip(images) {
            let held = groups_of_subtask(subtask, images.len() as u32, manifest.max_parallelism);
            if let Some(image) = &image.state
                && !common_groups(&held, groups).is_empty()
            {
                restored.push(RestoreSource { handle: image, groups: held, store: &**files as &dyn FileStore });
            }
        }
        restored
    }

    /// What was on its way to this subtask.
    fn in_flight(&self, node: &PipelineNode) -> Result<InFlightData> {
        let mut found = InFlightData::default();
        let Some((manifest, files)) = &self.options.restore else { return Ok(found) };
        let images = self.images(node);
        let is_same = images.len() == node.parallelism as usize;
        let max_parallelism = manifest.max_parallelism;
        let groups = groups_of_subtask(self.subtask, node.parallelism, max_parallelism);
        for (from, image) in (0..).zip(images) {
            let Some(file) = &image.in_flight else { continue };
            if is_same && from != self.subtask {
                continue;
            }
            let in_flight = InFlightData::decode(&file.path, &files.get(file)?, max_parallelism)?;
            found.append(if is_same {
                in_flight
            } else {
                in_flight.share(from, images.len() as u32, self.subtask, node.parallelism, &groups)
            });
        }
        Ok(found)
    }

    fn connector_context(&self, node: &PipelineNode) -> ConnectorContext {
        ConnectorContext {
            job_id: self.options.job_id.clone(),
            node: node.id.clone(),
            subtask: self.subtask,
            parallelism: node.parallelism,
            clock: self.options.clock.clone(),
            base_dir: self.options.base_dir.clone(),
            seed: self.options.seed,
            interrupt: self.options.interrupt.clone(),
        }
    }

    fn open_source(&self, node: &PipelineNode) -> Result<SourceReader> {
        let NodeKind::Source(config) = &node.kind else { return Err(error::internal("not a source")) };
        let images = self.images(node);
        let positions: Vec<&[u8]> = images.iter().filter_map(|image| image.source_position.as_deref()).collect();
        if !positions.is_empty() && positions.len() != images.len() {
            return Err(error::checkpoint_corrupt(format!("source `{}` has no position for some subtasks", node.id)));
        }
        let clock = self.options.clock.clone();
        let source = connector::open_source(
            &config.connector,
            config.on_undecodable,
            &self.connector_context(node),
            &positions,
        )?;
        let extractor = self.plan.timestamps.get(&node.id).cloned();
        let pace = config.rate.map(|rate| Pace::new(rate.div_ceil(u64::from(node.parallelism)), clock.monotonic_ns()));
        Ok(SourceReader {
            index: 0,
            source,
            stamper: extractor.map(|extractor| Stamper::new(&node.id, extractor, config.on_undecodable)),
            watermarks: config.watermark.clone(),
            alignment: None,
            pace,
            batch_records: self.plan.pipeline.batch.records,
            clock,
            counters: self.counters(node),
            latest: NO_TIMESTAMP,
            restored_watermark: self.restored_watermark(node, config),
            watermark: NO_TIMESTAMP,
            watermark_sent_ns: 0,
            quiet_since_ns: None,
            has_given: false,
            failed: None,
            has_failed: false,
        })
    }

    /// The largest watermark that the restored checkpoint holds for a source that has watermarks.
    fn restored_watermark(&self, node: &PipelineNode, config: &SourceNode) -> i64 {
        if config.watermark.is_none() || self.options.reset_watermarks {
            return NO_TIMESTAMP;
        }
        self.images(node).iter().filter_map(|image| image.watermark).max().unwrap_or(NO_TIMESTAMP)
    }

    fn open_operator(&self, node: &PipelineNode, operator: &OperatorNode) -> Result<Box<dyn Operator>> {
        let function = self
            .plan
            .functions
            .get(&node.id)
            .ok_or_else(|| error::internal(format!("operator `{}` has no function", node.id)))?;
        let pipeline = &self.plan.pipeline;
        let mut guest = (function.make)(&GuestOptions {
            limits: operator.limits,
            seed: self.options.seed,
            fresh: pipeline.sandbox.fresh_instance,
            cancel: self.signals.cancel.clone(),
        });
        let context = TurnContext {
            operator: node.id.clone(),
            subtask: self.subtask,
            parallelism: node.parallelism,
            seed: self.options.seed,
            restarts: self.options.restarts,
            config: Arc::new(operator.config.clone()),
            ..TurnContext::default()
        };
        let layout = function.description.keyed_states();
        let mut turn = if layout.is_empty() {
            Turn::stateless(context)
        } else {
            let groups = groups_of_subtask(self.subtask, node.parallelism, pipeline.max_parallelism);
            let restore = self.restored_state(node, &groups);
            let working_dir = self.options.working_dir.join(format!("{}-{}", node.id, self.subtask));
            let options = StateOptions {
                backend: pipeline.state.backend,
                working_dir,
                layout: layout.clone(),
                max_parallelism: pipeline.max_parallelism,
                groups: groups.clone(),
                restore,
                allow_unclaimed: self.options.allow_unclaimed_state,
                migrate: Some(&mut GuestMigrates { guest: &mut *guest, first: 0, layout: &layout }),
                clock: self.options.clock.clone(),
                interrupt: self.options.interrupt.clone(),
            };
            let backend = state::open(options)?;
            let mut turn = Turn::stateful(context, layout, backend).with_timers(groups)?;
            if self.options.reset_watermarks {
                turn.reset_watermark()?;
            }
            turn
        };
        if !function.description.broadcast_states.is_empty() {
            let states = &function.description.broadcast_states;
            let first = function.description.states.len();
            let mut migrate = GuestMigrates { guest: &mut *guest, first, layout: states };
            turn = turn.with_broadcast(self.open_broadcast(node, states, &mut migrate)?);
        }
        turn.limit_writes(operator.limits.output_bytes);
        let settings = FunctionSettings {
            job: pipeline.name.clone(),
            function: function.description.name.clone(),
            on_fault: operator.on_fault,
            outputs: self.plan.outputs(node)?,
            batch_records: pipeline.batch.records,
            clock: self.options.clock.clone(),
            log: self.logs.get(&node.id).cloned().unwrap_or_default(),
            cancel: self.signals.cancel.clone(),
        };
        let counters = self.counters(node);
        let emits_late_records = self.plan.emits_late_records(node);
        Ok(match (&operator.windows, window_function(function.description.kind), operator.interval) {
            (Some(windows), Some(function), _) => {
                let options = WindowOptions { windows: windows.clone(), function, emits_late_records };
                Box::new(WindowOperator::new(guest, turn, settings, options, counters)?)
            }
            (_, _, Some(interval)) => {
                Box::new(IntervalJoin::new(guest, turn, settings, interval, emits_late_records, counters)?)
            }
            _ => Box::new(FunctionOperator::new(guest, turn, settings, counters)),
        })
    }

    /// The broadcast states of an operator. All subtasks of an image have the same: each new one takes that of one of them.
    fn open_broadcast(
        &self,
        node: &PipelineNode,
        states: &StateLayout,
        migrate: &mut dyn StateMigrator,
    ) -> Result<BroadcastState> {
        let image = self.options.restore.as_ref().and_then(|(manifest, files)| {
            let operator = manifest.operators.iter().find(|operator| operator.id == node.id)?;
            let subtask = self.subtask.checked_rem(operator.parallelism)?;
            let image = operator.subtasks.get(subtask as usize)?.broadcast.as_ref()?;
            Some(RestoreSource { handle: image, groups: 0..1, store: &**files as &dyn FileStore })
        });
        BroadcastState::open(states.clone(), image.as_ref(), self.options.allow_unclaimed_state, migrate)
    }
}

/// Has the function itself read the older forms of its values.
struct GuestMigrates<'a> {
    guest: &'a mut dyn Guest,
    /// The place of the layout's first state among those that the function describes.
    first: usize,
    layout: &'a StateLayout,
}

impl StateMigrator for GuestMigrates<'_> {
    fn migrate(&mut self, state: StateId, schema: &str, values: &Column) -> Result<Column> {
        self.guest.migrate(self.first as u32 + u32::from(state), schema, values).map_err(|failure| match failure {
            TurnFailure::Error(error) => error,
            TurnFailure::Cancelled => error::state_migration_failed("the job was cancelled during the migration"),
            TurnFailure::Fault(fault) => {
                let name = self.layout.get(usize::from(state)).map_or("", |state| &state.name[..]);
                error::state_migration_failed(format!("state `{name}`, from schema `{schema}`: {fault}"))
                    .hint("correct the function and submit the job again; nothing was processed")
            }
        })
    }
}
