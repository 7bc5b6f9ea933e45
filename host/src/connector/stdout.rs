//! Values on the standard output, a line each. At least once: after a restart a line may come again.

use std::io::{self, Write};

use super::Sink;
use crate::error::{Result, sink_unwritable};
use crate::model::Batch;

/// Writes a batch at once, so that the lines of several subtasks do not get into each other.
#[derive(Default)]
pub(super) struct StdoutSink {
    /// The lines of one batch; empty between two calls.
    lines: Vec<u8>,
}

fn failed(error: io::Error) -> crate::error::Error {
    sink_unwritable(format!("the standard output cannot be written: {error}"))
}

impl Sink for StdoutSink {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.lines.clear();
        for value in batch.values.iter() {
            self.lines.extend_from_slice(value);
            self.lines.push(b'\n');
        }
        io::stdout().lock().write_all(&self.lines).map_err(failed)
    }

    fn prepare(&mut self, _checkpoint: u64) -> Result<Option<Vec<u8>>> {
        self.flush().map(|()| None)
    }

    fn flush(&mut self) -> Result<()> {
        io::stdout().lock().flush().map_err(failed)
    }
}
