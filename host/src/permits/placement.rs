//! Where a thread begins to work when it gets a permit.
//!
//! A thread that gives a permit back wakes the next one, and sleeps a moment later. Between the two the system looks for a free processor
//! and finds none. It may then queue the woken thread behind another one that holds a permit, while the processor that was given up stays
//! idle until the system balances its load again, milliseconds later. With two processors that cost a sixth of both.
//!
//! So the woken thread begins on the processor of the thread that gave way. It is bound to it only until it runs: afterwards the system
//! may move it, threads that it starts inherit nothing, and no processor is reserved. Other systems than Linux get no advice.

#[cfg(target_os = "linux")]
use std::mem::{size_of, zeroed};

#[cfg(target_os = "linux")]
use libc::{CPU_SET, cpu_set_t, pid_t, sched_getaffinity, sched_setaffinity};
#[cfg(target_os = "linux")]
use parking_lot::Mutex;

/// The processors on which a thread may run.
pub(super) struct ThreadPlace {
    #[cfg(target_os = "linux")]
    thread: pid_t,
    /// Where the thread may run once it does, while it is bound to one processor.
    #[cfg(target_os = "linux")]
    allowed: Mutex<Option<cpu_set_t>>,
}

#[cfg(target_os = "linux")]
impl ThreadPlace {
    pub(super) fn of_current_thread() -> ThreadPlace {
        // SAFETY: the call only reads the number of the thread.
        ThreadPlace { thread: unsafe { libc::gettid() }, allowed: Mutex::default() }
    }

    /// Lets the thread, which sleeps or is about to, begin on the current processor.
    pub(super) fn begin_here(&self) {
        let mut allowed = self.allowed.lock();
        // SAFETY: the sets are plain numbers, for which 0 is valid, and the calls know their size. A thread that has ended, or a
        // processor that it may not use, is an error.
        unsafe {
            let mut before: cpu_set_t = zeroed();
            let Ok(here) = usize::try_from(libc::sched_getcpu()) else { return };
            if here >= 8 * size_of::<cpu_set_t>()
                || sched_getaffinity(self.thread, size_of::<cpu_set_t>(), &raw mut before) != 0
            {
                return;
            }
            let mut only: cpu_set_t = zeroed();
            CPU_SET(here, &mut only);
            if libc::CPU_ISSET(here, &before)
                && sched_setaffinity(self.thread, size_of::<cpu_set_t>(), &raw const only) == 0
            {
                // A thread that is bound already keeps what it was allowed at first.
                allowed.get_or_insert(before);
            }
        }
    }

    /// Returns whether the thread waits for something else than a processor, such as a disk.
    pub(super) fn is_blocked(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", self.thread)).unwrap_or_default();
        // The state follows the name, which may contain anything.
        stat.rsplit(") ").next().is_none_or(|fields| !fields.starts_with('R'))
    }

    /// Lets the current thread, which this is, run where it could before.
    pub(super) fn unbind(&self) {
        if let Some(allowed) = self.allowed.lock().take() {
            // SAFETY: as above.
            unsafe { sched_setaffinity(self.thread, size_of::<cpu_set_t>(), &raw const allowed) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl ThreadPlace {
    pub(super) fn of_current_thread() -> ThreadPlace {
        ThreadPlace {}
    }

    pub(super) fn begin_here(&self) {}

    pub(super) fn is_blocked(&self) -> bool {
        true
    }

    pub(super) fn unbind(&self) {}
}
