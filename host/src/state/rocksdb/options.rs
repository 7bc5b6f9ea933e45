//! RocksDB options, and the reasons for them. `cargo xtask bench state` measures their effect.

use rocksdb::{BlockBasedOptions, DBCompressionType, LogLevel, MergeOperands, Options, ReadOptions};

use super::memory_limit::{block_cache_bytes, shared_memory};
use super::ttl;
use crate::state::ttl::ExpiryRules;

/// Write-buffer size of one database: a memtable of this size is flushed to a file.
const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// Maximum number of open files of one database. A database with more files reopens some of them all the time, at about
/// 60 µs each.
const OPEN_FILES_MAX: u64 = 1024;
/// A database may use one part in this many of the file descriptors that the process may open.
const OPEN_FILES_DIVISOR: u64 = 16;
/// The table cache holds the open files in 2^2 shards of equal capacity. With more shards, a small number of files fills
/// them unevenly and is evicted early. More shards help only with more threads than a database has.
const TABLE_CACHE_SHARD_BITS: i32 = 2;
const BACKGROUND_JOBS_MAX: i32 = 2;
/// Everything that a compaction rewrites is uploaded again by the next checkpoint. Small files, few files on level 0, and
/// small levels of similar size let a compaction rewrite little at a time. In return, it rewrites each entry more often.
const TABLE_FILE_BYTES: u64 = 8 << 20;
const LEVEL_BASE_BYTES: u64 = 32 << 20;
const LEVEL_MULTIPLIER: f64 = 4.0;
/// A checkpoint adds one small file to level 0.
const LEVEL_ZERO_FILES: i32 = 2;
/// Limit of the compaction debt. Above it, writes and snapshots stall until compaction has caught up, since the debt takes
/// space in every checkpoint. RocksDB also counts the data that files on level 0 will move in the levels below. So two small
/// files count many times their size for a moment.
const COMPACTION_DEBT_BYTES: usize = 512 << 20;
/// Bloom filter of table files. With 10 bits per key, 1 % of the lookups of absent keys read a block in vain.
const FILTER_BITS_PER_KEY: f64 = 10.0;
/// Bloom filter of the memtable, as a fraction of the write-buffer size: 10 bits for each of the smallest entries.
const MEMTABLE_FILTER_RATIO: f64 = 0.02;
/// Stores a block uncompressed unless compression halves it. Otherwise decompression costs a read more than all other work.
const COMPRESSION: (&str, &str) = ("compression_opts", "{max_compressed_bytes_per_kb=512}");
/// Evicts the blocks of compacted files from the block cache at once, above all their indexes and filters. They would fill
/// the cache within minutes and leave no room for new blocks.
const UNCACHE_OBSOLETE: (&str, &str) = ("uncache_aggressiveness", "300");
const MERGE_OPERATOR: &str = "cofferdam.concatenate";

/// Options that the C interface offers no other way to set.
pub(super) const EXTRA_OPTIONS: [(&str, &str); 2] = [COMPRESSION, UNCACHE_OBSOLETE];

fn open_files_max() -> i32 {
    let process_limit = rlimit::Resource::NOFILE.get_soft().unwrap_or(0);
    (process_limit / OPEN_FILES_DIVISOR).clamp(64, OPEN_FILES_MAX) as i32
}

/// Returns the options of a database. With `expiry`, the database drops expired entries.
pub(super) fn database_options(must_exist: bool, expiry: Option<ExpiryRules>) -> Options {
    let (block_cache, memtables) = shared_memory();
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(block_cache);
    table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    // Indexes and filters are part of the block cache, so that its limit holds for a state of any size.
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);

    let mut options = Options::default();
    options.create_if_missing(!must_exist);
    options.set_block_based_table_factory(&table);
    // Files on level 0 are not compressed: they are compacted soon.
    options.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::Lz4]);
    options.set_write_buffer_manager(memtables);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER_RATIO);
    options.set_memtable_whole_key_filtering(true);
    options.set_target_file_size_base(TABLE_FILE_BYTES);
    options.set_max_bytes_for_level_base(LEVEL_BASE_BYTES);
    options.set_max_bytes_for_level_multiplier(LEVEL_MULTIPLIER);
    options.set_level_zero_file_num_compaction_trigger(LEVEL_ZERO_FILES);
    options.set_soft_pending_compaction_bytes_limit(COMPACTION_DEBT_BYTES);
    options.set_max_open_files(open_files_max());
    options.set_table_cache_num_shard_bits(TABLE_CACHE_SHARD_BITS);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    if let Some(expiry) = &expiry {
        ttl::drop_expired(&mut options, expiry);
    }
    options.set_merge_operator_associative(
        MERGE_OPERATOR,
        move |key: &[u8], value: Option<&[u8]>, operands: &MergeOperands| {
            let mut list = concatenate(value, operands);
            expiry.iter().for_each(|expiry| ttl::trim_list(expiry, key, &mut list));
            Some(list)
        },
    );
    options.set_keep_log_file_num(1);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

/// The merge operator. It serves both merges: operands into a value, and operands into one operand. Appending to a list is a
/// merge, so that it reads nothing.
fn concatenate(value: Option<&[u8]>, operands: &MergeOperands) -> Vec<u8> {
    let parts = || value.into_iter().chain(operands);
    let mut list = Vec::with_capacity(parts().map(<[u8]>::len).sum());
    parts().for_each(|part| list.extend_from_slice(part));
    list
}

/// Returns the options for reading single entries.
///
/// A read does not fill the block cache: the write-back cache keeps the entry itself, in a hundredth of the room. The
/// exception is a block cache that is nearly full. Then indexes and filters were evicted, and they return only with the
/// blocks that a read caches.
pub(super) fn point_read_options() -> ReadOptions {
    let (block_cache, _) = shared_memory();
    let mut options = ReadOptions::default();
    options.fill_cache(block_cache.get_usage() > block_cache_bytes() / 8 * 7);
    options
}
