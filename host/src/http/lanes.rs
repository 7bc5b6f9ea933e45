//! The lanes that limit concurrent work for requests. Each kind of work has a lane with a short queue; further requests
//! get `server-busy`.
//!
//! Invariant: no kind of work takes the threads of another. Readers of state do not delay a cancel, and slow readers of
//! dumps delay only each other. The work runs on the blocking pool of the HTTP runtime, which has more threads than all
//! lanes together. Checkpoint storage has a runtime of its own, so that requests cannot starve a checkpoint.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result, server_busy};

/// Longest time that a request waits in a queue.
const QUEUE_TIME: Duration = Duration::from_secs(10);

/// The kind of work that a request causes.
#[derive(Clone, Copy, Debug)]
pub(super) enum WorkKind {
    /// Reads memory, or sends a command to a job.
    Quick,
    /// Reads or removes stored data.
    Storage,
    /// Reads the whole state of a job.
    Count,
    /// Checks a pipeline and starts its job.
    Submit,
    /// Checks and compiles a component.
    Upload,
    /// Checks and compiles a large component, which takes long.
    LargeUpload,
    /// Writes whole states to a client, at the speed at which the client reads.
    Dump,
    /// Shows records as they pass, for as long as the client wants.
    Tap,
    /// Sends snapshots of jobs, for as long as the client wants.
    Watch,
}

/// One lane for each kind of work.
pub(super) struct Lanes {
    quick: Lane,
    storage: Lane,
    count: Lane,
    submit: Lane,
    upload: Lane,
    large_upload: Lane,
    dump: Lane,
    tap: Lane,
    watch: Lane,
}

/// A limit of concurrent work.
struct Lane {
    /// Free places for running work.
    running: Arc<Semaphore>,
    /// Free places in the queue.
    waiting: Semaphore,
}

/// Permission to work in a lane. It is held until the work is done.
pub(super) struct LanePermit {
    _permit: OwnedSemaphorePermit,
}

impl Lanes {
    pub(super) fn new() -> Lanes {
        Lanes {
            quick: Lane::new(32, 1024),
            storage: Lane::new(16, 64),
            count: Lane::new(4, 16),
            submit: Lane::new(4, 64),
            upload: Lane::new(16, 64),
            large_upload: Lane::new(4, 16),
            dump: Lane::new(4, 16),
            tap: Lane::new(16, 0),
            watch: Lane::new(128, 0),
        }
    }

    /// Waits for a permit. Error: `server-busy` if the queue is full, or if the wait takes too long.
    pub(super) async fn enter(&self, work: WorkKind) -> Result<LanePermit> {
        let lane = match work {
            WorkKind::Quick => &self.quick,
            WorkKind::Storage => &self.storage,
            WorkKind::Count => &self.count,
            WorkKind::Submit => &self.submit,
            WorkKind::Upload => &self.upload,
            WorkKind::LargeUpload => &self.large_upload,
            WorkKind::Dump => &self.dump,
            WorkKind::Tap => &self.tap,
            WorkKind::Watch => &self.watch,
        };
        lane.enter(QUEUE_TIME).await
    }
}

impl Lane {
    fn new(running: usize, waiting: usize) -> Lane {
        Lane { running: Arc::new(Semaphore::new(running)), waiting: Semaphore::new(waiting) }
    }

    async fn enter(&self, queue_time: Duration) -> Result<LanePermit> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(LanePermit { _permit: permit });
        }
        let _waits = self.waiting.try_acquire().map_err(|_| busy())?;
        match tokio::time::timeout(queue_time, self.running.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(LanePermit { _permit: permit }),
            _ => Err(busy()),
        }
    }
}

fn busy() -> Error {
    server_busy("too many requests of this kind are in progress").hint("try again in a moment")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_lane_queues_a_few_requests_and_refuses_further_ones() {
        let lane = Lane::new(2, 1);
        let first = lane.enter(QUEUE_TIME).await.unwrap();
        let _second = lane.enter(QUEUE_TIME).await.unwrap();
        assert_eq!(lane.enter(Duration::ZERO).await.err().unwrap().code, "server-busy", "the wait takes too long");
        let mut third = std::pin::pin!(lane.enter(QUEUE_TIME));
        // Polled once, so that it enters the queue.
        assert!(tokio::time::timeout(Duration::ZERO, third.as_mut()).await.is_err());
        assert_eq!(lane.enter(QUEUE_TIME).await.err().unwrap().code, "server-busy", "the queue is full");
        drop(first);
        let _third = third.await.unwrap();
        assert_eq!(lane.waiting.available_permits(), 1);
    }
}
