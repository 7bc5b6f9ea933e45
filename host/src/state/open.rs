//! Opens a backend of the configured kind, empty or restored.

use super::backend::{StateBackend, StateOptions};
use super::memory::backend::MemoryBackend;
use super::rocksdb::backend::RocksDbBackend;
use crate::error::Result;
use crate::pipeline::StateBackendKind;

/// Opens a backend with the state that `options.restore` contains. Empties the working folder first.
///
/// Returns `checkpoint-mismatch` if the stored states do not fit the layout, and `checkpoint-corrupt` if the stored files are
/// damaged. Returns `state-migration-failed`, or the error of the function, if a migration fails. Returns `storage-failed` or
/// `state-failed` if files cannot be read or written.
pub fn open(options: StateOptions<'_>) -> Result<Box<dyn StateBackend>> {
    match options.backend {
        StateBackendKind::Memory => Ok(Box::new(MemoryBackend::open(options)?)),
        StateBackendKind::RocksDb => Ok(Box::new(RocksDbBackend::open(options)?)),
    }
}
