//! JSON files and folders in the data folder. Errors: `data-dir-failed`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{self, Result};

fn failed(path: &Path, cause: impl std::fmt::Display) -> error::Error {
    error::data_dir_failed(format!("{}: {cause}", path.display()))
}

/// Creates a folder and its parents.
pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|cause| failed(path, cause))
}

/// Replaces a file by `value` as JSON. After a crash the file is the old one or the new one, complete and synced.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let dir = path.parent().ok_or_else(|| failed(path, "the path has no folder"))?;
    let json = serde_json::to_vec_pretty(value).map_err(|cause| failed(path, cause))?;
    let write = || -> std::io::Result<()> {
        fail_point!("json.write", std::io::Error::other);
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&json)?;
        file.as_file().sync_all()?;
        fail_point!("json.rename", std::io::Error::other);
        file.persist(path).map_err(|failure| failure.error)?;
        fail_point!("json.sync", std::io::Error::other);
        File::open(dir)?.sync_all()
    };
    write().map_err(|cause| failed(path, cause))
}

/// Reads a file that [`write_json`] wrote.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(|cause| failed(path, cause))?;
    serde_json::from_slice(&bytes).map_err(|cause| failed(path, cause))
}

/// Returns the paths of a folder's entries, sorted.
pub fn list_dir(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).map_err(|cause| failed(path, cause))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    Ok(paths)
}
