//! One job as the rest of the host sees it: its record, what it shows while it runs, and the way to command it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use super::lifecycle::Message;
use super::losses::{self, LossLog};
use super::reading::Readers;
use super::record::{self, JobRecord};
use super::schedule::Request;
use super::stopping;
use super::view::{
    CheckpointDetail, CheckpointSummary, JobDetail, JobFailure, JobStatus, JobSummary, OperatorDetail, SavepointView,
    SubtaskWatermark,
};
use crate::error::Result;
use crate::model::NO_TIMESTAMP;
use crate::pipeline::{NodeKind, PipelineSpec};
use crate::runtime::{NodeStats, SubtaskEventTime};

/// Checkpoints that are shown of a job, the newest.
const CHECKPOINTS_SHOWN: usize = 64;

/// What a person may ask of a running job.
pub(super) enum Command {
    Cancel,
    /// A checkpoint or savepoint.
    Take(Request),
    /// The job's record has a stop.
    Stop,
    /// The process ends; the job goes on when it starts again.
    Shutdown,
}

/// See the module. Shared between the job's thread and everybody who looks at the job.
pub(super) struct Job {
    pub(super) dir: PathBuf,
    pub(super) readers: Arc<Readers>,
    state: Mutex<State>,
    changed: Condvar,
    /// To the job's thread, while there is one.
    sender: Mutex<Option<Sender<Message>>>,
    /// Whether a command that ends the job has been sent: for work of its thread that looks at no messages.
    to_end: AtomicBool,
    /// Held by whoever removes what it has stored.
    pub(super) removal: Mutex<()>,
}

struct State {
    record: JobRecord,
    checkpoints: Vec<CheckpointDetail>,
    savepoints: BTreeMap<String, SavepointView>,
}

impl Job {
    pub(super) fn new(dir: PathBuf, record: JobRecord) -> Job {
        let state = State { record, checkpoints: Vec::new(), savepoints: BTreeMap::new() };
        let (sender, removal, to_end) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Job { dir, readers: Arc::default(), state: Mutex::new(state), changed: Condvar::new(), sender, to_end, removal }
    }

    pub(super) fn record(&self) -> JobRecord {
        self.state.lock().record.clone()
    }

    pub(super) fn status(&self) -> JobStatus {
        self.state.lock().record.status
    }

    /// Stores a change of the record, and then shows it. On error nothing has changed. Waiters look again.
    pub(super) fn update(&self, change: impl FnOnce(&mut JobRecord)) -> Result<()> {
        self.update_then(change, || ())
    }

    /// As [`Job::update`]. Calls `stored` when the change is stored and not yet shown.
    pub(super) fn update_then(&self, change: impl FnOnce(&mut JobRecord), stored: impl FnOnce()) -> Result<()> {
        let mut state = self.state.lock();
        let mut record = state.record.clone();
        change(&mut record);
        record::write_json(&self.dir.join("job.json"), &record)?;
        stored();
        state.record = record;
        self.changed.notify_all();
        Ok(())
    }

    /// Stores a change of the record, or only shows it where it cannot be stored: for what the next start of the process
    /// finds out by itself.
    pub(super) fn update_or_show(&self, change: impl Fn(&mut JobRecord)) {
        if let Err(error) = self.update(&change) {
            tracing::warn!(job = %self.record().name, "not stored: {error}");
            self.show(change);
        }
    }

    /// Changes what is shown, without keeping it on disk.
    pub(super) fn show(&self, change: impl FnOnce(&mut JobRecord)) {
        change(&mut self.state.lock().record);
    }

    /// Adds a warning to what is shown, once.
    pub(super) fn warn(&self, warning: String) {
        self.show(|record| {
            if !record.warnings.contains(&warning) {
                record.warnings.push(warning);
            }
        });
    }

    pub(super) fn attach(&self, sender: Sender<Message>) {
        self.to_end.store(false, Ordering::Relaxed);
        *self.sender.lock() = Some(sender);
    }

    /// Whether it has not ended, and nothing runs it: the process that did is gone.
    pub(super) fn is_left(&self) -> bool {
        self.sender.lock().is_none() && !self.status().is_final()
    }

    pub(super) fn detach(&self) {
        *self.sender.lock() = None;
    }

    /// Hands a command to the job's thread; false where there is none.
    pub(super) fn command(&self, command: Command) -> bool {
        if matches!(command, Command::Cancel | Command::Shutdown) {
            self.to_end.store(true, Ordering::Relaxed);
        }
        self.sender.lock().as_ref().is_some_and(|sender| sender.send(Message::Command(command)).is_ok())
    }

    /// Whether the job was told to end, by a cancel or with its process.
    pub(super) fn is_to_end(&self) -> bool {
        self.to_end.load(Ordering::Relaxed)
    }

    pub(super) fn show_checkpoint(&self, checkpoint: CheckpointDetail) {
        let shown = &mut self.state.lock().checkpoints;
        let id = checkpoint.summary.id;
        shown.retain(|other| other.summary.id != id);
        let place = shown.partition_point(|other| other.summary.id < id);
        shown.insert(place, checkpoint);
        if shown.len() > CHECKPOINTS_SHOWN {
            shown.remove(0);
        }
    }

    pub(super) fn checkpoints(&self) -> Vec<CheckpointSummary> {
        self.state.lock().checkpoints.iter().rev().map(|checkpoint| checkpoint.summary.clone()).collect()
    }

    pub(super) fn checkpoint(&self, id: u64) -> Option<CheckpointDetail> {
        self.state.lock().checkpoints.iter().find(|checkpoint| checkpoint.summary.id == id).cloned()
    }

    pub(super) fn show_savepoint(&self, view: SavepointView) {
        self.state.lock().savepoints.insert(view.request_id.clone(), view);
        self.changed.notify_all();
    }

    pub(super) fn savepoint(&self, request_id: &str) -> Option<SavepointView> {
        let state = self.state.lock();
        state.savepoints.get(request_id).cloned().or_else(|| stopping::view(&state.record, request_id))
    }

    /// Forgets a request that was refused.
    pub(super) fn forget_savepoint(&self, request_id: &str) {
        self.state.lock().savepoints.remove(request_id);
    }

    /// Those of the requests that were never answered fail now.
    pub(super) fn fail_savepoints(&self, request_ids: &[String], why: &str) {
        let mut state = self.state.lock();
        for id in request_ids {
            state.savepoints.get_mut(id).into_iter().for_each(|view| fail_open(view, why));
        }
    }

    /// All requests that were never answered fail now.
    pub(super) fn fail_open_savepoints(&self, why: &str) {
        self.state.lock().savepoints.values_mut().for_each(|view| fail_open(view, why));
    }

    /// Takes over what the subtasks show.
    pub(super) fn show_stats(&self, pipeline: &PipelineSpec, stats: &[NodeStats]) {
        let record = &mut self.state.lock().record;
        record.operators = pipeline.nodes.iter().zip(stats).map(|(node, stats)| operator_detail(node, stats)).collect();
        record.state_bytes = stats.iter().map(|node| node.state.bytes).sum();
        record.state_entries = stats.iter().map(|node| node.state.entries).sum();
    }

    /// Has the losses written to the log that are new.
    pub(super) fn log_losses(&self, log: &mut LossLog, has_ended: bool) {
        let record = &self.state.lock().record;
        log.write(&record.name, &record.operators, has_ended);
    }

    pub(super) fn summary(&self) -> JobSummary {
        summary(&self.state.lock().record)
    }

    pub(super) fn detail(&self) -> JobDetail {
        let record = &self.state.lock().record;
        JobDetail {
            summary: summary(record),
            failure: record.failure.clone(),
            guarantee: record.guarantee.clone(),
            warnings: record.warnings.iter().cloned().chain(losses::warnings(&record.operators)).collect(),
            operators: record.operators.clone(),
            state_bytes: record.state_bytes,
            state_entries: record.state_entries,
            manifest: record.manifest.clone(),
        }
    }

    /// Waits for a final status, or until the time is over.
    pub(super) fn await_end(&self, timeout: Duration) {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| !state.record.status.is_final(), timeout);
    }
}

fn fail_open(view: &mut SavepointView, why: &str) {
    if view.status == "in-progress" {
        view.status = "failed".into();
        view.failure = Some(why.to_owned());
    }
}

fn summary(record: &JobRecord) -> JobSummary {
    let sources = record.operators.iter().filter(|operator| operator.kind == "source");
    let sum = |count: fn(&OperatorDetail) -> u64| record.operators.iter().map(count).sum();
    JobSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        status: record.status,
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

fn operator_detail(node: &crate::pipeline::PipelineNode, stats: &NodeStats) -> OperatorDetail {
    let kind = match node.kind {
        NodeKind::Source(_) => "source",
        NodeKind::Operator(_) => "operator",
        NodeKind::Sink(_) => "sink",
    };
    OperatorDetail {
        id: node.id.clone(),
        kind: kind.into(),
        parallelism: node.parallelism,
        records_in: stats.counters.records_in,
        records_out: stats.counters.records_out,
        faults: stats.counters.faults,
        records_skipped: stats.counters.records_skipped,
        records_dead_lettered: stats.counters.records_dead_lettered,
        records_late: stats.counters.records_late,
        // JSON has no other numbers: one in the record could not be read again.
        metrics: stats.metrics.iter().filter(|(_, value)| value.is_finite()).map(|(k, v)| (k.clone(), *v)).collect(),
        watermarks: stats.event_times.iter().map(watermark).collect(),
    }
}

fn watermark(event_time: &SubtaskEventTime) -> SubtaskWatermark {
    let watermark_ms = Some(event_time.watermark).filter(|watermark| *watermark != NO_TIMESTAMP);
    SubtaskWatermark { watermark_ms, idle: event_time.idle }
}

/// The failure that a record shows for an error of the host.
pub(super) fn failure_of(error: &crate::error::Error) -> JobFailure {
    JobFailure { code: error.code.into(), message: error.message.clone(), operator: None, fault: None, record: None }
}
