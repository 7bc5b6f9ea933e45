//! Lists the splits of a source at intervals, on a thread of its own, because a listing may wait for a peer.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};
use parking_lot::Mutex;

use super::context::ConnectorContext;
use super::splits::SplitName;
use crate::error::{Result, internal};

/// Lists splits until it is dropped.
pub struct SplitDiscovery {
    newest: Arc<Mutex<Option<Result<Vec<SplitName>>>>>,
    /// Ends the thread when it is dropped.
    _stop: Sender<()>,
}

impl SplitDiscovery {
    /// Calls `list` every `interval`, the first time after `interval`. Wakes the subtask with each result.
    ///
    /// A call that lasts is not waited for when the discovery is dropped.
    pub fn start(
        context: &ConnectorContext,
        interval: Duration,
        mut list: impl FnMut() -> Result<Vec<SplitName>> + Send + 'static,
    ) -> Result<SplitDiscovery> {
        let newest = Arc::<Mutex<Option<Result<Vec<SplitName>>>>>::default();
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (listed, wakeup) = (newest.clone(), context.wakeup.clone());
        let thread = std::thread::Builder::new().name(format!("splits {}", context.node));
        let spawned = thread.spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let splits = list();
                *listed.lock() = Some(splits);
                wakeup.wake();
            }
        });
        spawned.map_err(|cause| internal(format!("cannot start a thread: {cause}")))?;
        Ok(SplitDiscovery { newest, _stop: stop })
    }

    /// Returns the newest listing, if there was one since the last call. A failed one is no reason to fail: the next may succeed.
    pub fn take(&self) -> Option<Result<Vec<SplitName>>> {
        self.newest.lock().take()
    }
}
