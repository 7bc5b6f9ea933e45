//! The handle of one job. The job's thread and all other callers share it.
//!
//! Owns the job's record, the recent checkpoints, the answers to savepoint requests, and the channel to the job's
//! thread. Invariant: a change of the record is stored before it is shown, except through [`JobHandle::show`]. This
//! module must not depend on the code that runs the job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use super::checkpoint::CheckpointHistory;
use super::events::{self, EventLog, RecordMarks};
use super::lost_records::{self, LossLog};
use super::message::{JobMessage, RunningJobCommand};
use super::metrics_view;
use super::savepoint::SavepointAnswers;
use super::store::{CheckpointReaders, JobRecord, write_json};
use super::telemetry::{
    self, CheckpointTotals, JobTimes, MonitoredJob, RateWindow, SeriesRecorder, SeriesRequest, SinkCommits,
};
use super::view::{
    CheckpointDetail, CheckpointSummary, JobDetail, JobGraph, JobMetrics, JobSeries, JobStatus, JobSummary,
    SavepointView,
};
use crate::clock::{Clock, SharedClock};
use crate::connector::{HealthBoard, LetterStore};
use crate::error::{self, Result};
use crate::fault_groups::FaultRecorder;
use crate::job_log::JobLog;
use crate::namespace_usage::{Charge, NamespaceUsage};
use crate::runtime::{AbandonedThread, ExecutionPlan, JobTaps, JobTotals, NodeMeters, StatsReader};

/// One job, running or ended.
pub struct JobHandle {
    /// The job's folder in the data folder.
    pub dir: PathBuf,
    /// Readers of the job's checkpoints.
    pub readers: Arc<CheckpointReaders>,
    /// The health of its sources and sinks.
    pub health: HealthBoard,
    /// The levels and the newest lines of its functions.
    pub log: Arc<JobLog>,
    /// The faults of its functions.
    pub faults: Arc<FaultRecorder>,
    /// Those who look at its records.
    pub taps: Arc<JobTaps>,
    /// Bytes of the dead letters that the host keeps for it, charged to its namespace.
    pub letter_bytes: Arc<Charge>,
    /// Counts the publications of its sinks.
    pub commits: SinkCommits,
    shown: Mutex<ShownJob>,
    /// The history of the job.
    pub events: EventLog,
    /// Notified when the record or an answer changes.
    changed: Condvar,
    /// The channel to the job's thread. `None` while no thread runs the job.
    sender: Mutex<Option<Sender<JobMessage>>>,
    /// Set by a cancel or a shutdown. Long computations of the job's thread poll it, since they read no messages.
    end_requested: AtomicBool,
    /// Held while the job's stored data is removed.
    pub removal: Mutex<()>,
}

/// The state of the job that callers can read.
struct ShownJob {
    record: JobRecord,
    checkpoints: CheckpointHistory,
    answers: SavepointAnswers,
    /// The statistics of the running attempt. They are read when the job is shown or stored.
    live_stats: Option<LiveStats>,
    /// Counts since the process began.
    totals: JobTotals,
    window: RateWindow,
    series: SeriesRecorder,
    checkpoint_totals: CheckpointTotals,
    times: JobTimes,
    health: HealthBoard,
}

/// The statistics of a running attempt.
struct LiveStats {
    plan: Arc<ExecutionPlan>,
    stats: StatsReader,
    /// Number of the attempt that each node runs in.
    attempts: Vec<u32>,
}

impl ShownJob {
    /// Takes over the statistics of the running attempt, and the health of its sources and sinks.
    fn refresh(&mut self) {
        if let Some(LiveStats { plan, stats, attempts }) = &self.live_stats {
            metrics_view::record_node_stats(&mut self.record, &plan.pipeline, &stats.read(), attempts);
        }
        metrics_view::record_health(&mut self.record, &self.health);
    }

    /// Returns the metrics of the job, and the meters of its nodes.
    fn read_metrics(&mut self, clock: &dyn Clock, with_subtasks: bool) -> (JobMetrics, BTreeMap<String, NodeMeters>) {
        self.refresh();
        let (now, nodes) = ((clock.monotonic_ns(), clock.wall_ms()), self.totals.read());
        let metrics = telemetry::job_metrics(&self.record, &nodes, &mut self.window, now, with_subtasks);
        (metrics, telemetry::node_meters(&nodes))
    }
}

impl JobHandle {
    /// Creates the handle of a job that no thread runs yet, in a namespace with this usage.
    pub fn new(dir: PathBuf, record: JobRecord, clock: SharedClock, usage: &NamespaceUsage) -> JobHandle {
        let (checkpoints, answers) = (CheckpointHistory::default(), SavepointAnswers::default());
        let health = HealthBoard::default();
        let times = JobTimes::new(record.status, clock.clone());
        let shown = ShownJob {
            record,
            checkpoints,
            answers,
            live_stats: None,
            totals: JobTotals::default(),
            window: RateWindow::default(),
            series: SeriesRecorder::default(),
            checkpoint_totals: CheckpointTotals::default(),
            times,
            health: health.clone(),
        };
        let job = JobHandle {
            events: EventLog::new(&dir, clock.clone()),
            faults: Arc::new(FaultRecorder::new(dir.join("faults"), clock)),
            dir,
            health,
            readers: Arc::default(),
            log: Arc::new(JobLog::of_namespace(usage.log.clone())),
            letter_bytes: Arc::new(Charge::to(&usage.letters)),
            taps: Arc::default(),
            commits: SinkCommits::default(),
            shown: Mutex::new(shown),
            changed: Condvar::new(),
            sender: Mutex::default(),
            end_requested: AtomicBool::new(false),
            removal: Mutex::default(),
        };
        job.recount_letters();
        job
    }

    /// Charges the dead letters that the job has to its namespace. Used where no attempt runs; a failure is logged.
    pub fn recount_letters(&self) {
        if let Err(error) = self.charge_letters() {
            tracing::warn!(job = %self.record().name, "the dead letters of a job are not counted: {error}");
        }
    }

    /// Charges the dead letters that the job has to its namespace. Error: `data-dir-failed`.
    pub fn charge_letters(&self) -> Result<()> {
        self.letter_bytes.set(self.letters().parts()?.iter().map(|part| part.bytes).sum());
        Ok(())
    }

    /// Returns a copy of the record.
    pub fn record(&self) -> JobRecord {
        self.shown.lock().record.clone()
    }

    /// Reads the record without copying it.
    pub fn with_record<T>(&self, read: impl FnOnce(&JobRecord) -> T) -> T {
        read(&self.shown.lock().record)
    }

    /// Returns the dead letters that the host keeps for the job.
    pub fn letters(&self) -> LetterStore {
        LetterStore::new(self.dir.join("letters"))
    }

    /// Returns the current status.
    pub fn status(&self) -> JobStatus {
        self.shown.lock().record.status
    }

    /// Stores a change of the record, then shows it and wakes waiters. On error nothing has changed.
    pub fn update(&self, change: impl FnOnce(&mut JobRecord)) -> Result<()> {
        self.update_then(change, || ())
    }

    /// Does the same as [`JobHandle::update`], and calls `stored` after the change is stored and before it is shown.
    pub fn update_then(&self, change: impl FnOnce(&mut JobRecord), stored: impl FnOnce()) -> Result<()> {
        let mut shown = self.shown.lock();
        shown.refresh();
        let marks = RecordMarks::of(&shown.record);
        let mut record = shown.record.clone();
        change(&mut record);
        write_json(&self.dir.join("job.json"), &record)?;
        stored();
        self.events.append(marks.changes_to(&record));
        shown.times.note(&record);
        shown.record = record;
        self.changed.notify_all();
        Ok(())
    }

    /// Stores a change of the record. If that fails, it is only shown. Use this for changes that a restarted process can
    /// derive again.
    pub fn update_or_show(&self, change: impl Fn(&mut JobRecord)) {
        if let Err(error) = self.update(&change) {
            tracing::warn!(job = %self.record().name, "cannot store a change of the job's record: {error}");
            self.show(change);
        }
    }

    /// Changes the record in memory only.
    pub fn show(&self, change: impl FnOnce(&mut JobRecord)) {
        let mut shown = self.shown.lock();
        let marks = RecordMarks::of(&shown.record);
        let ShownJob { record, times, .. } = &mut *shown;
        change(record);
        times.note(record);
        self.events.append(marks.changes_to(record));
    }

    /// Adds a warning to the shown job, unless it has the same warning already.
    pub fn warn(&self, warning: String) {
        self.show(|record| {
            if !record.warnings.contains(&warning) {
                record.warnings.push(warning);
            }
        });
    }

    /// Counts threads of subtasks that did not end, and warns of them.
    pub fn note_abandoned_threads(&self, abandoned: &[AbandonedThread]) {
        let Some(AbandonedThread { node, subtask }) = abandoned.first() else { return };
        let count = abandoned.len() as u64;
        self.show(|record| record.abandoned_threads += count);
        let warning = format!(
            "{count} threads did not end with their attempt and were abandoned, the first one that of subtask {subtask} of `{node}`"
        );
        tracing::warn!(job = %self.record().name, "{warning}");
        self.warn(warning);
    }

    /// Connects the handle to a thread that is about to run the job.
    pub fn attach(&self, sender: Sender<JobMessage>) {
        self.end_requested.store(false, Ordering::Relaxed);
        *self.sender.lock() = Some(sender);
    }

    /// Disconnects the handle from the job's thread.
    pub fn detach(&self) {
        *self.sender.lock() = None;
    }

    /// Returns whether the job has not ended and no thread runs it, because the process that ran it was killed.
    pub fn is_orphaned(&self) -> bool {
        self.sender.lock().is_none() && !self.status().is_final()
    }

    /// Sends a command to the job's thread. Returns `false` if no thread runs the job.
    pub fn command(&self, command: RunningJobCommand) -> bool {
        if matches!(command, RunningJobCommand::Cancel | RunningJobCommand::Shutdown) {
            self.end_requested.store(true, Ordering::Relaxed);
        }
        self.sender.lock().as_ref().is_some_and(|sender| sender.send(JobMessage::Command(command)).is_ok())
    }

    /// Sends a command to the job's thread. Error: `job-state` if the job has ended.
    pub fn command_running(&self, command: RunningJobCommand) -> Result<()> {
        let record = self.record();
        if record.status.is_final() {
            return Err(error::job_state(format!("job `{}` has ended: {:?}", record.name, record.status)));
        }
        match self.command(command) {
            true => Ok(()),
            false => Err(error::job_state(format!("job `{}` is not running: its server shuts down", record.name))),
        }
    }

    /// Returns whether a cancel or a shutdown was requested.
    pub fn is_end_requested(&self) -> bool {
        self.end_requested.load(Ordering::Relaxed)
    }

    /// Shows a checkpoint, in place of an earlier version of it.
    pub fn show_checkpoint(&self, checkpoint: CheckpointDetail) {
        let event = events::checkpoint_event(&checkpoint.summary);
        let mut shown = self.shown.lock();
        let summary = checkpoint.summary.clone();
        let is_known = shown.checkpoints.put(checkpoint);
        if event.is_some() && !is_known {
            shown.checkpoint_totals.count(&summary);
        }
        self.events.append(event.filter(|_| !is_known).into_iter().collect());
    }

    /// Returns the recent checkpoints, newest first.
    pub fn checkpoints(&self) -> Vec<CheckpointSummary> {
        self.shown.lock().checkpoints.newest_first()
    }

    /// Returns one of the recent checkpoints.
    pub fn checkpoint(&self, id: u64) -> Option<CheckpointDetail> {
        self.shown.lock().checkpoints.get(id).cloned()
    }

    /// Shows a savepoint request as accepted or answered, and wakes waiters.
    pub fn show_savepoint(&self, view: SavepointView) {
        self.shown.lock().answers.put(view);
        self.changed.notify_all();
    }

    /// Returns the state of a savepoint request. A stop is also found in the record, so that it outlives the process.
    pub fn savepoint(&self, request_id: &str) -> Option<SavepointView> {
        let shown = self.shown.lock();
        shown.answers.get(request_id).cloned().or_else(|| shown.record.stop_view(request_id))
    }

    /// Forgets a request that was refused.
    pub fn forget_savepoint(&self, request_id: &str) {
        self.shown.lock().answers.forget(request_id);
    }

    /// Answers the given requests as failed, unless they have an answer.
    pub fn fail_savepoints(&self, request_ids: &[String], why: &str) {
        self.shown.lock().answers.fail_unanswered(request_ids, why);
    }

    /// Answers all requests as failed that have no answer.
    pub fn fail_open_savepoints(&self, why: &str) {
        self.shown.lock().answers.fail_all_unanswered(why);
    }

    /// Begins another attempt of the job or of a region. Returns its number.
    pub fn begin_attempt(&self) -> u32 {
        let mut attempts = 0;
        self.show(|record| {
            record.attempts += 1;
            attempts = record.attempts;
        });
        attempts
    }

    /// Shows the metrics of the job's nodes as its subtasks publish them, and the number of the attempt that each runs in.
    pub fn show_live_stats(&self, plan: Arc<ExecutionPlan>, stats: StatsReader, attempts: Vec<u32>) {
        let mut shown = self.shown.lock();
        shown.totals.attach(&stats);
        let graph = telemetry::job_graph(&plan, &shown.record.components);
        shown.record.graph = Some(graph);
        shown.live_stats = Some(LiveStats { plan, stats, attempts });
    }

    /// Keeps the metrics that the subtasks have published last, because the attempt has ended.
    pub fn end_live_stats(&self) {
        let mut shown = self.shown.lock();
        shown.refresh();
        shown.totals.end_attempt();
        shown.live_stats = None;
    }

    /// Logs losses of records that `log` has not logged yet.
    pub fn log_losses(&self, log: &mut LossLog, has_ended: bool) {
        let mut shown = self.shown.lock();
        shown.refresh();
        let record = &shown.record;
        log.write(&record.name, &record.operators, has_ended);
    }

    /// Returns the job's line in the list of jobs.
    pub fn summary(&self) -> JobSummary {
        let mut shown = self.shown.lock();
        shown.refresh();
        metrics_view::job_summary(&shown.record)
    }

    /// Returns the nodes and edges of the job. `None` if they are not known until the job runs.
    pub fn graph(&self) -> Option<JobGraph> {
        self.shown.lock().record.graph.clone()
    }

    /// Returns the metrics of the job, with those of each subtask if `with_subtasks`.
    pub fn metrics(&self, clock: &dyn Clock, with_subtasks: bool) -> JobMetrics {
        self.shown.lock().read_metrics(clock, with_subtasks).0
    }

    /// Adds a sample to the series of the job if it has not ended. Returns the memory that the series take, which is at most `bytes_max`.
    pub fn sample_series(&self, clock: &dyn Clock, bytes_max: usize) -> usize {
        let mut shown = self.shown.lock();
        let ShownJob { record, totals, series, .. } = &mut *shown;
        match record.status.is_final() {
            false => series.add(&totals.read(), (clock.monotonic_ns(), clock.wall_ms()), bytes_max),
            true if series.bytes() > bytes_max => *series = SeriesRecorder::default(),
            true => {}
        }
        series.bytes()
    }

    /// Returns the series of the job.
    pub fn series(&self, request: &SeriesRequest) -> JobSeries {
        self.shown.lock().series.view(request)
    }

    /// Returns what decides whether the series of the job are kept: whether it has ended, and when. `None` if it has ended without series.
    pub fn series_rank(&self) -> Option<(bool, i64)> {
        let shown = self.shown.lock();
        let record = &shown.record;
        let has_series = !record.status.is_final() || !shown.series.is_empty();
        has_series.then(|| (record.status.is_final(), -record.ended_at_ms.unwrap_or(i64::MAX)))
    }

    /// Returns the name, the status and the time of the submission, in milliseconds since the Unix epoch.
    pub fn identity(&self) -> (String, JobStatus, i64) {
        let JobRecord { name, status, submitted_at_ms, .. } = &self.shown.lock().record;
        (name.clone(), *status, *submitted_at_ms)
    }

    /// Returns what the job shows to a monitoring system.
    pub fn monitored(&self, clock: &dyn Clock) -> MonitoredJob {
        let mut shown = self.shown.lock();
        let (metrics, meters) = match shown.record.status.is_final() {
            true => (None, BTreeMap::new()),
            false => {
                let (metrics, meters) = shown.read_metrics(clock, true);
                (Some(metrics), meters)
            }
        };
        MonitoredJob {
            name: shown.record.name.clone(),
            status: shown.record.status,
            restarts: shown.record.restarts,
            attempts: shown.record.attempts,
            metrics,
            meters,
            checkpoints: shown.checkpoint_totals.clone(),
            checkpoints_in_progress: shown.checkpoints.in_progress(),
            times: shown.times.shown(),
            commits: self.commits.totals(),
        }
    }

    /// Returns everything that the API shows of the job.
    pub fn detail(&self) -> JobDetail {
        let mut shown = self.shown.lock();
        shown.refresh();
        let record = &shown.record;
        let loss_warnings = lost_records::warnings(&record.operators);
        JobDetail {
            summary: metrics_view::job_summary(record),
            failure: record.failure.clone(),
            failures: record.failures.iter().cloned().collect(),
            abandoned_threads: record.abandoned_threads,
            guarantee: record.guarantee.clone(),
            warnings: record.warnings.iter().cloned().chain(loss_warnings).collect(),
            operators: metrics_view::with_levels(&self.log, &record.operators),
            state_bytes: record.state_bytes,
            state_entries: record.state_entries,
            pipeline_text: record.pipeline_text.clone(),
        }
    }

    /// Waits until the job has a final status, or until `timeout` has elapsed.
    pub fn await_end(&self, timeout: Duration) {
        let mut shown = self.shown.lock();
        self.changed.wait_while_for(&mut shown, |shown| !shown.record.status.is_final(), timeout);
    }
}
