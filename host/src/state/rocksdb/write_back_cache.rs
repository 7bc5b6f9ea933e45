//! The write-back cache in front of a database: recently used entries, and entries that the database does not contain yet.
//!
//! - An entry is identified by its key in the database. Its content is a value, *absent*, or *unread*: bytes were appended to
//!   a stored value that has not been read.
//! - A written entry is *dirty* until [`WriteBackCache::flush`] adds it to a write batch. It stays in the cache until that
//!   batch is in the database. Clean entries may be evicted after that.
//! - Eviction uses the CLOCK algorithm: it evicts entries that were not used since the hand last passed them.
//! - Entries of maps are also kept in key order, for scans. A cleared map is remembered until the database has deleted it.
//! - If the database began empty, a filter of its keys ([`KnownKeys`]) avoids lookups of keys that it cannot contain.
//!
//! Knows bytes and batches. Knows nothing of the database, nor of the threads that write the batches.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Bound;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rocksdb::WriteBatch;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::known_keys::KnownKeys;
use crate::clock::random_u64;

/// Key and value of an entry up to this size are stored in the slot itself.
const INLINE_BYTES: usize = 32;
/// Memory of a slot, including its place in the hash table.
const SLOT_BYTES: usize = mem::size_of::<CacheSlot>() + 10;
const _: () = assert!(mem::size_of::<CacheSlot>() == 64, "a slot must fill one cache line of the processor");
/// Overhead of the allocator for bytes outside the slot.
const ALLOCATION_BYTES: usize = 16;
/// Additional overhead of a map entry in the ordered index, besides a copy of its key.
const ORDER_OVERHEAD_BYTES: usize = 48;
/// Unused capacity above which a value that has shrunk is reallocated.
const SLACK_BYTES: usize = 256;
/// The filter of known keys may use one part in this many of the cache's capacity.
const KNOWN_KEYS_DIVISOR: usize = 4;
/// Number of partitions of the dirty entries, by key group. Normal processing flushes one partition at a time: adjacent keys
/// are cheap to insert into the memtable.
const DIRTY_PARTITIONS: usize = 16;
/// Number of keys that are looked up together. Each step is done for all of them before the next step. So the processor
/// fetches many slots in parallel instead of waiting for each. The slots are few enough to stay in the processor's caches.
pub(super) const LOOKUP_BATCH_KEYS: usize = 512;

/// The content of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SlotContent {
    /// The slot is free.
    Free,
    /// The entry does not exist.
    Absent,
    /// The slot contains the value.
    Value,
    /// The slot contains bytes that follow a value in the database, if there is one.
    Unread,
}

/// The bytes of a slot that no batch contains yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DirtyBytes {
    /// None: the entry is clean.
    None,
    /// The whole content.
    Whole,
    /// The bytes after `appended_from`.
    Appended,
}

struct CacheSlot {
    /// The key, then the value.
    bytes: SmallVec<[u8; INLINE_BYTES]>,
    /// Number of the last batch that contains a change of the entry.
    batch: u64,
    key_length: u32,
    appended_from: u32,
    content: SlotContent,
    dirty: DirtyBytes,
    in_map: bool,
    /// Whether the entry was used since the CLOCK hand last passed.
    used: bool,
    /// Whether the database never contained the key, and no batch has added it since this was found.
    is_new: bool,
}

impl CacheSlot {
    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_length as usize]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[self.key_length as usize..]
    }

    /// Memory that the entry takes, in bytes.
    fn memory_bytes(&self) -> usize {
        let order = if self.in_map { self.key_length as usize + ORDER_OVERHEAD_BYTES } else { 0 };
        let outside = if self.bytes.spilled() { self.bytes.capacity() + ALLOCATION_BYTES } else { 0 };
        SLOT_BYTES + outside + order
    }
}

/// Index of an entry's slot. Valid until the next [`WriteBackCache::evict`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotIndex(u32);

/// The result of a lookup. After an eviction, the slot is only a hint.
#[derive(Clone, Copy)]
pub(super) struct CacheLookup {
    hash: u64,
    /// The slot of the key, if the cache contains it.
    pub slot: Option<SlotIndex>,
}

/// The answer of the cache about one entry.
pub(super) enum CachedEntry<'a> {
    /// The entry does not exist.
    Absent,
    /// The value of the entry.
    Value(&'a [u8]),
    /// The value must be read from the database, after it contains batch `after_batch`.
    Unread { after_batch: u64 },
}

/// The dirty entries that [`WriteBackCache::flush`] flushes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FlushScope {
    /// All dirty entries.
    AllPartitions,
    /// The dirty entries of the partition that has most of them.
    LargestPartition,
}

/// See the module documentation.
pub(super) struct WriteBackCache {
    table: HashTable<u32>,
    slots: Vec<CacheSlot>,
    free: Vec<u32>,
    /// The CLOCK hand: index of the slot that eviction visited last.
    hand: usize,
    /// Slots that became dirty, by partition. Some may have been flushed or reused since.
    dirty: [Vec<u32>; DIRTY_PARTITIONS],
    dirty_entries: usize,
    dirty_bytes: usize,
    /// Slots of the entries of maps, by key.
    order: BTreeMap<Box<[u8]>, u32>,
    /// Cleared maps: the common prefix of their keys, and the batch that deletes them.
    cleared_maps: BTreeMap<Box<[u8]>, Option<u64>>,
    /// Number of cleared maps that no batch deletes yet.
    dirty_cleared_maps: usize,
    /// Number of the last batch that is known to be in the database.
    written: u64,
    bytes: usize,
    /// All keys that the database may contain. `None` if they are not known.
    known_keys: Option<KnownKeys>,
    known_keys_bytes_max: usize,
    /// Random seed of the hash, so that input cannot be crafted to collide.
    seed: u64,
}

impl WriteBackCache {
    /// Returns an empty cache. `limit_bytes` is the capacity that later calls of [`WriteBackCache::evict`] will enforce. The
    /// cache tracks the keys of the database only if `database_is_empty`.
    pub fn new(database_is_empty: bool, limit_bytes: usize) -> WriteBackCache {
        let known_keys = database_is_empty.then(KnownKeys::new);
        WriteBackCache {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            dirty: Default::default(),
            dirty_entries: 0,
            dirty_bytes: 0,
            order: BTreeMap::new(),
            cleared_maps: BTreeMap::new(),
            dirty_cleared_maps: 0,
            written: 0,
            bytes: known_keys.as_ref().map_or(0, KnownKeys::bytes),
            known_keys,
            known_keys_bytes_max: limit_bytes / KNOWN_KEYS_DIVISOR,
            seed: random_u64(),
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns number and bytes of the dirty entries. A cleared map counts as an entry.
    pub fn dirty(&self) -> (usize, usize) {
        (self.dirty_entries + self.dirty_cleared_maps, self.dirty_bytes)
    }

    fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    fn find_slot(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.table.find(hash, |&at| self.slots[at as usize].key() == key).copied()
    }

    /// Looks up keys, at most about [`LOOKUP_BATCH_KEYS`], and appends the results to `lookups`.
    pub fn find<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]> + Clone, lookups: &mut Vec<CacheLookup>) {
        let first = lookups.len();
        lookups.extend(keys.clone().map(|key| CacheLookup { hash: self.hash(key), slot: None }));
        for lookup in &mut lookups[first..] {
            // The first candidate with this hash. It is nearly always the right one.
            lookup.slot = self.table.find(lookup.hash, |_| true).map(|&at| SlotIndex(at));
        }
        for (key, lookup) in keys.zip(&mut lookups[first..]) {
            let Some(SlotIndex(candidate)) = lookup.slot else { continue };
            let is_match = self.slots[candidate as usize].key() == key;
            let slot = if is_match { Some(candidate) } else { self.find_slot(lookup.hash, key) };
            lookup.slot = slot.map(SlotIndex);
            if let Some(at) = slot {
                self.slots[at as usize].used = true;
            }
        }
    }

    /// Returns a lookup without a slot, for a key that was not looked up.
    pub fn unresolved(&self, key: &[u8]) -> CacheLookup {
        CacheLookup { hash: self.hash(key), slot: None }
    }

    /// Returns what the cache knows of the entry in a slot.
    #[inline]
    pub fn get(&self, slot: SlotIndex) -> CachedEntry<'_> {
        let slot = &self.slots[slot.0 as usize];
        match slot.content {
            SlotContent::Value => CachedEntry::Value(slot.value()),
            SlotContent::Absent | SlotContent::Free => CachedEntry::Absent,
            SlotContent::Unread => CachedEntry::Unread { after_batch: slot.batch },
        }
    }

    /// Stores what the database contains for a key that was not in the cache, or was unread. Returns the slot.
    pub fn fill(&mut self, key: &[u8], lookup: CacheLookup, in_map: bool, value: Option<&[u8]>) -> SlotIndex {
        let at = self.slot_for(key, lookup, in_map, SlotContent::Unread);
        if self.slots[at as usize].content == SlotContent::Unread {
            self.change(at, |slot| {
                let base = value.unwrap_or_default();
                slot.bytes.reserve_exact(base.len());
                slot.bytes.insert_from_slice(slot.key_length as usize, base);
                slot.appended_from += base.len() as u32;
                let exists = value.is_some() || slot.dirty != DirtyBytes::None;
                slot.content = if exists { SlotContent::Value } else { SlotContent::Absent };
            });
        }
        SlotIndex(at)
    }

    /// Like [`WriteBackCache::fill`], for a key that the database never contained.
    pub fn fill_absent(&mut self, key: &[u8], lookup: CacheLookup, in_map: bool) -> SlotIndex {
        let SlotIndex(at) = self.fill(key, lookup, in_map, None);
        self.slots[at as usize].is_new = true;
        SlotIndex(at)
    }

    /// Returns the slot of a key. Creates it with the content `initial` if the cache does not contain the key.
    fn slot_for(&mut self, key: &[u8], lookup: CacheLookup, in_map: bool, initial: SlotContent) -> u32 {
        let CacheLookup { hash, slot: hint } = lookup;
        let slots = &self.slots;
        let is_match = |&SlotIndex(at): &SlotIndex| slots.get(at as usize).is_some_and(|slot| slot.key() == key);
        if let Some(SlotIndex(at)) = hint.filter(is_match) {
            return at;
        }
        let seed = self.seed;
        let hash_of = |&at: &u32| xxh3_64_with_seed(slots[at as usize].key(), seed);
        let vacant = match self.table.entry(hash, |&at| slots[at as usize].key() == key, hash_of) {
            Entry::Occupied(occupied) => return *occupied.get(),
            Entry::Vacant(vacant) => vacant,
        };
        let slot = CacheSlot {
            appended_from: key.len() as u32,
            bytes: SmallVec::from_slice(key),
            batch: 0,
            key_length: key.len() as u32,
            content: initial,
            dirty: DirtyBytes::None,
            in_map,
            used: false,
            is_new: false,
        };
        self.bytes += slot.memory_bytes();
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                if self.slots.len() == self.slots.capacity() {
                    // Grows by less than `Vec` would, to stay within the limit.
                    self.slots.reserve_exact(self.slots.len() / 16 + 64);
                }
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        vacant.insert(at);
        if in_map {
            self.order.insert(key.into(), at);
        }
        at
    }

    /// Changes a slot, and updates the counters and the list of dirty slots.
    fn change(&mut self, at: u32, change: impl FnOnce(&mut CacheSlot)) {
        let slot = &mut self.slots[at as usize];
        let (memory, dirty_bytes, was_dirty) = (slot.memory_bytes(), dirty_bytes(slot), slot.dirty != DirtyBytes::None);
        change(slot);
        if slot.bytes.spilled() && slot.bytes.capacity() > 2 * slot.bytes.len() + SLACK_BYTES {
            slot.bytes.shrink_to_fit();
        }
        self.bytes = self.bytes + slot.memory_bytes() - memory;
        self.dirty_bytes = self.dirty_bytes + self::dirty_bytes(slot) - dirty_bytes;
        match (was_dirty, slot.dirty != DirtyBytes::None) {
            (false, true) => {
                self.dirty_entries += 1;
                self.dirty[partition_of(slot.key())].push(at);
            }
            (true, false) => self.dirty_entries -= 1,
            _ => {}
        }
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: &[u8], lookup: CacheLookup, in_map: bool, value: &[u8]) {
        let at = self.slot_for(key, lookup, in_map, SlotContent::Absent);
        self.change(at, |slot| {
            slot.bytes.truncate(slot.key_length as usize);
            slot.bytes.extend_from_slice(value);
            (slot.content, slot.dirty) = (SlotContent::Value, DirtyBytes::Whole);
        });
    }

    /// Removes the entry of a key.
    pub fn delete(&mut self, key: &[u8], lookup: CacheLookup, in_map: bool) {
        let at = self.slot_for(key, lookup, in_map, SlotContent::Unread);
        if self.slots[at as usize].content == SlotContent::Absent {
            return;
        }
        self.change(at, |slot| {
            slot.bytes.truncate(slot.key_length as usize);
            (slot.content, slot.dirty) = (SlotContent::Absent, DirtyBytes::Whole);
        });
    }

    /// Appends to the entry of a key that is not in a map. An unread entry stays unread.
    pub fn append(&mut self, key: &[u8], lookup: CacheLookup, value: &[u8]) {
        let at = self.slot_for(key, lookup, false, SlotContent::Unread);
        self.change(at, |slot| {
            let is_absent = slot.content == SlotContent::Absent;
            if slot.dirty == DirtyBytes::None {
                slot.dirty = if is_absent { DirtyBytes::Whole } else { DirtyBytes::Appended };
                slot.appended_from = slot.bytes.len() as u32;
            }
            if is_absent {
                slot.content = SlotContent::Value;
            }
            slot.bytes.extend_from_slice(value);
        });
    }

    /// Deletes all entries of the map whose keys begin with `prefix`.
    pub fn clear_map(&mut self, prefix: &[u8]) {
        let slots: Vec<u32> = self.slots_of_map(prefix, prefix).map(|(_, at)| at).collect();
        self.remove(&slots);
        if self.cleared_maps.insert(prefix.into(), None) != Some(None) {
            self.dirty_cleared_maps += 1;
        }
    }

    fn slots_of_map<'a>(&'a self, prefix: &'a [u8], from: &[u8]) -> impl Iterator<Item = (&'a [u8], u32)> {
        let from = self.order.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        from.map(|(key, &at)| (&**key, at)).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Returns the cached entries of the map whose keys begin with `prefix`, ascending from the key `from`. The value of a
    /// deleted entry is `None`.
    pub fn map<'a>(&'a self, prefix: &'a [u8], from: &[u8]) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.slots_of_map(prefix, from).map(|(key, at)| {
            let slot = &self.slots[at as usize];
            (key, (slot.content == SlotContent::Value).then(|| slot.value()))
        })
    }

    /// Returns whether the key belongs to a cleared map, so that its entry in the database is deleted.
    pub fn is_cleared(&self, key: &[u8]) -> bool {
        // No prefix of a map is a prefix of another, so only the last one that is not above the key can match.
        let last = self.cleared_maps.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        last.is_some_and(|(prefix, _)| key.starts_with(prefix))
    }

    /// Adds dirty entries to `batch` and marks them clean. They are in the database once batch `number` is. Numbers start at
    /// 1 and increase.
    pub fn flush(&mut self, number: u64, batch: &mut WriteBatch, scope: FlushScope) {
        let has_cleared_maps = mem::take(&mut self.dirty_cleared_maps) > 0;
        let cleared_maps = if has_cleared_maps { Some(self.cleared_maps.iter_mut()) } else { None };
        for (prefix, deleted_by) in cleared_maps.into_iter().flatten().filter(|(_, batch)| batch.is_none()) {
            // The end of the range. A prefix ends with 0 0, and no key continues with 0 1 at that position.
            let mut end = prefix.to_vec();
            end.pop();
            end.push(1);
            batch.delete_range(&prefix[..], &end);
            *deleted_by = Some(number);
        }
        let slots = self.take_dirty_slots(scope);
        for &at in &slots {
            let is_new = mem::take(&mut self.slots[at as usize].is_new);
            let hash = self.hash(self.slots[at as usize].key());
            self.add_known_key(hash, is_new);
        }
        for at in slots {
            let slot = &self.slots[at as usize];
            match slot.dirty {
                DirtyBytes::Whole if slot.content == SlotContent::Absent => batch.delete(slot.key()),
                DirtyBytes::Whole => batch.put(slot.key(), slot.value()),
                DirtyBytes::Appended => batch.merge(slot.key(), &slot.bytes[slot.appended_from as usize..]),
                DirtyBytes::None => continue,
            }
            self.change(at, |slot| {
                slot.dirty = DirtyBytes::None;
                slot.batch = number;
                if slot.content == SlotContent::Unread {
                    slot.bytes.truncate(slot.key_length as usize);
                }
                slot.appended_from = slot.bytes.len() as u32;
            });
        }
    }

    /// Takes the dirty slots out of their partitions, sorted by key, so that the database inserts adjacent keys in a row.
    fn take_dirty_slots(&mut self, scope: FlushScope) -> Vec<u32> {
        let largest = (0..DIRTY_PARTITIONS).max_by_key(|&partition| self.dirty[partition].len()).unwrap_or(0);
        let partitions = match scope {
            FlushScope::AllPartitions => 0..DIRTY_PARTITIONS,
            FlushScope::LargestPartition => largest..largest + 1,
        };
        let taken = self.dirty[partitions].iter_mut().flat_map(|partition| partition.drain(..));
        let dirty = taken.filter(|&at| self.slots[at as usize].dirty != DirtyBytes::None);
        let mut dirty: Vec<(u128, u32)> = dirty.map(|at| (sort_prefix(self.slots[at as usize].key()), at)).collect();
        let key = |at: u32| self.slots[at as usize].key();
        dirty.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))));
        // A slot that became clean and dirty again is listed twice.
        dirty.dedup();
        dirty.into_iter().map(|(_, at)| at).collect()
    }

    /// Registers a key that reaches the database without the cache, by a restore.
    pub fn add_stored_key(&mut self, key: &[u8]) {
        self.add_known_key(self.hash(key), false);
    }

    fn add_known_key(&mut self, hash: u64, is_new: bool) {
        let Some(known_keys) = &mut self.known_keys else { return };
        let bytes_before = known_keys.bytes();
        if (!is_new && known_keys.may_contain(hash)) || known_keys.add(hash, self.known_keys_bytes_max) {
            self.bytes += known_keys.bytes() - bytes_before;
        } else {
            self.bytes -= bytes_before;
            self.known_keys = None;
        }
    }

    /// Returns false only if the database cannot contain the key.
    pub fn may_be_stored(&self, lookup: CacheLookup) -> bool {
        self.known_keys.as_ref().is_none_or(|known_keys| known_keys.may_contain(lookup.hash))
    }

    /// Evicts clean entries until the cache takes at most `limit_bytes`. `written` is the number of the last batch in the
    /// database: entries of later batches stay. Returns whether the limit is met.
    pub fn evict(&mut self, limit_bytes: usize, written: u64) -> bool {
        if self.written != written {
            self.written = written;
            self.cleared_maps.retain(|_, batch| batch.is_none_or(|batch| batch > written));
        }
        self.known_keys_bytes_max = limit_bytes / KNOWN_KEYS_DIVISOR;
        if self.bytes <= limit_bytes {
            return true;
        }
        if let Some(known_keys) = self.known_keys.take_if(|known_keys| known_keys.bytes() > self.known_keys_bytes_max) {
            self.bytes -= known_keys.bytes();
        }
        // Evicts a little more than necessary, so that not every new entry causes an eviction.
        let target = limit_bytes - limit_bytes / 64;
        let mut victims = Vec::with_capacity(LOOKUP_BATCH_KEYS);
        let mut victim_bytes = 0;
        for _ in 0..2 * self.slots.len() {
            if self.bytes - victim_bytes <= target {
                break;
            }
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            // Also removes the victims when the hand wraps around, so that no slot is among them twice.
            if victims.len() == LOOKUP_BATCH_KEYS || self.hand == 0 {
                self.remove(&victims);
                victims.clear();
                victim_bytes = 0;
            }
            let slot = &mut self.slots[self.hand];
            let is_clean = slot.content != SlotContent::Free && slot.dirty == DirtyBytes::None && slot.batch <= written;
            if is_clean && !mem::take(&mut slot.used) {
                victim_bytes += slot.memory_bytes();
                victims.push(self.hand as u32);
            }
        }
        self.remove(&victims);
        self.bytes <= limit_bytes
    }

    /// Removes entries. `victims` must not contain a slot twice.
    fn remove(&mut self, victims: &[u32]) {
        let bucket_of = |&at: &u32| {
            let hash = self.hash(self.slots[at as usize].key());
            self.table.find_bucket_index(hash, |&other| other == at)
        };
        let buckets: Vec<Option<usize>> = victims.iter().map(bucket_of).collect();
        for (&at, bucket) in victims.iter().zip(buckets) {
            let Some(Ok(entry)) = bucket.map(|bucket| self.table.get_bucket_entry(bucket)) else { continue };
            entry.remove();
            self.change(at, |slot| slot.dirty = DirtyBytes::None);
            let slot = &mut self.slots[at as usize];
            self.bytes -= slot.memory_bytes();
            if slot.in_map {
                self.order.remove(slot.key());
            }
            slot.bytes = SmallVec::new();
            (slot.content, slot.key_length, slot.in_map) = (SlotContent::Free, 0, false);
            self.free.push(at);
        }
    }
}

/// Returns the partition of dirty entries that a key belongs to. Keys begin with their key group, so the keys of a partition
/// are in a few narrow ranges.
fn partition_of(key: &[u8]) -> usize {
    usize::from(key.get(1).copied().unwrap_or(0)) % DIRTY_PARTITIONS
}

/// Returns the first bytes of a key as a number that sorts like the key.
fn sort_prefix(key: &[u8]) -> u128 {
    let mut first = [0; 16];
    let length = key.len().min(first.len());
    first[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(first)
}

fn dirty_bytes(slot: &CacheSlot) -> usize {
    if slot.dirty == DirtyBytes::None { 0 } else { slot.bytes.len() }
}
