//! Checkpoints that are due by what the sources have read: a number of records, or a step of event time.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::model::NO_TIMESTAMP;
use crate::pipeline::{CheckpointSettings, NodeKind, PipelineSpec};

/// The triggers of a job, shared by all its source subtasks.
pub struct CheckpointTriggers {
    /// A checkpoint is due each time that this many records have been read. 0 turns the trigger off.
    every_records: u64,
    records: AtomicU64,
    /// A checkpoint is due each time that event time passes a multiple of this, in milliseconds. 0 turns the trigger off.
    step_ms: i64,
    event_time: Mutex<EventTimeSteps>,
}

struct EventTimeSteps {
    /// Watermark of each source subtask.
    watermarks: Vec<i64>,
    /// The last step that the smallest watermark has passed.
    passed: Option<i64>,
}

impl CheckpointTriggers {
    /// Creates the triggers of a job.
    pub fn of_job(pipeline: &PipelineSpec) -> CheckpointTriggers {
        let sources = pipeline.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Source(_)));
        let subtasks = sources.map(|source| source.parallelism as usize).sum();
        CheckpointTriggers::new(&pipeline.checkpoint, subtasks)
    }

    /// Forgets the watermark of a source subtask, because it starts.
    pub(crate) fn source_started(&self, source: usize) {
        if let Some(own) = self.event_time.lock().watermarks.get_mut(source) {
            *own = NO_TIMESTAMP;
        }
    }

    /// Creates the triggers for `sources` source subtasks.
    pub(crate) fn new(settings: &CheckpointSettings, sources: usize) -> CheckpointTriggers {
        let step_ms = settings.event_time.map_or(0, |step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX));
        CheckpointTriggers {
            every_records: settings.records.unwrap_or(0),
            records: AtomicU64::new(0),
            step_ms,
            event_time: Mutex::new(EventTimeSteps { watermarks: vec![NO_TIMESTAMP; sources], passed: None }),
        }
    }

    /// Counts records that were read. Returns whether a checkpoint is due.
    pub(crate) fn count_records(&self, records: u64) -> bool {
        if self.every_records == 0 {
            return false;
        }
        let before = self.records.fetch_add(records, Ordering::Relaxed);
        before / self.every_records != (before + records) / self.every_records
    }

    /// Takes the watermark of a source subtask. Returns whether a checkpoint is due.
    ///
    /// The steps are counted from the first watermark that all sources have reached. No checkpoint is due when all sources have
    /// ended, because the final checkpoint follows anyway.
    pub(crate) fn advance_watermark(&self, source: usize, watermark: i64) -> bool {
        if self.step_ms == 0 {
            return false;
        }
        let EventTimeSteps { watermarks, passed } = &mut *self.event_time.lock();
        if let Some(own) = watermarks.get_mut(source) {
            *own = watermark;
        }
        let smallest = watermarks.iter().copied().min().unwrap_or(NO_TIMESTAMP);
        if smallest == NO_TIMESTAMP || smallest == i64::MAX {
            return false;
        }
        let step = smallest.div_euclid(self.step_ms);
        let previous = passed.replace(passed.map_or(step, |passed| passed.max(step)));
        previous.is_some_and(|previous| step > previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triggers(settings: &str) -> CheckpointTriggers {
        let pipeline_text = format!(
            "name = \"a\"\n[checkpoint]\n{settings}\n[source.a]\nconnector = \"generator\"\nwatermark = {{ out_of_orderness = \"0s\" }}\n\
             timestamp = {{ column = 0, format = \"unix-ms\" }}\n[sink.b]\ninput = \"a\"\nconnector = \"blackhole\""
        );
        CheckpointTriggers::new(&PipelineSpec::parse(&pipeline_text, "pipeline.toml").unwrap().checkpoint, 2)
    }

    #[test]
    fn the_slowest_source_decides_when_event_time_passes_a_step() {
        let triggers = triggers("event_time = \"1s\"");
        assert!(!triggers.advance_watermark(0, 5_500), "the other source has no watermark yet");
        assert!(!triggers.advance_watermark(1, 1_200), "the steps start at the first common watermark");
        assert!(!triggers.advance_watermark(1, 1_999));
        assert!(triggers.advance_watermark(1, 2_000));
        assert!(!triggers.advance_watermark(0, 9_000));
        assert!(triggers.advance_watermark(1, 5_000), "several steps at once make one checkpoint due");
        assert!(triggers.advance_watermark(1, i64::MAX), "an ended source does not hold up the others");
        assert!(!triggers.advance_watermark(0, i64::MAX) && !triggers.count_records(1 << 40));
    }

    #[test]
    fn every_so_many_records_a_checkpoint_is_due() {
        let triggers = triggers("records = 100");
        let due: Vec<bool> = [60, 39, 1, 99, 1, 250].map(|records| triggers.count_records(records)).to_vec();
        assert_eq!(due, [false, false, true, false, true, true]);
        assert!(!triggers.advance_watermark(0, 1) && !triggers.advance_watermark(1, 1 << 50));
    }
}
