//! A sink that forgets everything, for measuring what is before it.

use super::Sink;
use crate::error::Result;
use crate::model::Batch;

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
