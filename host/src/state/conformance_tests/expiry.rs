//! Backends remove expired entries: the memory backend by incremental cleanup, RocksDB in compactions.

use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::state::rocksdb::backend::RocksDbBackend;

const VALUE: StateId = 0;
const LIST: StateId = 1;
const MAP: StateId = 2;
const FOREVER: StateId = 3;
const LIFETIME_MS: i64 = 1000;
const KEYS: u32 = 50;

fn expiring_layout() -> StateLayout {
    let mut layout = layout(&["value", "list", "map", "forever"]);
    let ttl = TimeToLive { milliseconds: LIFETIME_MS as u64, update: TtlUpdate::CreateAndWrite, return_expired: true };
    layout[..3].iter_mut().for_each(|state| state.ttl = Some(ttl));
    layout
}

/// A backend whose cleanup a test can run.
enum ExpiringBackend {
    Memory(Box<dyn StateBackend>),
    RocksDb(Box<RocksDbBackend>),
}

impl ExpiringBackend {
    fn open(kind: StateBackendKind, folder: PathBuf, clock: &Arc<ManualClock>) -> ExpiringBackend {
        let options = StateOptions::empty(kind, folder, expiring_layout(), GROUPS, clock.clone());
        match kind {
            StateBackendKind::Memory => ExpiringBackend::Memory(open(options).unwrap()),
            StateBackendKind::RocksDb => ExpiringBackend::RocksDb(Box::new(RocksDbBackend::open(options).unwrap())),
        }
    }

    fn backend(&mut self) -> &mut dyn StateBackend {
        match self {
            ExpiringBackend::Memory(backend) => &mut **backend,
            ExpiringBackend::RocksDb(backend) => &mut **backend,
        }
    }

    fn write(&mut self, state: StateId, key: &str, sub_key: &[u8], change: StateChange<'_>) {
        let write = StateWrite { state, group: group(key), key: key.as_bytes(), sub_key, change };
        self.backend().apply(&mut std::iter::once(write)).unwrap();
    }

    /// Writes one value, a list of two elements, and a map of 20 entries.
    fn fill(&mut self, key: &str, now_ms: i64) {
        let stamped = [&ttl::stamp(now_ms)[..], b"value"].concat();
        self.write(VALUE, key, b"", StateChange::Put(&stamped));
        for _ in 0..2 {
            let mut element = Vec::new();
            list::push_element(&mut element, &ttl::stamp(now_ms), b"element");
            self.write(LIST, key, b"", StateChange::Append(&element));
        }
        for sub_key in 0..20 {
            self.write(MAP, key, &[sub_key], StateChange::Put(&stamped));
        }
    }

    /// Runs the cleanup to its end: by turns without writes, or by compactions.
    fn clean_up(&mut self) {
        match self {
            ExpiringBackend::Memory(backend) => (0..500).for_each(|_| backend.apply(&mut std::iter::empty()).unwrap()),
            ExpiringBackend::RocksDb(backend) => {
                // The snapshot flushes all entries to the database. The second compaction filters what the first one merged.
                let store = TestStore::default();
                let snapshot = backend.snapshot(SnapshotFormat::RocksDb).unwrap();
                snapshot.upload(&store, &[]).unwrap();
                (0..2).for_each(|_| backend.database().compact_range(None::<&[u8]>, None::<&[u8]>));
            }
        }
    }

    /// Returns the content of a snapshot: the number of entries per state, and the bytes of the lists.
    fn held(&mut self) -> ([u32; 4], usize) {
        let kind = match self {
            ExpiringBackend::Memory(_) => StateBackendKind::Memory,
            ExpiringBackend::RocksDb(_) => StateBackendKind::RocksDb,
        };
        let store = TestStore::default();
        let handle = self.backend().snapshot(SnapshotFormat::native_of(kind)).unwrap().upload(&store, &[]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let handle = RestoreSource { handle: &handle, groups: 0..GROUPS, store: &store };
        let (mut entries, mut lists) = ([0; 4], 0);
        read_snapshot(&handle, 0..GROUPS, &folder.path().join("scratch"), &mut |entry| {
            entries[usize::from(entry.state)] += 1;
            lists += if entry.state == LIST { entry.value.len() } else { 0 };
            Ok(())
        })
        .unwrap();
        if kind == StateBackendKind::Memory {
            assert_eq!(self.backend().size().entries, u64::from(entries.iter().sum::<u32>()));
        }
        (entries, lists)
    }
}

pub(super) fn expired_entries_are_cleaned_up(kind: StateBackendKind) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let mut state = ExpiringBackend::open(kind, folder.path().into(), &clock);
    for key in 0..KEYS {
        state.fill(&format!("key {key}"), 0);
        state.write(FOREVER, &format!("key {key}"), b"", StateChange::Put(&ttl::stamp(0)));
    }
    let full = ([KEYS, KEYS, 20 * KEYS, KEYS], state.held().1);
    clock.set_ms(LIFETIME_MS - 1);
    state.clean_up();
    assert_eq!(state.held(), full, "nothing has expired yet");

    // One key is written again: its new entries survive, everything else expires.
    state.fill("key 7", LIFETIME_MS - 1);
    clock.set_ms(LIFETIME_MS);
    state.clean_up();
    assert_eq!(state.held(), ([1, 1, 20, KEYS], full.1 / KEYS as usize));

    clock.set_ms(2 * LIFETIME_MS);
    state.clean_up();
    assert_eq!(state.held(), ([0, 0, 0, KEYS], 0));
    state.fill("key 7", 2 * LIFETIME_MS);
    state.clean_up();
    assert_eq!(state.held().0, [1, 1, 20, KEYS], "new entries start a new time to live");
}

/// A snapshot also contains entries that expire between the barrier and the upload.
pub(super) fn groups_shared_with_a_snapshot_are_not_cleaned_up(kind: StateBackendKind) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let mut state = ExpiringBackend::open(kind, folder.path().into(), &clock);
    (0..KEYS).for_each(|key| state.fill(&format!("key {key}"), 0));
    let store = TestStore::default();
    let before = state.backend().snapshot(SnapshotFormat::native_of(kind)).unwrap();
    clock.set_ms(LIFETIME_MS);
    state.clean_up();
    if kind == StateBackendKind::Memory {
        let entries = u64::from(22 * KEYS);
        assert_eq!(state.backend().size().entries, entries, "cleaning a shared group would copy it");
    }
    let handle = before.upload(&store, &[]).unwrap();
    state.clean_up();
    assert_eq!(state.held(), ([0, 0, 0, 0], 0));

    // After the restore, the entries exist until they are cleaned up.
    let restore = vec![RestoreSource { handle: &handle, groups: 0..GROUPS, store: &store }];
    clock.set_ms(0);
    let empty = StateOptions::empty(kind, folder.path().join("restored"), expiring_layout(), GROUPS, clock.clone());
    let mut restored = open(StateOptions { restore, ..empty }).unwrap();
    let names: Vec<String> = (0..KEYS).map(|key| format!("key {key}")).collect();
    let of: Vec<&str> = names.iter().map(|name| &name[..]).collect();
    assert!(restored.load(VALUE, &keys(&of)).unwrap().present.iter().all(|&present| present));
}
