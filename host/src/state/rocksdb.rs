//! State on disk: one RocksDB database per subtask, without a write-ahead log, since the checkpoints are what lasts.
//!
//! Key: key group (u16, big endian) | state id (u16, big endian) | key; of a map the key as [`write_ordered`] writes it, then
//! the sub-key. An `Append` is a merge whose operator concatenates, so that appending to a list reads nothing. A turn is one
//! write batch. Part of the durable format.
//!
//! The working folder holds `db` and, for each snapshot that is not uploaded yet, a folder of hard links.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, Direction, ErrorKind, IteratorMode, LogLevel,
    MergeOperands, Options, WriteBatch, WriteBufferManager, WriteOptions, checkpoint::Checkpoint, properties,
};

use super::layout::StoredLayout;
use super::rocksdb_image::{FileOrigins, RocksDbSnapshot, SnapshotFolder, restore_files};
use super::{
    Change, Entries, Entry, ImageFormat, MapEntry, RestoredImage, StateBackend, StateId, StateKind, StateOptions,
    StateSize, StateSnapshot, Write, read_ordered, write_ordered,
};
use crate::clock::random_u64;
use crate::error::{self, Error, Result};
use crate::model::{Column, KeyGroup, Keys};

/// Memory of all databases of the process together: blocks that were read, and, counted within it, writes that are not
/// in a file yet.
const CACHE_BYTES: usize = 256 << 20;
const WRITE_BUFFERS_BYTES: usize = 128 << 20;
/// Of one database, before its writes go to a file.
const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// Of one database.
const OPEN_FILES_MAX: i32 = 256;
const BACKGROUND_JOBS_MAX: i32 = 2;
/// Bloom filter: 1 % of lookups of an absent key read a block in vain.
const FILTER_BITS_PER_KEY: f64 = 10.0;
const MERGE_OPERATOR: &str = "cofferdam.concatenate";
const COLUMN_FAMILY: &str = "default";
const KEY_PREFIX_BYTES: usize = 4;
/// Entries of a restored image are written in batches of this size.
const RESTORE_BATCH_BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct RocksDbBackend {
    db: DB,
    layout: StoredLayout,
    working_dir: PathBuf,
    origins: Arc<FileOrigins>,
    without_log: WriteOptions,
    /// Scratch of `load`: the keys one behind the other, and where each ends.
    keys: Vec<u8>,
    ends: Vec<usize>,
}

impl RocksDbBackend {
    pub fn open(mut options: StateOptions<'_>) -> Result<RocksDbBackend> {
        let restore = std::mem::take(&mut options.restore);
        let layout = StoredLayout::new(&options.layout, &restore)?;
        let folder = options.working_dir.join("db");
        empty(&options.working_dir).map_err(|e| files_failed(&options.working_dir, &e))?;
        fs::create_dir_all(&folder).map_err(|e| files_failed(&folder, &e))?;
        // The files of an image are the state, where they hold all of it and nothing else.
        let whole = match &restore[..] {
            [one] if one.image.format == ImageFormat::RocksDb && one.groups == options.groups => Some(one),
            _ => None,
        };
        let restored = match whole {
            Some(one) => restore_files(one.image, one.store, &folder)?,
            None => Default::default(),
        };
        let db = open_database(&folder, whole.is_some())?;
        let mut without_log = WriteOptions::default();
        without_log.disable_wal(true);
        let mut backend = RocksDbBackend {
            db,
            layout,
            working_dir: options.working_dir.clone(),
            origins: Arc::new(FileOrigins { session: random_u64(), restored }),
            without_log,
            keys: Vec::new(),
            ends: Vec::new(),
        };
        if whole.is_none() {
            for image in &restore {
                backend.load_image(image, options.groups.clone())?;
            }
        }
        Ok(backend)
    }

    fn load_image(&mut self, image: &RestoredImage<'_>, groups: Range<u32>) -> Result<()> {
        let scratch = self.working_dir.join("restore");
        let mut batch = WriteBatch::default();
        let mut key = Vec::new();
        read_image(image, groups, &scratch, &mut |entry| {
            key.clear();
            let kind = self.layout.kind(entry.state);
            write_key(&mut key, kind, entry.group, entry.state, entry.key, entry.sub_key);
            batch.put(&key, entry.value);
            if batch.size_in_bytes() >= RESTORE_BATCH_BYTES {
                let full = std::mem::take(&mut batch);
                self.db.write_opt(full, &self.without_log).map_err(|e| self.failed(&e))?;
            }
            Ok(())
        })?;
        self.db.write_opt(batch, &self.without_log).map_err(|e| self.failed(&e))?;
        empty(&scratch).map_err(|e| files_failed(&scratch, &e))
    }

    fn column_family(&self) -> Result<&ColumnFamily> {
        self.db.cf_handle(COLUMN_FAMILY).ok_or_else(|| error::internal("the database has no default column family"))
    }

    /// Reads the entries of the keys in `self.keys`.
    fn load_keys(&self) -> Result<Entries> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let whole_keys = starts.zip(&self.ends).map(|(start, &end)| &self.keys[start..end]);
        let mut entries = Entries::with_capacity(self.ends.len());
        for found in self.db.batched_multi_get_cf(self.column_family()?, whole_keys, false) {
            entries.push(found.map_err(|e| self.failed(&e))?.as_deref())?;
        }
        Ok(entries)
    }

    fn failed(&self, error: &rocksdb::Error) -> Error {
        database_failed(self.db.path(), error)
    }
}

fn open_database(folder: &Path, was_restored: bool) -> Result<DB> {
    let options = database_options(was_restored);
    DB::open_cf_with_opts(&options, folder, [(COLUMN_FAMILY, options.clone())]).map_err(|e| {
        let unreadable = matches!(e.kind(), ErrorKind::Corruption | ErrorKind::InvalidArgument);
        match was_restored && unreadable {
            true => error::checkpoint_corrupt(format!("RocksDB cannot open the restored files: {e}")),
            false => database_failed(folder, &e),
        }
    })
}

/// Hands every entry of an image of this format whose group is in `groups` to `visit`; see [`super::read_image`].
pub(super) fn read_image(
    image: &RestoredImage<'_>,
    groups: Range<u32>,
    scratch: &Path,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<()>,
) -> Result<()> {
    empty(scratch).and_then(|()| fs::create_dir_all(scratch)).map_err(|e| files_failed(scratch, &e))?;
    restore_files(image.image, image.store, scratch)?;
    let db = open_database(scratch, true)?;
    let last = groups.end.saturating_sub(1) as KeyGroup;
    let start = (groups.start as KeyGroup).to_be_bytes();
    for found in db.iterator(IteratorMode::From(&start, Direction::Forward)) {
        let (key, value) = found.map_err(|e| database_failed(scratch, &e))?;
        let malformed = || error::checkpoint_corrupt("a key of the database is none of a state's");
        let (group, rest) = key.split_first_chunk::<2>().ok_or_else(malformed)?;
        let (state, rest) = rest.split_first_chunk::<2>().ok_or_else(malformed)?;
        let (group, state) = (KeyGroup::from_be_bytes(*group), StateId::from_be_bytes(*state));
        if group > last {
            break;
        }
        let description = image.image.layout.get(usize::from(state)).ok_or_else(malformed)?;
        if description.kind == StateKind::Map {
            let (key, sub_key) = read_ordered(rest).ok_or_else(malformed)?;
            visit(Entry { group, state, key: &key, sub_key, value: &value })?;
        } else {
            visit(Entry { group, state, key: rest, sub_key: &[], value: &value })?;
        }
    }
    Ok(())
}

fn database_failed(folder: &Path, error: &rocksdb::Error) -> Error {
    error::state_failed(format!("the state in {}: {error}", folder.display()))
}

pub(super) fn files_failed(path: &Path, error: &std::io::Error) -> Error {
    error::state_failed(format!("{}: {error}", path.display()))
}

fn empty(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Shared by all databases of the process, so that many subtasks do not multiply the memory.
fn shared_memory() -> &'static (Cache, WriteBufferManager) {
    static MEMORY: OnceLock<(Cache, WriteBufferManager)> = OnceLock::new();
    MEMORY.get_or_init(|| {
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let buffers =
            WriteBufferManager::new_write_buffer_manager_with_cache(WRITE_BUFFERS_BYTES, false, cache.clone());
        (cache, buffers)
    })
}

fn database_options(must_exist: bool) -> Options {
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
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_manager(buffers);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    options.set_merge_operator_associative(MERGE_OPERATOR, concatenate);
    options.set_keep_log_file_num(1);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

/// Both merges: of operands into a value, and of operands into one operand.
fn concatenate(_key: &[u8], value: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let parts = || value.into_iter().chain(operands);
    let mut whole = Vec::with_capacity(parts().map(<[u8]>::len).sum());
    parts().for_each(|part| whole.extend_from_slice(part));
    Some(whole)
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
    fn load(&mut self, state: StateId, keys: &Keys) -> Result<Entries> {
        let state = self.layout.stored_id(state)?;
        let kind = self.layout.kind(state);
        self.keys.clear();
        self.ends.clear();
        for (key, &group) in keys.distinct.iter().zip(&keys.groups) {
            write_key(&mut self.keys, kind, group, state, key, &[]);
            self.ends.push(self.keys.len());
        }
        self.load_keys()
    }

    fn load_map(&mut self, state: StateId, keys: &Keys, of: &[u32], sub_keys: &Column) -> Result<Entries> {
        let state = self.layout.stored_id(state)?;
        self.keys.clear();
        self.ends.clear();
        for (&of, sub_key) in of.iter().zip(sub_keys.iter()) {
            let of = of as usize;
            write_key(&mut self.keys, StateKind::Map, keys.groups[of], state, keys.distinct.value(of), sub_key);
            self.ends.push(self.keys.len());
        }
        self.load_keys()
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
        let mut entries = Vec::new();
        for found in self.db.iterator(IteratorMode::From(&from, Direction::Forward)) {
            let (key, value) = found.map_err(|e| self.failed(&e))?;
            let Some(sub_key) = key.strip_prefix(&prefix[..]).filter(|_| entries.len() < limit) else { break };
            if after != Some(sub_key) {
                entries.push((sub_key.to_vec(), value.into_vec()));
            }
        }
        Ok(entries)
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = Write<'_>>) -> Result<()> {
        let mut batch = WriteBatch::default();
        let mut key = std::mem::take(&mut self.keys);
        for write in writes {
            key.clear();
            let state = self.layout.stored_id(write.state)?;
            let kind = self.layout.kind(state);
            write_key(&mut key, kind, write.group, state, write.key, write.sub_key);
            match write.change {
                Change::Put(value) => batch.put(&key, value),
                Change::Append(value) => batch.merge(&key, value),
                Change::Delete => batch.delete(&key),
                Change::DeleteAll => {
                    key.clear();
                    write_key(&mut key, kind, write.group, state, write.key, &[]);
                    // The next prefix: no key of this format continues the end mark's last 0 by counting it up.
                    let mut behind = key.clone();
                    behind.pop();
                    behind.push(1);
                    batch.delete_range(&key, &behind);
                }
            }
        }
        self.keys = key;
        if batch.is_empty() {
            return Ok(());
        }
        self.db.write_opt(batch, &self.without_log).map_err(|e| self.failed(&e))
    }

    fn snapshot(&mut self, format: ImageFormat) -> Result<Box<dyn StateSnapshot>> {
        // Without a log, what is only in memory would be missing from the hard links.
        self.db.flush().map_err(|e| self.failed(&e))?;
        let folder = SnapshotFolder { path: self.working_dir.join(format!("snapshot-{:016x}", random_u64())) };
        let checkpoint = Checkpoint::new(&self.db).map_err(|e| self.failed(&e))?;
        checkpoint.create_checkpoint(&folder.path).map_err(|e| self.failed(&e))?;
        Ok(Box::new(RocksDbSnapshot {
            folder,
            format,
            layout: self.layout.stored.clone(),
            size: self.size(),
            origins: Arc::clone(&self.origins),
        }))
    }

    /// What RocksDB estimates: an entry that was deleted or overwritten may count until its files are compacted.
    fn size(&self) -> StateSize {
        let number = |property| self.db.property_int_value(property).ok().flatten().unwrap_or(0);
        let in_files = number(properties::ESTIMATE_LIVE_DATA_SIZE);
        let in_memory = number(properties::SIZE_ALL_MEM_TABLES);
        StateSize { entries: number(properties::ESTIMATE_NUM_KEYS), bytes: in_files + in_memory }
    }
}
