//! The open connections of a listener: how many there are, and which of them wait for a request.
//!
//! Invariant: clients that hold connections without sending requests cannot keep others out. When the limit is reached, the
//! connection that has waited longest for a request is closed. A request in progress is never interrupted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Time for which a connection may wait for a request although others want its place.
const IDLE_TIME_MIN: Duration = Duration::from_secs(1);

/// The connections of one listener.
pub(super) struct OpenConnections {
    places: Arc<Semaphore>,
    max: u32,
    idle: Mutex<IdleConnections>,
}

/// The connections without a request in progress, in the order in which they became idle.
#[derive(Default)]
struct IdleConnections {
    next: u64,
    since: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

/// One open connection. Its place is free once this is dropped.
pub(super) struct ConnectionPlace {
    connections: Arc<OpenConnections>,
    /// The entry among the idle connections, unless a request is in progress.
    entry: Mutex<Option<u64>>,
    close: Arc<Notify>,
    _place: OwnedSemaphorePermit,
}

/// A request in progress on a connection. The connection is idle again once this is dropped.
pub(super) struct RequestOnConnection(Arc<ConnectionPlace>);

impl OpenConnections {
    pub(super) fn new(max: u32) -> Arc<OpenConnections> {
        Arc::new(OpenConnections { places: Arc::new(Semaphore::new(max as usize)), max, idle: Mutex::default() })
    }

    /// Waits for a free place. Closes idle connections if there is none.
    pub(super) async fn enter(self: &Arc<OpenConnections>) -> Arc<ConnectionPlace> {
        let place = loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                break place;
            }
            let wait = self.close_oldest_idle();
            if let Ok(Ok(place)) = tokio::time::timeout(wait, self.places.clone().acquire_owned()).await {
                break place;
            }
        };
        let (entry, close) = (Mutex::new(None), Arc::new(Notify::new()));
        let place = Arc::new(ConnectionPlace { connections: self.clone(), entry, close, _place: place });
        place.set_idle();
        place
    }

    /// Closes the connection that has been idle longest, if that is long enough. Returns how long to wait for a place.
    fn close_oldest_idle(&self) -> Duration {
        let mut idle = self.idle.lock();
        let Some(oldest) = idle.since.first_entry() else { return IDLE_TIME_MIN };
        let age = oldest.get().0.elapsed();
        if age < IDLE_TIME_MIN {
            return IDLE_TIME_MIN - age;
        }
        oldest.remove().1.notify_one();
        IDLE_TIME_MIN
    }

    /// Waits until all connections are closed.
    pub(super) async fn all_closed(&self) {
        let _ = self.places.acquire_many(self.max).await;
    }
}

impl ConnectionPlace {
    /// Notes that a request has begun.
    pub(super) fn begin_request(self: &Arc<ConnectionPlace>) -> RequestOnConnection {
        if let Some(entry) = self.entry.lock().take() {
            self.connections.idle.lock().since.remove(&entry);
        }
        RequestOnConnection(self.clone())
    }

    /// Resolves when the connection must be closed, because it is idle and another client needs its place.
    pub(super) async fn must_close(&self) {
        loop {
            self.close.notified().await;
            // A request that began in the meantime is served.
            if self.entry.lock().is_some() {
                return;
            }
        }
    }

    fn set_idle(&self) {
        let mut entry = self.entry.lock();
        let mut idle = self.connections.idle.lock();
        idle.next += 1;
        let number = idle.next;
        idle.since.insert(number, (Instant::now(), self.close.clone()));
        *entry = Some(number);
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.lock().take() {
            self.connections.idle.lock().since.remove(&entry);
        }
    }
}

impl Drop for RequestOnConnection {
    fn drop(&mut self) {
        self.0.set_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_connection_that_waits_longest_makes_room_and_a_request_is_not_interrupted() {
        let connections = OpenConnections::new(3);
        let busy = connections.enter().await;
        let request = busy.begin_request();
        let (old, new) = (connections.enter().await, connections.enter().await);
        // The older one has sent a request since, so that the other one has waited longest.
        drop(old.begin_request());
        let entering = tokio::spawn({
            let connections = connections.clone();
            async move { connections.enter().await }
        });
        new.must_close().await;
        assert!(!entering.is_finished(), "the place is not free yet");
        drop(new);
        let last = entering.await.unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(20), busy.must_close()).await.is_err(),
            "its request is in progress"
        );
        drop((request, old, last));
        assert_eq!(connections.idle.lock().since.len(), 1);
        drop(busy);
        connections.all_closed().await;
        assert!(connections.idle.lock().since.is_empty());
    }
}
