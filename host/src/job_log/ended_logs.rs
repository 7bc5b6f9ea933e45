//! The logs of jobs that have ended. The newest lines of the last jobs stay for a while, because they say why a job has failed.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::log_of_job::JobLog;

/// Number of ended jobs whose lines are kept.
const JOBS_MAX: usize = 64;
/// Number of lines that are kept of each operator of an ended job.
const LINES_MAX: usize = 100;
/// Bytes that are kept of an ended job.
const BYTES_MAX: usize = 256 << 10;

/// The logs of the jobs that have ended last.
#[derive(Default)]
pub struct EndedLogs {
    logs: Mutex<VecDeque<Weak<JobLog>>>,
}

impl EndedLogs {
    /// Drops most lines of a job that has ended, and all lines of the job that ended first if there are too many.
    pub fn add(&self, log: &Arc<JobLog>) {
        log.truncate(LINES_MAX, BYTES_MAX);
        let mut logs = self.logs.lock();
        logs.push_back(Arc::downgrade(log));
        while logs.len() > JOBS_MAX {
            if let Some(log) = logs.pop_front().and_then(|log| log.upgrade()) {
                log.truncate(0, 0);
            }
        }
    }
}
