//! Checkpoints that are due by what the sources have read: so many records, or so much event time.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::model::NO_TIMESTAMP;
use crate::pipeline::CheckpointSettings;

/// Shared by all source subtasks of a job.
pub(in crate::runtime) struct Triggers {
    /// A checkpoint is due each time that so many records were read; none where 0.
    every_records: u64,
    records: AtomicU64,
    /// A checkpoint is due each time that the watermark passes a multiple of this, in milliseconds; none where 0.
    step_ms: i64,
    event_time: Mutex<EventTimeSteps>,
}

struct EventTimeSteps {
    /// Of each source subtask.
    watermarks: Vec<i64>,
    /// The last step that the smallest of them has passed.
    passed: Option<i64>,
}

impl Triggers {
    /// `sources` is the number of source subtasks.
    pub(in crate::runtime) fn new(settings: &CheckpointSettings, sources: usize) -> Triggers {
        let step_ms = settings.event_time.map_or(0, |step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX));
        Triggers {
            every_records: settings.records.unwrap_or(0),
            records: AtomicU64::new(0),
            step_ms,
            event_time: Mutex::new(EventTimeSteps { watermarks: vec![NO_TIMESTAMP; sources], passed: None }),
        }
    }

    /// Counts records; whether a checkpoint is due by them.
    pub(in crate::runtime) fn read(&self, records: u64) -> bool {
        if self.every_records == 0 {
            return false;
        }
        let before = self.records.fetch_add(records, Ordering::Relaxed);
        before / self.every_records != (before + records) / self.every_records
    }

    /// The watermark of a source subtask has advanced; whether a checkpoint is due by it. The first watermark that all
    /// together reach is where it begins; at the end of all sources the final checkpoint comes anyway.
    pub(in crate::runtime) fn advance(&self, source: usize, watermark: i64) -> bool {
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
        let before = passed.replace(passed.map_or(step, |before| before.max(step)));
        before.is_some_and(|before| step > before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::PipelineSpec;

    fn triggers(settings: &str) -> Triggers {
        let manifest = format!(
            "name = \"a\"\n[checkpoint]\n{settings}\n[source.a]\nconnector = \"generator\"\nwatermark = {{ out_of_orderness = \"0s\" }}\n\
             timestamp = {{ column = 0, format = \"unix-ms\" }}\n[sink.b]\ninput = \"a\"\nconnector = \"blackhole\""
        );
        Triggers::new(&PipelineSpec::parse(&manifest, "pipeline.toml").unwrap().checkpoint, 2)
    }

    #[test]
    fn the_slowest_source_says_when_event_time_passes_a_step() {
        let triggers = triggers("event_time = \"1s\"");
        assert!(!triggers.advance(0, 5_500), "the other one has none yet");
        assert!(!triggers.advance(1, 1_200), "here it begins");
        assert!(!triggers.advance(1, 1_999));
        assert!(triggers.advance(1, 2_000));
        assert!(!triggers.advance(0, 9_000));
        assert!(triggers.advance(1, 5_000), "several steps at once are one checkpoint");
        assert!(triggers.advance(1, i64::MAX), "an ended source holds nobody up");
        assert!(!triggers.advance(0, i64::MAX) && !triggers.read(1 << 40));
    }

    #[test]
    fn a_number_of_records_makes_a_checkpoint_due() {
        let triggers = triggers("records = 100");
        let due: Vec<bool> = [60, 39, 1, 99, 1, 250].map(|records| triggers.read(records)).to_vec();
        assert_eq!(due, [false, false, true, false, true, true]);
        assert!(!triggers.advance(0, 1) && !triggers.advance(1, 1 << 50));
    }
}
