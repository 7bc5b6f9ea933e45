//! Logs for tests: on a disk that a test can fill, break or stop.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

use super::append_queue::AcceptedRequest;
use super::frame::{EncodedFrame, NewRequest, RequestKey};
use super::ingest_log::{AppendRefusal, AppendedRequest, IngestLog};
use super::log_disk::{LogDisk, SystemDisk};
use super::log_shared::LogLimits;
use crate::clock::{Clock, ManualClock};
use crate::error::Result;

/// A call that a [`TestDisk`] lets fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskCall {
    Preallocate,
    Write,
    Sync,
    Truncate,
}

#[derive(Default)]
struct DiskState {
    failing: Vec<(DiskCall, io::ErrorKind)>,
    is_stopped: bool,
    syncs: u64,
}

/// A disk whose calls fail or wait as a test wants it.
#[derive(Default)]
pub(super) struct TestDisk {
    state: Mutex<DiskState>,
    changed: Condvar,
}

impl TestDisk {
    /// Lets these calls fail.
    pub(super) fn fail(&self, failing: &[(DiskCall, io::ErrorKind)]) {
        self.state.lock().failing = failing.to_vec();
    }

    /// Lets syncs wait, or go on.
    pub(super) fn stop(&self, is_stopped: bool) {
        self.state.lock().is_stopped = is_stopped;
        self.changed.notify_all();
    }

    /// Returns the number of syncs that succeeded.
    pub(super) fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    fn check(&self, call: DiskCall) -> io::Result<()> {
        let mut state = self.state.lock();
        while call == DiskCall::Sync && state.is_stopped {
            self.changed.wait(&mut state);
        }
        match state.failing.iter().find(|(failing, _)| *failing == call) {
            Some((_, kind)) => Err((*kind).into()),
            None => Ok(()),
        }
    }
}

impl LogDisk for TestDisk {
    fn preallocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.check(DiskCall::Preallocate).and_then(|()| SystemDisk.preallocate(file, bytes))
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.check(DiskCall::Write) {
            Ok(()) => SystemDisk.write_at(file, bytes, offset),
            // Half of the bytes are written.
            Err(error) => SystemDisk.write_at(file, &bytes[..bytes.len() / 2], offset).and(Err(error)),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.check(DiskCall::Sync)?;
        SystemDisk.sync(file)?;
        self.state.lock().syncs += 1;
        Ok(())
    }

    fn truncate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.check(DiskCall::Truncate).and_then(|()| SystemDisk.truncate(file, bytes))
    }
}

/// A log in a temporary folder.
pub(super) struct TestLog {
    pub(super) folder: TempDir,
    pub(super) disk: Arc<TestDisk>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) limits: LogLimits,
}

impl TestLog {
    pub(super) fn new(segment_bytes: u64) -> TestLog {
        let limits = LogLimits { segment_bytes, ..LogLimits::default() };
        let (disk, clock) = Default::default();
        TestLog { folder: TempDir::new().unwrap(), disk, clock, limits }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn open(&self) -> Result<Arc<IngestLog>> {
        IngestLog::open(self.path(), self.limits, self.clock.clone(), self.disk.clone()).map(Arc::new)
    }

    /// Encodes a request.
    pub(super) fn frame(&self, log: &IngestLog, records: &[&str], key: Option<RequestKey>) -> EncodedFrame {
        let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
        self.encode(log, &records, key, &[])
    }

    fn encode(&self, log: &IngestLog, records: &[&[u8]], key: Option<RequestKey>, attributes: &[u8]) -> EncodedFrame {
        let body = records.concat();
        let mut start = 0;
        let ranges = records.iter().map(|record| {
            start += record.len();
            start - record.len()..start
        });
        let ranges: Vec<Range<usize>> = ranges.collect();
        let received_ms = self.clock.wall_ms();
        let request = NewRequest { received_ms, event_ms: None, key, attributes, body: &body, records: &ranges };
        EncodedFrame::encode(&request, log.salt()).unwrap()
    }

    /// Appends a request and waits until it is durable. Returns whether it was replayed.
    pub(super) fn append(
        &self,
        log: &IngestLog,
        records: &[&str],
        key: Option<RequestKey>,
    ) -> Result<Result<(AcceptedRequest, bool)>, AppendRefusal> {
        Ok(match log.append(&self.frame(log, records, key))? {
            AppendedRequest::Replayed(accepted) => Ok((accepted, true)),
            AppendedRequest::Waiting(outcome) => outcome.blocking_recv().unwrap().map(|accepted| (accepted, false)),
        })
    }

    /// Appends a request that must be accepted now.
    pub(super) fn accept(&self, log: &IngestLog, records: &[&str]) -> AcceptedRequest {
        let (accepted, is_replayed) = self.append(log, records, None).unwrap().unwrap();
        assert!(!is_replayed);
        accepted
    }

    /// Appends a request of bytes.
    pub(super) fn accept_bytes(&self, log: &IngestLog, record: &[u8]) {
        let Ok(AppendedRequest::Waiting(outcome)) = log.append(&self.encode(log, &[record], None, &[])) else {
            panic!("the request waits")
        };
        outcome.blocking_recv().unwrap().unwrap();
    }

    /// Appends a request whose records have these attributes.
    pub(super) fn accept_with_attributes(&self, log: &IngestLog, records: &[&str], attributes: &[u8]) {
        let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
        let Ok(AppendedRequest::Waiting(outcome)) = log.append(&self.encode(log, &records, None, attributes)) else {
            panic!("the request waits")
        };
        outcome.blocking_recv().unwrap().unwrap();
    }
}

/// Returns the key of a number.
pub(super) fn key(hash: u128, body: u64) -> Option<RequestKey> {
    Some(RequestKey { hash, body })
}
