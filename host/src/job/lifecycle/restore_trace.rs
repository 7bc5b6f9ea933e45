//! The trace of the start of a job or of one of its regions.

use crate::job::handle::JobHandle;
use crate::job::restore::StartingPoint;
use crate::job::telemetry::{CHECKPOINT_ID, JOB_ID, JOB_NAME};
use crate::tracer::{OpenSpan, Tracer};

/// Begins the trace of a start. It ends when all subtasks have opened their state.
pub fn begin_restore(tracer: &Tracer, job: &JobHandle) -> OpenSpan {
    let span = tracer.begin("restore");
    job.with_record(|record| {
        span.set_text(JOB_ID, &record.id);
        span.set_text(JOB_NAME, &record.name);
        span.set("cofferdam.attempt", u64::from(record.attempts));
    });
    span
}

/// Notes which checkpoint is restored, if any.
pub fn note_checkpoint(span: &OpenSpan, start: &StartingPoint) {
    if let Some(metadata) = &start.metadata {
        span.set(CHECKPOINT_ID, metadata.checkpoint_id);
    }
}
