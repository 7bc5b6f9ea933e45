//! Drops expired entries from a database: compactions drop expired entries, and merges trim expired elements from lists.
//!
//! A compaction filter of the C interface does not see merge operands, and a growing list consists of operands for most of
//! its life. So the merge operator trims lists, and the filter drops entries that have expired as a whole. Neither removes
//! anything that a turn could still rely on reading.

use std::ffi::CStr;
use std::time::Duration;

use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use rocksdb::{CompactionDecision, Options};

use super::entry_key::state_of_entry_key;
use crate::state::ttl::ExpiryRules;

const NAME: &CStr = c"cofferdam.expiry";

/// Bounds of the time after which a file is compacted even without writes. Within the bounds it is the shortest time to
/// live. The lower bound avoids rewriting a large state over and over because of one short time to live.
const PERIODIC_COMPACTION_MIN: Duration = Duration::from_hours(24);
const PERIODIC_COMPACTION_MAX: Duration = Duration::from_hours(30 * 24);

/// Configures a database so that its compactions drop expired entries.
pub(super) fn drop_expired(options: &mut Options, expiry: &ExpiryRules) {
    let period = Duration::from_millis(expiry.shortest_ms()).clamp(PERIODIC_COMPACTION_MIN, PERIODIC_COMPACTION_MAX);
    options.set_periodic_compaction_seconds(period.as_secs());
    options.set_compaction_filter_factory(ExpiryFilterFactory { expiry: expiry.clone() });
}

/// Removes expired elements from the front of the list that is stored under `key`.
pub(super) fn trim_list(expiry: &ExpiryRules, key: &[u8], list: &mut Vec<u8>) {
    let Some(state) = state_of_entry_key(key).filter(|state| expiry.has_ttl(*state)) else { return };
    let unexpired = expiry.unexpired(state, list, expiry.now_ms()).map_or(0, <[u8]>::len);
    list.drain(..list.len() - unexpired);
}

struct ExpiryFilterFactory {
    expiry: ExpiryRules,
}

/// The filter of one compaction. Uses the time at which the compaction began.
struct ExpiryFilter {
    expiry: ExpiryRules,
    now_ms: i64,
}

impl CompactionFilterFactory for ExpiryFilterFactory {
    type Filter = ExpiryFilter;

    fn create(&mut self, _: CompactionFilterContext) -> ExpiryFilter {
        ExpiryFilter { expiry: self.expiry.clone(), now_ms: self.expiry.now_ms() }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

impl CompactionFilter for ExpiryFilter {
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> CompactionDecision {
        let has_expired =
            state_of_entry_key(key).is_some_and(|state| self.expiry.unexpired(state, value, self.now_ms).is_none());
        if has_expired { CompactionDecision::Remove } else { CompactionDecision::Keep }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}
