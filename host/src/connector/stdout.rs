//! A sink that writes each value as a line of the standard output.
//!
//! Delivery is at least once: a line may be repeated after a restart. A separate thread writes the stream
//! ([`crate::stdio`]). A slow reader holds up the sink and the job's records, but neither a cancel nor the end of the
//! process.

use std::io::ErrorKind;
use std::time::Duration;

use super::context::ConnectorContext;
use super::sink::Sink;
use crate::error::{Error, Result, sink_unwritable, stdout_closed};
use crate::model::{Batch, Interrupt};
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
}

impl StdoutSink {
    pub(super) fn open(context: &ConnectorContext) -> StdoutSink {
        let (stream, interrupt, wakeup) = (stdio::stdout(), context.interrupt.clone(), context.wakeup.clone());
        StdoutSink { lines: Vec::new(), stream, written: 0, failures: stream.failures().0, interrupt, wakeup }
    }

    /// Waits until the thread of the stream has written something, or until the subtask is interrupted.
    fn wait_for_writer(&self) {
        if self.stream.wake_when_written(&self.wakeup) {
            self.wakeup.wait(Duration::MAX);
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
        self.lines.clear();
        for value in batch.values.iter() {
            self.lines.extend_from_slice(value);
            self.lines.push(b'\n');
        }
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

    /// Waits until the lines in front of the barrier are written, so that a complete checkpoint implies their output.
    fn prepare(&mut self, _checkpoint: u64) -> Result<Option<Vec<u8>>> {
        while !self.stream.is_settled(self.written) {
            self.check()?;
            self.wait_for_writer();
        }
        self.check().map(|()| None)
    }

    fn flush(&mut self) -> Result<()> {
        self.check()
    }
}
