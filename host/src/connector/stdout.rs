//! Values on the standard output, a line each. At least once: after a restart a line may come again.
//!
//! The process's stdout is written by a thread of its own ([`crate::stdio`]). A reader that takes nothing holds up the
//! sink, and with it the job's records, but neither a cancel nor the end of the process.

use std::io::ErrorKind;
use std::time::Duration;

use super::Sink;
use crate::error::{Error, Result, sink_unwritable, stdout_closed};
use crate::model::{Batch, Interrupt};
use crate::stdio::{self, OfferOutcome, StandardStream};

/// Upper bound on how long a cancel goes unnoticed.
const WAIT: Duration = Duration::from_millis(50);

/// Writes a batch at once, so that the lines of several subtasks do not get into each other.
pub(super) struct StdoutSink {
    /// The lines of one batch; empty between two calls.
    lines: Vec<u8>,
    stream: &'static StandardStream,
    /// Everything that this sink has written is settled with this number of the stream.
    written: u64,
    /// The stream's failures when the sink was opened.
    failures: u64,
    interrupt: Interrupt,
}

impl StdoutSink {
    pub(super) fn open(interrupt: Interrupt) -> StdoutSink {
        StdoutSink::over(stdio::stdout(), interrupt)
    }

    fn over(stream: &'static StandardStream, interrupt: Interrupt) -> StdoutSink {
        StdoutSink { lines: Vec::new(), stream, written: 0, failures: stream.failures().0, interrupt }
    }

    /// Fails where a write has failed, or the attempt is over.
    fn check(&self) -> Result<()> {
        match self.stream.failures() {
            (count, Some(kind)) if count > self.failures => Err(failed(kind)),
            _ if self.interrupt.is_set() => Err(sink_unwritable("the job ended while stdout was not read")),
            _ => Ok(()),
        }
    }
}

fn failed(kind: ErrorKind) -> Error {
    if kind == ErrorKind::BrokenPipe {
        return stdout_closed("the standard output is closed: the program that read it has ended");
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
                OfferOutcome::Full => self.stream.wait(WAIT),
            }
        }
    }

    /// The lines in front of a barrier are written before the checkpoint is complete.
    fn prepare(&mut self, _checkpoint: u64) -> Result<Option<Vec<u8>>> {
        while !self.stream.is_settled(self.written) {
            self.check()?;
            self.stream.wait(WAIT);
        }
        self.check().map(|()| None)
    }

    fn flush(&mut self) -> Result<()> {
        self.check()
    }
}
