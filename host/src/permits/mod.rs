//! Permits to use a processor, dealt fairly between jobs.
//!
//! There is one permit for each core. A thread of a subtask holds one while it works, and returns it while it waits.
//!
//! ```text
//! enter ──► holds a permit ──► check, between two steps ──► holds a permit
//!                │   ▲                     │  ▲
//!           wait │   │ woken        slice  │  │ its job's turn
//!                ▼   │               over  ▼  │
//!               waits for input       waits for a permit
//! ```
//!
//! - A job alone is not limited: all of its threads hold permits. Entering, waiting and checking cost a few atomic operations.
//! - The pool is *contended* once threads of two jobs want more permits than there are. Then the job that has used the least
//!   processor time gets the next free permit, whatever its number of threads. Its threads take turns.
//! - A thread gives its permit back when its slice is over and another job has used less. After 10 ms it hands it to the next thread of its
//!   own job, whichever job has used less. It checks between two steps, and within a guest call at each tick of the engine.
//! - A job is also charged for what its threads make the system do on other processors: the interrupts when an instance is replaced.
//! - A thread that does not check for 50 ms is blocked by something else, such as a disk. Another thread then gets its permit. It also does
//!   if the thread computes for that long, but only as many threads as there are permits may go on without one.
//!
//! The same checks are the heartbeat of a subtask ([`SubtaskActivity`]), and the waits are what its time is accounted by
//! (`time_ledger.rs`).

mod activity;
mod current;
mod job_queue;
mod placement;
mod pool;
#[cfg(test)]
mod pool_tests;
mod time_ledger;

pub use activity::SubtaskActivity;
pub use current::{CurrentPermit, check, enter, wait, while_remapping, while_waiting};
pub use pool::{JobShare, PermitPool};
pub use time_ledger::{ThreadTimes, WaitReason};
