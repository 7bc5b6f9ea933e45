//! The permit of the current thread. Code that works or waits deep inside a subtask needs no reference to it.
//!
//! All functions do nothing on a thread that is not a subtask's.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::activity::SubtaskActivity;
use super::pool::{JobShare, PermitHolder};
use super::time_ledger::WaitReason;
use crate::clock::thread_cpu_time;
use crate::model::Interrupt;
use crate::wakeup::Wakeup;

thread_local! {
    static CURRENT: RefCell<Option<Arc<PermitHolder>>> = const { RefCell::new(None) };
}

/// The current thread's part in a pool. Dropping it returns the permit.
pub struct CurrentPermit {
    holder: Arc<PermitHolder>,
}

/// Makes the current thread one of the job with this share, and gets a permit for it. The thread does not wait for permits once
/// `interrupt` is set. Its progress is shown in `activity`.
pub fn enter(share: &JobShare, activity: Arc<SubtaskActivity>, interrupt: Interrupt) -> CurrentPermit {
    let holder = share.add_thread(activity, interrupt);
    CURRENT.set(Some(holder.clone()));
    holder.acquire();
    CurrentPermit { holder }
}

impl Drop for CurrentPermit {
    fn drop(&mut self) {
        self.holder.activity.end();
        self.holder.leave();
        CURRENT.set(None);
    }
}

/// Lets another thread work first if it is its turn, and notes progress. Call it between two steps of work, without a lock.
#[inline]
pub fn check() {
    CURRENT.with_borrow(|current| {
        if let Some(holder) = current {
            holder.check();
        }
    });
}

/// Does `work`, which changes the mappings of the process's memory, such as the end of an instance.
///
/// The system interrupts all processors that run threads of the process, because each keeps a copy of the mappings. While jobs compete, the
/// current job is charged for that time of the others, too.
pub fn while_remapping<T>(work: impl FnOnce() -> T) -> T {
    let holder = CURRENT.with_borrow(|current| current.as_ref().filter(|holder| holder.is_contended()).cloned());
    let Some(holder) = holder else { return work() };
    let before = thread_cpu_time();
    let done = work();
    holder.charge_interrupts(thread_cpu_time().saturating_sub(before));
    done
}

/// Returns the permit while `wait` waits for an event, and gets one again afterwards. `wait` must not return with a lock held.
pub fn while_waiting<T>(reason: WaitReason, wait: impl FnOnce() -> T) -> T {
    let holder = CURRENT.with_borrow(Clone::clone);
    let Some(holder) = holder else { return wait() };
    // A wait within a wait.
    if holder.activity.is_waiting() {
        return wait();
    }
    holder.activity.begin_wait(reason);
    holder.release();
    let waited = wait();
    holder.acquire();
    holder.activity.end_wait();
    waited
}

/// Waits for a wake-up without holding a permit. See [`Wakeup::wait`].
pub fn wait(reason: WaitReason, wakeup: &Wakeup, timeout: Duration) {
    if timeout.is_zero() || wakeup.is_woken() {
        return wakeup.wait(timeout);
    }
    while_waiting(reason, || wakeup.wait(timeout));
}
