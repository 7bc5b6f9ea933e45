//! The data folder of a host, which one process at a time holds locked.
//!
//! It contains `lock`, `components/`, `uploads/`, `cache/` (compiled code), `jobs/<id>/job.json`, `checkpoints/`, and
//! `reading/` (state that is being inspected), and `ingest/<namespace>/<job name>/<source>/`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::json_file::create_dir;
use crate::checkpoint::utf8_path;
use crate::error::{self, Error, Result};

/// The file that the process holds locked.
const LOCK_FILE: &str = "lock";

/// An open data folder. The lock is released when it is dropped.
pub struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Creates the folder if it does not exist, and locks it. Error: `data-dir-locked` if another process has it open.
    pub fn open(path: &Path) -> Result<DataDir> {
        // RocksDB and the job's record take paths as text only.
        utf8_path(path)?;
        create_dir(path)?;
        let lock = File::create(path.join(LOCK_FILE)).map_err(|cause| failed(path, &cause))?;
        lock.try_lock().map_err(|_| {
            error::data_dir_locked(format!("{} is open in another process", path.display()))
                .hint("one server per data folder: stop the other one, or choose another folder with --data-dir")
        })?;
        let data_dir = DataDir { path: path.to_owned(), lock };
        // A killed process may have left files of state that it was inspecting.
        let _ = fs::remove_dir_all(data_dir.reading());
        create_dir(&data_dir.reading())?;
        create_dir(&data_dir.jobs())?;
        Ok(data_dir)
    }

    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder that has one folder for each job.
    pub fn jobs(&self) -> PathBuf {
        self.path.join("jobs")
    }

    /// Returns the folder for files of state that is being inspected.
    pub fn reading(&self) -> PathBuf {
        self.path.join("reading")
    }

    /// Returns the folder of the logs of sources `http`.
    pub fn ingest(&self) -> PathBuf {
        self.path.join("ingest")
    }

    /// Returns the folder where checkpoints are stored by default.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Creates the folder for compiled code, and returns its absolute path.
    pub fn compiled_code(&self) -> Result<PathBuf> {
        let cache = fs::canonicalize(&self.path).map_err(|cause| failed(&self.path, &cause))?.join("cache");
        create_dir(&cache)?;
        Ok(cache)
    }

    /// Checks that the folder was not removed or replaced since it was opened. Error: `data-dir-failed` if it was:
    /// another process may have opened a new folder at the same path, so that this process must end.
    pub fn check_unchanged(&self) -> Result<()> {
        let path = self.path.display();
        match self.is_locked_file() {
            Ok(true) => Ok(()),
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot check the data folder {path}: {cause}");
                Ok(())
            }
            Ok(false) | Err(_) => Err(error::data_dir_failed(format!(
                "the data folder {path} was removed or replaced while it was in use"
            ))
            .hint("the process ends, because it cannot store anything; stop it before you remove its data folder")),
        }
    }

    /// Returns whether this process holds the lock file at the folder's path.
    fn is_locked_file(&self) -> io::Result<bool> {
        let (named, held) = (fs::metadata(self.path.join(LOCK_FILE))?, self.lock.metadata()?);
        Ok((named.dev(), named.ino()) == (held.dev(), held.ino()))
    }
}

fn failed(path: &Path, cause: &io::Error) -> Error {
    error::data_dir_failed(format!("{}: {cause}", path.display()))
}
