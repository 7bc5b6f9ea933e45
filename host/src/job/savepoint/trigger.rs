//! Accepts requests for checkpoints and savepoints of a running job.

use super::request::CheckpointRequest;
use crate::error::Result;
use crate::job::handle::JobHandle;
use crate::job::message::RunningJobCommand;
use crate::job::view::{SavepointFormat, SavepointView};
use crate::runtime::BarrierKind;

/// Requests a checkpoint or savepoint. Returns the open request. Error: `job-state` if the job has ended.
pub fn trigger_checkpoint(job: &JobHandle, kind: BarrierKind, format: SavepointFormat) -> Result<SavepointView> {
    let request_id = CheckpointRequest::new_id();
    let view = SavepointView::in_progress(&request_id);
    // Shown before it is sent: the job's thread may answer at once.
    job.show_savepoint(view.clone());
    let request = CheckpointRequest { request_id, kind, format };
    if let Err(error) = job.command_running(RunningJobCommand::TakeCheckpoint(request)) {
        job.forget_savepoint(&view.request_id);
        return Err(error);
    }
    Ok(view)
}
