//! Stops: a stop takes a savepoint and then ends the job.
//!
//! A stop is stored in the job's record before it is accepted. Each attempt that starts while the stop is open carries
//! it out. Once the savepoint is complete, an attempt only has to commit the sinks' output. Before that, [`TRIES_MAX`]
//! attempts may fail; then the stop has failed and the job continues.

use super::stop_request::StopRequest;
use crate::checkpoint::{CheckpointMetadata, StorageLocation};
use crate::error::{self, Result};
use crate::job::handle::JobHandle;
use crate::job::message::RunningJobCommand;
use crate::job::view::{JobStatus, SavepointFormat, SavepointView};

/// Number of attempts that may fail before the stop's savepoint is complete.
const TRIES_MAX: u32 = 3;

/// Requests a stop, or returns the stop that was requested before. For a stopped job, returns the answer with its
/// savepoint. Error: `job-state` if the job has ended otherwise, is being cancelled, or is being stopped without the
/// requested drain.
pub fn request_stop(job: &JobHandle, drain: bool, format: SavepointFormat) -> Result<SavepointView> {
    let record = job.record();
    let refuse = |why: String| Err(error::job_state(format!("job `{}` {why}", record.name)));
    match (record.status, &record.stop) {
        (JobStatus::Finished, Some(stop)) if stop.location.is_some() => return Ok(stop.completed()),
        (JobStatus::Cancelling, _) => return refuse("is being cancelled".into()),
        (status, Some(StopRequest { location: Some(location), .. })) if status.is_final() => {
            return refuse(format!("has ended: {status:?}; the savepoint of its stop is at {location}"));
        }
        (status, _) if status.is_final() => return refuse(format!("has ended: {status:?}")),
        (_, Some(stop)) if drain && !stop.drain => return refuse("is already being stopped without --drain".into()),
        (_, Some(stop)) => return Ok(stop.in_progress()),
        (_, None) => {}
    }
    let stop = StopRequest::new(drain, format);
    let view = stop.in_progress();
    fail_point!("stop.store", error::data_dir_failed);
    // Stored before it is accepted: a kill must not lose it.
    job.update(|record| {
        if !record.status.is_final() && record.status != JobStatus::Cancelling {
            record.stop = Some(stop);
        }
    })?;
    let is_stored = job.record().stop.is_some_and(|stop| stop.request_id == view.request_id);
    fail_point!("stop.accept");
    if !is_stored || !job.command(RunningJobCommand::Stop) {
        return refuse(format!("has ended: {:?}", job.status()));
    }
    Ok(view)
}

/// Records that the barrier of the stop's savepoint is about to be injected.
pub fn record_stop_trigger(job: &JobHandle, checkpoint: u64) {
    fail_point!("stop.trigger");
    change_stop(job, |stop| {
        stop.checkpoint = Some(checkpoint);
        stop.tries += 1;
    });
}

/// Records that the savepoint of the stop is complete.
pub fn record_stop_savepoint(job: &JobHandle, location: &StorageLocation) {
    fail_point!("stop.savepoint");
    change_stop(job, |stop| stop.location = Some(location.to_string()));
}

/// Answers the stop if the restored checkpoint, whose output is committed, is the stop's savepoint. Returns whether it
/// is: then the job has stopped.
pub fn finish_restored_stop(job: &JobHandle, metadata: &CheckpointMetadata, location: &StorageLocation) -> bool {
    let record = job.record();
    let Some(stop) = record.open_stop().filter(|stop| stop.is_answered_by(metadata)) else { return false };
    record_stop_savepoint(job, location);
    job.show_savepoint(SavepointView::completed(&stop.request_id, Some(location.to_string())));
    true
}

/// Gives up the stop after a failed attempt, if too many attempts failed to complete its savepoint.
pub fn give_up_failing_stop(job: &JobHandle, why: &str) {
    let record = job.record();
    let is_exhausted = |stop: &&StopRequest| stop.location.is_none() && stop.tries >= TRIES_MAX;
    let Some(stop) = record.open_stop().filter(is_exhausted) else { return };
    job.show_savepoint(stop.failed(why.to_owned()));
    job.update_or_show(|record| record.stop = None);
}

fn change_stop(job: &JobHandle, change: impl Fn(&mut StopRequest)) {
    job.update_or_show(|record| {
        if let Some(stop) = &mut record.stop {
            change(stop);
        }
    });
}
