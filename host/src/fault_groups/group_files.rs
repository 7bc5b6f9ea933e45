//! The files of the groups of a job: one JSON document for each, below the job's folder.
//!
//! A file is replaced as a whole, so that a kill leaves the old one or the new one. It is not synced: the last changes before a loss of
//! power may be lost.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::fault_group::FaultGroupDetail;
use super::fault_table::group_id;

/// Largest file that is read, in bytes. Written ones are smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The folder with the files.
pub struct GroupFiles(PathBuf);

impl GroupFiles {
    pub fn new(folder: PathBuf) -> GroupFiles {
        GroupFiles(folder)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.0.join(format!("{}.json", group_id(number)))
    }

    /// Stores a group, or removes it if there is none.
    pub fn write(&self, number: u64, group: Option<&FaultGroupDetail>) -> io::Result<()> {
        let path = self.path(number);
        let Some(group) = group else {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        match fs::create_dir(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        file.write_all(&serde_json::to_vec(group)?)?;
        file.persist(path).map(drop).map_err(|failure| failure.error)
    }

    /// Reads all groups. Those that cannot be read are logged and left out. Removes what a kill has left of a write.
    pub fn read(&self) -> BTreeMap<u64, FaultGroupDetail> {
        let mut groups = BTreeMap::new();
        for path in self.files() {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let number = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok());
            match number.filter(|number| self.path(*number) == path) {
                Some(number) => match read_group(&path) {
                    Ok(group) => drop(groups.insert(number, group)),
                    Err(error) => tracing::warn!("faults of a job cannot be read: {}: {error}", path.display()),
                },
                None => drop(fs::remove_file(path)),
            }
        }
        groups
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    }
}

fn read_group(path: &Path) -> io::Result<FaultGroupDetail> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("the file is too large"));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}
