//! Drops from a RocksDB database what has expired: a compaction passes over dead entries, and appending to a list leaves
//! out its dead elements.
//!
//! The C interface does not let a filter see the operands of a merge, and a list that is appended to is nothing else most of
//! its life; so merging trims lists, and the filter drops entries of which nothing lives. Both only ever remove what a
//! turn would not be shown, or would be shown no longer than it is there.

use std::ffi::CStr;
use std::time::Duration;

use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use rocksdb::{CompactionDecision, Options};

use super::ttl::Expiry;
use super::{StateId, rocksdb::KEY_PREFIX_BYTES};

const NAME: &CStr = c"cofferdam.expiry";

/// How long a file may lie without a compaction: as long as its entries live, within these bounds. The lower one keeps a
/// large state beside a short time to live from being written over and over.
const UNTOUCHED_MIN: Duration = Duration::from_hours(24);
const UNTOUCHED_MAX: Duration = Duration::from_hours(30 * 24);

/// Has the database drop what has expired.
pub(super) fn drop_expired(options: &mut Options, expiry: &Expiry) {
    let untouched = Duration::from_millis(expiry.shortest_ms()).clamp(UNTOUCHED_MIN, UNTOUCHED_MAX);
    options.set_periodic_compaction_seconds(untouched.as_secs());
    options.set_compaction_filter_factory(Factory { expiry: expiry.clone() });
}

/// Removes from the front of a list, which is stored under this key, what has expired.
pub(super) fn trim_list(expiry: &Expiry, key: &[u8], list: &mut Vec<u8>) {
    let Some(state) = state_of(key).filter(|state| expiry.has_ttl(*state)) else { return };
    let living = expiry.living(state, list, expiry.now_ms()).map_or(0, <[u8]>::len);
    list.drain(..list.len() - living);
}

struct Factory {
    expiry: Expiry,
}

/// Of one compaction, which runs by the time at which it began.
struct Filter {
    expiry: Expiry,
    now_ms: i64,
}

impl CompactionFilterFactory for Factory {
    type Filter = Filter;

    fn create(&mut self, _: CompactionFilterContext) -> Filter {
        Filter { expiry: self.expiry.clone(), now_ms: self.expiry.now_ms() }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> CompactionDecision {
        let lives = state_of(key).is_none_or(|state| self.expiry.living(state, value, self.now_ms).is_some());
        if lives { CompactionDecision::Keep } else { CompactionDecision::Remove }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

fn state_of(key: &[u8]) -> Option<StateId> {
    let (prefix, _) = key.split_first_chunk::<KEY_PREFIX_BYTES>()?;
    Some(StateId::from_be_bytes([prefix[2], prefix[3]]))
}
