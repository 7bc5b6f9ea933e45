//! The interface of a state backend: what a subtask uses to read, write and snapshot its keyed state.
//!
//! A backend belongs to one subtask of one keyed operator. It holds the key groups that the subtask owns, and only the
//! subtask's thread uses it. Only committed turns write to it. Knows nothing of guests, turns or checkpoint metadata.

use std::ops::Range;
use std::path::PathBuf;

use super::description::{StateForm, StateId, StateLayout};
use super::entry::{
    DatabaseLoad, LOADED_BYTES_MAX, LoadFailure, LoadedEntries, MapEntry, ScanBudget, StateSize, StateWrite,
};
use super::snapshot::{RestoreSource, SnapshotFormat, StateSnapshot};
use crate::clock::SharedClock;
use crate::error::Result;
use crate::model::{Column, Interrupt, KeyGroup, Keys};
use crate::pipeline::StateBackendKind;

/// The keyed state of a running subtask.
pub trait StateBackend: Send {
    /// Reads the entries of all of `keys.distinct` from one state, in order. Not for maps. Fails if the values together have
    /// more than `bytes_max` bytes, and then does not allocate much more than that.
    fn load_within(&mut self, state: StateId, keys: &Keys, bytes_max: usize) -> Result<LoadedEntries, LoadFailure>;

    /// Reads entries of a map: for each `i`, the entry with sub-key `sub_keys[i]` of the key `keys.distinct[key_of[i]]`. Every
    /// index in `key_of` must be within the keys. Limited like [`StateBackend::load_within`].
    fn load_map_within(
        &mut self,
        state: StateId,
        keys: &Keys,
        of: (&[u32], &Column),
        bytes_max: usize,
    ) -> Result<LoadedEntries, LoadFailure>;

    /// Reads up to `limit` entries of the map of one key, ascending by sub-key, starting after the sub-key `after`. Fails if
    /// they exceed `budget`.
    fn scan_map_within(
        &mut self,
        of: (StateId, KeyGroup, &[u8]),
        after: Option<&[u8]>,
        limit: usize,
        budget: ScanBudget,
    ) -> Result<Vec<MapEntry>, LoadFailure>;

    /// Like [`StateBackend::load_within`], without a limit.
    fn load(&mut self, state: StateId, keys: &Keys) -> Result<LoadedEntries> {
        Ok(self.load_within(state, keys, LOADED_BYTES_MAX)?)
    }

    /// Like [`StateBackend::load_map_within`], without a limit.
    fn load_map(&mut self, state: StateId, keys: &Keys, key_of: &[u32], sub_keys: &Column) -> Result<LoadedEntries> {
        Ok(self.load_map_within(state, keys, (key_of, sub_keys), LOADED_BYTES_MAX)?)
    }

    /// Like [`StateBackend::scan_map_within`], without a limit.
    fn scan_map(
        &mut self,
        state: StateId,
        group: KeyGroup,
        key: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<MapEntry>> {
        Ok(self.scan_map_within((state, group, key), after, limit, ScanBudget::new(usize::MAX))?)
    }

    /// Applies all writes of one turn, or none of them.
    fn apply(&mut self, writes: &mut dyn Iterator<Item = StateWrite<'_>>) -> Result<()>;

    /// Takes a snapshot of the current state. This is the synchronous part of a checkpoint, so it must not copy the state.
    /// Expensive work happens in [`StateSnapshot::upload`], while the backend continues. A backend that does not write
    /// `format` natively converts during the upload.
    fn snapshot(&mut self, format: SnapshotFormat) -> Result<Box<dyn StateSnapshot>>;

    /// Returns the size of the state.
    fn size(&self) -> StateSize;

    /// Returns the load of the database, if there is one. It is called a few times per second at most.
    fn database_load(&self) -> Option<DatabaseLoad> {
        None
    }

    /// Returns the bytes that the state takes, of memory or of disk. It is called after each turn, so an estimate is enough.
    fn charged_bytes(&mut self) -> u64;
}

/// Parameters for opening a backend.
pub struct StateOptions<'a> {
    /// Which backend to open.
    pub backend: StateBackendKind,
    /// Folder for the running state of this subtask only. Its previous content is deleted.
    pub working_dir: PathBuf,
    /// The states of the operator.
    pub layout: StateLayout,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// The key groups that the subtask owns. Entries of other groups are not restored.
    pub groups: Range<u32>,
    /// Stored state of all subtasks that owned any of `groups`. Empty for a fresh state.
    pub restore: Vec<RestoreSource<'a>>,
    /// Drop stored states that `layout` does not contain, instead of refusing them.
    pub allow_unclaimed: bool,
    /// Rewrites values of older forms; see [`super::StateDescription::reads`].
    pub migrate: Option<&'a mut dyn StateMigrator>,
    /// Clock for the cleanup of expired entries.
    pub clock: SharedClock,
    /// Aborts the restore with `interrupted`.
    pub interrupt: Interrupt,
}

impl<'a> StateOptions<'a> {
    /// Returns the options of a subtask that owns all key groups and starts with an empty state.
    pub fn empty(
        backend: StateBackendKind,
        working_dir: PathBuf,
        layout: StateLayout,
        max_parallelism: u32,
        clock: SharedClock,
    ) -> StateOptions<'a> {
        let groups = 0..max_parallelism;
        StateOptions {
            backend,
            working_dir,
            layout,
            max_parallelism,
            groups,
            restore: Vec::new(),
            allow_unclaimed: false,
            migrate: None,
            clock,
            interrupt: Interrupt::default(),
        }
    }
}

/// Stored values of one state, for a migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredValues {
    /// The key of each value, if the older form asks for keys. Empty keys for a broadcast state.
    pub keys: Option<Column>,
    /// The sub-key of each value, if the older form asks for sub-keys. Empty unless the state is a map.
    pub sub_keys: Option<Column>,
    /// Single values, elements of lists, values of maps or accumulators.
    pub values: Column,
}

/// Rewrites values that were stored in an older form. The function implements it.
pub trait StateMigrator {
    /// Rewrites values of the state at index `state` of the operator's layout, which were stored in the form `stored`, in the
    /// form that the layout declares. Returns one new value for each of them.
    fn migrate(&mut self, state: StateId, stored: &StateForm, values: &StoredValues) -> Result<Column>;
}
