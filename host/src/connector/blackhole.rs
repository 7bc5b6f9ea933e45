//! A sink that drops every record. Used to measure the other operators of a pipeline.

use super::sink::Sink;
use crate::error::Result;
use crate::model::Batch;

/// Drops every record.
pub(super) struct BlackholeSink;

impl Sink for BlackholeSink {
    fn write(&mut self, _batch: &Batch) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, _checkpoint: u64) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
