//! Wakes one waiting thread. Every thread of a job waits in this way: for an event or a deadline, never by polling.
//!
//! A thread checks everything that it waits for, and then calls [`Wakeup::wait`]. Whoever changes something that the thread
//! checks calls [`Wakeup::wake`] afterwards. A wake-up that comes between the check and the wait ends the wait at once, so none
//! is lost. Several wake-ups before a wait count as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The thread runs, and has not been woken since its last wait.
const IDLE: u8 = 0;
/// The thread was woken, so that its next wait returns at once.
const WOKEN: u8 = 1;
/// The thread waits on the condition variable.
const WAITING: u8 = 2;
/// The thread waits for a file descriptor as well.
const WAITING_FOR_INPUT: u8 = 3;

/// Longest wait for an input if the process has no file descriptor left to interrupt the wait by.
const WITHOUT_DESCRIPTOR: Duration = Duration::from_millis(20);

/// Wakes the thread that waits on it. Clones wake the same thread. Only one thread may wait.
#[derive(Clone, Default)]
pub struct Wakeup {
    shared: Arc<WakeupState>,
}

#[derive(Default)]
struct WakeupState {
    state: AtomicU8,
    lock: Mutex<()>,
    changed: Condvar,
    event: readable::Event,
}

impl Wakeup {
    /// Ends the wait of the thread, or its next wait if it does not wait now. Costs little if the thread does not wait.
    pub fn wake(&self) {
        match self.shared.state.swap(WOKEN, Ordering::SeqCst) {
            WAITING => {
                // The waiting thread holds the lock from its check until it waits, so that it cannot miss this.
                drop(self.shared.lock.lock());
                self.shared.changed.notify_one();
            }
            WAITING_FOR_INPUT => self.shared.event.signal(),
            _ => {}
        }
    }

    /// Returns whether both wake the same thread.
    pub fn is_same(&self, other: &Wakeup) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Returns whether the next wait returns at once.
    pub fn is_woken(&self) -> bool {
        self.shared.state.load(Ordering::SeqCst) == WOKEN
    }

    /// Waits until [`Wakeup::wake`] is called, or for at most `timeout`. Returns at once if it was called since the last wait.
    /// `Duration::MAX` means no timeout.
    pub fn wait(&self, timeout: Duration) {
        let WakeupState { state, lock, changed, .. } = &*self.shared;
        if timeout.is_zero() || state.load(Ordering::SeqCst) == WOKEN {
            state.store(IDLE, Ordering::SeqCst);
            return;
        }
        let mut guard = lock.lock();
        if state.compare_exchange(IDLE, WAITING, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            let is_waiting = |_: &mut ()| state.load(Ordering::SeqCst) == WAITING;
            match timeout == Duration::MAX {
                true => changed.wait_while(&mut guard, is_waiting),
                false => drop(changed.wait_while_for(&mut guard, is_waiting, timeout)),
            }
        }
        state.store(IDLE, Ordering::SeqCst);
    }

    /// Waits like [`Wakeup::wait`], and also until `input` can be read, has ended or has failed.
    pub fn wait_or_readable(&self, input: &impl std::os::fd::AsFd, timeout: Duration) {
        let WakeupState { state, event, .. } = &*self.shared;
        if !event.prepare() {
            return self.wait(timeout.min(WITHOUT_DESCRIPTOR));
        }
        let may_wait = !timeout.is_zero()
            && state.compare_exchange(IDLE, WAITING_FOR_INPUT, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if may_wait {
            event.wait_or_readable(input.as_fd(), timeout);
        }
        state.store(IDLE, Ordering::SeqCst);
    }
}

/// Wakes a thread when it is dropped. As the last field of a struct it announces that the fields before it are gone.
pub struct WakeOnDrop(pub Wakeup);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}

mod readable {
    //! The part of a wake-up that interrupts a wait for a file descriptor.

    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::sync::OnceLock;
    use std::time::Duration;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::io::{read, write};

    /// A file descriptor that becomes readable with a wake-up. Opened when it is needed first.
    #[derive(Default)]
    pub(super) struct Event(OnceLock<Option<OwnedFd>>);

    impl Event {
        fn descriptor(&self) -> Option<&OwnedFd> {
            self.0.get_or_init(|| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()).as_ref()
        }

        /// Opens the descriptor. Returns false if the process has no descriptor left.
        pub(super) fn prepare(&self) -> bool {
            self.descriptor().is_some()
        }

        pub(super) fn signal(&self) {
            if let Some(event) = self.descriptor() {
                // Fails only if the counter is at its maximum, and then the descriptor is readable.
                let _ = write(event, &1u64.to_ne_bytes());
            }
        }

        pub(super) fn wait_or_readable(&self, input: BorrowedFd<'_>, timeout: Duration) {
            let Some(event) = self.descriptor() else { return };
            let timeout = Timespec::try_from(timeout).ok();
            let mut both = [PollFd::new(event, PollFlags::IN), PollFd::from_borrowed_fd(input, PollFlags::IN)];
            // An interrupted wait is a wake-up without a cause, which callers expect.
            let _ = poll(&mut both, timeout.as_ref());
            if !both[0].revents().is_empty() {
                let _ = read(event, &mut [0u8; 8]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::*;

    #[test]
    fn a_wake_up_before_the_wait_ends_it_at_once_and_counts_once() {
        let wakeup = Wakeup::default();
        wakeup.wake();
        wakeup.wake();
        wakeup.wait(Duration::MAX);
        // The second wait ends by its timeout.
        wakeup.wait(Duration::from_millis(1));
    }

    #[test]
    fn no_wake_up_is_lost() {
        let (wakeup, sent, seen) = (Wakeup::default(), AtomicU64::new(0), AtomicU64::new(0));
        let sender = wakeup.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=20_000 {
                    sent.store(number, Ordering::SeqCst);
                    sender.wake();
                    if number % 7 == 0 {
                        while seen.load(Ordering::SeqCst) != number {
                            std::thread::yield_now();
                        }
                    }
                }
            });
            while seen.load(Ordering::SeqCst) < 20_000 {
                wakeup.wait(Duration::MAX);
                seen.store(sent.load(Ordering::SeqCst), Ordering::SeqCst);
            }
        });
    }

    #[test]
    fn a_wait_for_input_ends_with_input_and_with_a_wake_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let (wakeup, is_woken) = (Wakeup::default(), AtomicBool::new(false));
        let waker = wakeup.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                is_woken.store(true, Ordering::SeqCst);
                waker.wake();
            });
            while !is_woken.load(Ordering::SeqCst) {
                wakeup.wait_or_readable(&server, Duration::MAX);
            }
        });
        client.write_all(b"a").unwrap();
        // One wait may end because of the wake-up before; the input stays readable.
        wakeup.wait_or_readable(&server, Duration::MAX);
        wakeup.wait_or_readable(&server, Duration::MAX);
    }
}
