//! A sink that writes each value as a line of the standard output.
//!
//! Delivery is at least once: a line may be repeated after a restart. A separate thread writes the stream
//! ([`crate::stdio`]). A slow reader holds up the sink and the job's records, but neither a cancel nor the end of the
//! process.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use parking_lot::Mutex;

use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Prepared, Sink, unwritable_record};
use crate::error::{Error, Result, sink_unwritable, stdout_closed};
use crate::format::RecordEncoder;
use crate::model::{Batch, Interrupt};
use crate::permits;
use crate::stdio::{self, OfferOutcome, StandardStream};
use crate::wakeup::Wakeup;

/// Writes each batch at once, so that the lines of several subtasks do not mix.
pub(super) struct StdoutSink {
    /// The lines of the current batch, kept for their allocation.
    lines: Vec<u8>,
    stream: &'static StandardStream,
    /// Stream offset behind the last line of this sink. Its lines are written once the stream has settled this offset.
    written: u64,
    /// Number of the stream's failed writes when the sink was opened.
    failures: u64,
    interrupt: Interrupt,
    /// Wakes the subtask, also when it is interrupted.
    wakeup: Wakeup,
    encoder: RecordEncoder,
    node: String,
    job_id: String,
}

/// Upper bound on how long a cancel goes unnoticed while another subtask writes the header.
const HEADER_WAIT: Duration = Duration::from_millis(50);

/// The sinks whose header is written, by job and node. It is written once, although a sink has several subtasks and attempts.
static WRITTEN_HEADERS: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

impl StdoutSink {
    pub(super) fn open(encoder: RecordEncoder, context: &ConnectorContext) -> StdoutSink {
        let stream = stdio::stdout();
        StdoutSink {
            lines: Vec::new(),
            stream,
            written: 0,
            failures: stream.failures().0,
            interrupt: context.interrupt.clone(),
            wakeup: context.wakeup.clone(),
            encoder,
            node: context.node.clone(),
            job_id: context.job_id.clone(),
        }
    }

    /// Waits until the thread of the stream has written something, or until the subtask is interrupted.
    fn wait_for_writer(&self) {
        if self.stream.wake_when_written(&self.wakeup) {
            permits::wait(&self.wakeup, Duration::MAX);
        }
    }

    /// Encodes a batch, without a header if another subtask has written it.
    fn encode(&mut self, batch: &Batch) -> Result<()> {
        self.lines.clear();
        self.encoder.encode(batch, &mut self.lines).map_err(|defect| unwritable_record(&self.node, &defect))
    }

    /// Offers the encoded lines until the stream takes them.
    fn offer(&mut self) -> Result<()> {
        loop {
            self.check()?;
            match self.stream.offer(&self.lines) {
                OfferOutcome::Taken(number) => {
                    self.written = number;
                    return Ok(());
                }
                OfferOutcome::Full => self.wait_for_writer(),
            }
        }
    }

    /// Writes the first batch of a sink with a header. Other subtasks of the sink wait, so that the header is the first line.
    fn write_first(&mut self, batch: &Batch) -> Result<()> {
        let own = (self.job_id.clone(), self.node.clone());
        loop {
            self.check()?;
            let locked = permits::while_waiting(|| WRITTEN_HEADERS.try_lock_for(HEADER_WAIT));
            let Some(mut written) = locked else { continue };
            if written.contains(&own) {
                self.encoder.omit_header();
            }
            self.encode(batch)?;
            self.offer()?;
            written.insert(own);
            return Ok(());
        }
    }

    /// Fails if a write has failed since the sink was opened, or if the attempt has been interrupted.
    fn check(&self) -> Result<()> {
        match self.stream.failures() {
            (count, Some(kind)) if count > self.failures => Err(failed(kind)),
            _ if self.interrupt.is_set() => {
                Err(sink_unwritable("the job ended before a reader took its output from stdout"))
            }
            _ => Ok(()),
        }
    }
}

fn failed(kind: ErrorKind) -> Error {
    if kind == ErrorKind::BrokenPipe {
        return stdout_closed("the standard output is closed, because the program that read it has exited");
    }
    sink_unwritable(format!("the standard output cannot be written: {kind}"))
}

impl Sink for StdoutSink {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        if self.encoder.needs_header() && batch.schema.is_some() {
            return self.write_first(batch);
        }
        self.encode(batch)?;
        self.offer()
    }

    /// Waits until the lines in front of the barrier are written, so that a complete checkpoint implies their output.
    fn prepare(&mut self, _checkpoint: u64) -> Result<Prepared> {
        while !self.stream.is_settled(self.written) {
            self.check()?;
            self.wait_for_writer();
        }
        self.check().map(|()| Prepared::default())
    }

    fn flush(&mut self) -> Result<()> {
        self.check()
    }
}
