//! The pool of permits, and which thread gets one. See the module for the rules.
//!
//! While the pool is not contended, only atomic counters change. Once it is, all decisions are made under one lock: a thread takes it
//! when it waits, when it is woken, and at the end of a slice. A thread of the pool ends the contention when only one job is left, and
//! finds threads that are stuck.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::activity::SubtaskActivity;
use super::job_queue::{JobQueues, RunningThreads};
use crate::clock::{SharedClock, SystemClock};
use crate::model::Interrupt;
use crate::wakeup::Wakeup;

/// Shortest time for which a thread keeps its permit although another job has used less, in nanoseconds.
const SLICE_MIN_NS: u64 = 500_000;

/// Time after which a thread lets another one of its own job run, in nanoseconds.
const SLICE_OWN_JOB_NS: u64 = 10_000_000;

/// How much more than another job a job may have used before it gives a permit back, in nanoseconds.
const MARGIN_NS: u64 = 2_000_000;

/// Interval of the pool's thread while the pool is contended.
const SURVEY: Duration = Duration::from_millis(25);

/// Number of surveys without a check after which a thread is stuck.
const STUCK_SURVEYS: u64 = 2;

/// Number of surveys with one active job after which the pool is no longer contended.
const QUIET_SURVEYS: u32 = 4;

/// The thread holds no permit, and does not wait for one.
const NONE: u8 = 0;
/// The thread holds a permit.
const HELD: u8 = 1;
/// The thread waits for a permit.
const QUEUED: u8 = 2;
/// The thread works without a permit, because another one got it while this thread was stuck.
const REVOKED: u8 = 3;

/// The permits of a process. Clones share them.
#[derive(Clone)]
pub struct PermitPool {
    shared: Arc<SharedPool>,
    /// Ends the pool's thread when the last pool is dropped.
    _survey: Arc<SurveyEnd>,
}

pub(super) struct SharedPool {
    /// Number of permits.
    capacity: usize,
    clock: SharedClock,
    /// Number of threads that hold a permit. More than `capacity` if a job is alone.
    running: AtomicUsize,
    is_contended: AtomicBool,
    decisions: Mutex<Decisions>,
    /// Wakes the pool's thread.
    survey: Wakeup,
    /// Whether the pool's thread has been started.
    survey_thread: AtomicBool,
    is_over: AtomicBool,
}

/// Everything that is decided under the lock.
#[derive(Default)]
struct Decisions {
    queues: JobQueues<PermitHolder>,
    /// The shares of all jobs, by the id of the job.
    shares: BTreeMap<String, Weak<JobEntry>>,
    /// All threads of subtasks.
    holders: Vec<Arc<PermitHolder>>,
    /// Number of surveys in a row that found at most one active job.
    quiet_surveys: u32,
}

struct SurveyEnd(Arc<SharedPool>);

impl Drop for SurveyEnd {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
        self.0.survey.wake();
    }
}

/// A job's share of the pool. Clones are the same share.
#[derive(Clone)]
pub struct JobShare {
    entry: Arc<JobEntry>,
}

struct JobEntry {
    pool: PermitPool,
    job: u64,
    running: Arc<RunningThreads>,
}

impl Drop for JobEntry {
    fn drop(&mut self) {
        self.pool.shared.decisions.lock().queues.remove_job(self.job);
    }
}

impl Default for JobShare {
    /// The share of a job in a pool of its own.
    fn default() -> JobShare {
        PermitPool::of_machine(SystemClock::shared()).share_of("")
    }
}

/// A thread of a subtask.
pub(super) struct PermitHolder {
    pub(super) job: u64,
    share: Arc<JobEntry>,
    state: AtomicU8,
    /// Start of the time for which the job has not been charged, in monotonic nanoseconds. 0 before the first charge.
    since_ns: AtomicU64,
    /// Whether the job is being charged for the thread. Only used while the pool is contended.
    is_charged: AtomicBool,
    /// Start of the slice, in monotonic nanoseconds.
    slice_ns: AtomicU64,
    /// Wakes the thread while it waits for a permit.
    wakeup: Wakeup,
    interrupt: Interrupt,
    pub(super) activity: Arc<SubtaskActivity>,
    /// The beats that the last survey saw, and the number of surveys that saw the same.
    surveyed_beats: AtomicU64,
    same_surveys: AtomicU64,
}

impl PermitPool {
    /// Creates a pool with one permit for each core.
    pub fn of_machine(clock: SharedClock) -> PermitPool {
        PermitPool::new(std::thread::available_parallelism().map_or(1, usize::from), clock)
    }

    /// Creates a pool of `capacity` permits.
    pub fn new(capacity: usize, clock: SharedClock) -> PermitPool {
        let shared = Arc::new(SharedPool {
            capacity: capacity.max(1),
            clock,
            running: AtomicUsize::new(0),
            is_contended: AtomicBool::new(false),
            decisions: Mutex::default(),
            survey: Wakeup::default(),
            survey_thread: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        PermitPool { _survey: Arc::new(SurveyEnd(shared.clone())), shared }
    }

    /// Returns the share of the job with this id. All parts of a job have the same share.
    pub fn share_of(&self, job_id: &str) -> JobShare {
        let mut decisions = self.shared.decisions.lock();
        if let Some(entry) = decisions.shares.get(job_id).and_then(Weak::upgrade) {
            return JobShare { entry };
        }
        decisions.shares.retain(|_, share| share.strong_count() > 0);
        let running = Arc::<RunningThreads>::default();
        let job = decisions.queues.add_job(running.clone());
        let entry = Arc::new(JobEntry { pool: self.clone(), job, running });
        decisions.shares.insert(job_id.to_owned(), Arc::downgrade(&entry));
        JobShare { entry }
    }

    /// Creates a pool whose surveys a test makes.
    #[cfg(test)]
    pub(super) fn without_surveys(capacity: usize, clock: SharedClock) -> PermitPool {
        let pool = PermitPool::new(capacity, clock);
        pool.shared.survey_thread.store(true, Ordering::SeqCst);
        pool
    }

    #[cfg(test)]
    pub(super) fn running(&self) -> usize {
        self.shared.running.load(Ordering::SeqCst)
    }

    #[cfg(test)]
    pub(super) fn survey_once(&self) {
        self.shared.survey_once();
    }

    /// Returns whether threads of two jobs want more permits than there are.
    pub fn is_contended(&self) -> bool {
        self.shared.is_contended.load(Ordering::Relaxed)
    }
}

impl JobShare {
    #[cfg(test)]
    pub(super) fn is_same(&self, other: &JobShare) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry)
    }

    /// Adds a thread, which holds no permit yet. It stops waiting for permits once `interrupt` is set.
    pub(super) fn add_thread(&self, activity: Arc<SubtaskActivity>, interrupt: Interrupt) -> Arc<PermitHolder> {
        let holder = Arc::new(PermitHolder {
            job: self.entry.job,
            share: self.entry.clone(),
            state: AtomicU8::new(NONE),
            since_ns: AtomicU64::new(0),
            is_charged: AtomicBool::new(false),
            slice_ns: AtomicU64::new(0),
            wakeup: Wakeup::default(),
            interrupt,
            activity,
            surveyed_beats: AtomicU64::new(0),
            same_surveys: AtomicU64::new(0),
        });
        holder.interrupt.subscribe(&holder.wakeup);
        self.entry.pool.shared.decisions.lock().holders.push(holder.clone());
        holder
    }
}

impl PermitHolder {
    fn pool(&self) -> &Arc<SharedPool> {
        &self.share.pool.shared
    }

    fn running(&self) -> &AtomicUsize {
        &self.share.running.count
    }

    /// Gets a permit, and waits for one if necessary.
    pub(super) fn acquire(self: &Arc<Self>) {
        let pool = self.pool();
        if !pool.is_contended.load(Ordering::SeqCst) {
            let own = self.running().fetch_add(1, Ordering::SeqCst) + 1;
            let all = pool.running.fetch_add(1, Ordering::SeqCst) + 1;
            if all <= pool.capacity || all == own {
                self.state.store(HELD, Ordering::SeqCst);
                return;
            }
            self.running().fetch_sub(1, Ordering::SeqCst);
            pool.running.fetch_sub(1, Ordering::SeqCst);
        }
        if !self.interrupt.is_set() {
            let mut decisions = pool.decisions.lock();
            // The counters may have been changed between the two readings, or the contention may have ended.
            if !pool.is_contended.load(Ordering::SeqCst) && decisions.queues.is_alone(self.job) {
                return self.take();
            }
            let now_ns = pool.clock.monotonic_ns();
            pool.begin_contention(&mut decisions, now_ns);
            self.queue(decisions, now_ns);
        }
    }

    /// Takes a permit, whether or not one is left.
    fn take(&self) {
        self.running().fetch_add(1, Ordering::SeqCst);
        self.pool().running.fetch_add(1, Ordering::SeqCst);
        self.state.store(HELD, Ordering::SeqCst);
    }

    /// Returns the permit.
    pub(super) fn release(self: &Arc<Self>) {
        let pool = self.pool();
        if pool.is_contended.load(Ordering::SeqCst) {
            let mut decisions = pool.decisions.lock();
            let now_ns = pool.clock.monotonic_ns();
            self.give_back(&mut decisions, now_ns);
            pool.grant_permits(&mut decisions, now_ns);
            return;
        }
        if self.state.swap(NONE, Ordering::SeqCst) == HELD {
            self.running().fetch_sub(1, Ordering::SeqCst);
            pool.running.fetch_sub(1, Ordering::SeqCst);
            // A thread that began to wait in the meantime has not seen this permit.
            if pool.is_contended.load(Ordering::SeqCst) {
                let mut decisions = pool.decisions.lock();
                let now_ns = pool.clock.monotonic_ns();
                self.end_charge(&mut decisions, now_ns);
                pool.grant_permits(&mut decisions, now_ns);
            }
        }
    }

    /// Lets another thread work first if it is its turn. Cheap unless the pool is contended.
    #[inline]
    pub(super) fn check(self: &Arc<Self>) {
        self.activity.beat();
        if self.pool().is_contended.load(Ordering::Relaxed) {
            self.check_slice();
        }
    }

    #[cold]
    fn check_slice(self: &Arc<Self>) {
        let pool = self.pool();
        let now_ns = pool.clock.monotonic_ns();
        let is_held = self.state.load(Ordering::SeqCst) == HELD;
        let uncharged_ns = now_ns.saturating_sub(self.since_ns.load(Ordering::Relaxed));
        if (is_held && uncharged_ns < SLICE_MIN_NS) || self.interrupt.is_set() {
            return;
        }
        let in_slice_ns = now_ns.saturating_sub(self.slice_ns.load(Ordering::Relaxed));
        let mut decisions = pool.decisions.lock();
        // Without contention nobody would grant this thread another permit.
        if !pool.is_contended.load(Ordering::SeqCst) {
            return;
        }
        if self.state.load(Ordering::SeqCst) == HELD {
            self.charge(&mut decisions, now_ns);
            if !self.must_yield(&decisions, now_ns, in_slice_ns) {
                return;
            }
        }
        self.give_back(&mut decisions, now_ns);
        self.queue(decisions, now_ns);
    }

    fn must_yield(&self, decisions: &Decisions, now_ns: u64, in_slice_ns: u64) -> bool {
        let pool = self.pool();
        if pool.running.load(Ordering::SeqCst) > pool.capacity {
            return true;
        }
        let Some(next) = decisions.queues.next_job(now_ns) else { return false };
        if next.job == self.job {
            return in_slice_ns >= SLICE_OWN_JOB_NS;
        }
        next.used_ns.saturating_add(MARGIN_NS) < decisions.queues.used_ns(self.job, now_ns)
    }

    /// Waits in the queue of the job. Returns with a permit, or without one if the attempt is interrupted.
    fn queue(self: &Arc<Self>, mut decisions: MutexGuard<'_, Decisions>, now_ns: u64) {
        let pool = self.pool();
        self.state.store(QUEUED, Ordering::SeqCst);
        decisions.queues.enqueue(self.job, self.clone(), now_ns);
        pool.grant_permits(&mut decisions, now_ns);
        drop(decisions);
        if self.state.load(Ordering::SeqCst) != QUEUED {
            return;
        }
        let was_waiting = self.activity.is_waiting();
        self.activity.set_waiting(true);
        while self.state.load(Ordering::SeqCst) == QUEUED {
            if self.interrupt.is_set() {
                self.leave_queue();
                break;
            }
            self.wakeup.wait(Duration::MAX);
        }
        self.activity.set_waiting(was_waiting);
    }

    fn leave_queue(self: &Arc<Self>) {
        let mut decisions = self.pool().decisions.lock();
        if self.state.load(Ordering::SeqCst) == QUEUED {
            decisions.queues.remove(self.job, self);
            self.state.store(NONE, Ordering::SeqCst);
        }
    }

    /// Charges the job for the time since the last charge, and goes on charging.
    fn charge(&self, decisions: &mut Decisions, now_ns: u64) {
        self.end_charge(decisions, now_ns);
        self.begin_charge(decisions, now_ns);
    }

    fn begin_charge(&self, decisions: &mut Decisions, now_ns: u64) {
        self.since_ns.store(now_ns, Ordering::Relaxed);
        self.is_charged.store(true, Ordering::Relaxed);
        decisions.queues.begin_charge(self.job, now_ns);
    }

    fn end_charge(&self, decisions: &mut Decisions, now_ns: u64) {
        let since_ns = self.since_ns.load(Ordering::Relaxed);
        if self.is_charged.swap(false, Ordering::Relaxed) {
            decisions.queues.end_charge(self.job, since_ns, now_ns);
        }
    }

    /// Takes the permit away from the thread, if it holds one.
    fn give_back(&self, decisions: &mut Decisions, now_ns: u64) {
        if self.state.swap(NONE, Ordering::SeqCst) == HELD {
            self.end_charge(decisions, now_ns);
            self.running().fetch_sub(1, Ordering::SeqCst);
            self.pool().running.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Ends the thread's part in the pool.
    pub(super) fn leave(self: &Arc<Self>) {
        self.release();
        self.pool().decisions.lock().holders.retain(|other| !Arc::ptr_eq(other, self));
    }

    /// Returns whether the thread has made no progress over several surveys, although it does not wait.
    fn is_stuck(&self) -> bool {
        let beats = self.activity.beats();
        if self.surveyed_beats.swap(beats, Ordering::Relaxed) != beats || self.activity.is_waiting() {
            self.same_surveys.store(0, Ordering::Relaxed);
            return false;
        }
        self.same_surveys.fetch_add(1, Ordering::Relaxed) + 1 >= STUCK_SURVEYS
    }
}

impl SharedPool {
    fn begin_contention(self: &Arc<Self>, decisions: &mut Decisions, now_ns: u64) {
        if self.is_contended.swap(true, Ordering::SeqCst) {
            return;
        }
        decisions.quiet_surveys = 0;
        decisions.queues.reset_usage();
        for holder in decisions.holders.clone() {
            holder.is_charged.store(false, Ordering::Relaxed);
            holder.slice_ns.store(now_ns, Ordering::Relaxed);
            if holder.state.load(Ordering::SeqCst) == HELD {
                holder.begin_charge(decisions, now_ns);
            }
        }
        if self.survey_thread.swap(true, Ordering::SeqCst) {
            self.survey.wake();
            return;
        }
        let pool = self.clone();
        let survey = std::thread::Builder::new().name("permits".into()).spawn(move || pool.survey());
        if let Err(error) = survey {
            // Contention then lasts, which costs a lock for each wait. The next one tries again.
            tracing::warn!("the thread that surveys permits cannot be started: {error}");
            self.survey_thread.store(false, Ordering::SeqCst);
        }
    }

    /// Grants free permits to the jobs that have used the least.
    fn grant_permits(&self, decisions: &mut Decisions, now_ns: u64) {
        while let Some(next) = decisions.queues.next_job(now_ns) {
            let running = self.running.load(Ordering::SeqCst);
            // Threads that began to run before the contention give their permits back one after the other. A job without a running
            // thread need not wait for all of them.
            let is_draining = running > self.capacity && next.running == 0;
            if running >= self.capacity && !is_draining {
                return;
            }
            self.grant(decisions, next.job, now_ns);
        }
    }

    fn grant(&self, decisions: &mut Decisions, job: u64, now_ns: u64) {
        let Some(holder) = decisions.queues.take_first(job) else { return };
        holder.begin_charge(decisions, now_ns);
        holder.slice_ns.store(now_ns, Ordering::Relaxed);
        holder.same_surveys.store(0, Ordering::Relaxed);
        holder.take();
        holder.wakeup.wake();
    }

    /// Runs the pool's thread.
    fn survey(&self) {
        while !self.is_over.load(Ordering::SeqCst) {
            if self.is_contended.load(Ordering::SeqCst) {
                self.survey.wait(SURVEY);
                self.survey_once();
            } else {
                self.survey.wait(Duration::MAX);
            }
        }
    }

    /// Revokes the permits of stuck threads for those that wait, and ends the contention if only one job has been active for a while.
    fn survey_once(&self) {
        let mut decisions = self.decisions.lock();
        let now_ns = self.clock.monotonic_ns();
        for holder in decisions.holders.clone() {
            if holder.state.load(Ordering::SeqCst) == HELD
                && holder.is_stuck()
                && decisions.queues.next_job(now_ns).is_some()
                && holder.state.compare_exchange(HELD, REVOKED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            {
                holder.end_charge(&mut decisions, now_ns);
                holder.running().fetch_sub(1, Ordering::SeqCst);
                self.running.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.grant_permits(&mut decisions, now_ns);
        // A thread that lost its permit asks for another one at its next check only while the pool is contended. Its job may have no
        // other thread, so that it does not count as active.
        let is_revoked = |holder: &Arc<PermitHolder>| holder.state.load(Ordering::SeqCst) == REVOKED;
        let is_contended = decisions.queues.active_jobs() > 1 || decisions.holders.iter().any(is_revoked);
        decisions.quiet_surveys = if is_contended { 0 } else { decisions.quiet_surveys + 1 };
        if decisions.quiet_surveys >= QUIET_SURVEYS {
            self.is_contended.store(false, Ordering::SeqCst);
            while let Some(next) = decisions.queues.next_job(now_ns) {
                self.grant(&mut decisions, next.job, now_ns);
            }
        }
    }
}
