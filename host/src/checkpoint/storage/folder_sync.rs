//! Opens and creates folders of a storage so that they survive a loss of power.
//!
//! Knows nothing of checkpoints. The order in which files and folders are synced is described in `file_sync`.

use std::fs::{self, File};
use std::path::Path;

use object_store::local::LocalFileSystem;

/// Opens a folder as a store that syncs each file and its folder.
pub(super) fn open_folder_synced(folder: &Path) -> object_store::Result<LocalFileSystem> {
    let store = LocalFileSystem::new_with_prefix(folder)?;
    // Automatic cleanup removes the folders that retired checkpoints leave empty.
    Ok(store.with_fsync(true).with_automatic_cleanup(true))
}

/// Creates a folder and its parents, and syncs each folder that got a new entry.
pub(super) fn create_folder_synced(folder: &Path) -> std::io::Result<()> {
    let folder = &std::path::absolute(folder)?;
    let parents = folder.ancestors().skip(1);
    let changed: Vec<&Path> =
        folder.ancestors().zip(parents).take_while(|(made, _)| !made.exists()).map(|(_, parent)| parent).collect();
    fs::create_dir_all(folder)?;
    changed.iter().rev().try_for_each(|parent| File::open(parent)?.sync_all())
}
