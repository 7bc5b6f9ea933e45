//! A savepoint that no job takes: its files are written into a folder of a person's choice.

use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use super::manifest::{CheckpointKind, CheckpointManifest};
use super::retention::Verify;
use super::storage::{CheckpointFiles, CheckpointStorage, MANIFEST_NAME};
use crate::error::{self, Result};

/// A checkpoint or savepoint that was read.
pub struct Snapshot {
    pub manifest: CheckpointManifest,
    pub storage: CheckpointStorage,
}

fn split(location: &Path) -> Result<(PathBuf, String)> {
    let no = || error::savepoint_not_found(format!("there is no savepoint or checkpoint at {}", location.display()));
    let parent = location.parent().ok_or_else(no)?;
    let folder = format!(
        "{}/{}",
        parent.file_name().and_then(|name| name.to_str()).ok_or_else(no)?,
        location.file_name().and_then(|name| name.to_str()).ok_or_else(no)?
    );
    Ok((parent.parent().ok_or_else(no)?.to_owned(), folder))
}

impl Snapshot {
    pub fn open(location: &Path, runtime: Handle, verify: Verify) -> Result<Snapshot> {
        let (root, folder) = split(location)?;
        if !location.join(MANIFEST_NAME).is_file() {
            return Err(error::savepoint_not_found(format!(
                "there is no savepoint or checkpoint at {}",
                location.display()
            )));
        }
        let storage = CheckpointStorage::open(&root, runtime)?;
        let manifest = storage.at(&folder, verify)?;
        Ok(Snapshot { manifest, storage })
    }
}

/// See the module. It is there once it is completed, and not before.
pub struct NewSavepoint {
    storage: CheckpointStorage,
    folder: String,
    files: CheckpointFiles,
}

impl NewSavepoint {
    /// Error: `savepoint-exists` where there is something already.
    pub fn create(location: &Path, runtime: Handle) -> Result<NewSavepoint> {
        let (root, folder) = split(location)?;
        let storage = CheckpointStorage::open(&root, runtime)?;
        if !storage.list(&folder)?.is_empty() {
            return Err(error::savepoint_exists(format!("there is something already at {}", location.display())));
        }
        let (job, id) = folder.split_once('/').and_then(|(_, name)| name.rsplit_once('-')).unwrap_or(("loaded", "1"));
        let files = storage.files(job, id.parse().unwrap_or(1), CheckpointKind::Savepoint)?;
        Ok(NewSavepoint { storage, folder, files })
    }

    pub fn files(&self) -> &CheckpointFiles {
        &self.files
    }

    /// Makes it complete, and tells where it is.
    pub fn complete(self, manifest: CheckpointManifest) -> Result<String> {
        let (job, id) =
            self.folder.split_once('/').and_then(|(_, name)| name.rsplit_once('-')).unwrap_or(("loaded", "1"));
        let manifest =
            CheckpointManifest { job_id: job.to_owned(), checkpoint_id: id.parse().unwrap_or(1), ..manifest };
        let folder = self.storage.write_manifest(&manifest)?;
        Ok(self.storage.root().join(folder).display().to_string())
    }

    /// Removes what was written so far.
    pub fn abandon(self) {
        for (path, _) in self.storage.list(&self.folder).unwrap_or_default() {
            let _ = self.storage.remove(&path);
        }
    }
}
