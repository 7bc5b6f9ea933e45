//! The messages that a job's thread receives: commands of users, events of subtasks, and finished uploads.
//!
//! This module must not depend on the code that handles messages (`lifecycle`, `checkpoint::coordinator`).

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::checkpoint::UploadedCheckpoint;
use super::savepoint::CheckpointRequest;
use crate::error::Result;
use crate::runtime::SubtaskEvent;

/// A command for a running job.
pub enum RunningJobCommand {
    /// End the job without a checkpoint.
    Cancel,
    /// Take a checkpoint or savepoint.
    TakeCheckpoint(CheckpointRequest),
    /// Replay the dead letters that the job's record names, and count letters of this size as removed.
    UpdateLetters {
        /// Size of the letters that were removed, in bytes.
        removed_bytes: u64,
    },
    /// Carry out the stop that the job's record holds.
    Stop,
    /// End the job's thread because the process ends. The job resumes when the process starts again.
    Shutdown,
}

/// A message to a job's thread. Messages of an attempt carry its number, so that later attempts ignore them.
pub enum JobMessage {
    /// A command of a user or of the host.
    Command(RunningJobCommand),
    /// A subtask reported something.
    SubtaskEvent {
        /// The attempt that the subtask belongs to.
        attempt: u32,
        /// Index of the region that the subtask belongs to.
        region: usize,
        /// The report.
        event: SubtaskEvent,
    },
    /// The upload of a checkpoint has ended.
    Uploaded {
        /// The attempt that began the upload.
        attempt: u32,
        /// The checkpoint's id.
        checkpoint: u64,
        /// The checkpoint's metadata, or why the upload failed.
        result: Box<Result<UploadedCheckpoint>>,
    },
    /// A sink has published a checkpoint and all before it, or has failed to.
    Published {
        /// The attempt that began the publication.
        attempt: u32,
        /// Id of the sink.
        sink: String,
        /// The checkpoint's id.
        checkpoint: u64,
        /// Why it is not published, if so.
        result: Box<Result<()>>,
    },
    /// The preparation of a region's restart has ended, with or without success.
    RegionPrepared {
        /// The attempt of the region.
        attempt: u32,
        /// Index of the region.
        region: usize,
    },
    /// The preparation of an attempt has ended, with or without success.
    Prepared,
}

/// The queue of a job's messages has room for 31 of them from the start, in each job.
const _: () = assert!(size_of::<JobMessage>() <= 64);

/// Sends the messages of one attempt to the job's thread.
#[derive(Clone)]
pub struct AttemptSender {
    attempt: u32,
    sender: Sender<JobMessage>,
}

impl AttemptSender {
    /// Creates the sender of attempt number `attempt`.
    pub fn new(attempt: u32, sender: Sender<JobMessage>) -> AttemptSender {
        AttemptSender { attempt, sender }
    }

    /// Returns the attempt's number, which starts at 1 and is unique in the process.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the sender of another attempt of the job.
    pub fn for_attempt(&self, attempt: u32) -> AttemptSender {
        AttemptSender { attempt, sender: self.sender.clone() }
    }

    /// Sends a message again that is for a later attempt.
    pub fn keep(&self, message: JobMessage) {
        let _ = self.sender.send(message);
    }

    /// Returns a callback that forwards events of the subtasks of a region.
    pub fn event_callback(&self, region: usize) -> Arc<dyn Fn(SubtaskEvent) + Send + Sync> {
        let AttemptSender { attempt, sender } = self.clone();
        // The job's thread outlives its subtasks, so that the channel is open.
        Arc::new(move |event| drop(sender.send(JobMessage::SubtaskEvent { attempt, region, event })))
    }

    /// Reports that the preparation of a region's restart has ended, when the returned value is dropped.
    pub fn announce_prepared(&self, region: usize) -> impl Sized + use<> {
        RegionAnnouncement { sender: self.clone(), region }
    }

    /// Reports that the upload of a checkpoint has ended.
    pub fn uploaded(&self, checkpoint: u64, result: Result<UploadedCheckpoint>) {
        let message = JobMessage::Uploaded { attempt: self.attempt, checkpoint, result: Box::new(result) };
        let _ = self.sender.send(message);
    }

    /// Reports that a sink has published a checkpoint and all before it, or has failed to.
    pub fn published(&self, sink: &str, checkpoint: u64, result: Result<()>) {
        let message = JobMessage::Published {
            attempt: self.attempt,
            sink: sink.to_owned(),
            checkpoint,
            result: Box::new(result),
        };
        let _ = self.sender.send(message);
    }
}

/// Sends [`JobMessage::RegionPrepared`] when it is dropped, also if the preparation panics.
struct RegionAnnouncement {
    sender: AttemptSender,
    region: usize,
}

impl Drop for RegionAnnouncement {
    fn drop(&mut self) {
        let message = JobMessage::RegionPrepared { attempt: self.sender.attempt, region: self.region };
        let _ = self.sender.sender.send(message);
    }
}

/// Waits for the next message. Returns `None` after `timeout`, if there is one.
pub fn receive(receiver: &Receiver<JobMessage>, timeout: Option<Duration>) -> Option<JobMessage> {
    let received = match timeout {
        Some(timeout) => receiver.recv_timeout(timeout),
        None => receiver.recv().map_err(RecvTimeoutError::from),
    };
    match received {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Timeout) => None,
        // The job's handle keeps a sender while the thread runs, so that a closed channel means the end of the process.
        Err(RecvTimeoutError::Disconnected) => Some(JobMessage::Command(RunningJobCommand::Shutdown)),
    }
}
