//! Opens the state of a savepoint or checkpoint from its folder, without a server.
//!
//! Must not know which command reads the state.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::checkpoint::{CheckpointMetadata, StorageLocation, StoredCheckpoint, Verification};
use crate::error::{self, Result};
use crate::state_reader::StateReader;

/// A savepoint or checkpoint that was opened without a server.
pub struct OfflineState {
    pub reader: StateReader,
    pub metadata: Arc<CheckpointMetadata>,
    _runtime: Runtime,
}

impl OfflineState {
    /// Opens a folder, or `s3://bucket/folder`. Errors: those of [`StoredCheckpoint::open`]; `request-invalid` for a location
    /// that cannot be parsed.
    pub fn open(folder: &str) -> Result<OfflineState> {
        let runtime = new_runtime()?;
        let location = storage_location(folder)?;
        let stored = StoredCheckpoint::open(&location, runtime.handle().clone(), Verification::Lengths)?;
        let metadata = Arc::new(stored.metadata);
        let files = stored.storage.files(&metadata.job_id, metadata.checkpoint_id, metadata.kind)?;
        let reader = StateReader::new(metadata.clone(), Arc::new(files), &std::env::temp_dir())?;
        Ok(OfflineState { reader, metadata, _runtime: runtime })
    }
}

/// Starts a runtime for the storage.
pub fn new_runtime() -> Result<Runtime> {
    Runtime::new().map_err(|error| error::internal(format!("cannot start the async runtime: {error}")))
}

/// Parses a location; a relative path begins at the current folder.
pub fn storage_location(folder: &str) -> Result<StorageLocation> {
    let current = std::env::current_dir()
        .map_err(|error| error::request_invalid(format!("cannot find the current folder: {error}")))?;
    StorageLocation::parse(folder, &current).map(StorageLocation::canonical).map_err(error::request_invalid)
}
