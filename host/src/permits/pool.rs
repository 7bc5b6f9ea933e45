//! The pool of permits, and which thread gets one. See the module for the rules.
//!
//! While the pool is not contended, only atomic counters change. Once it is, all decisions are made under one lock: a thread takes it
//! when it waits, when it is woken, and at the end of a slice. A thread of the pool ends the contention when only one job is left, and
//! finds threads that are stuck.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::activity::SubtaskActivity;
use super::job_queue::{JobQueues, RunningThreads};
use super::placement::ThreadPlace;
use crate::clock::{SharedClock, SystemClock};
use crate::model::Interrupt;
use crate::wakeup::Wakeup;

/// Shortest time for which a thread keeps its permit although another job has used less, in nanoseconds.
const SLICE_MIN_NS: u64 = 500_000;

/// Time after which a thread lets another one of its own job run, in nanoseconds.
const SLICE_OWN_JOB_NS: u64 = 10_000_000;

/// How much more than another job with fewer permits a job may have used before it gives one back, in nanoseconds.
const MARGIN_NS: u64 = 2_000_000;

/// The same if the other job has as many permits, in nanoseconds. Two jobs that use the same go on doing so with as many permits, and
/// each permit that changes hands costs both of them time.
const LEVEL_MARGIN_NS: u64 = 10_000_000;

/// Interval of the pool's thread while the pool is contended.
const SURVEY: Duration = Duration::from_millis(25);

/// Number of surveys without a check after which a thread is stuck.
const STUCK_SURVEYS: u64 = 2;

/// Number of surveys with one active job after which the pool is no longer contended.
const QUIET_SURVEYS: u32 = 4;

/// One in how many parts of the time of a thread that changes mappings each other processor loses to the interrupt.
const REMAPPING_PER_INTERRUPT: u32 = 2;

/// The thread holds no permit, and does not wait for one.
const NONE: u8 = 0;
/// The thread holds a permit.
const HELD: u8 = 1;
/// The thread waits for a permit.
const QUEUED: u8 = 2;
/// The thread works without a permit, because another one got it while this thread was stuck.
const REVOKED: u8 = 3;

/// Who gets the permit of a thread that gives way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heir {
    /// The next thread of the same job.
    OwnJob,
    /// The job that has used the least.
    AnyJob,
}

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

/// The decisions, locked. The fields are dropped in this order.
///
/// Whoever gets a permit is woken when the lock is free again. A woken thread may take the processor of the one that wakes it at once. If
/// that one still had the lock, the threads on all other processors would soon wait for it.
struct Deciding<'a> {
    decisions: MutexGuard<'a, Decisions>,
    granted: Granted,
}

/// Threads that have got a permit. Dropping it wakes them.
#[derive(Default)]
struct Granted(Vec<Arc<PermitHolder>>);

impl Drop for Granted {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|holder| holder.wakeup.wake());
    }
}

impl Deref for Deciding<'_> {
    type Target = Decisions;

    fn deref(&self) -> &Decisions {
        &self.decisions
    }
}

impl DerefMut for Deciding<'_> {
    fn deref_mut(&mut self) -> &mut Decisions {
        &mut self.decisions
    }
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
        self.pool.shared.decide().queues.remove_job(self.job);
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
    /// Time that the thread's interrupts have cost other processors, and for which the job has not been charged.
    interrupted_ns: AtomicU64,
    /// Start of the slice, in monotonic nanoseconds.
    slice_ns: AtomicU64,
    /// Wakes the thread while it waits for a permit.
    wakeup: Wakeup,
    /// Where the thread begins to work when it gets a permit.
    place: ThreadPlace,
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
        let mut decisions = self.shared.decide();
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
    pub(super) fn clock(&self) -> SharedClock {
        self.entry.pool.shared.clock.clone()
    }

    #[cfg(test)]
    pub(super) fn is_same(&self, other: &JobShare) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry)
    }

    /// Adds a thread, which holds no permit yet. It stops waiting for permits once `interrupt` is set.
    pub(super) fn add_thread(&self, activity: Arc<SubtaskActivity>, interrupt: Interrupt) -> Arc<PermitHolder> {
        activity.begin();
        let holder = Arc::new(PermitHolder {
            job: self.entry.job,
            share: self.entry.clone(),
            state: AtomicU8::new(NONE),
            since_ns: AtomicU64::new(0),
            is_charged: AtomicBool::new(false),
            interrupted_ns: AtomicU64::new(0),
            slice_ns: AtomicU64::new(0),
            wakeup: Wakeup::default(),
            place: ThreadPlace::of_current_thread(),
            interrupt,
            activity,
            surveyed_beats: AtomicU64::new(0),
            same_surveys: AtomicU64::new(0),
        });
        holder.interrupt.subscribe(&holder.wakeup);
        self.entry.pool.shared.decide().holders.push(holder.clone());
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
        if self.take_if_free() {
            return;
        }
        let pool = self.pool();
        let mut decisions = pool.decide();
        let now_ns = pool.clock.monotonic_ns();
        if self.interrupt.is_set() {
            // A permit may have become free that was not granted, because the thread was counted for a moment.
            return pool.grant_permits(&mut decisions, now_ns, None);
        }
        // The counters may have been changed between the two readings, or the contention may have ended.
        if !pool.is_contended.load(Ordering::SeqCst) && decisions.queues.is_alone(self.job) {
            return self.take();
        }
        pool.begin_contention(&mut decisions, now_ns);
        self.queue(decisions, now_ns, false);
    }

    /// Takes a permit if the pool is not contended, and if one is left or no other job has one.
    fn take_if_free(&self) -> bool {
        let pool = self.pool();
        if pool.is_contended.load(Ordering::SeqCst) {
            return false;
        }
        let own = self.running().fetch_add(1, Ordering::SeqCst) + 1;
        let all = pool.running.fetch_add(1, Ordering::SeqCst) + 1;
        if all <= pool.capacity || all == own {
            self.state.store(HELD, Ordering::SeqCst);
            return true;
        }
        self.running().fetch_sub(1, Ordering::SeqCst);
        pool.running.fetch_sub(1, Ordering::SeqCst);
        false
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
            let mut decisions = pool.decide();
            let now_ns = pool.clock.monotonic_ns();
            let giver = self.give_back(&mut decisions, now_ns).then_some(self);
            pool.grant_permits(&mut decisions, now_ns, giver);
            return;
        }
        if self.state.swap(NONE, Ordering::SeqCst) == HELD {
            self.running().fetch_sub(1, Ordering::SeqCst);
            pool.running.fetch_sub(1, Ordering::SeqCst);
            // A thread that began to wait in the meantime has not seen this permit.
            if pool.is_contended.load(Ordering::SeqCst) {
                let mut decisions = pool.decide();
                let now_ns = pool.clock.monotonic_ns();
                self.end_charge(&mut decisions, now_ns);
                pool.grant_permits(&mut decisions, now_ns, Some(self));
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
        let uncharged_ns = now_ns.saturating_sub(self.since_ns.load(Ordering::Relaxed));
        // A thread that has lost its permit asks for another one at once. One without a permit has been interrupted.
        let is_due = match self.state.load(Ordering::SeqCst) {
            HELD => uncharged_ns >= SLICE_MIN_NS,
            state => state == REVOKED,
        };
        if !is_due || self.interrupt.is_set() {
            return;
        }
        let in_slice_ns = now_ns.saturating_sub(self.slice_ns.load(Ordering::Relaxed));
        let mut decisions = pool.decide();
        // Without contention nobody would grant this thread another permit.
        if !pool.is_contended.load(Ordering::SeqCst) {
            return;
        }
        let mut heir = Heir::AnyJob;
        if self.state.load(Ordering::SeqCst) == HELD {
            self.charge(&mut decisions, now_ns);
            let Some(due) = self.due_heir(&decisions, now_ns, in_slice_ns) else { return };
            heir = due;
        }
        let mut has_given = self.give_back(&mut decisions, now_ns);
        if heir == Heir::OwnJob {
            pool.grant(&mut decisions, self.job, now_ns, Some(self));
            has_given = false;
        }
        self.queue(decisions, now_ns, has_given);
    }

    /// Returns who should get the permit of this thread now, or `None` if it keeps it.
    ///
    /// The threads of a job take turns also while another job comes next: two jobs that have used nearly the same need not exchange
    /// permits for a long time.
    fn due_heir(&self, decisions: &Decisions, now_ns: u64, in_slice_ns: u64) -> Option<Heir> {
        let pool = self.pool();
        if pool.running.load(Ordering::SeqCst) > pool.capacity {
            return Some(Heir::AnyJob);
        }
        let next = decisions.queues.next_job(now_ns)?;
        let margin_ns = if next.running < self.running().load(Ordering::SeqCst) { MARGIN_NS } else { LEVEL_MARGIN_NS };
        if next.job != self.job && next.used_ns.saturating_add(margin_ns) < decisions.queues.used_ns(self.job, now_ns) {
            return Some(Heir::AnyJob);
        }
        (in_slice_ns >= SLICE_OWN_JOB_NS && decisions.queues.has_waiting(self.job)).then_some(Heir::OwnJob)
    }

    /// Waits in the queue of the job, after giving a permit back if `has_given`. Returns with a permit, or without one if the attempt is
    /// interrupted.
    fn queue(self: &Arc<Self>, mut decisions: Deciding<'_>, now_ns: u64, has_given: bool) {
        let pool = self.pool();
        self.state.store(QUEUED, Ordering::SeqCst);
        decisions.queues.enqueue(self.job, self.clone(), now_ns);
        pool.grant_permits(&mut decisions, now_ns, has_given.then_some(self));
        drop(decisions);
        if self.state.load(Ordering::SeqCst) == QUEUED {
            self.activity.while_throttled(|| self.wait_in_queue());
        }
        self.place.unbind();
    }

    fn wait_in_queue(self: &Arc<Self>) {
        while self.state.load(Ordering::SeqCst) == QUEUED {
            if self.interrupt.is_set() {
                self.leave_queue();
                break;
            }
            self.wakeup.wait(Duration::MAX);
        }
    }

    fn leave_queue(self: &Arc<Self>) {
        let mut decisions = self.pool().decide();
        if self.state.load(Ordering::SeqCst) == QUEUED {
            decisions.queues.remove(self.job, self);
            self.state.store(NONE, Ordering::SeqCst);
        }
    }

    pub(super) fn is_contended(&self) -> bool {
        self.pool().is_contended.load(Ordering::Relaxed)
    }

    /// Charges the job for the interrupts of other processors that `remapping`, processor time of this thread, has caused. The job pays at
    /// the next check.
    pub(super) fn charge_interrupts(&self, remapping: Duration) {
        let pool = self.pool();
        let others = pool.running.load(Ordering::Relaxed).min(pool.capacity).saturating_sub(1);
        let interrupts =
            (remapping / REMAPPING_PER_INTERRUPT).saturating_mul(u32::try_from(others).unwrap_or(u32::MAX));
        let ns = u64::try_from(interrupts.as_nanos()).unwrap_or(u64::MAX);
        self.interrupted_ns.fetch_add(ns, Ordering::Relaxed);
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
        let interrupted_ns = self.interrupted_ns.swap(0, Ordering::Relaxed);
        if self.is_charged.swap(false, Ordering::Relaxed) {
            decisions.queues.end_charge(self.job, since_ns, now_ns);
            decisions.queues.charge(self.job, interrupted_ns);
        }
    }

    /// Takes the permit away from the thread. Returns whether it held one.
    fn give_back(&self, decisions: &mut Decisions, now_ns: u64) -> bool {
        let has_held = self.state.swap(NONE, Ordering::SeqCst) == HELD;
        self.end_charge(decisions, now_ns);
        if has_held {
            self.running().fetch_sub(1, Ordering::SeqCst);
            self.pool().running.fetch_sub(1, Ordering::SeqCst);
        }
        has_held
    }

    /// Ends the thread's part in the pool.
    pub(super) fn leave(self: &Arc<Self>) {
        self.release();
        self.pool().decide().holders.retain(|other| !Arc::ptr_eq(other, self));
    }

    /// Returns whether the thread uses a processor although it has lost its permit.
    fn is_overstaying(&self) -> bool {
        self.state.load(Ordering::SeqCst) == REVOKED && self.is_charged.load(Ordering::Relaxed)
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
    fn decide(&self) -> Deciding<'_> {
        Deciding { decisions: self.decisions.lock(), granted: Granted::default() }
    }

    fn begin_contention(self: &Arc<Self>, decisions: &mut Decisions, now_ns: u64) {
        let has_begun = !self.is_contended.swap(true, Ordering::SeqCst);
        if has_begun {
            decisions.quiet_surveys = 0;
            decisions.queues.reset_usage();
            for holder in decisions.holders.clone() {
                holder.is_charged.store(false, Ordering::Relaxed);
                holder.slice_ns.store(now_ns, Ordering::Relaxed);
                if holder.state.load(Ordering::SeqCst) == HELD {
                    holder.begin_charge(decisions, now_ns);
                }
            }
        }
        if !self.survey_thread.swap(true, Ordering::SeqCst) {
            self.start_survey_thread();
        } else if has_begun {
            self.survey.wake();
        }
    }

    fn start_survey_thread(self: &Arc<Self>) {
        let pool = self.clone();
        let survey = std::thread::Builder::new().name("permits".into()).spawn(move || pool.survey());
        if let Err(error) = survey {
            // Contention then lasts, which costs a lock for each wait. The next thread that waits tries again.
            tracing::warn!("the thread that surveys permits cannot be started: {error}");
            self.survey_thread.store(false, Ordering::SeqCst);
        }
    }

    /// Grants free permits to the jobs that have used the least.
    fn grant_permits(&self, decisions: &mut Deciding<'_>, now_ns: u64, mut giver: Option<&Arc<PermitHolder>>) {
        while let Some(next) = decisions.queues.next_job(now_ns) {
            let running = self.running.load(Ordering::SeqCst);
            // Threads that began to run before the contention give their permits back one after the other. A job without a running
            // thread need not wait for all of them.
            let is_draining = running > self.capacity && next.running == 0;
            if running >= self.capacity && !is_draining {
                return;
            }
            self.grant(decisions, next.job, now_ns, giver.take());
        }
    }

    fn grant(&self, decisions: &mut Deciding<'_>, job: u64, now_ns: u64, giver: Option<&Arc<PermitHolder>>) {
        let Some(holder) = decisions.queues.take_first(job) else { return };
        holder.begin_charge(decisions, now_ns);
        holder.slice_ns.store(now_ns, Ordering::Relaxed);
        holder.same_surveys.store(0, Ordering::Relaxed);
        if giver.is_some_and(|giver| !Arc::ptr_eq(giver, &holder)) {
            holder.place.begin_here();
        }
        holder.take();
        decisions.granted.0.push(holder);
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

    /// Takes the permit of a stuck thread away.
    ///
    /// A thread that is not blocked goes on using a processor, so its job goes on being charged. There are never more such threads than
    /// permits: then the threads with a permit share the processors with as many, and the least that they get is half.
    fn revoke(&self, holder: &PermitHolder, decisions: &mut Decisions, now_ns: u64) {
        let is_blocked = holder.place.is_blocked();
        let overstaying = decisions.holders.iter().filter(|other| other.is_overstaying()).count();
        if !is_blocked && overstaying >= self.capacity {
            return;
        }
        if holder.state.compare_exchange(HELD, REVOKED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        if is_blocked {
            holder.end_charge(decisions, now_ns);
        }
        holder.running().fetch_sub(1, Ordering::SeqCst);
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// Revokes the permits of stuck threads for those that wait, and ends the contention if only one job has been active for a while.
    fn survey_once(&self) {
        let mut decisions = self.decide();
        let now_ns = self.clock.monotonic_ns();
        for holder in decisions.holders.clone() {
            if holder.state.load(Ordering::SeqCst) == HELD
                && holder.is_stuck()
                && decisions.queues.next_job(now_ns).is_some()
            {
                self.revoke(&holder, &mut decisions, now_ns);
            }
        }
        self.grant_permits(&mut decisions, now_ns, None);
        // A thread that lost its permit asks for another one at its next check only while the pool is contended. Its job may have no
        // other thread, so that it does not count as active.
        let is_revoked = |holder: &Arc<PermitHolder>| holder.state.load(Ordering::SeqCst) == REVOKED;
        let is_contended = decisions.queues.active_jobs() > 1 || decisions.holders.iter().any(is_revoked);
        decisions.quiet_surveys = if is_contended { 0 } else { decisions.quiet_surveys + 1 };
        if decisions.quiet_surveys >= QUIET_SURVEYS {
            self.is_contended.store(false, Ordering::SeqCst);
            while let Some(next) = decisions.queues.next_job(now_ns) {
                self.grant(&mut decisions, next.job, now_ns, None);
            }
        }
    }
}
