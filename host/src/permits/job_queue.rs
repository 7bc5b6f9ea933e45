//! The jobs of a contended pool: the processor time that each has used, and its threads that wait for a permit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Time by which a job that was not active may be ahead of the others when it becomes active, in nanoseconds.
const LEAD_NS: u64 = 10_000_000;

/// The number of threads of a job that hold a permit.
#[derive(Default)]
pub(super) struct RunningThreads {
    pub(super) count: AtomicUsize,
}

/// One job, whose threads are of the type `T`.
struct JobQueue<T> {
    /// Number of its threads that hold a permit.
    running: Arc<RunningThreads>,
    /// Time during which its threads have held permits up to their last charges, in nanoseconds. Comparable between active jobs only.
    used_ns: u64,
    /// Number of its threads that are being charged, and the sum of the times of their last charges, in monotonic nanoseconds.
    charged: u64,
    charged_since_ns: u64,
    /// Threads that wait for a permit, in the order of their requests.
    waiting: VecDeque<Arc<T>>,
}

impl<T> JobQueue<T> {
    fn new(running: Arc<RunningThreads>) -> JobQueue<T> {
        JobQueue { running, used_ns: 0, charged: 0, charged_since_ns: 0, waiting: VecDeque::new() }
    }

    fn is_active(&self) -> bool {
        !self.waiting.is_empty() || self.running.count.load(Ordering::SeqCst) > 0
    }

    /// Returns the time during which its threads have held permits up to now.
    fn used_until(&self, now_ns: u64) -> u64 {
        let uncharged_ns = self.charged.saturating_mul(now_ns).saturating_sub(self.charged_since_ns);
        self.used_ns.saturating_add(uncharged_ns)
    }
}

/// The jobs of a pool, by number.
pub(super) struct JobQueues<T> {
    jobs: BTreeMap<u64, JobQueue<T>>,
    next_job: u64,
}

impl<T> Default for JobQueues<T> {
    fn default() -> Self {
        JobQueues { jobs: BTreeMap::new(), next_job: 0 }
    }
}

impl<T> JobQueues<T> {
    /// Adds a job and returns its number.
    pub(super) fn add_job(&mut self, running: Arc<RunningThreads>) -> u64 {
        self.next_job += 1;
        self.jobs.insert(self.next_job, JobQueue::new(running));
        self.next_job
    }

    pub(super) fn remove_job(&mut self, job: u64) {
        self.jobs.remove(&job);
    }

    /// Forgets what the jobs have used so far, and which threads are being charged.
    pub(super) fn reset_usage(&mut self) {
        for job in self.jobs.values_mut() {
            (job.used_ns, job.charged, job.charged_since_ns) = (0, 0, 0);
        }
    }

    /// Begins to charge a job for a thread.
    pub(super) fn begin_charge(&mut self, job: u64, since_ns: u64) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.charged += 1;
            job.charged_since_ns += since_ns;
        }
    }

    /// Ends the charge for a thread that has held a permit since `since_ns`.
    pub(super) fn end_charge(&mut self, job: u64, since_ns: u64, now_ns: u64) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.charged = job.charged.saturating_sub(1);
            job.charged_since_ns = job.charged_since_ns.saturating_sub(since_ns);
            job.used_ns = job.used_ns.saturating_add(now_ns.saturating_sub(since_ns));
        }
    }

    /// Charges a job for time that its threads have cost others.
    pub(super) fn charge(&mut self, job: u64, ns: u64) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.used_ns = job.used_ns.saturating_add(ns);
        }
    }

    /// Appends a thread to the queue of its job. A job that was not active starts with the usage of the others: time that it did not
    /// use is not saved up, except for a short lead.
    pub(super) fn enqueue(&mut self, job: u64, thread: Arc<T>, now_ns: u64) {
        let least = self.jobs.iter().filter(|(id, other)| **id != job && other.is_active());
        let least = least.map(|(_, other)| other.used_until(now_ns)).min();
        let Some(job) = self.jobs.get_mut(&job) else { return };
        if let Some(least) = least.filter(|_| !job.is_active()) {
            job.used_ns = job.used_ns.max(least.saturating_sub(LEAD_NS));
        }
        job.waiting.push_back(thread);
    }

    /// Removes a thread from the queue of its job.
    pub(super) fn remove(&mut self, job: u64, thread: &Arc<T>) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.waiting.retain(|other| !Arc::ptr_eq(other, thread));
        }
    }

    /// Returns the usage of the job that has used the least of those with waiting threads, and the number of its running threads.
    pub(super) fn next_job(&self, now_ns: u64) -> Option<NextJob> {
        let waiting = self.jobs.iter().filter(|(_, job)| !job.waiting.is_empty());
        let (&job, queue) = waiting.min_by_key(|(_, job)| job.used_until(now_ns))?;
        Some(NextJob { job, used_ns: queue.used_until(now_ns), running: queue.running.count.load(Ordering::SeqCst) })
    }

    /// Returns the usage of a job.
    pub(super) fn used_ns(&self, job: u64, now_ns: u64) -> u64 {
        self.jobs.get(&job).map_or(0, |job| job.used_until(now_ns))
    }

    /// Returns whether a thread of a job waits for a permit.
    pub(super) fn has_waiting(&self, job: u64) -> bool {
        self.jobs.get(&job).is_some_and(|job| !job.waiting.is_empty())
    }

    /// Takes the first waiting thread of a job.
    pub(super) fn take_first(&mut self, job: u64) -> Option<Arc<T>> {
        self.jobs.get_mut(&job)?.waiting.pop_front()
    }

    /// Returns whether no other job has running or waiting threads.
    pub(super) fn is_alone(&self, job: u64) -> bool {
        self.jobs.iter().all(|(id, other)| *id == job || !other.is_active())
    }

    /// Returns the number of jobs with running or waiting threads.
    pub(super) fn active_jobs(&self) -> usize {
        self.jobs.values().filter(|job| job.is_active()).count()
    }
}

/// The job that gets the next permit.
pub(super) struct NextJob {
    pub(super) job: u64,
    pub(super) used_ns: u64,
    /// Number of its threads that hold a permit.
    pub(super) running: usize,
}
