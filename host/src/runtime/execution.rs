//! One attempt to run a plan: starts the threads of all subtasks, injects barriers, and cancels.
//!
//! Invariant: when [`Execution`] is dropped, all threads have ended or have been abandoned. An abandoned thread is blocked by something
//! that cannot be interrupted. It changes nothing durable: only the job publishes output, and the next attempt has folders of its own.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::attempt_signals::AttemptSignals;
use super::barrier::Barrier;
use super::heartbeat::HeartbeatMonitor;
use super::input::input_gate::InputGate;
use super::plan::execution_plan::ExecutionPlan;
use super::source::checkpoint_triggers::CheckpointTriggers;
use super::source::rate_limiter::{RateLimiter, RateShare};
use super::source::watermark_alignment::{AlignmentGroups, AlignmentMembership};
use super::source_control::SourceControl;
use super::startup::edge_channels::UnclaimedChannels;
use super::startup::execution_options::ExecutionOptions;
use super::startup::operator_logs::operator_logs;
use super::startup::subtask_context::SubtaskContext;
use super::startup::subtask_startup::{SourceInput, SubtaskInput, SubtaskStartup};
use super::stats::node_times::ChainShape;
use super::stats::stats_reader::{PublishedStats, PublishedSubtask, StatsReader};
use super::stats::subtask_stats::SubtaskStatsSlot;
use super::subtask_failure::SubtaskFailure;
use crate::error::{self, Result};
use crate::permits::SubtaskActivity;
use crate::pipeline::NodeKind;
use crate::wakeup::Wakeup;

/// Stack of a subtask's thread, in bytes: the guest's stack, and room for the host above it.
const STACK_BYTES: usize = 4 << 20;

/// Time for which the end of a thread is awaited after a cancel.
const END_TIME: Duration = Duration::from_secs(30);

/// A running attempt.
pub struct Execution {
    /// Deliver messages to the source subtasks, and wake them.
    controls: Vec<(Sender<SourceControl>, Wakeup)>,
    threads: Vec<SubtaskThread>,
    /// Receives the index of each thread that ends.
    ended: Receiver<usize>,
    /// Cloned for each thread.
    end_sender: Sender<usize>,
    heartbeats: HeartbeatMonitor,
    signals: Arc<AttemptSignals>,
    stats: Vec<PublishedStats>,
}

/// The thread of a subtask.
struct SubtaskThread {
    node: String,
    subtask: u32,
    has_ended: bool,
}

/// Sends the index of a thread when the thread ends, also by a panic.
struct EndAnnouncement(Sender<usize>, usize);

impl Drop for EndAnnouncement {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

/// The shared parts of all source subtasks.
struct SourceStartup {
    triggers: Arc<CheckpointTriggers>,
    /// The memberships of each source subtask of the execution that has not started yet.
    memberships: std::vec::IntoIter<SourceMemberships>,
}

/// What a source subtask shares with others.
#[derive(Default)]
struct SourceMemberships {
    /// Index among all source subtasks of the job.
    index: usize,
    alignment: Option<AlignmentMembership>,
    rate: Option<RateShare>,
}

impl Execution {
    /// Starts all subtasks. A subtask that cannot open or restore what it needs reports this as a failure.
    ///
    /// Fails with `internal` if a thread cannot be started.
    pub fn start(plan: &Arc<ExecutionPlan>, mut options: ExecutionOptions) -> Result<Execution> {
        let span = std::mem::take(&mut options.span);
        let options = Arc::new(options);
        let nodes = plan.pipeline.nodes.iter();
        let (end_sender, ended) = crossbeam_channel::unbounded();
        let mut execution = Execution {
            controls: Vec::new(),
            threads: Vec::new(),
            ended,
            end_sender,
            heartbeats: HeartbeatMonitor::new(plan.pipeline.heartbeat),
            signals: Arc::new(AttemptSignals::new(options.interrupt.clone())),
            stats: nodes.map(|node| PublishedStats { node: node.id.clone(), ..PublishedStats::default() }).collect(),
        };
        let mut channels = UnclaimedChannels::new(plan, &|chain| options.runs_chain(chain));
        let mut sources = SourceStartup::new(plan, &options, &channels);
        let logs = Arc::new(operator_logs(plan, &options));
        for stats in &mut execution.stats {
            stats.limits = logs.get(&stats.node).map(|log| log.limits().clone());
        }
        let chains = plan.graph.chains.iter().enumerate();
        for (chain_index, chain) in chains.filter(|(chain, _)| options.runs_chain(*chain)) {
            let head = chain.nodes[0].node;
            let shape = Arc::new(ChainShape::of(chain));
            execution.stats[head].inputs = channels.input_budgets(plan, chain_index);
            for subtask in 0..chain.parallelism {
                let (signals, inbox) = (execution.signals.clone(), channels.inbox(chain_index, subtask));
                signals.subscribe(&inbox.wakeup);
                let activity = Arc::new(SubtaskActivity::new(options.clock.clone(), chain.nodes.len()));
                let incoming = channels.incoming(plan, chain_index, subtask);
                let publish = |position: usize| PublishedSubtask {
                    slot: SubtaskStatsSlot::default(),
                    activity: activity.clone(),
                    chain: shape.clone(),
                    position,
                    channels: incoming.clone().filter(|_| position == 0),
                };
                let published: Vec<PublishedSubtask> = (0..chain.nodes.len()).map(publish).collect();
                let startup = SubtaskStartup {
                    chain: chain_index,
                    span: span.clone(),
                    partitions: channels.take_partitions(plan, chain_index, subtask, &signals),
                    stats_slots: published.iter().map(|published| published.slot.clone()).collect(),
                    context: SubtaskContext {
                        plan: plan.clone(),
                        options: options.clone(),
                        subtask,
                        signals,
                        wakeup: inbox.wakeup.clone(),
                        activity,
                        logs: logs.clone(),
                    },
                };
                let input = match chain.inputs.is_empty() {
                    true => execution.source_input(&mut sources, &inbox.wakeup),
                    false => {
                        let receivers = channels.take_receivers(plan, chain_index, subtask);
                        let (mode, signals) = (plan.pipeline.checkpoint.mode, execution.signals.clone());
                        SubtaskInput::Gate(InputGate::new(receivers, inbox, mode, signals, options.clock.clone()))
                    }
                };
                for (node, published) in chain.nodes.iter().zip(published) {
                    execution.stats[node.node].subtasks.push(published);
                }
                let node = &plan.pipeline.nodes[head].id;
                execution.spawn(node, subtask, startup, input)?;
            }
        }
        Ok(execution)
    }

    fn source_input(&mut self, sources: &mut SourceStartup, wakeup: &Wakeup) -> SubtaskInput {
        let (sender, control) = crossbeam_channel::unbounded();
        self.controls.push((sender, wakeup.clone()));
        let SourceMemberships { index, alignment, rate } = sources.memberships.next().unwrap_or_default();
        let triggers = sources.triggers.clone();
        triggers.source_started(index);
        SubtaskInput::Source(SourceInput { index, control, triggers, alignment, rate })
    }

    fn spawn(&mut self, node: &str, subtask: u32, startup: SubtaskStartup, input: SubtaskInput) -> Result<()> {
        let activity = startup.context.activity.clone();
        let end = EndAnnouncement(self.end_sender.clone(), self.threads.len());
        std::thread::Builder::new()
            .name(format!("{node}/{subtask}"))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _end = end;
                // Catches and reports panics itself.
                startup.run(input);
            })
            .map_err(|cause| {
                error::internal(format!("cannot start the thread of subtask {subtask} of `{node}`: {cause}"))
            })?;
        self.heartbeats.add(activity);
        self.threads.push(SubtaskThread { node: node.to_owned(), subtask, has_ended: false });
        Ok(())
    }

    /// Injects a barrier into every source.
    pub fn inject(&self, barrier: Barrier) {
        self.send(SourceControl::Barrier(barrier));
    }

    /// Tells every source that a checkpoint is durable.
    pub fn complete(&self, checkpoint: u64) {
        self.send(SourceControl::Complete(checkpoint));
    }

    /// Tells every source that all checkpoints before `oldest_retained` have been removed.
    pub fn release(&self, oldest_retained: u64) {
        self.send(SourceControl::Released(oldest_retained));
    }

    fn send(&self, message: SourceControl) {
        for (control, wakeup) in &self.controls {
            // Fails only if the source has ended, and then it has reported why.
            let _ = control.send(message);
            wakeup.wake();
        }
    }

    /// Lets an injected barrier overtake all records that it has not passed yet.
    pub fn overtake(&self, barrier: Barrier) {
        self.signals.overtake(barrier);
    }

    /// Gives up the checkpoints up to `checkpoint`. Their barriers no longer block any channel.
    pub fn abandon(&self, checkpoint: u64) {
        self.signals.abandon(checkpoint);
    }

    /// Wakes all subtasks, because a replay was added.
    pub fn wake_all(&self) {
        self.signals.wake_all();
    }

    /// Asks all subtasks to end. [`Execution::end`] waits until they have.
    pub fn cancel(&self) {
        self.signals.cancel();
    }

    /// Waits until all subtasks have ended.
    pub fn join(&mut self) {
        while self.has_running_threads() {
            let Ok(thread) = self.ended.recv() else { return };
            self.threads[thread].has_ended = true;
        }
    }

    /// Cancels all subtasks and waits until they have ended, but not longer than half a minute. Returns the threads that have not ended.
    /// They are abandoned.
    pub fn end(&mut self) -> Vec<AbandonedThread> {
        self.end_within(END_TIME)
    }

    pub(super) fn end_within(&mut self, time: Duration) -> Vec<AbandonedThread> {
        self.cancel();
        let deadline = crossbeam_channel::after(time);
        while self.has_running_threads() {
            crossbeam_channel::select! {
                recv(self.ended) -> thread => match thread {
                    Ok(thread) => self.threads[thread].has_ended = true,
                    Err(_) => break,
                },
                recv(deadline) -> _ => break,
            }
        }
        let running = std::mem::take(&mut self.threads).into_iter().filter(|thread| !thread.has_ended);
        running.map(|SubtaskThread { node, subtask, .. }| AbandonedThread { node, subtask }).collect()
    }

    fn has_running_threads(&self) -> bool {
        self.threads.iter().any(|thread| !thread.has_ended)
    }

    /// Checks the heartbeats of the subtasks if that is due. Returns the failure of a subtask that hangs.
    pub fn check_heartbeats(&mut self, now_ns: u64) -> Option<SubtaskFailure> {
        let SubtaskThread { node, subtask, .. } = &self.threads[self.heartbeats.check(now_ns)?];
        let error = error::subtask_hung(format!(
            "subtask {subtask} of `{node}` has made no progress for {}, although it does not wait for input",
            humantime::format_duration(self.heartbeats.timeout())
        ));
        Some(SubtaskFailure::from_error(node, *subtask, error))
    }

    /// Returns the time until the next check of heartbeats, in nanoseconds.
    pub fn heartbeat_wait_ns(&self, now_ns: u64) -> u64 {
        self.heartbeats.wait_ns(now_ns)
    }

    /// Returns the number of subtasks.
    pub fn subtasks(&self) -> usize {
        self.threads.len()
    }

    /// Returns the number of source subtasks.
    pub fn sources(&self) -> usize {
        self.controls.len()
    }

    /// Returns a reader of the statistics of all subtasks.
    pub fn stats_reader(&self) -> StatsReader {
        StatsReader(self.stats.clone())
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.end();
    }
}

/// A thread that did not end in time. It goes on until whatever blocks it returns, and then ends.
pub struct AbandonedThread {
    /// Id of the node.
    pub node: String,
    /// Index of the subtask.
    pub subtask: u32,
}

impl SourceStartup {
    fn new(plan: &ExecutionPlan, options: &ExecutionOptions, channels: &UnclaimedChannels) -> SourceStartup {
        let memberships = source_memberships(plan, options, channels);
        let new_triggers = || Arc::new(CheckpointTriggers::of_job(&plan.pipeline));
        let triggers = options.triggers.clone().unwrap_or_else(new_triggers);
        SourceStartup { triggers, memberships: memberships.into_iter() }
    }
}

/// Returns the index, the alignment group and the share of the rate limit of each source subtask of an execution. All sources
/// join before any of them reads.
fn source_memberships(
    plan: &ExecutionPlan,
    options: &ExecutionOptions,
    channels: &UnclaimedChannels,
) -> Vec<SourceMemberships> {
    let mut groups = AlignmentGroups::default();
    let mut memberships = Vec::new();
    let mut next_index = 0;
    for (index, chain) in plan.graph.chains.iter().enumerate().filter(|(_, chain)| chain.inputs.is_empty()) {
        let first_index = next_index;
        next_index += chain.parallelism as usize;
        if !options.runs_chain(index) {
            continue;
        }
        let (watermark, rate) = match &plan.pipeline.nodes[chain.nodes[0].node].kind {
            NodeKind::Source(source) => (source.watermark.as_ref(), source.rate),
            NodeKind::Operator(_) | NodeKind::Sink(_) => (None, None),
        };
        let alignment = watermark.and_then(|watermark| watermark.alignment.as_ref());
        let limiter = rate.map(RateLimiter::new);
        for subtask in 0..chain.parallelism {
            let wakeup = &channels.inbox(index, subtask).wakeup;
            memberships.push(SourceMemberships {
                index: first_index + subtask as usize,
                alignment: alignment.map(|settings| groups.join(settings, wakeup)),
                rate: limiter.as_ref().map(|limiter| limiter.join(wakeup)),
            });
        }
    }
    memberships
}
