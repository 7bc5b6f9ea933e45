//! Where jobs begin that have no image of their own yet. What one of them may still have to read is not removed by others.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::checkpoint::{StorageLocation, UnfinishedCheckpoint};

/// For each such job the checkpoint or savepoint that it was submitted with.
#[derive(Default)]
pub(super) struct Origins(Mutex<BTreeMap<String, StorageLocation>>);

impl Origins {
    pub(super) fn add(&self, job: &str, origin: StorageLocation) {
        self.0.lock().insert(job.to_owned(), origin);
    }

    /// The job has an image of its own, or has ended.
    pub(super) fn forget(&self, job: &str) {
        self.0.lock().remove(job);
    }

    /// A job other than `but` that begins at `place` or below it.
    pub(super) fn beginning_at(&self, place: &StorageLocation, but: &str) -> Option<String> {
        let origins = self.0.lock();
        let mut others = origins.iter().filter(|(job, _)| *job != but);
        others.find(|(_, origin)| origin.below(place).is_some()).map(|(job, _)| job.clone())
    }

    /// The checkpoints in the folder `place` of a job which others begin from, as what its retirement has to spare.
    pub(super) fn spared_in(&self, place: &StorageLocation) -> Vec<UnfinishedCheckpoint> {
        let id = |origin: &StorageLocation| origin.below(place)?.strip_prefix("chk-")?.parse().ok();
        self.0.lock().values().filter_map(id).map(|id| UnfinishedCheckpoint { id: 0, based_on: Some(id) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_others_begin_from_is_spared() {
        let at = |text: &str| StorageLocation::parse(text, Path::new("/")).unwrap();
        let origins = Origins::default();
        origins.add("b", at("s3://x/a/chk-7"));
        origins.add("c", at("/saved/one"));
        assert_eq!(origins.spared_in(&at("s3://x/a")), [UnfinishedCheckpoint { id: 0, based_on: Some(7) }]);
        assert_eq!(origins.beginning_at(&at("s3://x/a"), "a").as_deref(), Some("b"));
        assert_eq!(origins.beginning_at(&at("/saved/one"), "c"), None);
        assert_eq!(origins.beginning_at(&at("s3://x/aa"), ""), None);
        origins.forget("b");
        assert_eq!(origins.spared_in(&at("s3://x/a")), []);
    }
}
