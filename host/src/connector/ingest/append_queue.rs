//! The requests that wait for the disk, gathered into groups. A group is written and synced at once.
//!
//! Must not read or write files.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::frame::{EncodedFrame, RequestKey};
use super::key_index::KeyIndex;
use super::log_position::LogPosition;
use crate::error::Result;

/// A group takes no further frame beyond this size.
const GROUP_BYTES: usize = 4 << 20;

/// Limit on the bytes of all frames that wait.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// A group is not kept for reuse if its buffer is larger.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// A request that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedRequest {
    /// Where its records are in the log.
    pub position: LogPosition,
    /// Number of records.
    pub records: u32,
}

/// Frames that are written together.
#[derive(Default)]
pub(super) struct FrameGroup {
    pub(super) bytes: Vec<u8>,
    pub(super) frames: Vec<QueuedFrame>,
}

/// A frame of a group.
pub(super) struct QueuedFrame {
    /// Offset in the bytes of the group.
    pub(super) start: usize,
    pub(super) records: u32,
    pub(super) key: Option<RequestKey>,
    pub(super) received_ms: i64,
    /// Ends the wait of the request.
    pub(super) answer: oneshot::Sender<Result<AcceptedRequest>>,
}

/// The waiting requests of a log, and the keys of all its requests.
pub(super) struct AppendQueue {
    full: VecDeque<FrameGroup>,
    gathering: FrameGroup,
    /// Bytes of all waiting frames.
    bytes: usize,
    spare: Option<FrameGroup>,
    pub(super) keys: KeyIndex,
    /// Whether the log accepts no further requests.
    pub(super) is_closed: bool,
}

impl AppendQueue {
    pub(super) fn new(keys: KeyIndex) -> AppendQueue {
        let (full, gathering) = Default::default();
        AppendQueue { full, gathering, bytes: 0, spare: None, keys, is_closed: false }
    }

    /// Returns whether a frame of this size has room.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= WAITING_BYTES_MAX
    }

    /// Adds a frame. The receiver gets the outcome.
    pub(super) fn push(&mut self, frame: &EncodedFrame) -> oneshot::Receiver<Result<AcceptedRequest>> {
        let (answer, outcome) = oneshot::channel();
        let start = self.gathering.bytes.len();
        let EncodedFrame { records, key, received_ms, .. } = *frame;
        self.gathering.bytes.extend_from_slice(&frame.bytes);
        self.gathering.frames.push(QueuedFrame { start, records, key, received_ms, answer });
        self.bytes += frame.len();
        if self.gathering.bytes.len() >= GROUP_BYTES {
            let next = self.spare.take().unwrap_or_default();
            self.full.push_back(std::mem::replace(&mut self.gathering, next));
        }
        outcome
    }

    /// Takes all frames that wait, up to the size of a group.
    pub(super) fn next_group(&mut self) -> Option<FrameGroup> {
        let group = match self.full.pop_front() {
            Some(group) => group,
            None if self.gathering.frames.is_empty() => return None,
            None => {
                let next = self.spare.take().unwrap_or_default();
                std::mem::replace(&mut self.gathering, next)
            }
        };
        self.bytes -= group.bytes.len();
        Some(group)
    }

    /// Keeps the buffers of a group for another one.
    pub(super) fn reuse(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.spare = Some(FrameGroup { bytes, frames: Vec::new() });
        }
    }
}
