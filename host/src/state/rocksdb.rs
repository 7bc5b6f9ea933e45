//! State on disk: one RocksDB database per subtask, without a write-ahead log, since the checkpoints are what lasts.
//!
//! Key: key group (u16, big endian) | state id (u16, big endian) | key; of a map the key as [`write_ordered`] writes it, then
//! the sub-key. An `Append` is a merge whose operator concatenates, so that appending to a list reads nothing. Part of the
//! durable format.
//!
//! In front of it lies a cache ([`super::rocksdb_cache`]), which turns read and write; what they wrote reaches the database
//! in batches, and at the barrier, where [`super::rocksdb_cut`] fixes the database as it is. The working folder holds `db`
//! and, for each snapshot that is being uploaded, a folder of hard links.

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, Direction, ErrorKind, IteratorMode, LogLevel,
    MergeOperands, Options, ReadOptions, WriteBatch, WriteBufferManager, properties,
};

use super::layout::{StoredLayout, is_as_declared};
use super::restore::read_entries;
use super::rocksdb_cache::{Found, HotCache, Lookup, TOGETHER};
use super::rocksdb_cut::{Cuts, SealedSnapshot};
use super::rocksdb_image::{FileOrigins, restore_files};
use super::rocksdb_ttl;
use super::ttl::Expiry;
use super::{
    LoadedEntries, MapEntry, RestoreSource, SnapshotFormat, StateBackend, StateChange, StateId, StateKind,
    StateOptions, StateSize, StateSnapshot, StateWrite, write_ordered,
};
use crate::clock::random_u64;
use crate::error::{self, Error, Result};
use crate::model::{Column, KeyGroup, Keys, common_groups};

/// What the databases of the process take together where nobody says otherwise: see [`super::set_memory_limit`].
pub(super) const DEFAULT_MEMORY_BYTES: usize = 512 << 20;
/// Of one database, before its writes go to a file.
const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// Of one database: one with more opens some of them anew all the time, at some 60 µs each.
const OPEN_FILES_MAX: u64 = 1024;
/// It has to do with this part of what the process may open.
const OPEN_FILES_PART: u64 = 16;
/// Its open files are kept in 2^2 shards, each with an equal share of the room, which only many files fill evenly. More shards
/// serve more threads than a database has.
const OPEN_FILES_SHARD_BITS: i32 = 2;
const BACKGROUND_JOBS_MAX: i32 = 2;
/// What compaction rewrites is uploaded again. Small files, few files that wait, and levels that are small and close in size let it
/// rewrite little at a time; the price is that it rewrites an entry more often (`cargo xtask bench state`).
const TABLE_BYTES: u64 = 8 << 20;
const LEVEL_BASE_BYTES: u64 = 32 << 20;
const LEVEL_MULTIPLIER: f64 = 4.0;
/// A checkpoint makes a small one.
const LEVEL_ZERO_FILES: i32 = 2;
/// What waits for compaction takes space in every checkpoint: of more, writing and cuts wait until compaction has caught up. All that
/// the files of level 0 will move in the levels below counts, so that two small ones come to many times their size for a moment.
const COMPACTION_DEBT_BYTES: usize = 512 << 20;
/// Bloom filter: 1 % of lookups of an absent key read a block in vain.
const FILTER_BITS_PER_KEY: f64 = 10.0;
/// The same of what is not in a file yet, as a part of the write buffer: 10 bits for each of the smallest entries.
const BUFFER_FILTER_PART: f64 = 0.02;
/// A block stays as it is that would not become half as large: unpacking it costs a read more than the rest of it.
const COMPRESSION: (&str, &str) = ("compression_opts", "{max_compressed_bytes_per_kb=512}");
/// What compaction has done with leaves the cache of blocks at once, indexes and filters above all. It would fill the cache
/// within minutes, and then nothing new found room.
const UNCACHED: (&str, &str) = ("uncache_aggressiveness", "300");
const MERGE_OPERATOR: &str = "cofferdam.concatenate";
pub(super) const COLUMN_FAMILY: &str = "default";
pub(super) const KEY_PREFIX_BYTES: usize = 4;
/// Of batches that had to wait for a cut, how many a turn writes beside those it has taken itself.
const BATCHES_BEHIND: usize = 4;
/// Entries of a restored image are written in batches of this size.
const RESTORE_BATCH_BYTES: usize = 1 << 20;

/// Of one cache.
pub(super) struct Limits {
    /// Bytes, where it is less than the cache's share.
    pub cache: usize,
    /// What no batch has taken along: of more, some is taken while the subtask runs, so that there is little to seal at a
    /// barrier.
    pub dirty_entries: usize,
    pub dirty_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { cache: usize::MAX, dirty_entries: 1 << 13, dirty_bytes: 16 << 20 }
    }
}

/// See the module.
pub(super) struct RocksDbBackend {
    cache: HotCache,
    cuts: Arc<Cuts>,
    /// Number of the last batch; they count from 1.
    batch: u64,
    /// The last batches, which wait until the subtask may write, or for the next barrier.
    waiting: VecDeque<(u64, WriteBatch)>,
    waiting_bytes: usize,
    layout: StoredLayout,
    origins: Arc<FileOrigins>,
    limits: Limits,
    _share: CacheShare,
    /// What was loaded since the last write: the keys one behind the other, where each ends, and where the cache has it. What is
    /// loaded is likely to be written next, in the same order.
    keys: Vec<u8>,
    ends: Vec<usize>,
    lookups: Vec<Lookup>,
    /// Scratch of `load`: of those the ones that the database has to be asked for, and the ones that it cannot have.
    missing: Vec<usize>,
    absent: Vec<usize>,
}

impl RocksDbBackend {
    pub fn open(mut options: StateOptions<'_>) -> Result<RocksDbBackend> {
        let mut restore = std::mem::take(&mut options.restore);
        let base = take_base(&options, &mut restore);
        let layout = match &base {
            Some(base) => StoredLayout::of_image(&options.layout, base.handle)?,
            None => StoredLayout::new(&options.layout)?,
        };
        let folder = options.working_dir.join("db");
        empty(&options.working_dir).map_err(|e| files_failed(&options.working_dir, &e))?;
        fs::create_dir_all(&folder).map_err(|e| files_failed(&folder, &e))?;
        let restored = match &base {
            Some(base) => restore_files(base.handle, base.store, &folder)?,
            None => Default::default(),
        };
        let expiry = Expiry::new(&layout.stored, options.clock.clone());
        let db = open_database(&folder, base.is_some(), expiry)?;
        let share = CacheShare::new();
        let mut backend = RocksDbBackend {
            cache: HotCache::new(base.is_none(), cache_limit()),
            cuts: Arc::new(Cuts::new(db, options.working_dir.clone())),
            batch: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            layout,
            origins: Arc::new(FileOrigins { session: random_u64(), restored }),
            limits: Limits::default(),
            _share: share,
            keys: Vec::new(),
            ends: Vec::new(),
            lookups: Vec::new(),
            missing: Vec::new(),
            absent: Vec::new(),
        };
        if base.is_some_and(|base| base.groups != options.groups) {
            backend.drop_all_but(&options.groups)?;
        }
        backend.write_entries(&mut options, &restore)?;
        Ok(backend)
    }

    /// Deletes the entries of foreign key groups: the files that hold nothing else at once, the others as RocksDB compacts.
    fn drop_all_but(&mut self, groups: &Range<u32>) -> Result<()> {
        let family = self.column_family()?;
        let first_of = |group: u32| (group as KeyGroup).to_be_bytes();
        let mut batch = WriteBatch::default();
        // Groups are below 32768.
        for (from, to) in [(first_of(0), first_of(groups.start)), (first_of(groups.end), [255, 255])] {
            if from != to {
                self.cuts.db.delete_file_in_range_cf(family, from, to).map_err(|e| self.failed(&e))?;
                batch.delete_range_cf(family, from, to);
            }
        }
        self.batch += 1;
        self.cuts.write(self.batch, batch)
    }

    fn write_entries(&mut self, options: &mut StateOptions<'_>, images: &[RestoreSource<'_>]) -> Result<()> {
        let mut batch = WriteBatch::default();
        let mut key = Vec::new();
        read_entries(options, images, &self.layout, &mut |entry| {
            key.clear();
            let kind = self.layout.kind(entry.state);
            write_key(&mut key, kind, entry.group, entry.state, entry.key, entry.sub_key);
            batch.put(&key, entry.value);
            self.cache.note_stored(&key);
            if batch.size_in_bytes() >= RESTORE_BATCH_BYTES {
                self.batch += 1;
                self.cuts.write(self.batch, std::mem::take(&mut batch))?;
            }
            Ok(())
        })?;
        self.batch += 1;
        self.cuts.write(self.batch, batch)
    }

    fn column_family(&self) -> Result<&ColumnFamily> {
        self.cuts
            .db
            .cf_handle(COLUMN_FAMILY)
            .ok_or_else(|| error::internal("the database has no default column family"))
    }

    /// With other limits.
    #[cfg(test)]
    pub fn limited(self, limits: Limits) -> RocksDbBackend {
        RocksDbBackend { limits, ..self }
    }

    #[cfg(test)]
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    #[cfg(test)]
    pub fn database(&self) -> &DB {
        &self.cuts.db
    }

    fn cache_limit(&self) -> usize {
        self.limits.cache.min(cache_limit())
    }

    fn failed(&self, error: &rocksdb::Error) -> Error {
        database_failed(self.cuts.db.path(), error)
    }

    /// Reads the entries of the keys in `self.keys`.
    fn load_keys(&mut self, in_map: bool) -> Result<LoadedEntries> {
        self.lookups.clear();
        self.missing.clear();
        let mut after_batch = 0;
        for start in (0..self.ends.len()).step_by(TOGETHER) {
            let range = start..self.ends.len().min(start + TOGETHER);
            let key = |at| &self.keys[key_range(&self.ends, at)];
            self.cache.find(range.clone().map(key), &mut self.lookups);
            self.absent.clear();
            for at in range {
                let lookup = self.lookups[at];
                let unread_after = match lookup.place.map(|place| self.cache.get(place)) {
                    Some(Found::Value(_) | Found::Absent) => continue,
                    Some(Found::Unread { after_batch }) => after_batch,
                    None => 0,
                };
                if in_map && self.cache.is_emptied(key(at)) {
                    self.lookups[at].place = Some(self.cache.fill(key(at), lookup, in_map, None));
                } else if !self.cache.may_be_stored(lookup) {
                    self.absent.push(at);
                } else {
                    after_batch = after_batch.max(unread_after);
                    self.missing.push(at);
                }
            }
            for &at in &self.absent {
                let place = self.cache.fill_absent(key(at), self.lookups[at], in_map);
                self.lookups[at].place = Some(place);
            }
        }
        if !self.missing.is_empty() {
            self.cuts.write_up_to(after_batch)?;
            self.write_waiting_up_to(after_batch)?;
            self.load_missing(in_map)?;
        }
        let mut entries = LoadedEntries::with_capacity(self.ends.len());
        for lookup in &self.lookups {
            let found = lookup.place.map_or(Found::Absent, |place| self.cache.get(place));
            entries.push(if let Found::Value(value) = found { Some(value) } else { None })?;
        }
        self.cache.trim(self.cache_limit(), self.cuts.written());
        Ok(entries)
    }

    /// Reads those of the keys which the cache cannot tell.
    fn load_missing(&mut self, in_map: bool) -> Result<()> {
        let keys = self.missing.iter().map(|&at| &self.keys[key_range(&self.ends, at)]);
        let found = self.cuts.db.batched_multi_get_cf_opt(self.column_family()?, keys, false, &point_reads());
        for (&at, found) in self.missing.iter().zip(found) {
            let found = found.map_err(|e| database_failed(self.cuts.db.path(), &e))?;
            let key = &self.keys[key_range(&self.ends, at)];
            let place = self.cache.fill(key, self.lookups[at], in_map, found.as_deref());
            self.lookups[at].place = Some(place);
        }
        Ok(())
    }

    /// Keeps the cache within its limits: writes to the database where that is allowed, and waits for it where it must.
    fn settle(&mut self) -> Result<()> {
        let limit = self.cache_limit();
        let Limits { dirty_entries, dirty_bytes, .. } = self.limits;
        let too_much = |cache: &HotCache| {
            let (entries, bytes) = cache.dirty();
            entries > dirty_entries || bytes > dirty_bytes.min(limit / 4)
        };
        let mut taken = 0;
        while too_much(&self.cache) {
            self.take_dirty(false);
            taken += 1;
        }
        if !self.waiting.is_empty() {
            if !self.cuts.may_write() {
                self.cuts.clear_abandoned()?;
            }
            // Not all at once, should much have waited.
            let now = if self.cuts.may_write() { taken + BATCHES_BEHIND } else { 0 };
            let last = self.waiting.get(now).map_or(self.batch, |(next, _)| next - 1);
            if now > 0 {
                self.write_waiting_up_to(last)?;
            }
            if self.waiting_bytes > limit / 4 {
                self.write_waiting_up_to(self.batch)?;
            }
        }
        while !self.cache.trim(limit, self.cuts.written()) {
            self.take_dirty(false);
            self.cuts.make_up_to(self.batch)?;
            self.write_waiting_up_to(self.batch)?;
            if self.cache.dirty().0 == 0 {
                // One entry may be larger than the limit; with nothing left to write, this is all that can be done.
                self.cache.trim(limit, self.cuts.written());
                break;
            }
        }
        Ok(())
    }

    /// Takes dirty entries along in one more batch: all, or the part of them that has most.
    fn take_dirty(&mut self, all: bool) {
        let mut batch = WriteBatch::default();
        self.batch += 1;
        self.cache.take_dirty(self.batch, &mut batch, all);
        self.waiting_bytes += batch.size_in_bytes();
        self.waiting.push_back((self.batch, batch));
    }

    /// Writes those of the waiting batches that are not above this number, and for that makes all cuts.
    fn write_waiting_up_to(&mut self, number: u64) -> Result<()> {
        while let Some((number, batch)) = self.waiting.pop_front_if(|(waiting, _)| *waiting <= number) {
            self.cuts.make_up_to(number)?;
            self.waiting_bytes -= batch.size_in_bytes();
            self.cuts.write(number, batch)?;
        }
        Ok(())
    }
}

/// How single entries are read. A block is not kept for one of them: the entry is, in front of the database, and takes a
/// hundredth of the room. Where there is no room left, indexes and filters have had to go, and come back with the blocks only.
fn point_reads() -> ReadOptions {
    let (blocks, _) = shared_memory();
    let mut options = ReadOptions::default();
    options.fill_cache(blocks.get_usage() > blocks_bytes() / 8 * 7);
    options
}

fn key_range(ends: &[usize], at: usize) -> Range<usize> {
    let start = if at == 0 { 0 } else { ends[at - 1] };
    start..ends[at]
}

/// What RocksDB estimates: an entry that was deleted or overwritten may count until its files are compacted.
pub(super) fn database_size(db: &DB) -> StateSize {
    let number = |property| db.property_int_value(property).ok().flatten().unwrap_or(0);
    let in_files = number(properties::ESTIMATE_LIVE_DATA_SIZE);
    let in_memory = number(properties::SIZE_ALL_MEM_TABLES);
    StateSize { entries: number(properties::ESTIMATE_NUM_KEYS), bytes: in_files + in_memory }
}

/// Takes out of `images` the one whose files are to be taken over as they are: of those that are databases of the states as
/// they are declared, the one that holds most of the subtask's key groups.
fn take_base<'a>(options: &StateOptions<'_>, images: &mut Vec<RestoreSource<'a>>) -> Option<RestoreSource<'a>> {
    let shared = |image: &RestoreSource<'_>| common_groups(&options.groups, &image.groups).len();
    let fits = |image: &RestoreSource<'_>| {
        image.handle.format == SnapshotFormat::RocksDb
            && is_as_declared(&options.layout, image.handle)
            && shared(image) > 0
    };
    let fitting = (0..images.len()).filter(|&at| fits(&images[at]));
    let best = fitting.max_by_key(|&at| shared(&images[at]))?;
    Some(images.remove(best))
}

fn open_database(folder: &Path, was_restored: bool, expiry: Option<Expiry>) -> Result<DB> {
    let options = database_options(was_restored, expiry);
    let opened = DB::open_cf_with_opts(&options, folder, [(COLUMN_FAMILY, options.clone())]);
    // The C interface has no other way to say it.
    let opened = opened.and_then(|db| db.set_options(&[COMPRESSION, UNCACHED]).map(|()| db));
    opened.map_err(|e| {
        let unreadable = matches!(e.kind(), ErrorKind::Corruption | ErrorKind::InvalidArgument);
        match was_restored && unreadable {
            true => error::checkpoint_corrupt(format!("RocksDB cannot open the restored files: {e}")),
            false => database_failed(folder, &e),
        }
    })
}

pub(super) fn database_failed(folder: &Path, error: &rocksdb::Error) -> Error {
    error::state_failed(format!("the state in {}: {error}", folder.display()))
}

pub(super) fn files_failed(path: &Path, error: &std::io::Error) -> Error {
    error::state_failed(format!("{}: {error}", path.display()))
}

pub(super) fn empty(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// See [`super::set_memory_limit`].
static MEMORY: OnceLock<usize> = OnceLock::new();
/// Databases that are open now. They share the memory for hot entries equally.
static OPEN: AtomicUsize = AtomicUsize::new(0);

pub(super) fn set_memory_limit(bytes: usize) {
    let _ = MEMORY.set(bytes);
}

fn memory() -> usize {
    *MEMORY.get_or_init(|| DEFAULT_MEMORY_BYTES)
}

/// What one cache of hot entries may hold now, in bytes.
fn cache_limit() -> usize {
    memory() / 2 / OPEN.load(Ordering::Relaxed).max(1)
}

/// Counts a database as open.
struct CacheShare;

impl CacheShare {
    fn new() -> CacheShare {
        OPEN.fetch_add(1, Ordering::Relaxed);
        CacheShare
    }
}

impl Drop for CacheShare {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Of the blocks that the databases keep, and of what they have not written yet.
fn blocks_bytes() -> usize {
    memory() / 2
}

/// Blocks that were read, and, counted within them, writes that are not in a file yet. Shared by all databases of the
/// process, so that many subtasks do not multiply the memory.
fn shared_memory() -> &'static (Cache, WriteBufferManager) {
    static SHARED: OnceLock<(Cache, WriteBufferManager)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let cache = Cache::new_lru_cache(blocks_bytes());
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(memory() / 4, false, cache.clone());
        (cache, buffers)
    })
}

fn open_files_max() -> i32 {
    let of_process = rlimit::Resource::NOFILE.get_soft().unwrap_or(0);
    (of_process / OPEN_FILES_PART).clamp(64, OPEN_FILES_MAX) as i32
}

/// With `expiry`, the database drops what has expired.
pub(super) fn database_options(must_exist: bool, expiry: Option<Expiry>) -> Options {
    let (cache, buffers) = shared_memory();
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    // Indexes and filters count as cache, so that the limit holds however large the state is.
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);

    let mut options = Options::default();
    options.create_if_missing(!must_exist);
    options.set_block_based_table_factory(&table);
    // Not what a checkpoint or a full buffer writes: it is compacted soon.
    options.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::Lz4]);
    options.set_write_buffer_manager(buffers);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_memtable_prefix_bloom_ratio(BUFFER_FILTER_PART);
    options.set_memtable_whole_key_filtering(true);
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_max_bytes_for_level_base(LEVEL_BASE_BYTES);
    options.set_max_bytes_for_level_multiplier(LEVEL_MULTIPLIER);
    options.set_level_zero_file_num_compaction_trigger(LEVEL_ZERO_FILES);
    options.set_soft_pending_compaction_bytes_limit(COMPACTION_DEBT_BYTES);
    options.set_max_open_files(open_files_max());
    options.set_table_cache_num_shard_bits(OPEN_FILES_SHARD_BITS);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    if let Some(expiry) = &expiry {
        rocksdb_ttl::drop_expired(&mut options, expiry);
    }
    options.set_merge_operator_associative(
        MERGE_OPERATOR,
        move |key: &[u8], value: Option<&[u8]>, operands: &MergeOperands| {
            let mut list = concatenate(value, operands);
            expiry.iter().for_each(|expiry| rocksdb_ttl::trim_list(expiry, key, &mut list));
            Some(list)
        },
    );
    options.set_keep_log_file_num(1);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

/// Both merges: of operands into a value, and of operands into one operand.
fn concatenate(value: Option<&[u8]>, operands: &MergeOperands) -> Vec<u8> {
    let parts = || value.into_iter().chain(operands);
    let mut whole = Vec::with_capacity(parts().map(<[u8]>::len).sum());
    parts().for_each(|part| whole.extend_from_slice(part));
    whole
}

fn write_key(buffer: &mut Vec<u8>, kind: StateKind, group: KeyGroup, state: StateId, key: &[u8], sub_key: &[u8]) {
    buffer.reserve(KEY_PREFIX_BYTES + key.len() + sub_key.len());
    buffer.extend_from_slice(&group.to_be_bytes());
    buffer.extend_from_slice(&state.to_be_bytes());
    match kind {
        StateKind::Map => write_ordered(buffer, key),
        _ => buffer.extend_from_slice(key),
    }
    buffer.extend_from_slice(sub_key);
}

impl StateBackend for RocksDbBackend {
    fn load(&mut self, state: StateId, keys: &Keys) -> Result<LoadedEntries> {
        let state = self.layout.stored_id(state)?;
        let kind = self.layout.kind(state);
        self.keys.clear();
        self.ends.clear();
        for (key, &group) in keys.distinct.iter().zip(&keys.groups) {
            write_key(&mut self.keys, kind, group, state, key, &[]);
            self.ends.push(self.keys.len());
        }
        self.load_keys(kind == StateKind::Map)
    }

    fn load_map(&mut self, state: StateId, keys: &Keys, of: &[u32], sub_keys: &Column) -> Result<LoadedEntries> {
        let state = self.layout.stored_id(state)?;
        self.keys.clear();
        self.ends.clear();
        for (&of, sub_key) in of.iter().zip(sub_keys.iter()) {
            let of = of as usize;
            write_key(&mut self.keys, StateKind::Map, keys.groups[of], state, keys.distinct.value(of), sub_key);
            self.ends.push(self.keys.len());
        }
        self.load_keys(true)
    }

    fn scan_map(
        &mut self,
        state: StateId,
        group: KeyGroup,
        key: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<MapEntry>> {
        let state = self.layout.stored_id(state)?;
        let mut prefix = Vec::new();
        write_key(&mut prefix, StateKind::Map, group, state, key, &[]);
        let from = [&prefix, after.unwrap_or_default()].concat();
        let is_next = |key: &[u8]| after.is_none() || key != &from[..];
        let in_cache = self.cache.map(&prefix, &from).filter(|(key, _)| is_next(key));
        let mut entries = Vec::new();
        if self.cache.is_emptied(&prefix) {
            // What the database holds of it does not count.
            merge_map(prefix.len(), limit, in_cache, std::iter::empty(), &mut entries)?;
            return Ok(entries);
        }
        let in_database = self.cuts.db.iterator(IteratorMode::From(&from, Direction::Forward));
        let in_database = in_database.map(|found| found.map_err(|e| self.failed(&e)));
        let in_database =
            in_database.take_while(|found| !found.as_ref().is_ok_and(|(key, _)| !key.starts_with(&prefix)));
        let in_database = in_database.filter(|found| !found.as_ref().is_ok_and(|(key, _)| !is_next(key)));
        merge_map(prefix.len(), limit, in_cache, in_database, &mut entries)?;
        Ok(entries)
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = StateWrite<'_>>) -> Result<()> {
        self.cuts.check()?;
        // Everything that can be wrong with a write is checked before the first takes effect.
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
            write_key(&mut key, kind, write.group, state, write.key, write.sub_key);
            let is_it = |(at, _): &(usize, &Lookup)| self.keys[key_range(&self.ends, *at)] == key;
            let lookup = loaded.find(is_it).map_or_else(|| self.cache.unsought(&key), |(_, &lookup)| lookup);
            match write.change {
                StateChange::Put(value) => self.cache.put(&key, lookup, in_map, value),
                StateChange::Append(value) if in_map => self.cache.put(&key, lookup, in_map, value),
                StateChange::Append(value) => self.cache.append(&key, lookup, value),
                StateChange::DeleteAll if in_map => {
                    key.truncate(key.len() - write.sub_key.len());
                    self.cache.empty_map(&key);
                }
                StateChange::Delete | StateChange::DeleteAll => self.cache.delete(&key, lookup, in_map),
            }
        }
        self.lookups.clear();
        self.settle()
    }

    fn snapshot(&mut self, format: SnapshotFormat) -> Result<Box<dyn StateSnapshot>> {
        self.cuts.check()?;
        self.take_dirty(true);
        self.waiting_bytes = 0;
        let batches = self.waiting.drain(..).map(|(_, batch)| batch).collect();
        let layout = self.layout.stored.clone();
        Ok(Box::new(SealedSnapshot::new(&self.cuts, (self.batch, batches), format, layout, &self.origins)))
    }

    fn size(&self) -> StateSize {
        let mut size = database_size(&self.cuts.db);
        let (entries, bytes) = self.cache.dirty();
        size.entries += entries as u64;
        size.bytes += bytes as u64;
        size
    }
}

/// Merges what the cache knows of a map with what the database holds, both ascending by key; the cache is right.
fn merge_map<'a>(
    prefix_length: usize,
    limit: usize,
    in_cache: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    in_database: impl Iterator<Item = Result<(Box<[u8]>, Box<[u8]>)>>,
    entries: &mut Vec<MapEntry>,
) -> Result<()> {
    let (mut in_cache, mut in_database) = (in_cache.peekable(), in_database.peekable());
    while entries.len() < limit {
        if let (Some((cached, _)), Some(Ok((stored, _)))) = (in_cache.peek(), in_database.peek())
            && **cached == **stored
        {
            in_database.next();
            continue;
        }
        let from_cache = match (in_cache.peek(), in_database.peek()) {
            (Some((cached, _)), Some(Ok((stored, _)))) => **cached < **stored,
            (_, Some(_)) => false,
            (Some(_), None) => true,
            (None, None) => break,
        };
        if from_cache {
            if let Some((key, Some(value))) = in_cache.next() {
                entries.push((key[prefix_length..].to_vec(), value.to_vec()));
            }
        } else if let Some(found) = in_database.next() {
            let (key, value) = found?;
            entries.push((key[prefix_length..].to_vec(), value.into_vec()));
        }
    }
    Ok(())
}
