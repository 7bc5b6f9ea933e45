//! When a checkpoint is due, of which kind, and what may be in progress beside what.
//!
//! Savepoints are one at a time and do not count against `max_concurrent`. Where barriers may overtake records, all
//! checkpoints and savepoints are one at a time: a barrier that overtakes would overtake others, too.

use std::collections::VecDeque;
use std::time::Duration;

use super::view::SavepointFormat;
use crate::pipeline::{CheckpointSettings, PipelineSpec};
use crate::runtime::{Barrier, BarrierKind};
use crate::state::SnapshotFormat;

/// A checkpoint or savepoint that somebody waits for.
pub(super) struct Request {
    pub(super) request_id: String,
    pub(super) kind: BarrierKind,
    pub(super) format: SavepointFormat,
}

/// What is in progress.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InProgress {
    pub(super) checkpoints: usize,
    pub(super) savepoints: usize,
    /// Something behind which the job ends.
    pub(super) last: bool,
}

/// Decides when the next barrier is due, and of which kind.
pub(super) struct Schedule {
    settings: CheckpointSettings,
    /// What the backend writes fastest.
    native: SnapshotFormat,
    last_trigger_ns: u64,
    /// When something in progress was over last.
    last_end_ns: Option<u64>,
    /// By what the sources have read.
    due: bool,
    /// Without waiting for any time to be over.
    is_urgent: bool,
    requests: VecDeque<Request>,
    sources_running: usize,
}

impl Schedule {
    pub(super) fn new(pipeline: &PipelineSpec, sources: usize, now_ns: u64) -> Schedule {
        Schedule {
            settings: pipeline.checkpoint.clone(),
            native: SnapshotFormat::native_of(pipeline.state.backend),
            last_trigger_ns: now_ns,
            last_end_ns: None,
            due: false,
            is_urgent: false,
            requests: VecDeque::new(),
            sources_running: sources,
        }
    }

    pub(super) fn request(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// The sources have read enough for a checkpoint.
    pub(super) fn checkpoint_due(&mut self) {
        self.due = true;
    }

    /// A source has failed behind records that are in no checkpoint.
    pub(super) fn checkpoint_now(&mut self) {
        self.is_urgent = true;
    }

    pub(super) fn source_ended(&mut self) {
        self.sources_running = self.sources_running.saturating_sub(1);
    }

    /// A checkpoint or savepoint is complete, or has failed.
    pub(super) fn ended(&mut self, now_ns: u64) {
        self.last_end_ns = Some(now_ns);
    }

    /// The barrier to inject now, where one is due and may be in progress beside the others, and the requests that it
    /// answers.
    pub(super) fn next(
        &mut self,
        now_ns: u64,
        checkpoint: u64,
        in_progress: InProgress,
    ) -> Option<(Barrier, Vec<String>)> {
        let requested = self.requests.iter().position(|request| self.may_begin(request.kind, in_progress));
        let mut format = self.native;
        let (kind, requests) = if let Some(request) = requested.and_then(|place| self.requests.remove(place)) {
            if request.format == SavepointFormat::Canonical && request.kind.is_savepoint() {
                format = SnapshotFormat::Canonical;
            }
            (request.kind, vec![request.request_id])
        } else {
            let kind = if self.sources_running == 0 { BarrierKind::Final } else { BarrierKind::Checkpoint };
            if !self.may_begin(kind, in_progress) || (kind == BarrierKind::Checkpoint && !self.is_due(now_ns)) {
                return None;
            }
            (kind, Vec::new())
        };
        self.due = false;
        self.is_urgent = false;
        self.last_trigger_ns = now_ns;
        Some((Barrier { checkpoint, kind, format, triggered_ns: now_ns }, requests))
    }

    fn may_begin(&self, kind: BarrierKind, in_progress: InProgress) -> bool {
        let InProgress { checkpoints, savepoints, last } = in_progress;
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
        (self.due || self.interval_end_ns().is_some_and(|end| now_ns >= end)) && now_ns >= self.pause_end_ns()
    }

    fn interval_end_ns(&self) -> Option<u64> {
        self.settings.interval.map(|interval| self.last_trigger_ns.saturating_add(nanoseconds(interval)))
    }

    fn pause_end_ns(&self) -> u64 {
        self.last_end_ns.map_or(0, |end| end.saturating_add(nanoseconds(self.settings.min_pause)))
    }

    /// Nanoseconds until a checkpoint is due by time; none where that is now, or where it is not for time to say.
    pub(super) fn wait_ns(&self, now_ns: u64) -> Option<u64> {
        let pause = self.pause_end_ns();
        let at = if self.due { Some(pause) } else { self.interval_end_ns().map(|end| end.max(pause)) };
        at.and_then(|at| at.checked_sub(now_ns)).filter(|wait| *wait > 0)
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: InProgress = InProgress { checkpoints: 0, savepoints: 0, last: false };
    const ONE: InProgress = InProgress { checkpoints: 1, ..NONE };
    const SAVEPOINT: InProgress = InProgress { savepoints: 1, ..NONE };
    const MS: u64 = 1_000_000;

    fn schedule(settings: &str) -> Schedule {
        let manifest = format!(
            "name = \"a\"\n[checkpoint]\n{settings}\n[source.a]\nconnector = \"generator\"\n\
             [sink.b]\ninput = \"a\"\nconnector = \"blackhole\""
        );
        Schedule::new(&PipelineSpec::parse(&manifest, "pipeline.toml").unwrap(), 1, 0)
    }

    fn request(schedule: &mut Schedule, kind: BarrierKind) {
        schedule.request(Request { request_id: "r".into(), kind, format: SavepointFormat::Canonical });
    }

    fn next(schedule: &mut Schedule, now_ns: u64, in_progress: InProgress) -> Option<BarrierKind> {
        schedule.next(now_ns, 1, in_progress).map(|(barrier, _)| barrier.kind)
    }

    #[test]
    fn as_many_checkpoints_are_in_progress_as_the_manifest_allows() {
        for (settings, at_once) in [("interval = \"10ms\"", 1), ("interval = \"10ms\"\nmax_concurrent = 3", 3)] {
            let mut schedule = schedule(settings);
            assert_eq!(next(&mut schedule, 9 * MS, NONE), None);
            assert_eq!(schedule.wait_ns(9 * MS), Some(MS));
            let full = InProgress { checkpoints: at_once, ..NONE };
            assert_eq!(next(&mut schedule, 10 * MS, full), None);
            let room = InProgress { checkpoints: at_once - 1, ..NONE };
            assert_eq!(next(&mut schedule, 11 * MS, room), Some(BarrierKind::Checkpoint));
            assert_eq!(next(&mut schedule, 12 * MS, NONE), None, "the interval begins anew");
        }
    }

    #[test]
    fn a_pause_lies_between_the_end_of_one_and_the_start_of_the_next() {
        let mut schedule = schedule("interval = \"10ms\"\nmin_pause = \"50ms\"");
        assert_eq!(next(&mut schedule, 10 * MS, NONE), Some(BarrierKind::Checkpoint));
        schedule.ended(30 * MS);
        assert_eq!(schedule.wait_ns(31 * MS), Some(49 * MS));
        schedule.checkpoint_due();
        assert_eq!(next(&mut schedule, 79 * MS, NONE), None);
        request(&mut schedule, BarrierKind::Checkpoint);
        assert_eq!(next(&mut schedule, 79 * MS, NONE), Some(BarrierKind::Checkpoint), "who asks waits for no pause");
        assert_eq!(next(&mut schedule, 100 * MS, NONE), Some(BarrierKind::Checkpoint));
    }

    #[test]
    fn a_savepoint_does_not_wait_for_a_checkpoint_unless_that_may_overtake() {
        let mut aligned = schedule("interval = \"10ms\"");
        request(&mut aligned, BarrierKind::Checkpoint);
        request(&mut aligned, BarrierKind::Stop);
        assert_eq!(next(&mut aligned, 0, SAVEPOINT), Some(BarrierKind::Checkpoint));
        assert_eq!(next(&mut aligned, 0, SAVEPOINT), None, "savepoints are one at a time");
        assert_eq!(next(&mut aligned, 0, ONE), Some(BarrierKind::Stop));
        assert_eq!(next(&mut aligned, 100 * MS, InProgress { last: true, ..SAVEPOINT }), None);

        let mut unaligned = schedule("unaligned_after = \"0s\"\ninterval = \"10ms\"");
        request(&mut unaligned, BarrierKind::Savepoint);
        assert_eq!(next(&mut unaligned, 0, ONE), None);
        assert_eq!(next(&mut unaligned, 0, NONE), Some(BarrierKind::Savepoint));
        assert_eq!(next(&mut unaligned, 10 * MS, SAVEPOINT), None);
    }

    #[test]
    fn the_final_checkpoint_comes_when_everything_else_is_over() {
        let mut schedule = schedule("interval = \"10ms\"");
        schedule.source_ended();
        assert_eq!(next(&mut schedule, 10 * MS, ONE), None);
        request(&mut schedule, BarrierKind::Savepoint);
        assert_eq!(next(&mut schedule, 10 * MS, ONE), Some(BarrierKind::Savepoint));
        assert_eq!(next(&mut schedule, 10 * MS, SAVEPOINT), None);
        assert_eq!(next(&mut schedule, 10 * MS, NONE), Some(BarrierKind::Final));
    }
}
