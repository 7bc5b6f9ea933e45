//! The folder of a sink, and the operations on the parts in it.
//!
//! The folder is opened anew for each operation, so that one that was replaced is noticed, and its real path is checked
//! against the policy each time. All files are named relative to the open folder.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::access::{AccessPolicy, PinnedFolder};

/// Name of the folder for unpublished parts, in the sink's folder.
pub(super) const PENDING: &str = ".pending";

/// The folder of a sink.
#[derive(Clone)]
pub(super) struct SinkFolder {
    path: PathBuf,
    policy: AccessPolicy,
}

impl SinkFolder {
    pub(super) fn new(path: PathBuf, policy: &AccessPolicy) -> SinkFolder {
        SinkFolder { path, policy: policy.clone() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the folder of unpublished parts, for messages.
    pub(super) fn pending_path(&self) -> PathBuf {
        self.path.join(PENDING)
    }

    pub(super) fn open(&self) -> io::Result<PinnedFolder> {
        self.policy.pin_folder(&self.path)
    }

    pub(super) fn open_pending(&self) -> io::Result<PinnedFolder> {
        self.open()?.subfolder(PENDING)
    }

    /// Creates both folders if they do not exist.
    pub(super) fn create(&self) -> io::Result<()> {
        let created = self.policy.create_folder(&self.path)?;
        created.folder.create_subfolder(PENDING)?;
        created.folder.sync()
    }

    /// Creates a part that is being written.
    pub(super) fn create_open_part(&self, open_name: &str) -> io::Result<File> {
        self.open_pending()?.create_file(open_name)
    }

    /// Gives a complete part its pending name.
    pub(super) fn rename_to_pending(&self, open_name: &str, name: &str) -> io::Result<()> {
        let pending = self.open_pending()?;
        pending.rename(open_name, &pending, name)
    }

    /// Makes the names of pending parts durable.
    pub(super) fn sync_pending(&self) -> io::Result<()> {
        self.open_pending()?.sync()
    }

    /// Moves a pending part to the folder of published ones.
    pub(super) fn publish(&self, name: &str) -> io::Result<()> {
        let folder = self.open()?;
        folder.subfolder(PENDING)?.rename(name, &folder, name)
    }
}
