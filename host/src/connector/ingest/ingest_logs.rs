//! The logs of a server, one for each source `http` of each job name.
//!
//! A log belongs to the name of a job, so that a job that continues another one of the same name reads on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::ingest_log::IngestLog;
use super::log_disk::SystemDisk;
use super::log_shared::LogLimits;
use crate::clock::SharedClock;
use crate::error::{Result, ingest_failed};

/// The logs of the sources of one job.
#[derive(Clone)]
pub struct IngestAccess {
    /// All logs.
    pub logs: Arc<IngestLogs>,
    /// Name of the job.
    pub job: String,
    /// Whether sources go on if records after a restored position have been removed.
    pub allow_loss: bool,
}

/// The namespace of all jobs.
const NAMESPACE: &str = "default";

/// A log that is opened when it is needed first.
type LazyLog = Arc<Mutex<Option<Arc<IngestLog>>>>;

/// The logs below one folder.
pub struct IngestLogs {
    folder: PathBuf,
    clock: SharedClock,
    /// Whether the process has a listener for records.
    has_listener: AtomicBool,
    /// By job name and source id. `None` after the logs were closed.
    logs: Mutex<Option<BTreeMap<(String, String), LazyLog>>>,
}

impl IngestLogs {
    /// Creates the logs below the folder `ingest` of a data folder. Opens none.
    pub fn new(folder: PathBuf, clock: SharedClock) -> IngestLogs {
        let (has_listener, logs) = (AtomicBool::new(false), Mutex::new(Some(BTreeMap::new())));
        IngestLogs { folder, clock, has_listener, logs }
    }

    /// Notes that the process has a listener for records.
    pub fn set_has_listener(&self) {
        self.has_listener.store(true, Ordering::Relaxed);
    }

    /// Returns whether the process has a listener for records.
    pub fn has_listener(&self) -> bool {
        self.has_listener.load(Ordering::Relaxed)
    }

    /// Returns the log of a source, and opens it if necessary, which reads all of it. Errors: those of [`IngestLog::open`].
    pub fn open(&self, job: &str, source: &str, limits: LogLimits) -> Result<Arc<IngestLog>> {
        let lazy = match &mut *self.logs.lock() {
            Some(logs) => logs.entry((job.to_owned(), source.to_owned())).or_default().clone(),
            None => return Err(ingest_failed("the server stops")),
        };
        let mut lazy = lazy.lock();
        if let Some(log) = &*lazy {
            log.set_limits(&limits);
            return Ok(log.clone());
        }
        let folder = self.folder.join(NAMESPACE).join(job).join(source);
        let log = Arc::new(IngestLog::open(&folder, limits, self.clock.clone(), Arc::new(SystemDisk))?);
        Ok(lazy.insert(log).clone())
    }

    /// Makes durable what waits, and closes all logs. Requests are refused from then on.
    pub fn close(&self) {
        let logs = self.logs.lock().take().unwrap_or_default();
        for log in logs.into_values() {
            if let Some(log) = log.lock().take() {
                log.close();
            }
        }
    }
}
