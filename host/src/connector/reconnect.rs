//! Connecting to a peer that may be away: a thread tries again and again, with a growing delay, until it succeeds.
//!
//! The subtask polls for the result, so it hears cancels and handles barriers in the meantime. Each failure is reported as the
//! health of the connector, and none as a failure of the job.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::context::ConnectorContext;
use crate::clock::random_u64;
use crate::error::{Result, internal};

/// Delay before the second attempt. It doubles with each further one.
const DELAY_MIN: Duration = Duration::from_millis(100);

/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// Delays that grow by a factor of two, each with a random part, so that not all clients of a peer return at once.
pub(super) struct ReconnectDelay {
    next: Duration,
    max: Duration,
}

impl ReconnectDelay {
    /// Creates delays from `min` to `max`.
    pub(super) fn new(min: Duration, max: Duration) -> ReconnectDelay {
        ReconnectDelay { next: min, max }
    }

    /// Returns the next delay. It is between half and all of the current one.
    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.max);
        let half = delay / 2;
        half + half.mul_f64((random_u64() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

impl Default for ReconnectDelay {
    fn default() -> ReconnectDelay {
        ReconnectDelay::new(DELAY_MIN, DELAY_MAX)
    }
}

/// A connection that is being made. Dropping it ends the attempts.
pub(super) struct Reconnection<T> {
    result: Receiver<T>,
    is_dropped: Arc<DropFlag>,
}

#[derive(Default)]
struct DropFlag {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl<T: Send + 'static> Reconnection<T> {
    /// Calls `connect` on a thread of its own until it succeeds, and then wakes the subtask. `connect` returns within seconds, with the
    /// reason if the peer is away.
    pub(super) fn start(
        context: &ConnectorContext,
        mut connect: impl FnMut() -> Result<T, String> + Send + 'static,
    ) -> Result<Reconnection<T>> {
        let (sender, result) = channel();
        let is_dropped = Arc::new(DropFlag::default());
        let (health, wakeup, flag) = (context.health.clone(), context.wakeup.clone(), is_dropped.clone());
        let thread = std::thread::Builder::new().name(format!("connect {}", context.node));
        let spawned = thread.spawn(move || {
            let mut delay = ReconnectDelay::default();
            while !*flag.is_set.lock() {
                match connect() {
                    Ok(connection) => {
                        let _ = sender.send(connection);
                        wakeup.wake();
                        return;
                    }
                    Err(why) => health.down(why),
                }
                let mut is_dropped = flag.is_set.lock();
                if !*is_dropped {
                    flag.changed.wait_for(&mut is_dropped, delay.next_delay());
                }
            }
        });
        spawned.map_err(|cause| internal(format!("cannot start a thread: {cause}")))?;
        Ok(Reconnection { result, is_dropped })
    }

    /// Returns the connection once it is made.
    pub(super) fn poll(&mut self) -> Result<Option<T>> {
        match self.result.try_recv() {
            Ok(connection) => Ok(Some(connection)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(internal("the thread that connects has ended")),
        }
    }
}

impl<T> Drop for Reconnection<T> {
    fn drop(&mut self) {
        *self.is_dropped.is_set.lock() = true;
        self.is_dropped.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::connector::health::HealthState;
    use crate::connector::testing::{context, observed, wait_until};

    #[test]
    fn delays_double_up_to_their_maximum() {
        let ms = Duration::from_millis;
        let mut delay = ReconnectDelay::new(ms(100), ms(350));
        for full in [100, 200, 350, 350] {
            let delay = delay.next_delay();
            assert!((ms(full) / 2..=ms(full)).contains(&delay), "{delay:?} of {full}");
        }
    }

    #[test]
    fn attempts_go_on_until_one_succeeds_and_the_subtask_is_woken() {
        let (context, board) = observed(context(Path::new("")));
        let mut attempts = 0;
        let mut reconnection = Reconnection::start(&context, move || {
            attempts += 1;
            if attempts < 3 { Err(format!("attempt {attempts}")) } else { Ok(attempts) }
        })
        .unwrap();
        let connected = wait_until("it connects", || reconnection.poll().unwrap());
        assert_eq!(connected, 3);
        wait_until("the subtask is woken", || context.wakeup.is_woken().then_some(()));
        let health = board.of_node(&context.node).unwrap();
        assert_eq!((health.state, health.message.as_str()), (HealthState::Down, "attempt 2"));
    }

    #[test]
    fn no_attempt_follows_once_it_is_dropped() {
        let context = context(Path::new(""));
        let alive = Arc::new(AtomicU32::new(0));
        let counted = alive.clone();
        let refuse = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>("away".to_owned())
        };
        drop(Reconnection::start(&context, refuse).unwrap());
        // The thread owns the closure, and with it the counter, until it ends.
        wait_until("the thread ends", || (Arc::strong_count(&alive) == 1).then_some(()));
    }
}
