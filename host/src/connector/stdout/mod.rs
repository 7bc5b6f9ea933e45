//! The standard output of the process: a sink of lines, at least once.
//!
//! A thread of its own writes the stream ([`crate::stdio`]). A slow reader holds up the sink, but no cancel and no end of the process.

use std::io::ErrorKind;
use std::time::Duration;

use super::context::ConnectorContext;
use super::shared_header::HeaderTurn;
use super::sink::{Prepared, Sink, unwritable_record};
use super::spec::{self, SinkSpec};
use crate::error::{Result, sink_unwritable, stdout_closed};
use crate::format::RecordEncoder;
use crate::model::Batch;
use crate::permits::{self, WaitReason};
use crate::pipeline::{Connector, SinkConnector};
use crate::stdio::{self, StandardStream};

pub(super) const CONNECTOR: Connector = Connector {
    name: "stdout",
    source: None,
    sink: Some(SinkConnector { settings: &[], encodes: true, read: |_| Ok(spec::sink(StdoutSpec)) }),
};

#[derive(Debug)]
struct StdoutSpec;

impl SinkSpec for StdoutSpec {
    fn open(&self, encoder: RecordEncoder, context: &ConnectorContext) -> Result<Box<dyn Sink>> {
        let (stream, context, lines) = (stdio::stdout(), context.clone(), Vec::new());
        let failures = stream.failures().0;
        Ok(Box::new(StdoutSink { stream, failures, written: 0, lines, encoder, context }))
    }
}

/// Writes each batch at once, so that the lines of several subtasks do not mix.
struct StdoutSink {
    stream: &'static StandardStream,
    /// Number of the stream's failed writes when the sink was opened.
    failures: u64,
    /// Stream offset behind the last line of this sink.
    written: u64,
    /// The lines of the current batch, kept for their allocation.
    lines: Vec<u8>,
    encoder: RecordEncoder,
    context: ConnectorContext,
}

impl StdoutSink {
    /// Calls `attempt` until it is done, after each write of the stream's thread. Ends with an error if the job ends or a write fails.
    fn wait_until(&self, mut attempt: impl FnMut() -> bool) -> Result<()> {
        while self.check().map(|()| !attempt())? {
            if self.stream.wake_when_written(&self.context.wakeup) {
                permits::wait(WaitReason::Peer, &self.context.wakeup, Duration::MAX);
            }
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        let (count, kind) = self.stream.failures();
        match kind.filter(|_| count > self.failures) {
            Some(ErrorKind::BrokenPipe) => Err(stdout_closed("the program that read the standard output has exited")),
            Some(kind) => Err(sink_unwritable(format!("the standard output cannot be written: {kind}"))),
            None if self.context.interrupt.is_set() => Err(sink_unwritable("the job ended before its output was read")),
            None => Ok(()),
        }
    }
}

impl Sink for StdoutSink {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        let is_first = self.encoder.needs_header() && batch.schema.is_some();
        let turn = is_first.then(|| HeaderTurn::wait(&self.context, || self.check())).transpose()?;
        if turn.as_ref().is_some_and(HeaderTurn::is_written) {
            self.encoder.omit_header();
        }
        self.lines.clear();
        let encoded = self.encoder.encode(batch, &mut self.lines);
        encoded.map_err(|defect| unwritable_record(&self.context.node, &defect))?;
        let mut taken = None;
        self.wait_until(|| {
            taken = self.stream.offer(&self.lines).taken();
            taken.is_some()
        })?;
        self.written = taken.unwrap_or(self.written);
        turn.into_iter().for_each(HeaderTurn::finish);
        Ok(())
    }

    /// Waits until the lines in front of the barrier are written, so that a complete checkpoint implies their output.
    fn prepare(&mut self, _checkpoint: u64) -> Result<Prepared> {
        self.wait_until(|| self.stream.is_settled(self.written)).map(|()| Prepared::default())
    }

    fn flush(&mut self) -> Result<()> {
        self.check()
    }
}
