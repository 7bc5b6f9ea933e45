//! Test support of the runtime: barriers, function descriptions, and running a plan to its end.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};

use super::{
    Barrier, BarrierKind, Execution, ExecutionOptions, ExecutionPlan, NodeStats, RestoredCheckpoint, SubtaskEvent,
};
use crate::access::PipelinePaths;
use crate::clock::SystemClock;
use crate::permits::JobShare;
use crate::runtime::channel::{ChannelReceiver, ChannelSender, channel};
use crate::sandbox::{FunctionDescription, FunctionKind, PortDescription};
use crate::state::SnapshotFormat;
use crate::wakeup::Wakeup;

/// Returns a barrier that was triggered at time 0.
pub(super) fn barrier(checkpoint: u64, kind: BarrierKind) -> Barrier {
    Barrier { checkpoint, kind, format: SnapshotFormat::Canonical, triggered_ns: 0 }
}

/// Returns the barrier of an ordinary checkpoint.
pub(super) fn checkpoint_barrier(checkpoint: u64) -> Barrier {
    barrier(checkpoint, BarrierKind::Checkpoint)
}

/// Returns the description of a function without states, whose ports all have `codec`.
pub(super) fn function(name: &str, kind: FunctionKind, codec: &str) -> FunctionDescription {
    let port = PortDescription::new("port", codec);
    FunctionDescription {
        name: name.into(),
        kind,
        input: port.clone(),
        second_input: kind.has_two_inputs().then(|| port.clone()),
        timers: Vec::new(),
        outputs: vec![port],
        internal: Vec::new(),
        states: Vec::new(),
        broadcast_states: Vec::new(),
    }
}

/// Returns a channel between two threads that nothing wakes.
pub(super) fn unwatched_channel(capacity: usize) -> (ChannelSender, ChannelReceiver) {
    channel(capacity, &Wakeup::default(), &Arc::default(), &Arc::default())
}

/// Returns the options of an attempt that sends its events to the returned receiver.
pub(super) fn execution_options(
    base_dir: &Path,
    working_dir: &Path,
    restore: Option<RestoredCheckpoint>,
) -> (ExecutionOptions, Receiver<SubtaskEvent>) {
    let (sender, events) = unbounded();
    let options = ExecutionOptions {
        health: Default::default(),
        log: Default::default(),
        namespace_state: Default::default(),
        taps: Default::default(),
        job_id: "job".into(),
        paths: PipelinePaths::unrestricted(base_dir),
        working_dir: working_dir.to_owned(),
        seed: 7,
        clock: SystemClock::shared(),
        restore,
        interrupt: crate::model::Interrupt::default(),
        allow_unclaimed_state: false,
        reset_watermarks: false,
        region: None,
        triggers: None,
        share: JobShare::default(),
        injected: Arc::default(),
        listener: Arc::new(move |event| drop(sender.send(event))),
        runtime: None,
        letters: Default::default(),
        sinks: Default::default(),
        faults: None,
        span: Arc::default(),
        ingest: None,
    };
    (options, events)
}

/// Runs a plan with `sources` source subtasks until all of them have ended and the final barrier has passed. Returns the
/// statistics of the nodes.
pub(super) fn run_to_end(plan: &Arc<ExecutionPlan>, base_dir: &Path, sources: usize) -> Vec<NodeStats> {
    let working_dir = tempfile::tempdir().unwrap();
    let (options, events) = execution_options(base_dir, working_dir.path(), None);
    let mut execution = Execution::start(plan, options).unwrap();
    assert_eq!(execution.sources(), sources);
    let mut ended = 0;
    while ended < sources {
        match events.recv().unwrap() {
            SubtaskEvent::SourceEnded => ended += 1,
            SubtaskEvent::Failed(failure) | SubtaskEvent::SourceFailed(failure) => panic!("{failure:?}"),
            SubtaskEvent::Acknowledged { .. }
            | SubtaskEvent::CheckpointDue
            | SubtaskEvent::RecordsLost
            | SubtaskEvent::Warning(_)
            | SubtaskEvent::Opened => {}
        }
    }
    execution.inject(barrier(1, BarrierKind::Final));
    execution.join();
    execution.stats_reader().read()
}
