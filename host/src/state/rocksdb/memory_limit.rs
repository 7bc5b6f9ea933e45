//! The memory that all RocksDB databases of the process share.
//!
//! Half of the limit is for write-back caches, divided equally among the open databases. The other half is a block cache that
//! all databases share. Memtables count as part of the block cache, up to a quarter of the limit. So the limit holds for any
//! number of subtasks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rocksdb::{Cache, WriteBufferManager};

/// The memory limit if [`set_memory_limit`] is not called.
pub const DEFAULT_MEMORY_BYTES: usize = 512 << 20;

static MEMORY_LIMIT_BYTES: OnceLock<usize> = OnceLock::new();
/// Number of open databases.
static OPEN_DATABASES: AtomicUsize = AtomicUsize::new(0);

/// Sets the memory limit of all RocksDB databases of the process together, in bytes.
///
/// Call it before the first backend is opened. Later calls have no effect.
pub fn set_memory_limit(bytes: usize) {
    let _ = MEMORY_LIMIT_BYTES.set(bytes);
}

#[inline]
fn memory_limit_bytes() -> usize {
    *MEMORY_LIMIT_BYTES.get_or_init(|| DEFAULT_MEMORY_BYTES)
}

/// Returns the current size limit of one write-back cache, in bytes.
#[inline]
pub(super) fn write_back_cache_bytes() -> usize {
    memory_limit_bytes() / 2 / OPEN_DATABASES.load(Ordering::Relaxed).max(1)
}

/// Returns the size limit of the shared block cache, in bytes.
pub(super) fn block_cache_bytes() -> usize {
    memory_limit_bytes() / 2
}

/// Returns the block cache and the manager of the memtables' memory, which all databases share.
pub(super) fn shared_memory() -> &'static (Cache, WriteBufferManager) {
    static SHARED: OnceLock<(Cache, WriteBufferManager)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let cache = Cache::new_lru_cache(block_cache_bytes());
        let limit = memory_limit_bytes() / 4;
        let memtables = WriteBufferManager::new_write_buffer_manager_with_cache(limit, false, cache.clone());
        (cache, memtables)
    })
}

/// What all databases of the process use of the memory that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseMemory {
    /// Number of open databases.
    pub databases: usize,
    /// Bytes of the block cache, which include those of the memtables.
    pub block_cache_bytes: usize,
    /// Bytes of the memtables.
    pub memtable_bytes: usize,
    /// The limit of everything, with the write-back caches.
    pub limit_bytes: usize,
}

/// Returns what all databases of the process use.
pub fn database_memory() -> DatabaseMemory {
    let (cache, memtables) = shared_memory();
    DatabaseMemory {
        databases: OPEN_DATABASES.load(Ordering::Relaxed),
        block_cache_bytes: cache.get_usage(),
        memtable_bytes: memtables.get_usage(),
        limit_bytes: memory_limit_bytes(),
    }
}

/// Counts a database as open for as long as it exists.
pub(super) struct OpenDatabaseCount;

impl OpenDatabaseCount {
    pub fn new() -> OpenDatabaseCount {
        OPEN_DATABASES.fetch_add(1, Ordering::Relaxed);
        OpenDatabaseCount
    }
}

impl Drop for OpenDatabaseCount {
    fn drop(&mut self) {
        OPEN_DATABASES.fetch_sub(1, Ordering::Relaxed);
    }
}
