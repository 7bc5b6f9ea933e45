//! Reads the frames of a log in order, up to what is synced.

use std::sync::Arc;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, FramePayload};
use super::log_contents::SegmentEnd;
use super::log_position::LogPosition;
use super::log_shared::LogShared;
use super::segment::{SEGMENT_HEADER_BYTES, damaged, segment_path};
use super::segment_bytes::SegmentBytes;
use crate::error::{Error, Result, source_behind};

/// A place in a log, from which frames are read.
pub(super) struct LogCursor {
    shared: Arc<LogShared>,
    position: LogPosition,
    bytes: Option<SegmentBytes>,
    /// Whether the limit of `bytes` is the end of the segment.
    is_sealed: bool,
    /// The frame whose checksum was verified last.
    verified: Option<LogPosition>,
}

impl LogCursor {
    pub(super) fn new(shared: &Arc<LogShared>, position: LogPosition) -> LogCursor {
        LogCursor { shared: shared.clone(), position, bytes: None, is_sealed: false, verified: None }
    }

    /// Returns the position of the next frame.
    pub(super) fn position(&self) -> LogPosition {
        self.position
    }

    /// Moves to a position that was read before.
    pub(super) fn seek(&mut self, position: LogPosition) {
        if position.segment != self.position.segment {
            self.bytes = None;
        }
        self.position = position;
    }

    /// Returns the header of the next frame. Returns `None` if none is synced. Errors: `ingest-corrupt`, `ingest-failed`.
    pub(super) fn header(&mut self) -> Result<Option<FrameHeader>> {
        if !self.find_frame()? {
            return Ok(None);
        }
        let (offset, salt) = (self.position.offset, self.shared.salt);
        let Some(bytes) = &mut self.bytes else { return Ok(None) };
        let header =
            bytes.at(offset, FRAME_HEADER_BYTES)?.first_chunk().and_then(|start| FrameHeader::decode(start, salt));
        match header {
            Some(header) => Ok(Some(header)),
            None => Err(self.damaged()),
        }
    }

    /// Returns the payload of the next frame, whose header this is. Errors: `ingest-corrupt`, `ingest-failed`.
    pub(super) fn payload(&mut self, header: &FrameHeader) -> Result<FramePayload<'_>> {
        let (position, salt, path) = (self.position, self.shared.salt, self.path());
        let is_verified = self.verified.replace(position) == Some(position);
        let frame = match &mut self.bytes {
            Some(bytes) => bytes.at(position.offset, header.frame_bytes())?,
            None => &[],
        };
        let payload = if is_verified { header.checked_payload(frame) } else { header.payload(frame, salt) };
        payload.ok_or_else(|| damaged(&path, position.offset, "the checksum of a frame is wrong"))
    }

    /// Moves behind the next frame, whose header this is.
    pub(super) fn skip(&mut self, header: &FrameHeader) {
        self.position.offset += header.frame_bytes() as u64;
    }

    /// Returns the path of the segment.
    pub(super) fn path(&self) -> std::path::PathBuf {
        segment_path(&self.shared.folder, self.position.segment)
    }

    /// Opens the segment of the next frame. Returns whether a frame is synced.
    fn find_frame(&mut self) -> Result<bool> {
        loop {
            match &self.bytes {
                Some(bytes) if self.position.offset < bytes.limit() => return Ok(true),
                // A sealed segment without its successor was the last one when it was asked for.
                Some(_) if self.is_sealed => {
                    self.position = LogPosition { segment: self.position.segment + 1, offset: SEGMENT_HEADER_BYTES };
                    self.bytes = None;
                }
                _ => {}
            }
            let end = self.shared.contents.lock().end_of(self.position.segment);
            let limit = match end {
                SegmentEnd::Open(end) | SegmentEnd::Sealed(end) => end,
                SegmentEnd::Missing => {
                    return Err(source_behind(format!("{} has been removed while it was read", self.path().display())));
                }
            };
            self.is_sealed = matches!(end, SegmentEnd::Sealed(_));
            let bytes = match &mut self.bytes {
                Some(bytes) => bytes,
                None => {
                    self.bytes.insert(SegmentBytes::open(&segment_path(&self.shared.folder, self.position.segment))?)
                }
            };
            bytes.set_limit(limit);
            if self.position.offset >= limit && !self.is_sealed {
                return Ok(false);
            }
        }
    }

    fn damaged(&self) -> Error {
        damaged(&self.path(), self.position.offset, "the checksum of a frame is wrong")
    }
}
