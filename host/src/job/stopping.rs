//! A stop that was asked for: a savepoint, and then the job's end. It is part of the job's record, so that it outlives
//! attempts and processes, and always knows the place of its savepoint.
//!
//! A stop is carried out by each attempt that begins while it is open. Once its savepoint is complete an attempt only has to
//! publish what that promised. Before, [`TRIES_MAX`] attempts may fail with it; then the stop has failed and the job goes on.

use serde::{Deserialize, Serialize};

use super::live::{Command, Job};
use super::record::JobRecord;
use super::schedule::Request;
use super::view::{JobStatus, SavepointFormat, SavepointView};
use crate::checkpoint::{CheckpointMetadata, StorageLocation};
use crate::clock;
use crate::error::{self, Result};
use crate::runtime::BarrierKind;

/// Attempts that may fail with the savepoint of a stop.
const TRIES_MAX: u32 = 3;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stop {
    request_id: String,
    drain: bool,
    format: SavepointFormat,
    /// How often its barrier was injected.
    #[serde(default)]
    tries: u32,
    /// The id of its savepoint, once its barrier is injected.
    #[serde(default)]
    checkpoint: Option<u64>,
    /// Where its savepoint is, once that is complete.
    #[serde(default)]
    location: Option<String>,
}

impl Stop {
    pub(super) fn new(drain: bool, format: SavepointFormat) -> Stop {
        let request_id = format!("{:016x}", clock::random_u64());
        Stop { request_id, drain, format, tries: 0, checkpoint: None, location: None }
    }

    /// What an attempt is asked for.
    pub(super) fn request(&self) -> Request {
        let kind = if self.drain { BarrierKind::Drain } else { BarrierKind::Stop };
        Request { request_id: self.request_id.clone(), kind, format: self.format }
    }

    fn is_answered_by(&self, manifest: &CheckpointMetadata) -> bool {
        self.checkpoint == Some(manifest.checkpoint_id)
    }

    /// Without the place, which is for an answer.
    fn in_progress(&self) -> SavepointView {
        SavepointView { location: None, ..self.view("in-progress", None) }
    }

    fn view(&self, status: &str, failure: Option<String>) -> SavepointView {
        let (request_id, location) = (self.request_id.clone(), self.location.clone());
        SavepointView { request_id, status: status.into(), location, failure }
    }
}

/// Asks for a stop, or joins the one that there is. A job that is stopped already answers with its savepoint.
pub(super) fn ask(job: &Job, drain: bool, format: SavepointFormat) -> Result<SavepointView> {
    let record = job.record();
    let refuse = |why: String| Err(error::job_state(format!("job `{}` {why}", record.name)));
    match (record.status, &record.stop) {
        (JobStatus::Stopped, Some(stop)) => return Ok(stop.view("completed", None)),
        (JobStatus::Cancelling, _) => return refuse("is being cancelled".into()),
        (status, Some(Stop { location: Some(place), .. })) if status.is_final() => {
            return refuse(format!("has ended: {status:?}; the savepoint of its stop is at {place}"));
        }
        (status, _) if status.is_final() => return refuse(format!("has ended: {status:?}")),
        (_, Some(stop)) if drain && !stop.drain => return refuse("is being stopped already, without --drain".into()),
        (_, Some(stop)) => return Ok(stop.in_progress()),
        (_, None) => {}
    }
    let stop = Stop::new(drain, format);
    let view = stop.in_progress();
    // Stored before it is accepted: a kill must not lose it.
    job.update(|record| {
        if !record.status.is_final() && record.status != JobStatus::Cancelling {
            record.status = JobStatus::Stopping;
            record.stop = Some(stop);
        }
    })?;
    if job.record().stop.is_none_or(|stop| stop.request_id != view.request_id) || !job.command(Command::Stop) {
        return refuse(format!("has ended: {:?}", job.status()));
    }
    Ok(view)
}

/// The stop that an attempt has to carry out.
pub(super) fn open(record: &JobRecord) -> Option<&Stop> {
    record.stop.as_ref().filter(|_| !record.status.is_final() && record.status != JobStatus::Cancelling)
}

/// The barrier of the stop is about to be injected.
pub(super) fn triggered(job: &Job, checkpoint: u64) {
    change(job, |stop| {
        stop.checkpoint = Some(checkpoint);
        stop.tries += 1;
    });
}

/// The savepoint of the stop is complete.
pub(super) fn complete(job: &Job, location: &StorageLocation) {
    change(job, |stop| stop.location = Some(location.to_string()));
}

/// Whether an image that was restored, and whose promises are kept, is the savepoint of the stop: then the job has stopped.
pub(super) fn is_done(job: &Job, manifest: &CheckpointMetadata, location: &StorageLocation) -> bool {
    let record = job.record();
    let Some(stop) = open(&record).filter(|stop| stop.is_answered_by(manifest)) else { return false };
    complete(job, location);
    job.show_savepoint(Stop { location: Some(location.to_string()), ..stop.clone() }.view("completed", None));
    true
}

/// An attempt has failed. Gives the stop up if its savepoint could not be taken often enough.
pub(super) fn attempt_failed(job: &Job, why: &str) {
    let record = job.record();
    let Some(stop) = open(&record).filter(|stop| stop.location.is_none() && stop.tries >= TRIES_MAX) else { return };
    job.show_savepoint(stop.view("failed", Some(why.to_owned())));
    job.update_or_show(|record| record.stop = None);
}

/// How the request of a stop stands, by the job's record.
pub(super) fn view(record: &JobRecord, request_id: &str) -> Option<SavepointView> {
    let stop = record.stop.as_ref().filter(|stop| stop.request_id == request_id)?;
    Some(match record.status {
        JobStatus::Stopped => stop.view("completed", None),
        status if status.is_final() => {
            let why = record.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or("the job has ended");
            let why = match stop.location {
                None => why.to_owned(),
                Some(_) => format!(
                    "the savepoint is complete, but the job ended before its output was published: {why}; a job that \
                     begins from the savepoint publishes it"
                ),
            };
            stop.view("failed", Some(why))
        }
        _ => stop.in_progress(),
    })
}

fn change(job: &Job, change: impl Fn(&mut Stop)) {
    job.update_or_show(|record| {
        if let Some(stop) = &mut record.stop {
            change(stop);
        }
    });
}
