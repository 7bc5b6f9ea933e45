//! The RocksDB backend: reads and writes through the write-back cache, and keeps the cache within its limits.
//!
//! Turns read and write the cache. Dirty entries move to the database in numbered write batches. A batch is *pending* while
//! it waits for earlier snapshots to complete: until then the subtask must not write to the database.

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::sync::Arc;

use rocksdb::{ColumnFamily, Direction, IteratorMode, WriteBatch};

use super::database::{COLUMN_FAMILY, database_failed, database_size, files_failed, open_database, remove_folder};
use super::database_load::database_load;
use super::entry_key::write_entry_key;
use super::file_names::TableFileNames;
use super::memory_limit::{OpenDatabaseCount, write_back_cache_bytes};
use super::options::point_read_options;
use super::restore::{restore_files, take_base};
use super::snapshot::RocksDbSnapshot;
use super::snapshot_queue::SnapshotQueue;
use super::write_back_cache::{CacheLookup, CachedEntry, FlushScope, LOOKUP_BATCH_KEYS, WriteBackCache};
use crate::clock::random_u64;
use crate::error::{self, Error, Result};
use crate::model::{Column, KeyGroup, Keys};
use crate::state::backend::{StateBackend, StateOptions};
use crate::state::description::{StateId, StateKind};
use crate::state::entry::{
    DatabaseLoad, EntryCollector, LoadFailure, LoadedEntries, MapEntry, ScanBudget, StateChange, StateSize, StateWrite,
};
use crate::state::restore::entries::read_entries;
use crate::state::restore::stored_layout::StoredLayout;
use crate::state::snapshot::{RestoreSource, SnapshotFormat, StateSnapshot};
use crate::state::ttl::ExpiryRules;

/// Number of backlogged batches that a turn may write in addition to its own.
const BACKLOG_BATCHES_PER_TURN: usize = 4;
/// Number of keys that are read from the database at once: what RocksDB reads in parallel.
const READ_BATCH_KEYS: usize = 32;
/// Bytes that are read from the database at once, as far as the size of the values is known.
const READ_BATCH_BYTES: usize = 8 << 20;
/// Bytes that are written before the database estimates its size again.
const SIZE_STEP_BYTES: u64 = 16 << 20;
/// Size of the batches in which restored entries are written.
const RESTORE_BATCH_BYTES: usize = 1 << 20;

/// Limits of one write-back cache.
pub(super) struct CacheLimits {
    /// Capacity of the cache in bytes, if it is less than the share of the process-wide limit.
    pub bytes: usize,
    /// Number of dirty entries above which some are flushed during normal processing, so that a barrier has little to flush.
    pub dirty_entries: usize,
    /// Bytes of dirty entries above which some are flushed.
    pub dirty_bytes: usize,
}

impl Default for CacheLimits {
    fn default() -> CacheLimits {
        CacheLimits { bytes: usize::MAX, dirty_entries: 1 << 13, dirty_bytes: 16 << 20 }
    }
}

/// Keyed state of one subtask in a RocksDB database.
pub(in crate::state) struct RocksDbBackend {
    cache: WriteBackCache,
    snapshots: Arc<SnapshotQueue>,
    /// Number of the newest batch. The first batch has number 1.
    batch: u64,
    /// Pending batches with their numbers, oldest first.
    pending: VecDeque<(u64, WriteBatch)>,
    pending_bytes: usize,
    layout: StoredLayout,
    names: Arc<TableFileNames>,
    limits: CacheLimits,
    _open: OpenDatabaseCount,
    /// Keys loaded since the last write, concatenated. A turn tends to write the keys that it loaded, in the same order.
    keys: Vec<u8>,
    /// End of each key in `keys`.
    ends: Vec<usize>,
    /// Location of each key in the cache.
    lookups: Vec<CacheLookup>,
    /// Buffer of `load`: indexes of the keys to read from the database.
    missing: Vec<usize>,
    /// Buffer of `load`: indexes of the keys that the database cannot contain.
    absent: Vec<usize>,
    /// Size of the largest value that was read or written.
    largest_value: usize,
    /// The size of the state in bytes, as last estimated by the database.
    size_bytes: u64,
    /// Bytes that were written since. Some of them may have replaced others.
    written_bytes: u64,
}

impl RocksDbBackend {
    /// Opens a database with the entries of `options.restore`. Returns the errors of [`crate::state::open`].
    pub fn open(mut options: StateOptions<'_>) -> Result<RocksDbBackend> {
        let mut restore = std::mem::take(&mut options.restore);
        let base = take_base(&options, &mut restore);
        let layout = match &base {
            Some(base) => StoredLayout::of_snapshot(&options.layout, base.handle)?,
            None => StoredLayout::new(&options.layout)?,
        };
        let folder = options.working_dir.join("db");
        remove_folder(&options.working_dir)?;
        fs::create_dir_all(&folder).map_err(|e| files_failed(&folder, &e))?;
        let restored = match &base {
            Some(base) => restore_files(base.handle, base.store, &folder)?,
            None => Default::default(),
        };
        let expiry = ExpiryRules::new(&layout.stored, options.clock.clone());
        let db = open_database(&folder, base.is_some(), expiry)?;
        let open = OpenDatabaseCount::new();
        let mut backend = RocksDbBackend {
            cache: WriteBackCache::new(base.is_none(), write_back_cache_bytes()),
            snapshots: Arc::new(SnapshotQueue::new(db, options.working_dir.clone())),
            batch: 0,
            pending: VecDeque::new(),
            pending_bytes: 0,
            layout,
            names: Arc::new(TableFileNames { session: random_u64(), restored }),
            limits: CacheLimits::default(),
            _open: open,
            keys: Vec::new(),
            ends: Vec::new(),
            lookups: Vec::new(),
            missing: Vec::new(),
            absent: Vec::new(),
            largest_value: 0,
            size_bytes: 0,
            written_bytes: SIZE_STEP_BYTES,
        };
        if base.is_some_and(|base| base.groups != options.groups) {
            backend.delete_other_groups(&options.groups)?;
        }
        backend.write_restored_entries(&mut options, &restore)?;
        Ok(backend)
    }

    /// Deletes the entries of all key groups except `groups`. Files without any other entries are deleted at once; the rest
    /// disappears in compactions.
    fn delete_other_groups(&mut self, groups: &Range<u32>) -> Result<()> {
        let family = self.column_family()?;
        let first_key = |group: u32| (group as KeyGroup).to_be_bytes();
        let mut batch = WriteBatch::default();
        // Groups are below 32768, so [255, 255] is above all keys.
        for (from, to) in [(first_key(0), first_key(groups.start)), (first_key(groups.end), [255, 255])] {
            if from != to {
                self.snapshots.db.delete_file_in_range_cf(family, from, to).map_err(|e| self.failed(&e))?;
                batch.delete_range_cf(family, from, to);
            }
        }
        self.batch += 1;
        self.snapshots.write(self.batch, batch)
    }

    fn write_restored_entries(&mut self, options: &mut StateOptions<'_>, sources: &[RestoreSource<'_>]) -> Result<()> {
        let mut batch = WriteBatch::default();
        let mut key = Vec::new();
        read_entries(options, sources, &self.layout, &mut |entry| {
            key.clear();
            let kind = self.layout.kind(entry.state);
            write_entry_key(&mut key, kind, entry.group, entry.state, entry.key, entry.sub_key);
            batch.put(&key, entry.value);
            self.cache.add_stored_key(&key);
            if batch.size_in_bytes() >= RESTORE_BATCH_BYTES {
                self.batch += 1;
                self.snapshots.write(self.batch, std::mem::take(&mut batch))?;
            }
            Ok(())
        })?;
        self.batch += 1;
        self.snapshots.write(self.batch, batch)
    }

    fn column_family(&self) -> Result<&ColumnFamily> {
        let family = self.snapshots.db.cf_handle(COLUMN_FAMILY);
        family.ok_or_else(|| error::internal("the database has no default column family"))
    }

    #[cfg(test)]
    pub(super) fn with_limits(self, limits: CacheLimits) -> RocksDbBackend {
        RocksDbBackend { limits, ..self }
    }

    #[cfg(test)]
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    #[cfg(test)]
    pub fn database(&self) -> &rocksdb::DB {
        &self.snapshots.db
    }

    fn cache_limit_bytes(&self) -> usize {
        self.limits.bytes.min(write_back_cache_bytes())
    }

    fn failed(&self, error: &rocksdb::Error) -> Error {
        database_failed(self.snapshots.db.path(), error)
    }

    /// Reads the entries of the keys in `self.keys`, at most `bytes_max` bytes.
    fn load_keys(&mut self, in_map: bool, bytes_max: usize) -> Result<LoadedEntries, LoadFailure> {
        let loaded = self.load_keys_unevicted(in_map, bytes_max);
        self.cache.evict(self.cache_limit_bytes(), self.snapshots.written());
        loaded
    }

    fn load_keys_unevicted(&mut self, in_map: bool, bytes_max: usize) -> Result<LoadedEntries, LoadFailure> {
        self.lookups.clear();
        self.missing.clear();
        let mut after_batch = 0;
        for start in (0..self.ends.len()).step_by(LOOKUP_BATCH_KEYS) {
            let range = start..self.ends.len().min(start + LOOKUP_BATCH_KEYS);
            let key = |at| &self.keys[key_range(&self.ends, at)];
            self.cache.find(range.clone().map(key), &mut self.lookups);
            self.absent.clear();
            for at in range {
                let lookup = self.lookups[at];
                let unread_after = match lookup.slot.map(|slot| self.cache.get(slot)) {
                    Some(CachedEntry::Value(_) | CachedEntry::Absent) => continue,
                    Some(CachedEntry::Unread { after_batch }) => after_batch,
                    None => 0,
                };
                if in_map && self.cache.is_cleared(key(at)) {
                    self.lookups[at].slot = Some(self.cache.fill(key(at), lookup, in_map, None));
                } else if !self.cache.may_be_stored(lookup) {
                    self.absent.push(at);
                } else {
                    after_batch = after_batch.max(unread_after);
                    self.missing.push(at);
                }
            }
            for &at in &self.absent {
                let slot = self.cache.fill_absent(key(at), self.lookups[at], in_map);
                self.lookups[at].slot = Some(slot);
            }
        }
        if !self.missing.is_empty() {
            self.snapshots.write_up_to(after_batch)?;
            self.write_pending_up_to(after_batch)?;
            self.load_missing(in_map, bytes_max)?;
        }
        let mut entries = EntryCollector::new(self.ends.len(), bytes_max);
        for lookup in &self.lookups {
            let entry = lookup.slot.map_or(CachedEntry::Absent, |slot| self.cache.get(slot));
            entries.push(if let CachedEntry::Value(value) = entry { Some(value) } else { None })?;
        }
        Ok(entries.into_entries())
    }

    /// Reads the keys in `self.missing` from the database into the cache. Reads a few large values or many small ones at once,
    /// so that not much more than `bytes_max` is in memory.
    fn load_missing(&mut self, in_map: bool, bytes_max: usize) -> Result<(), LoadFailure> {
        let options = point_read_options();
        let (mut start, mut bytes) = (0, 0);
        while start < self.missing.len() {
            let count = (READ_BATCH_BYTES / self.largest_value.max(1)).clamp(1, READ_BATCH_KEYS);
            let batch = &self.missing[start..self.missing.len().min(start + count)];
            let keys = batch.iter().map(|&at| &self.keys[key_range(&self.ends, at)]);
            let values = self.snapshots.db.batched_multi_get_cf_opt(self.column_family()?, keys, false, &options);
            for (&at, value) in batch.iter().zip(values) {
                let value = value.map_err(|e| database_failed(self.snapshots.db.path(), &e))?;
                let length = value.as_ref().map_or(0, |value| value.len());
                self.largest_value = self.largest_value.max(length);
                bytes += length;
                let key = &self.keys[key_range(&self.ends, at)];
                let slot = self.cache.fill(key, self.lookups[at], in_map, value.as_deref());
                self.lookups[at].slot = Some(slot);
            }
            start += batch.len();
            if bytes > bytes_max {
                return Err(LoadFailure::TooLarge);
            }
        }
        Ok(())
    }

    /// Keeps the cache within its limits. Flushes dirty entries and evicts clean ones; waits for a pending snapshot only if
    /// nothing else makes room.
    fn enforce_limits(&mut self) -> Result<()> {
        let limit = self.cache_limit_bytes();
        let CacheLimits { dirty_entries, dirty_bytes, .. } = self.limits;
        let is_too_dirty = |cache: &WriteBackCache| {
            let (entries, bytes) = cache.dirty();
            entries > dirty_entries || bytes > dirty_bytes.min(limit / 4)
        };
        let mut flushed = 0;
        while is_too_dirty(&self.cache) {
            self.flush_dirty(FlushScope::LargestPartition);
            flushed += 1;
        }
        if !self.pending.is_empty() {
            if !self.snapshots.may_write() {
                self.snapshots.complete_abandoned()?;
            }
            // Spread a backlog over several turns.
            let count = if self.snapshots.may_write() { flushed + BACKLOG_BATCHES_PER_TURN } else { 0 };
            let last = self.pending.get(count).map_or(self.batch, |(next, _)| next - 1);
            if count > 0 {
                self.write_pending_up_to(last)?;
            }
            if self.pending_bytes > limit / 4 {
                self.write_pending_up_to(self.batch)?;
            }
        }
        while !self.cache.evict(limit, self.snapshots.written()) {
            self.flush_dirty(FlushScope::LargestPartition);
            self.snapshots.complete_up_to(self.batch)?;
            self.write_pending_up_to(self.batch)?;
            if self.cache.dirty().0 == 0 {
                // A single entry may be larger than the limit. Evict what is clean now, and accept the rest.
                self.cache.evict(limit, self.snapshots.written());
                break;
            }
        }
        Ok(())
    }

    /// Flushes dirty cache entries into a new pending batch.
    fn flush_dirty(&mut self, scope: FlushScope) {
        let mut batch = WriteBatch::default();
        self.batch += 1;
        self.cache.flush(self.batch, &mut batch, scope);
        self.pending_bytes += batch.size_in_bytes();
        self.pending.push_back((self.batch, batch));
    }

    /// Writes the pending batches up to `number`. Completes all snapshots first.
    fn write_pending_up_to(&mut self, number: u64) -> Result<()> {
        while let Some((number, batch)) = self.pending.pop_front_if(|(pending, _)| *pending <= number) {
            self.snapshots.complete_up_to(number)?;
            self.pending_bytes -= batch.size_in_bytes();
            self.snapshots.write(number, batch)?;
        }
        Ok(())
    }
}

fn key_range(ends: &[usize], at: usize) -> Range<usize> {
    let start = if at == 0 { 0 } else { ends[at - 1] };
    start..ends[at]
}

impl StateBackend for RocksDbBackend {
    fn load_within(&mut self, state: StateId, keys: &Keys, bytes_max: usize) -> Result<LoadedEntries, LoadFailure> {
        let state = self.layout.stored_id(state)?;
        let kind = self.layout.kind(state);
        self.keys.clear();
        self.ends.clear();
        for (key, &group) in keys.distinct.iter().zip(&keys.groups) {
            write_entry_key(&mut self.keys, kind, group, state, key, &[]);
            self.ends.push(self.keys.len());
        }
        self.load_keys(kind == StateKind::Map, bytes_max)
    }

    fn load_map_within(
        &mut self,
        state: StateId,
        keys: &Keys,
        (key_of, sub_keys): (&[u32], &Column),
        bytes_max: usize,
    ) -> Result<LoadedEntries, LoadFailure> {
        let state = self.layout.stored_id(state)?;
        self.keys.clear();
        self.ends.clear();
        for (&key, sub_key) in key_of.iter().zip(sub_keys.iter()) {
            let (group, key) = (keys.groups[key as usize], keys.distinct.value(key as usize));
            write_entry_key(&mut self.keys, StateKind::Map, group, state, key, sub_key);
            self.ends.push(self.keys.len());
        }
        self.load_keys(true, bytes_max)
    }

    fn scan_map_within(
        &mut self,
        (state, group, key): (StateId, KeyGroup, &[u8]),
        after: Option<&[u8]>,
        limit: usize,
        budget: ScanBudget,
    ) -> Result<Vec<MapEntry>, LoadFailure> {
        let state = self.layout.stored_id(state)?;
        let mut prefix = Vec::new();
        write_entry_key(&mut prefix, StateKind::Map, group, state, key, &[]);
        let from = [&prefix, after.unwrap_or_default()].concat();
        let is_after = |key: &[u8]| after.is_none() || key != &from[..];
        let cached = self.cache.map(&prefix, &from).filter(|(key, _)| is_after(key));
        let mut entries = Vec::new();
        if self.cache.is_cleared(&prefix) {
            // The database may still contain entries of the map, but they are deleted.
            merge_map(prefix.len(), (limit, budget), cached, std::iter::empty(), &mut entries)?;
            return Ok(entries);
        }
        let stored = self.snapshots.db.iterator(IteratorMode::From(&from, Direction::Forward));
        let stored = stored.map(|entry| entry.map_err(|e| self.failed(&e)));
        let stored = stored.take_while(|entry| !entry.as_ref().is_ok_and(|(key, _)| !key.starts_with(&prefix)));
        let stored = stored.filter(|entry| !entry.as_ref().is_ok_and(|(key, _)| !is_after(key)));
        merge_map(prefix.len(), (limit, budget), cached, stored, &mut entries)?;
        Ok(entries)
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = StateWrite<'_>>) -> Result<()> {
        self.snapshots.check()?;
        // Check every write before the first one takes effect.
        let writes: Vec<StateWrite<'_>> = writes.collect();
        for write in &writes {
            self.layout.stored_id(write.state)?;
        }
        let mut key = Vec::new();
        let mut loaded = self.lookups.iter().enumerate();
        for write in writes {
            let state = self.layout.stored_id(write.state)?;
            let kind = self.layout.kind(state);
            let in_map = kind == StateKind::Map;
            key.clear();
            write_entry_key(&mut key, kind, write.group, state, write.key, write.sub_key);
            let is_match = |(at, _): &(usize, &CacheLookup)| self.keys[key_range(&self.ends, *at)] == key;
            let lookup = loaded.find(is_match).map_or_else(|| self.cache.unresolved(&key), |(_, &lookup)| lookup);
            if let StateChange::Put(value) | StateChange::Append(value) = write.change {
                self.largest_value = self.largest_value.max(value.len());
                self.written_bytes += (key.len() + value.len()) as u64;
            }
            match write.change {
                StateChange::Put(value) => self.cache.put(&key, lookup, in_map, value),
                StateChange::Append(value) if in_map => self.cache.put(&key, lookup, in_map, value),
                StateChange::Append(value) => self.cache.append(&key, lookup, value),
                StateChange::DeleteAll if in_map => {
                    key.truncate(key.len() - write.sub_key.len());
                    self.cache.clear_map(&key);
                }
                StateChange::Delete | StateChange::DeleteAll => self.cache.delete(&key, lookup, in_map),
            }
        }
        self.lookups.clear();
        self.enforce_limits()
    }

    fn snapshot(&mut self, format: SnapshotFormat) -> Result<Box<dyn StateSnapshot>> {
        self.snapshots.check()?;
        self.flush_dirty(FlushScope::AllPartitions);
        self.pending_bytes = 0;
        let batches = self.pending.drain(..).map(|(_, batch)| batch).collect();
        self.snapshots.enqueue(self.batch, batches);
        Ok(Box::new(RocksDbSnapshot {
            queue: Arc::clone(&self.snapshots),
            number: self.batch,
            format,
            layout: self.layout.stored.clone(),
            names: Arc::clone(&self.names),
        }))
    }

    fn size(&self) -> StateSize {
        let mut size = database_size(&self.snapshots.db);
        let (entries, bytes) = self.cache.dirty();
        size.entries += entries as u64;
        size.bytes += bytes as u64;
        size
    }

    fn database_load(&self) -> Option<DatabaseLoad> {
        Some(DatabaseLoad { cache_bytes: self.cache.bytes() as u64, ..database_load(&self.snapshots.db) })
    }

    fn charged_bytes(&mut self) -> u64 {
        if self.written_bytes >= SIZE_STEP_BYTES {
            (self.size_bytes, self.written_bytes) = (self.size().bytes, 0);
        }
        self.size_bytes + self.written_bytes
    }
}

/// Merges the cached and the stored entries of a map, both ascending by key, and appends up to `limit` of them to `entries`, which
/// must not exceed the budget.
/// If both contain a key, the cache wins. A cached entry without a value is deleted.
fn merge_map<'a>(
    prefix_length: usize,
    (limit, mut budget): (usize, ScanBudget),
    cached: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    stored: impl Iterator<Item = Result<(Box<[u8]>, Box<[u8]>)>>,
    entries: &mut Vec<MapEntry>,
) -> Result<(), LoadFailure> {
    let (mut cached, mut stored) = (cached.peekable(), stored.peekable());
    while entries.len() < limit {
        if let (Some((cached_key, _)), Some(Ok((stored_key, _)))) = (cached.peek(), stored.peek())
            && **cached_key == **stored_key
        {
            stored.next();
            continue;
        }
        let is_cached_next = match (cached.peek(), stored.peek()) {
            (Some((cached_key, _)), Some(Ok((stored_key, _)))) => **cached_key < **stored_key,
            (_, Some(_)) => false,
            (Some(_), None) => true,
            (None, None) => break,
        };
        if is_cached_next {
            if let Some((key, Some(value))) = cached.next() {
                budget.admit(&key[prefix_length..], value)?;
                entries.push((key[prefix_length..].to_vec(), value.to_vec()));
            }
        } else if let Some(entry) = stored.next() {
            let (key, value) = entry?;
            budget.admit(&key[prefix_length..], &value)?;
            entries.push((key[prefix_length..].to_vec(), value.into_vec()));
        }
    }
    Ok(())
}
