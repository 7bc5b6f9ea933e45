//! The hot entries of one database, in memory: what was read or written lately, and what is not in the database yet.
//!
//! An entry is found by its whole key in the database. It is a value, known to be absent, or *unread*: bytes were appended to
//! something that nobody has read. What was written is *dirty* until a batch takes it along ([`HotCache::take_dirty`]), and it
//! stays until that batch is in the database; everything else may go when room is needed (CLOCK: entries that were not used
//! since the hand came by). Entries of maps are also kept in order, for scans; a map that was emptied is remembered as such
//! until the database knows. Where the database began empty, it knows of most keys that the database does not have them.
//!
//! It knows bytes and batches, but neither the database nor the threads that write the batches.

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
/// What is dirty is taken along part by part. All of one part lies nearer to each other than as much of all of them, and the
/// nearer entries lie, the less it costs the database to write them one after the other.
const PARTS: usize = 16;
/// Keys that are looked for step by step together, each step for all: the processor fetches what so many need at once, where key
/// by key it would wait for memory most of the time. What they need still stays near it.
pub(super) const TOGETHER: usize = 512;

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
    appended_from: u32,
    known: Known,
    dirty: Dirty,
    in_map: bool,
    /// Used since the hand came by.
    used: bool,
    /// The database has never had anything of it, and no batch took it along since that was known.
    is_new: bool,
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

/// What is known of a key. It serves as a hint when the place is good no longer.
#[derive(Clone, Copy)]
pub(super) struct Lookup {
    hash: u64,
    pub place: Option<Place>,
}

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
    /// Slots that became dirty, in parts by key group. Some may be clean, or another's, by now.
    dirty: [Vec<u32>; PARTS],
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
    known_keys_bytes_max: usize,
    /// Random, so that nobody can choose keys that collide.
    seed: u64,
}

impl HotCache {
    /// In front of a database without entries, or of one of which nothing is known. It will have to do with `limit` bytes.
    pub fn new(database_is_empty: bool, limit: usize) -> HotCache {
        let known_keys = database_is_empty.then(KnownKeys::new);
        HotCache {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            dirty: Default::default(),
            dirty_entries: 0,
            dirty_bytes: 0,
            order: BTreeMap::new(),
            emptied: BTreeMap::new(),
            emptied_dirty: 0,
            written: 0,
            bytes: known_keys.as_ref().map_or(0, KnownKeys::bytes),
            known_keys,
            known_keys_bytes_max: limit / KNOWN_KEYS_PART,
            seed: random_u64(),
        }
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
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

    /// Looks for keys, some [`TOGETHER`] at most, and adds what it finds to `lookups`.
    pub fn find<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]> + Clone, lookups: &mut Vec<Lookup>) {
        let first = lookups.len();
        lookups.extend(keys.clone().map(|key| Lookup { hash: self.hash(key), place: None }));
        for lookup in &mut lookups[first..] {
            // The first that it may be. Nearly always it is.
            lookup.place = self.table.find(lookup.hash, |_| true).map(|&at| Place(at));
        }
        for (key, lookup) in keys.zip(&mut lookups[first..]) {
            let Some(Place(maybe)) = lookup.place else { continue };
            let is_it = self.slots[maybe as usize].key() == key;
            let found = if is_it { Some(maybe) } else { self.slot_of(lookup.hash, key) };
            lookup.place = found.map(Place);
            if let Some(at) = found {
                self.slots[at as usize].used = true;
            }
        }
    }

    /// A key that was not looked for.
    pub fn unsought(&self, key: &[u8]) -> Lookup {
        Lookup { hash: self.hash(key), place: None }
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
    pub fn fill(&mut self, key: &[u8], lookup: Lookup, in_map: bool, value: Option<&[u8]>) -> Place {
        let at = self.place_for(key, lookup, in_map, Known::Unread);
        if self.slots[at as usize].known == Known::Unread {
            self.change(at, |slot| {
                let base = value.unwrap_or_default();
                slot.bytes.reserve_exact(base.len());
                slot.bytes.insert_from_slice(slot.key_length as usize, base);
                slot.appended_from += base.len() as u32;
                let is_there = value.is_some() || slot.dirty != Dirty::No;
                slot.known = if is_there { Known::Value } else { Known::Absent };
            });
        }
        Place(at)
    }

    /// Takes it that the database has never had anything of a key that was not found, or was unread.
    pub fn fill_absent(&mut self, key: &[u8], lookup: Lookup, in_map: bool) -> Place {
        let Place(at) = self.fill(key, lookup, in_map, None);
        self.slots[at as usize].is_new = true;
        Place(at)
    }

    /// The slot of a key; a new one is as `otherwise` says.
    fn place_for(&mut self, key: &[u8], lookup: Lookup, in_map: bool, otherwise: Known) -> u32 {
        let Lookup { hash, place } = lookup;
        let slots = &self.slots;
        if let Some(Place(at)) = place.filter(|&Place(at)| slots.get(at as usize).is_some_and(|slot| slot.key() == key))
        {
            return at;
        }
        let seed = self.seed;
        let hash_of = |&at: &u32| xxh3_64_with_seed(slots[at as usize].key(), seed);
        let vacant = match self.table.entry(hash, |&at| slots[at as usize].key() == key, hash_of) {
            Entry::Occupied(found) => return *found.get(),
            Entry::Vacant(vacant) => vacant,
        };
        let slot = Slot {
            appended_from: key.len() as u32,
            bytes: SmallVec::from_slice(key),
            batch: 0,
            key_length: key.len() as u32,
            known: otherwise,
            dirty: Dirty::No,
            in_map,
            used: false,
            is_new: false,
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
        vacant.insert(at);
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
                self.dirty[part_of(slot.key())].push(at);
            }
            (true, false) => self.dirty_entries -= 1,
            _ => {}
        }
    }

    pub fn put(&mut self, key: &[u8], lookup: Lookup, in_map: bool, value: &[u8]) {
        let at = self.place_for(key, lookup, in_map, Known::Absent);
        self.change(at, |slot| {
            slot.bytes.truncate(slot.key_length as usize);
            slot.bytes.extend_from_slice(value);
            (slot.known, slot.dirty) = (Known::Value, Dirty::Whole);
        });
    }

    pub fn delete(&mut self, key: &[u8], lookup: Lookup, in_map: bool) {
        let at = self.place_for(key, lookup, in_map, Known::Unread);
        if self.slots[at as usize].known == Known::Absent {
            return;
        }
        self.change(at, |slot| {
            slot.bytes.truncate(slot.key_length as usize);
            (slot.known, slot.dirty) = (Known::Absent, Dirty::Whole);
        });
    }

    /// Appends to the entry of a key, which is in no map. What was not read stays unread.
    pub fn append(&mut self, key: &[u8], lookup: Lookup, value: &[u8]) {
        let at = self.place_for(key, lookup, false, Known::Unread);
        self.change(at, |slot| {
            if slot.dirty == Dirty::No {
                slot.dirty = if slot.known == Known::Absent { Dirty::Whole } else { Dirty::Appended };
                slot.appended_from = slot.bytes.len() as u32;
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
        self.remove(&of_map);
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

    /// Adds changes that no batch has taken along to `batch`: all of them, or the part that has most. They are in the database
    /// when the batch `number` is. Numbers ascend from 1.
    pub fn take_dirty(&mut self, number: u64, batch: &mut WriteBatch, all: bool) {
        let emptied = if mem::take(&mut self.emptied_dirty) > 0 { Some(self.emptied.iter_mut()) } else { None };
        for (prefix, taken) in emptied.into_iter().flatten().filter(|(_, taken)| taken.is_none()) {
            // The next prefix: no key of this format continues the end mark's last 0 by counting it up.
            let mut behind = prefix.to_vec();
            behind.pop();
            behind.push(1);
            batch.delete_range(&prefix[..], &behind);
            *taken = Some(number);
        }
        let taken = self.dirty_slots(all);
        for &at in &taken {
            let is_new = mem::take(&mut self.slots[at as usize].is_new);
            let hash = self.hash(self.slots[at as usize].key());
            self.note_known(hash, is_new);
        }
        for at in taken {
            let slot = &self.slots[at as usize];
            match slot.dirty {
                Dirty::Whole if slot.known == Known::Absent => batch.delete(slot.key()),
                Dirty::Whole => batch.put(slot.key(), slot.value()),
                Dirty::Appended => batch.merge(slot.key(), &slot.bytes[slot.appended_from as usize..]),
                Dirty::No => continue,
            }
            self.change(at, |slot| {
                slot.dirty = Dirty::No;
                slot.batch = number;
                if slot.known == Known::Unread {
                    slot.bytes.truncate(slot.key_length as usize);
                }
                slot.appended_from = slot.bytes.len() as u32;
            });
        }
    }

    /// Takes out slots that became dirty, ascending by key: so the database finds their places next to each other.
    fn dirty_slots(&mut self, all: bool) -> Vec<u32> {
        let most = (0..PARTS).max_by_key(|&part| self.dirty[part].len()).unwrap_or(0);
        let parts = if all { 0..PARTS } else { most..most + 1 };
        let taken = self.dirty[parts].iter_mut().flat_map(|part| part.drain(..));
        let dirty = taken.filter(|&at| self.slots[at as usize].dirty != Dirty::No);
        let mut dirty: Vec<(u128, u32)> = dirty.map(|at| (beginning(self.slots[at as usize].key()), at)).collect();
        let key = |at: u32| self.slots[at as usize].key();
        dirty.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))));
        // A slot that became clean and dirty again was there twice.
        dirty.dedup();
        dirty.into_iter().map(|(_, at)| at).collect()
    }

    /// Takes note of a key that the database has by another way than through here.
    pub fn note_stored(&mut self, key: &[u8]) {
        self.note_known(self.hash(key), false);
    }

    fn note_known(&mut self, hash: u64, is_new: bool) {
        let Some(known) = &mut self.known_keys else { return };
        let before = known.bytes();
        if (!is_new && known.may_hold(hash)) || known.add(hash, self.known_keys_bytes_max) {
            self.bytes += known.bytes() - before;
        } else {
            self.bytes -= before;
            self.known_keys = None;
        }
    }

    /// Whether the database may have an entry of this key; of some it is known that it cannot.
    pub fn may_be_stored(&self, lookup: Lookup) -> bool {
        self.known_keys.as_ref().is_none_or(|known| known.may_hold(lookup.hash))
    }

    /// Makes room where there is more than `limit` bytes: entries go which the database has, as it has the batches up to
    /// `written`. Tells whether the limit is kept.
    pub fn trim(&mut self, limit: usize, written: u64) -> bool {
        if self.written != written {
            self.written = written;
            self.emptied.retain(|_, batch| batch.is_none_or(|batch| batch > written));
        }
        self.known_keys_bytes_max = limit / KNOWN_KEYS_PART;
        if self.bytes <= limit {
            return true;
        }
        if let Some(known) = self.known_keys.take_if(|known| known.bytes() > self.known_keys_bytes_max) {
            self.bytes -= known.bytes();
        }
        // A little more than has to be, so that it is not done for each entry.
        let target = limit - limit / 64;
        let mut victims = Vec::with_capacity(TOGETHER);
        let mut leaving = 0;
        for _ in 0..2 * self.slots.len() {
            if self.bytes - leaving <= target {
                break;
            }
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            // At the latest when the hand begins anew, so that it names no slot twice.
            if victims.len() == TOGETHER || self.hand == 0 {
                self.remove(&victims);
                victims.clear();
                leaving = 0;
            }
            let slot = &mut self.slots[self.hand];
            let may_go = slot.known != Known::Nothing && slot.dirty == Dirty::No && slot.batch <= written;
            if may_go && !mem::take(&mut slot.used) {
                leaving += slot.cost();
                victims.push(self.hand as u32);
            }
        }
        self.remove(&victims);
        self.bytes <= limit
    }

    /// Removes slots, each named once.
    fn remove(&mut self, victims: &[u32]) {
        let bucket_of = |&at: &u32| {
            let hash = self.hash(self.slots[at as usize].key());
            self.table.find_bucket_index(hash, |&other| other == at)
        };
        let buckets: Vec<Option<usize>> = victims.iter().map(bucket_of).collect();
        for (&at, bucket) in victims.iter().zip(buckets) {
            let Some(Ok(entry)) = bucket.map(|bucket| self.table.get_bucket_entry(bucket)) else { continue };
            entry.remove();
            self.change(at, |slot| slot.dirty = Dirty::No);
            let slot = &mut self.slots[at as usize];
            self.bytes -= slot.cost();
            if slot.in_map {
                self.order.remove(slot.key());
            }
            slot.bytes = SmallVec::new();
            (slot.known, slot.key_length, slot.in_map) = (Known::Nothing, 0, false);
            self.free.push(at);
        }
    }
}

/// Which part of what is dirty a key belongs to. Keys begin with their group: the keys of a part lie in a few narrow ranges.
fn part_of(key: &[u8]) -> usize {
    usize::from(key.get(1).copied().unwrap_or(0)) % PARTS
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
