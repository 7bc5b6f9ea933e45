//! What is kept of a job on disk: one JSON file, replaced atomically, so that a job survives the process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::stopping::Stop;
use super::view::{JobFailure, JobStatus, OperatorDetail};
use crate::error::{self, Result};

/// Everything that a job needs to go on after a restart of the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JobRecord {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: JobStatus,
    pub(super) submitted_at_ms: i64,
    pub(super) ended_at_ms: Option<i64>,
    pub(super) restarts: u32,
    pub(super) manifest: String,
    pub(super) file_name: String,
    /// Relative paths of the manifest begin here.
    pub(super) base_dir: PathBuf,
    pub(super) seed: u64,
    /// For each operator the SHA-256 of its component: a name that is moved later does not move the job.
    pub(super) components: BTreeMap<String, String>,
    /// Where the savepoint or checkpoint is that it begins with while it has none of its own. Absolute.
    #[serde(default, alias = "from_savepoint")]
    pub(super) from: Option<String>,
    /// Whether that belongs to the job, which removes it when it has a checkpoint of its own.
    #[serde(default)]
    pub(super) claim: bool,
    /// Whether it has ended, and its checkpoints are still to be removed.
    #[serde(default)]
    pub(super) checkpoints_to_remove: bool,
    /// Whether state of what it begins with that the pipeline does not claim is dropped instead of refused.
    #[serde(default)]
    pub(super) allow_unclaimed_state: bool,
    /// Whether operators forget the event time that they had reached in what it begins with.
    #[serde(default)]
    pub(super) reset_watermarks: bool,
    /// The jobs whose output this one goes on with, the last one first: those that it was begun from.
    #[serde(default)]
    pub(super) history: Vec<String>,
    /// Whether the promises of what it begins with are kept: published by this job, or taken as published on request.
    #[serde(default)]
    pub(super) promises_kept: bool,
    pub(super) guarantee: String,
    pub(super) warnings: Vec<String>,
    pub(super) failure: Option<JobFailure>,
    /// What was shown last of a job that has ended.
    pub(super) operators: Vec<OperatorDetail>,
    pub(super) state_bytes: u64,
    pub(super) state_entries: u64,
    pub(super) last_checkpoint: Option<u64>,
    /// Whether the job has ever completed a checkpoint or a savepoint.
    #[serde(default)]
    pub(super) has_image: bool,
    /// The stop that was asked for.
    #[serde(default)]
    pub(super) stop: Option<Stop>,
    #[serde(default)]
    pub(super) restored_checkpoint: Option<u64>,
}

fn failed(path: &Path, cause: impl std::fmt::Display) -> error::Error {
    error::data_dir_failed(format!("{}: {cause}", path.display()))
}

/// Creates a folder and its parents.
pub(super) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|cause| failed(path, cause))
}

/// Replaces a file by `value` as JSON: after a crash there is the old file or the new one, whole.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let dir = path.parent().ok_or_else(|| failed(path, "no folder"))?;
    let json = serde_json::to_vec_pretty(value).map_err(|cause| failed(path, cause))?;
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&json)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failure| failure.error)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|cause| failed(path, cause))
}

/// Reads a file that [`write_json`] wrote.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(|cause| failed(path, cause))?;
    serde_json::from_slice(&bytes).map_err(|cause| failed(path, cause))
}

/// The entries of a folder that is ours.
pub(super) fn list_dir(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).map_err(|cause| failed(path, cause))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_a_job_of_version_0_1_still_loads() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/job-v1.json");
        let record: JobRecord = read_json(&path).unwrap();
        assert_eq!((&record.id[..], record.status), ("6680ecfbba2ff2d5", JobStatus::Running));
        assert_eq!((record.seed, record.has_image), (67107185085101016, true));
        assert_eq!(record.components.len(), 2);
        assert!(record.manifest.starts_with("name = "));
    }
}
