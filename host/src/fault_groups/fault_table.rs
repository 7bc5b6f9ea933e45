//! Counts the faults of a job by group, and keeps samples of each.

use std::collections::{BTreeMap, BTreeSet};

use super::fault_group::{FaultGroupDetail, FaultStatus};
use super::occurrence::FaultOccurrence;

/// Number of groups of a job. Beyond it the group that was seen longest ago makes room.
pub const GROUPS_MAX: usize = 100;
/// Number of samples of a group.
pub const SAMPLES_MAX: usize = 10;
/// Number of samples that stay. Newer ones replace the others.
const FIRST_SAMPLES: usize = 5;
/// Shortest time between two samples once a group has enough of them, in milliseconds.
const SAMPLE_INTERVAL_MS: i64 = 1000;

/// The groups of a job.
#[derive(Default)]
pub struct FaultTable {
    groups: BTreeMap<u64, FaultGroupDetail>,
    /// Groups that differ from what is stored. One that is not in the table must be removed.
    changed: BTreeSet<u64>,
}

/// Groups that must be stored, or removed where the group is `None`.
pub type GroupChanges = Vec<(u64, Option<FaultGroupDetail>)>;

impl FaultTable {
    /// Returns a table of stored groups.
    pub fn of(groups: BTreeMap<u64, FaultGroupDetail>) -> FaultTable {
        let mut table = FaultTable { groups, changed: BTreeSet::new() };
        while table.groups.len() > GROUPS_MAX {
            table.remove_oldest();
        }
        table
    }

    /// Counts a fault.
    pub fn record(&mut self, occurrence: &FaultOccurrence<'_>, now_ms: i64) {
        let number = occurrence.group();
        if !self.groups.contains_key(&number) {
            while self.groups.len() >= GROUPS_MAX {
                self.remove_oldest();
            }
        }
        let detail = self.groups.entry(number).or_insert_with(|| FaultGroupDetail {
            group: occurrence.new_group(&group_id(number), now_ms),
            samples: Vec::new(),
        });
        let FaultGroupDetail { group, samples } = detail;
        group.count += 1;
        group.last_seen_ms = now_ms;
        if group.status == FaultStatus::Resolved {
            group.status = FaultStatus::New;
        }
        let is_full = samples.len() >= SAMPLES_MAX;
        let age_ms = samples.last().map_or(i64::MAX, |newest| now_ms.saturating_sub(newest.at_ms));
        if !is_full || age_ms >= SAMPLE_INTERVAL_MS {
            if is_full {
                samples.remove(FIRST_SAMPLES);
            }
            let sample = occurrence.sample(now_ms);
            group.message.clone_from(&sample.message);
            samples.push(sample);
        }
        self.changed.insert(number);
    }

    fn remove_oldest(&mut self) {
        let oldest = self.groups.iter().min_by_key(|(_, detail)| detail.group.last_seen_ms).map(|(number, _)| *number);
        if let Some(number) = oldest {
            self.groups.remove(&number);
            self.changed.insert(number);
        }
    }

    /// Returns all groups.
    pub fn groups(&self) -> impl Iterator<Item = &FaultGroupDetail> {
        self.groups.values()
    }

    /// Sets the status of a group. Returns whether there is such a group.
    pub fn set_status(&mut self, id: &str, status: FaultStatus) -> bool {
        let found = self.groups.iter_mut().find(|(_, detail)| detail.group.id == id);
        let Some((number, detail)) = found else { return false };
        if detail.group.status != status {
            detail.group.status = status;
            self.changed.insert(*number);
        }
        true
    }

    /// Returns what must be stored, and counts it as stored.
    pub fn take_changes(&mut self) -> GroupChanges {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|number| (number, self.groups.get(&number).cloned())).collect()
    }

    /// Returns whether everything is stored.
    pub fn is_stored(&self) -> bool {
        self.changed.is_empty()
    }

    /// Counts a group as not stored, because that has failed.
    pub fn put_back(&mut self, number: u64) {
        self.changed.insert(number);
    }
}

/// Returns the id of a group.
pub fn group_id(number: u64) -> String {
    format!("{number:016x}")
}
