//! The schedule of checkpoints: when one is due, of which kind, and which ones may be in progress at the same time.
//!
//! Savepoints are taken one at a time and do not count against `max_concurrent`. If barriers may overtake records, all
//! checkpoints and savepoints are taken one at a time, because a barrier could overtake another barrier.

use std::collections::VecDeque;
use std::time::Duration;

use crate::job::savepoint::CheckpointRequest;
use crate::job::view::SavepointFormat;
use crate::pipeline::{CheckpointSettings, NodeKind, PipelineSpec};
use crate::runtime::{Barrier, BarrierKind};
use crate::state::SnapshotFormat;

/// How many checkpoints are in progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct ActiveCheckpoints {
    /// Periodic and requested checkpoints.
    pub checkpoints: usize,
    /// Savepoints and stops.
    pub savepoints: usize,
    /// Whether one of them ends the job.
    pub last: bool,
    /// Whether a sink is full, so that only urgent and requested checkpoints are taken.
    pub is_sink_full: bool,
}

/// Decides when the next barrier is due, and of which kind.
pub struct CheckpointSchedule {
    settings: CheckpointSettings,
    /// The native format of the state backend.
    native: SnapshotFormat,
    last_trigger_ns: u64,
    /// When a checkpoint or savepoint last completed or failed.
    last_end_ns: Option<u64>,
    /// The sources have read enough records or event time for a checkpoint.
    is_due_by_progress: bool,
    /// A checkpoint is due at once, regardless of interval and pause.
    is_urgent: bool,
    requests: VecDeque<CheckpointRequest>,
    sources_running: usize,
}

impl CheckpointSchedule {
    /// Creates the schedule of an attempt. The first interval starts now.
    pub fn new(pipeline: &PipelineSpec, now_ns: u64) -> CheckpointSchedule {
        CheckpointSchedule {
            settings: pipeline.checkpoint.clone(),
            native: SnapshotFormat::native_of(pipeline.state.backend),
            last_trigger_ns: now_ns,
            last_end_ns: None,
            is_due_by_progress: false,
            is_urgent: false,
            requests: VecDeque::new(),
            sources_running: source_subtasks(pipeline),
        }
    }

    /// Adds a request for a checkpoint, savepoint or stop.
    pub fn request(&mut self, request: CheckpointRequest) {
        self.requests.push_back(request);
    }

    /// Makes a checkpoint due because the sources have read enough. It waits for the minimum pause.
    pub fn checkpoint_due(&mut self) {
        self.is_due_by_progress = true;
    }

    /// Makes a checkpoint due at once, because a source has failed after records that are in no checkpoint.
    pub fn checkpoint_now(&mut self) {
        self.is_urgent = true;
    }

    /// Records that a source subtask has ended. After the last one, the final checkpoint is due.
    pub fn source_ended(&mut self) {
        self.sources_running = self.sources_running.saturating_sub(1);
    }

    /// Records that source subtasks that had ended read again.
    pub fn sources_restarted(&mut self, sources: usize) {
        self.sources_running += sources;
    }

    /// Records that a checkpoint or savepoint has completed or failed. The minimum pause starts now.
    pub fn ended(&mut self, now_ns: u64) {
        self.last_end_ns = Some(now_ns);
    }

    /// Returns the barrier to inject now and the requests that it answers. Returns `None` if none is due, or if the
    /// active ones do not allow another.
    pub fn next(&mut self, now_ns: u64, checkpoint: u64, active: ActiveCheckpoints) -> Option<(Barrier, Vec<String>)> {
        let requested = self.requests.iter().position(|request| self.may_begin(request.kind, active));
        let mut format = self.native;
        let (kind, requests) = if let Some(request) = requested.and_then(|index| self.requests.remove(index)) {
            if request.format == SavepointFormat::Canonical && request.kind.is_savepoint() {
                format = SnapshotFormat::Canonical;
            }
            (request.kind, vec![request.request_id])
        } else {
            let kind = if self.sources_running == 0 { BarrierKind::Final } else { BarrierKind::Checkpoint };
            let is_held_up = active.is_sink_full && !self.is_urgent;
            let is_due = kind != BarrierKind::Checkpoint || (self.is_due(now_ns) && !is_held_up);
            if !is_due || !self.may_begin(kind, active) {
                return None;
            }
            (kind, Vec::new())
        };
        self.is_due_by_progress = false;
        self.is_urgent = false;
        self.last_trigger_ns = now_ns;
        Some((Barrier { checkpoint, kind, format, triggered_ns: now_ns }, requests))
    }

    fn may_begin(&self, kind: BarrierKind, active: ActiveCheckpoints) -> bool {
        let ActiveCheckpoints { checkpoints, savepoints, last, .. } = active;
        let is_alone = checkpoints + savepoints == 0;
        match kind {
            _ if last => false,
            BarrierKind::Final => is_alone && self.requests.is_empty(),
            _ if self.settings.unaligned_after.is_some() => is_alone,
            BarrierKind::Checkpoint => checkpoints < self.settings.max_concurrent,
            BarrierKind::Savepoint | BarrierKind::Stop | BarrierKind::Drain => savepoints == 0,
        }
    }

    fn is_due(&self, now_ns: u64) -> bool {
        if self.is_urgent {
            return true;
        }
        (self.is_due_by_progress || self.interval_end_ns().is_some_and(|end| now_ns >= end))
            && now_ns >= self.pause_end_ns()
    }

    fn interval_end_ns(&self) -> Option<u64> {
        self.settings.interval.map(|interval| self.last_trigger_ns.saturating_add(nanoseconds(interval)))
    }

    fn pause_end_ns(&self) -> u64 {
        self.last_end_ns.map_or(0, |end| end.saturating_add(nanoseconds(self.settings.min_pause)))
    }

    /// Returns the nanoseconds until a checkpoint is due by time. Returns `None` if one is due now, or if none is due
    /// by time.
    pub fn wait_ns(&self, now_ns: u64) -> Option<u64> {
        let pause = self.pause_end_ns();
        let at = if self.is_due_by_progress { Some(pause) } else { self.interval_end_ns().map(|end| end.max(pause)) };
        at.and_then(|at| at.checked_sub(now_ns)).filter(|wait| *wait > 0)
    }
}

fn source_subtasks(pipeline: &PipelineSpec) -> usize {
    let sources = pipeline.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Source(_)));
    sources.map(|source| source.parallelism as usize).sum()
}

/// Returns a duration in nanoseconds, at most `u64::MAX`.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ActiveCheckpoints =
        ActiveCheckpoints { checkpoints: 0, savepoints: 0, last: false, is_sink_full: false };
    const ONE: ActiveCheckpoints = ActiveCheckpoints { checkpoints: 1, ..NONE };
    const SAVEPOINT: ActiveCheckpoints = ActiveCheckpoints { savepoints: 1, ..NONE };
    const MS: u64 = 1_000_000;

    fn schedule(settings: &str) -> CheckpointSchedule {
        let pipeline_text = format!(
            "name = \"a\"\n[checkpoint]\n{settings}\n[source.a]\nconnector = \"generator\"\n\
             [sink.b]\ninput = \"a\"\nconnector = \"blackhole\""
        );
        CheckpointSchedule::new(&PipelineSpec::parse(&pipeline_text, "pipeline.toml").unwrap(), 0)
    }

    fn request(schedule: &mut CheckpointSchedule, kind: BarrierKind) {
        schedule.request(CheckpointRequest { request_id: "r".into(), kind, format: SavepointFormat::Canonical });
    }

    fn next(schedule: &mut CheckpointSchedule, now_ns: u64, active: ActiveCheckpoints) -> Option<BarrierKind> {
        schedule.next(now_ns, 1, active).map(|(barrier, _)| barrier.kind)
    }

    #[test]
    fn max_concurrent_limits_the_checkpoints_in_progress() {
        for (settings, at_once) in [("interval = \"10ms\"", 1), ("interval = \"10ms\"\nmax_concurrent = 3", 3)] {
            let mut schedule = schedule(settings);
            assert_eq!(next(&mut schedule, 9 * MS, NONE), None);
            assert_eq!(schedule.wait_ns(9 * MS), Some(MS));
            let full = ActiveCheckpoints { checkpoints: at_once, ..NONE };
            assert_eq!(next(&mut schedule, 10 * MS, full), None);
            let room = ActiveCheckpoints { checkpoints: at_once - 1, ..NONE };
            assert_eq!(next(&mut schedule, 11 * MS, room), Some(BarrierKind::Checkpoint));
            assert_eq!(next(&mut schedule, 12 * MS, NONE), None, "the interval starts again");
        }
    }

    #[test]
    fn a_checkpoint_waits_for_the_minimum_pause_after_the_previous_one() {
        let mut schedule = schedule("interval = \"10ms\"\nmin_pause = \"50ms\"");
        assert_eq!(next(&mut schedule, 10 * MS, NONE), Some(BarrierKind::Checkpoint));
        schedule.ended(30 * MS);
        assert_eq!(schedule.wait_ns(31 * MS), Some(49 * MS));
        schedule.checkpoint_due();
        assert_eq!(next(&mut schedule, 79 * MS, NONE), None);
        request(&mut schedule, BarrierKind::Checkpoint);
        assert_eq!(
            next(&mut schedule, 79 * MS, NONE),
            Some(BarrierKind::Checkpoint),
            "a request does not wait for the pause"
        );
        assert_eq!(next(&mut schedule, 100 * MS, NONE), Some(BarrierKind::Checkpoint));
    }

    #[test]
    fn a_savepoint_waits_for_a_checkpoint_only_if_barriers_may_overtake() {
        let mut aligned = schedule("interval = \"10ms\"");
        request(&mut aligned, BarrierKind::Checkpoint);
        request(&mut aligned, BarrierKind::Stop);
        assert_eq!(next(&mut aligned, 0, SAVEPOINT), Some(BarrierKind::Checkpoint));
        assert_eq!(next(&mut aligned, 0, SAVEPOINT), None, "savepoints are taken one at a time");
        assert_eq!(next(&mut aligned, 0, ONE), Some(BarrierKind::Stop));
        assert_eq!(next(&mut aligned, 100 * MS, ActiveCheckpoints { last: true, ..SAVEPOINT }), None);

        let mut unaligned = schedule("unaligned_after = \"0s\"\ninterval = \"10ms\"");
        request(&mut unaligned, BarrierKind::Savepoint);
        assert_eq!(next(&mut unaligned, 0, ONE), None);
        assert_eq!(next(&mut unaligned, 0, NONE), Some(BarrierKind::Savepoint));
        assert_eq!(next(&mut unaligned, 10 * MS, SAVEPOINT), None);
    }

    #[test]
    fn only_requested_and_urgent_checkpoints_are_taken_while_a_sink_is_full() {
        let full = ActiveCheckpoints { is_sink_full: true, ..NONE };
        let mut schedule = schedule("interval = \"10ms\"");
        assert_eq!(next(&mut schedule, 100 * MS, full), None);
        request(&mut schedule, BarrierKind::Savepoint);
        assert_eq!(next(&mut schedule, 100 * MS, full), Some(BarrierKind::Savepoint));
        schedule.checkpoint_now();
        assert_eq!(next(&mut schedule, 101 * MS, full), Some(BarrierKind::Checkpoint));
        assert_eq!(next(&mut schedule, 200 * MS, full), None);
        assert_eq!(next(&mut schedule, 200 * MS, NONE), Some(BarrierKind::Checkpoint));
        schedule.source_ended();
        assert_eq!(next(&mut schedule, 200 * MS, full), Some(BarrierKind::Final));
    }

    #[test]
    fn the_final_checkpoint_waits_for_all_other_checkpoints_and_requests() {
        let mut schedule = schedule("interval = \"10ms\"");
        schedule.source_ended();
        assert_eq!(next(&mut schedule, 10 * MS, ONE), None);
        request(&mut schedule, BarrierKind::Savepoint);
        assert_eq!(next(&mut schedule, 10 * MS, ONE), Some(BarrierKind::Savepoint));
        assert_eq!(next(&mut schedule, 10 * MS, SAVEPOINT), None);
        assert_eq!(next(&mut schedule, 10 * MS, NONE), Some(BarrierKind::Final));
    }
}
