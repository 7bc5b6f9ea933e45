//! How much work for requests is done at once: a lane for each kind, with a short queue and then `server-busy`.
//!
//! No kind takes the threads of another: readers of state do not hold up a cancel, and slow readers of dumps hold up each
//! other alone. What a lane does runs on the HTTP runtime's blocking pool, which has more threads than all lanes together.
//! Storage has a runtime of its own, so that no number of requests can starve a checkpoint.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result, server_busy};

/// How long a request waits for its turn.
const QUEUE_TIME: Duration = Duration::from_secs(10);

/// What kind of work a request is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Looks at what is in memory, or hands a command to a job.
    Quick,
    /// Reads or removes what is in a storage.
    Storage,
    /// Checks a pipeline and starts its job.
    Submit,
    /// Checks and compiles a component.
    Upload,
    /// The same for a large component, whose compile takes long.
    LargeUpload,
    /// Writes a whole state to a client, as slowly as that reads.
    Dump,
}

/// One lane for each kind of work.
pub(super) struct Lanes {
    quick: Lane,
    storage: Lane,
    submit: Lane,
    upload: Lane,
    large_upload: Lane,
    dump: Lane,
}

struct Lane {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

/// A place in a lane, held for as long as the work is done.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Lanes {
    pub(super) fn new() -> Lanes {
        Lanes {
            quick: Lane::new(32, 1024),
            storage: Lane::new(16, 64),
            submit: Lane::new(4, 64),
            upload: Lane::new(16, 64),
            large_upload: Lane::new(4, 16),
            dump: Lane::new(4, 16),
        }
    }

    /// Waits for a place, for a moment. Error: `server-busy` where too many wait already, or it takes too long.
    pub(super) async fn enter(&self, work: Work) -> Result<Place> {
        let lane = match work {
            Work::Quick => &self.quick,
            Work::Storage => &self.storage,
            Work::Submit => &self.submit,
            Work::Upload => &self.upload,
            Work::LargeUpload => &self.large_upload,
            Work::Dump => &self.dump,
        };
        lane.enter(QUEUE_TIME).await
    }
}

impl Lane {
    fn new(running: usize, waiting: usize) -> Lane {
        Lane { running: Arc::new(Semaphore::new(running)), waiting: Semaphore::new(waiting) }
    }

    async fn enter(&self, queue_time: Duration) -> Result<Place> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(Place { _permit: permit });
        }
        let _waits = self.waiting.try_acquire().map_err(|_| busy())?;
        match tokio::time::timeout(queue_time, self.running.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            _ => Err(busy()),
        }
    }
}

fn busy() -> Error {
    server_busy("too many requests of this kind are being worked on").hint("ask again in a moment")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_lane_has_a_short_queue_and_then_refuses() {
        let lane = Lane::new(2, 1);
        let first = lane.enter(QUEUE_TIME).await.unwrap();
        let _second = lane.enter(QUEUE_TIME).await.unwrap();
        assert_eq!(lane.enter(Duration::ZERO).await.err().unwrap().code, "server-busy", "it waits in vain");
        let mut third = std::pin::pin!(lane.enter(QUEUE_TIME));
        // Polled once, so that it waits.
        assert!(tokio::time::timeout(Duration::ZERO, third.as_mut()).await.is_err());
        assert_eq!(lane.enter(QUEUE_TIME).await.err().unwrap().code, "server-busy", "the queue is full");
        drop(first);
        let _third = third.await.unwrap();
        assert_eq!(lane.waiting.available_permits(), 1);
    }
}
