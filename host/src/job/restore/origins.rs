//! The checkpoints and savepoints from which jobs start that have no checkpoint of their own yet.
//!
//! Invariant: other jobs do not remove a registered origin, because its job may still have to read it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::checkpoint::{StorageLocation, UnfinishedCheckpoint};

/// For each such job, the checkpoint or savepoint that it was submitted with.
#[derive(Default)]
pub struct OriginRegistry(Mutex<BTreeMap<String, StorageLocation>>);

impl OriginRegistry {
    /// Registers the origin of a job.
    pub fn add(&self, job: &str, origin: StorageLocation) {
        self.0.lock().insert(job.to_owned(), origin);
    }

    /// Removes the origin of a job that has a checkpoint of its own, or has ended.
    pub fn forget(&self, job: &str) {
        self.0.lock().remove(job);
    }

    /// Returns a job other than `except` that starts from `location` or from a folder below it.
    pub fn job_starting_at(&self, location: &StorageLocation, except: &str) -> Option<String> {
        let origins = self.0.lock();
        let mut others = origins.iter().filter(|(job, _)| *job != except);
        others.find(|(_, origin)| origin.below(location).is_some()).map(|(job, _)| job.clone())
    }

    /// Returns the checkpoints in a job's folder from which other jobs start, in the form that the job's retention
    /// spares.
    pub fn spared_in(&self, folder: &StorageLocation) -> Vec<UnfinishedCheckpoint> {
        let id = |origin: &StorageLocation| origin.below(folder)?.strip_prefix("chk-")?.parse().ok();
        self.0.lock().values().filter_map(id).map(|id| UnfinishedCheckpoint { id: 0, based_on: Some(id) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn checkpoints_from_which_other_jobs_start_are_spared() {
        let location = |text: &str| StorageLocation::parse(text, Path::new("/")).unwrap();
        let origins = OriginRegistry::default();
        origins.add("b", location("s3://x/a/chk-7"));
        origins.add("c", location("/saved/one"));
        assert_eq!(origins.spared_in(&location("s3://x/a")), [UnfinishedCheckpoint { id: 0, based_on: Some(7) }]);
        assert_eq!(origins.job_starting_at(&location("s3://x/a"), "a").as_deref(), Some("b"));
        assert_eq!(origins.job_starting_at(&location("/saved/one"), "c"), None);
        assert_eq!(origins.job_starting_at(&location("s3://x/aa"), ""), None);
        origins.forget("b");
        assert_eq!(origins.spared_in(&location("s3://x/a")), []);
    }
}
