//! The hot entries of one database, in memory: what was read or written lately, and what is not in the database yet.
//!
//! An entry is found by its whole key in the database. It is a value, known to be absent, or *unread*: bytes were appended to
//! something that nobody has read. What was written is *dirty* until a batch takes it along ([`HotCache::take_dirty`]), and it
//! stays until that batch is in the database; everything else may go when room is needed (CLOCK: entries that were not used
//! since the hand came by). Entries of maps are also kept in order, for scans; a map that was emptied is remembered as such
//! until the database knows. Where the database began empty, it knows of most keys that the database does not have them.
//!
//! It knows bytes and batches, but neither the database nor the threads that write the batches.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::ops::Bound;

use hashbrown::HashTable;
use rocksdb::WriteBatch;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::known_keys::KnownKeys;
use crate::clock::random_u64;

/// Key and value of a small entry lie in the slot itself.
const INLINE_BYTES: usize = 32;
/// The slot, and its place in the table.
const SLOT_BYTES: usize = mem::size_of::<Slot>() + 10;
const _: () = assert!(mem::size_of::<Slot>() == 64, "a slot is one line of the processor's cache");
/// Of bytes that lie outside of the slot, for the allocator.
const ALLOCATION_BYTES: usize = 16;
/// Of an entry of a map besides: its key once more, and its place in the order.
const ORDER_OVERHEAD_BYTES: usize = 48;
/// A value that has become much smaller gives back what it had.
const SLACK_BYTES: usize = 256;
/// What is known of a database's keys may take this part of what the cache may.
const KNOWN_KEYS_PART: usize = 4;

/// What an entry is known to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The slot is free.
    Nothing,
    Absent,
    Value,
    /// The bytes follow what the database holds.
    Unread,
}

/// What the database does not have yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dirty {
    No,
    /// All of it.
    Whole,
    /// What lies behind `appended_from`.
    Appended,
}

struct Slot {
    /// The key, then the value.
    bytes: SmallVec<[u8; INLINE_BYTES]>,
    /// The last batch that took changes along.
    batch: u64,
    key_length: u32,
    appended_from: usize,
    known: Known,
    dirty: Dirty,
    in_map: bool,
    /// Used since the hand came by.
    used: bool,
}

impl Slot {
    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_length as usize]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[self.key_length as usize..]
    }

    fn cost(&self) -> usize {
        let order = if self.in_map { self.key_length as usize + ORDER_OVERHEAD_BYTES } else { 0 };
        let outside = if self.bytes.spilled() { self.bytes.capacity() + ALLOCATION_BYTES } else { 0 };
        SLOT_BYTES + outside + order
    }
}

/// Where an entry lies; good until the next [`HotCache::trim`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

/// What the cache can say about an entry.
pub(super) enum Found<'a> {
    Absent,
    Value(&'a [u8]),
    /// The database has to be read, and this batch must be in it before.
    Unread {
        after_batch: u64,
    },
}

/// See the module.
pub(super) struct HotCache {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    hand: usize,
    /// Slots that became dirty, in this order. Some may be clean, or another's, by now.
    dirty: VecDeque<u32>,
    dirty_entries: usize,
    dirty_bytes: usize,
    /// The entries of maps, by key.
    order: BTreeMap<Box<[u8]>, u32>,
    /// Maps that were emptied, by what their keys begin with, and the batch that took it along.
    emptied: BTreeMap<Box<[u8]>, Option<u64>>,
    /// Of them: those that no batch has taken along.
    emptied_dirty: usize,
    /// The last batch that the database is known to have.
    written: u64,
    bytes: usize,
    /// All keys that any batch took along, or that the database had before; none where that is not known.
    known_keys: Option<KnownKeys>,
    /// Random, so that nobody can choose keys that collide.
    seed: u64,
}

impl HotCache {
    /// In front of a database without entries, or of one of which nothing is known.
    pub fn new(database_is_empty: bool) -> HotCache {
        let known_keys = database_is_empty.then(KnownKeys::new);
        HotCache {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            dirty: VecDeque::new(),
            dirty_entries: 0,
            dirty_bytes: 0,
            order: BTreeMap::new(),
            emptied: BTreeMap::new(),
            emptied_dirty: 0,
            written: 0,
            bytes: known_keys.as_ref().map_or(0, KnownKeys::bytes),
            known_keys,
            seed: random_u64(),
        }
    }

    /// Number and bytes of the entries that no batch has taken along.
    pub fn dirty(&self) -> (usize, usize) {
        (self.dirty_entries + self.emptied_dirty, self.dirty_bytes)
    }

    fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    fn slot_of(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.table.find(hash, |&at| self.slots[at as usize].key() == key).copied()
    }

    #[inline]
    pub fn find(&mut self, key: &[u8]) -> Option<Place> {
        let at = self.slot_of(self.hash(key), key)?;
        self.slots[at as usize].used = true;
        Some(Place(at))
    }

    #[inline]
    pub fn get(&self, place: Place) -> Found<'_> {
        let slot = &self.slots[place.0 as usize];
        match slot.known {
            Known::Value => Found::Value(slot.value()),
            Known::Absent | Known::Nothing => Found::Absent,
            Known::Unread => Found::Unread { after_batch: slot.batch },
        }
    }

    /// Takes what the database holds of a key that was not found, or was unread.
    pub fn fill(&mut self, key: &[u8], in_map: bool, value: Option<&[u8]>) -> Place {
        let hash = self.hash(key);
        let Some(at) = self.slot_of(hash, key) else {
            let known = if value.is_some() { Known::Value } else { Known::Absent };
            return Place(self.insert(hash, key, in_map, known, value.unwrap_or_default()));
        };
        if self.slots[at as usize].known == Known::Unread {
            self.change(at, |slot| {
                let base = value.unwrap_or_default();
                slot.bytes.insert_from_slice(slot.key_length as usize, base);
                slot.appended_from += base.len();
                let is_there = value.is_some() || slot.dirty != Dirty::No;
                slot.known = if is_there { Known::Value } else { Known::Absent };
            });
        }
        Place(at)
    }

    fn insert(&mut self, hash: u64, key: &[u8], in_map: bool, known: Known, value: &[u8]) -> u32 {
        let mut bytes = SmallVec::with_capacity(key.len() + value.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        let slot = Slot {
            appended_from: bytes.len(),
            bytes,
            batch: 0,
            key_length: key.len() as u32,
            known,
            dirty: Dirty::No,
            in_map,
            used: false,
        };
        self.bytes += slot.cost();
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                if self.slots.len() == self.slots.capacity() {
                    // By less than a vector would, which would not be within the limit.
                    self.slots.reserve_exact(self.slots.len() / 16 + 64);
                }
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        let (slots, seed) = (&self.slots, self.seed);
        self.table.insert_unique(hash, at, |&at| xxh3_64_with_seed(slots[at as usize].key(), seed));
        if in_map {
            self.order.insert(key.into(), at);
        }
        at
    }

    /// Changes a slot and keeps the counts right.
    fn change(&mut self, at: u32, change: impl FnOnce(&mut Slot)) {
        let slot = &mut self.slots[at as usize];
        let (cost, dirty_bytes, was_dirty) = (slot.cost(), dirty_bytes(slot), slot.dirty != Dirty::No);
        change(slot);
        if slot.bytes.spilled() && slot.bytes.capacity() > 2 * slot.bytes.len() + SLACK_BYTES {
            slot.bytes.shrink_to_fit();
        }
        self.bytes = self.bytes + slot.cost() - cost;
        self.dirty_bytes = self.dirty_bytes + self::dirty_bytes(slot) - dirty_bytes;
        match (was_dirty, slot.dirty != Dirty::No) {
            (false, true) => {
                self.dirty_entries += 1;
                self.dirty.push_back(at);
            }
            (true, false) => self.dirty_entries -= 1,
            _ => {}
        }
    }

    fn place_for(&mut self, key: &[u8], in_map: bool, otherwise: Known) -> u32 {
        let hash = self.hash(key);
        match self.slot_of(hash, key) {
            Some(at) => at,
            None => self.insert(hash, key, in_map, otherwise, &[]),
        }
    }

    pub fn put(&mut self, key: &[u8], in_map: bool, value: &[u8]) {
        let at = self.place_for(key, in_map, Known::Absent);
        self.change(at, |slot| {
            slot.bytes.truncate(slot.key_length as usize);
            slot.bytes.extend_from_slice(value);
            (slot.known, slot.dirty) = (Known::Value, Dirty::Whole);
        });
    }

    pub fn delete(&mut self, key: &[u8], in_map: bool) {
        let at = self.place_for(key, in_map, Known::Unread);
        if self.slots[at as usize].known == Known::Absent {
            return;
        }
        self.change(at, |slot| {
            slot.bytes.truncate(slot.key_length as usize);
            (slot.known, slot.dirty) = (Known::Absent, Dirty::Whole);
        });
    }

    /// Appends to the entry of a key, which is in no map. What was not read stays unread.
    pub fn append(&mut self, key: &[u8], value: &[u8]) {
        let at = self.place_for(key, false, Known::Unread);
        self.change(at, |slot| {
            if slot.dirty == Dirty::No {
                slot.dirty = if slot.known == Known::Absent { Dirty::Whole } else { Dirty::Appended };
                slot.appended_from = slot.bytes.len();
            }
            if slot.known == Known::Absent {
                slot.known = Known::Value;
            }
            slot.bytes.extend_from_slice(value);
        });
    }

    /// Deletes all entries of the map whose keys begin with `prefix`.
    pub fn empty_map(&mut self, prefix: &[u8]) {
        let of_map: Vec<u32> = self.of_map(prefix, prefix).map(|(_, at)| at).collect();
        of_map.into_iter().for_each(|at| self.remove(at));
        if self.emptied.insert(prefix.into(), None) != Some(None) {
            self.emptied_dirty += 1;
        }
    }

    fn of_map<'a>(&'a self, prefix: &'a [u8], from: &[u8]) -> impl Iterator<Item = (&'a [u8], u32)> {
        let from = self.order.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        from.map(|(key, &at)| (&**key, at)).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// What is known of the map whose keys begin with `prefix`, ascending from the key `from`: key and value, or none.
    pub fn map<'a>(&'a self, prefix: &'a [u8], from: &[u8]) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.of_map(prefix, from).map(|(key, at)| {
            let slot = &self.slots[at as usize];
            (key, (slot.known == Known::Value).then(|| slot.value()))
        })
    }

    /// Whether the key is of a map that was emptied, so that nothing of it that the database holds counts.
    pub fn is_emptied(&self, key: &[u8]) -> bool {
        // What keys begin with is no beginning of another's, so the last one that is not above is the only one it can be.
        let last = self.emptied.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        last.is_some_and(|(prefix, _)| key.starts_with(prefix))
    }

    /// Adds the changes that no batch has taken along to `batch`, the oldest first, until it has `entries` and `bytes` of
    /// them. They are in the database when the batch `number` is. Numbers ascend from 1.
    pub fn take_dirty(&mut self, number: u64, batch: &mut WriteBatch, entries: usize, bytes: usize) {
        let emptied = if mem::take(&mut self.emptied_dirty) > 0 { Some(self.emptied.iter_mut()) } else { None };
        for (prefix, taken) in emptied.into_iter().flatten().filter(|(_, taken)| taken.is_none()) {
            // The next prefix: no key of this format continues the end mark's last 0 by counting it up.
            let mut behind = prefix.to_vec();
            behind.pop();
            behind.push(1);
            batch.delete_range(&prefix[..], &behind);
            *taken = Some(number);
        }
        for at in self.oldest_dirty(entries, bytes) {
            let slot = &self.slots[at as usize];
            match slot.dirty {
                Dirty::Whole if slot.known == Known::Absent => batch.delete(slot.key()),
                Dirty::Whole => batch.put(slot.key(), slot.value()),
                Dirty::Appended => batch.merge(slot.key(), &slot.bytes[slot.appended_from..]),
                Dirty::No => continue,
            }
            self.note_known(self.hash(slot.key()));
            self.change(at, |slot| {
                slot.dirty = Dirty::No;
                slot.batch = number;
                if slot.known == Known::Unread {
                    slot.bytes.truncate(slot.key_length as usize);
                }
                slot.appended_from = slot.bytes.len();
            });
        }
    }

    /// The slots that became dirty first, ascending by key: so the database finds their places next to each other.
    fn oldest_dirty(&mut self, entries: usize, bytes: usize) -> Vec<u32> {
        let mut oldest: Vec<(u128, u32)> = Vec::with_capacity(entries.min(self.dirty.len()));
        let mut taken = 0;
        while oldest.len() < entries && taken < bytes {
            let Some(at) = self.dirty.pop_front() else { break };
            let slot = &self.slots[at as usize];
            if slot.dirty != Dirty::No {
                taken += slot.bytes.len();
                oldest.push((beginning(slot.key()), at));
            }
        }
        let key = |at: u32| self.slots[at as usize].key();
        oldest.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))));
        // A slot that became clean and dirty again was there twice.
        oldest.dedup();
        oldest.into_iter().map(|(_, at)| at).collect()
    }

    /// Takes note of a key that the database has by another way than through here.
    pub fn note_stored(&mut self, key: &[u8]) {
        self.note_known(self.hash(key));
    }

    fn note_known(&mut self, hash: u64) {
        if let Some(known) = &mut self.known_keys {
            let before = known.bytes();
            known.add(hash);
            self.bytes += known.bytes() - before;
        }
    }

    /// Whether the database may have an entry of this key; of some it is known that it cannot.
    pub fn may_be_stored(&self, key: &[u8]) -> bool {
        self.known_keys.as_ref().is_none_or(|known| known.may_hold(self.hash(key)))
    }

    /// Makes room where there is more than `limit` bytes: entries go which the database has, as it has the batches up to
    /// `written`. Tells whether the limit is kept.
    pub fn trim(&mut self, limit: usize, written: u64) -> bool {
        if self.written != written {
            self.written = written;
            self.emptied.retain(|_, batch| batch.is_none_or(|batch| batch > written));
        }
        if self.bytes <= limit {
            return true;
        }
        if let Some(known) = self.known_keys.take_if(|known| known.bytes() > limit / KNOWN_KEYS_PART) {
            self.bytes -= known.bytes();
        }
        // A little more than has to be, so that it is not done for each entry.
        let target = limit - limit / 64;
        for _ in 0..2 * self.slots.len() {
            if self.bytes <= target {
                break;
            }
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let slot = &mut self.slots[self.hand];
            let may_go = slot.known != Known::Nothing && slot.dirty == Dirty::No && slot.batch <= written;
            if may_go && !mem::take(&mut slot.used) {
                self.remove(self.hand as u32);
            }
        }
        self.bytes <= limit
    }

    fn remove(&mut self, at: u32) {
        self.change(at, |slot| slot.dirty = Dirty::No);
        let slot = &mut self.slots[at as usize];
        self.bytes -= slot.cost();
        let bytes = mem::take(&mut slot.bytes);
        let key = &bytes[..slot.key_length as usize];
        if slot.in_map {
            self.order.remove(key);
        }
        let hash = xxh3_64_with_seed(key, self.seed);
        if let Ok(entry) = self.table.find_entry(hash, |&other| other == at) {
            entry.remove();
        }
        (slot.known, slot.key_length, slot.in_map) = (Known::Nothing, 0, false);
        self.free.push(at);
    }
}

/// What a key begins with, in the order of keys.
fn beginning(key: &[u8]) -> u128 {
    let mut first = [0; 16];
    let length = key.len().min(first.len());
    first[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(first)
}

fn dirty_bytes(slot: &Slot) -> usize {
    if slot.dirty == Dirty::No { 0 } else { slot.bytes.len() }
}
