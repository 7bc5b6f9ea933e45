//! Writes and reads the metadata file of a checkpoint, and the marker beside it that its sinks have published.
//!
//! Writing the metadata is what completes a checkpoint. Must not decide which checkpoint is used.

use super::paths::{METADATA_FILE_NAME, PUBLISHED_MARKER_NAME, checkpoint_folder, relative_to, within};
use super::store::CheckpointStorage;
use crate::checkpoint::location::StorageLocation;
use crate::checkpoint::metadata::{CheckpointKind, CheckpointMetadata, MetadataLimits};
use crate::error::{self, Result};

impl CheckpointStorage {
    /// Completes a checkpoint: stores its metadata, after all its files and atomically. Returns the checkpoint's folder.
    ///
    /// After an error the checkpoint may be complete or not; its id must not be used again.
    pub fn write_metadata(&self, metadata: &CheckpointMetadata) -> Result<StorageLocation> {
        let folder = checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind)?;
        if metadata.kind == CheckpointKind::Savepoint {
            return self.write_savepoint_metadata(&folder, metadata);
        }
        fail_point!("checkpoint.metadata", error::storage_failed);
        self.write_synced(&within(&folder, METADATA_FILE_NAME), metadata.encode()?.into())?;
        fail_point!("checkpoint.metadata-done", error::storage_failed);
        Ok(self.root.join(&folder))
    }

    /// Completes a savepoint in any folder. Returns the location of the folder.
    pub(in crate::checkpoint) fn write_savepoint_metadata(
        &self,
        folder: &str,
        metadata: &CheckpointMetadata,
    ) -> Result<StorageLocation> {
        let bytes = relative_to(folder, metadata)?.encode()?;
        fail_point!("savepoint.metadata", error::storage_failed);
        self.write_synced(&within(folder, METADATA_FILE_NAME), bytes.into())?;
        fail_point!("savepoint.metadata-done", error::storage_failed);
        Ok(self.root.join(folder))
    }

    /// Returns the location that a checkpoint or savepoint has in this storage, even if it does not exist.
    pub fn location(&self, metadata: &CheckpointMetadata) -> Result<StorageLocation> {
        Ok(self.root.join(&checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind)?))
    }

    /// Records that the sinks have published what a complete checkpoint promises.
    ///
    /// In a folder the marker is synced only if it must be durable. A loss of power may undo another one, and then the committers look at the
    /// sinks' folders again.
    pub fn mark_published(&self, metadata: &CheckpointMetadata, is_durable: bool) -> Result<()> {
        let folder = checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind)?;
        self.write_marker(&within(&folder, PUBLISHED_MARKER_NAME), is_durable)
    }

    /// Clears the committables in the metadata of `folder` if the sinks have published them.
    pub(in crate::checkpoint) fn clear_published_committables(
        &self,
        folder: &str,
        metadata: &mut CheckpointMetadata,
    ) -> Result<()> {
        let subtasks = || metadata.operators.iter().flat_map(|operator| &operator.subtasks);
        if subtasks().all(|subtask| subtask.committable.is_none())
            || !self.file_exists(&within(folder, PUBLISHED_MARKER_NAME))?
        {
            return Ok(());
        }
        let subtasks = metadata.operators.iter_mut().flat_map(|operator| &mut operator.subtasks);
        subtasks.for_each(|subtask| subtask.committable = None);
        Ok(())
    }

    /// Reads the metadata in a folder that may have been moved here. The returned paths begin at this storage's root.
    pub(in crate::checkpoint) fn read_moved_metadata(&self, folder: &str) -> Result<CheckpointMetadata> {
        let path = within(folder, METADATA_FILE_NAME);
        let limits = if self.is_foreign { MetadataLimits::FOREIGN } else { MetadataLimits::OWN };
        let bytes = self.read_checked(&path, CheckpointMetadata::HEADER_BYTES, |header, length| {
            CheckpointMetadata::check_header(&path, header, length, limits)
        })?;
        let mut metadata = CheckpointMetadata::decode_within(&path, &bytes, limits)?;
        if metadata.kind == CheckpointKind::Savepoint {
            // Format 1 stored paths below the root. In every format the files of a savepoint are in its own folder.
            for file in metadata.files_mut() {
                file.path = within(folder, file.path.rsplit('/').next().unwrap_or_default());
            }
        }
        Ok(metadata)
    }

    /// Reads the metadata in the folder of a checkpoint. Errors: `checkpoint-corrupt` also if it belongs to another folder.
    pub(in crate::checkpoint) fn read_metadata(&self, folder: &str) -> Result<CheckpointMetadata> {
        let path = within(folder, METADATA_FILE_NAME);
        let metadata = self.read_moved_metadata(folder)?;
        match checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind) {
            Ok(own) if own == folder => Ok(metadata),
            _ => Err(error::checkpoint_corrupt(format!(
                "{path}: the metadata belongs to checkpoint {} of job {}",
                metadata.checkpoint_id, metadata.job_id
            ))),
        }
    }
}
