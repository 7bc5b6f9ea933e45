//! A stop as it is stored in the job's record.

use serde::{Deserialize, Serialize};

use super::request::CheckpointRequest;
use crate::checkpoint::CheckpointMetadata;
use crate::job::view::{SavepointFormat, SavepointView};
use crate::runtime::BarrierKind;

/// A requested stop: take a savepoint, then end the job. It is part of the job's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StopRequest {
    /// Identifies the request.
    pub request_id: String,
    /// Whether all windows and event-time timers fire before the savepoint.
    pub drain: bool,
    format: SavepointFormat,
    /// Number of attempts that injected the stop's barrier.
    #[serde(default)]
    pub tries: u32,
    /// Id of the savepoint, once its barrier is injected.
    #[serde(default)]
    pub checkpoint: Option<u64>,
    /// Folder of the savepoint, once it is complete.
    #[serde(default)]
    pub location: Option<String>,
}

impl StopRequest {
    /// Creates a stop with a new request id.
    pub fn new(drain: bool, format: SavepointFormat) -> StopRequest {
        StopRequest {
            request_id: CheckpointRequest::new_id(),
            drain,
            format,
            tries: 0,
            checkpoint: None,
            location: None,
        }
    }

    /// Returns the request for an attempt.
    pub fn checkpoint_request(&self) -> CheckpointRequest {
        let kind = if self.drain { BarrierKind::Drain } else { BarrierKind::Stop };
        CheckpointRequest { request_id: self.request_id.clone(), kind, format: self.format }
    }

    /// Returns whether a checkpoint is this stop's savepoint.
    pub fn is_answered_by(&self, metadata: &CheckpointMetadata) -> bool {
        self.checkpoint == Some(metadata.checkpoint_id)
    }

    /// Returns the open request. It has no location, even if the savepoint is complete.
    pub fn in_progress(&self) -> SavepointView {
        SavepointView::in_progress(&self.request_id)
    }

    /// Returns the answer of a stop that was carried out.
    pub fn completed(&self) -> SavepointView {
        SavepointView::completed(&self.request_id, self.location.clone())
    }

    /// Returns the answer of a stop that failed, with the folder of its savepoint if that is complete.
    pub fn failed(&self, why: String) -> SavepointView {
        SavepointView::failed(&self.request_id, self.location.clone(), why)
    }
}
