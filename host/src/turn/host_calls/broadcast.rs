//! The host calls `state.broadcast-*`. Only turns of the broadcast input may write.

use crate::model::Column;
use crate::state::{BroadcastState, EntryCollector, LoadedEntries, MapEntry, ScanBudget};
use crate::turn::error::{HostCallError, invalid};
use crate::turn::staged::broadcast::StagedBroadcast;
use crate::turn::staged::writes::StagedMap;
use crate::turn::transaction::Turn;

impl Turn {
    /// Adds broadcast states. Their indexes follow those of the keyed states.
    pub fn with_broadcast(self, state: BroadcastState) -> Turn {
        Turn { broadcast: Some(Box::new(StagedBroadcast::new(state))), ..self }
    }

    /// Sets whether the current turn may write broadcast state.
    pub fn allow_broadcast_writes(&mut self, is_writable: bool) {
        if let Some(broadcast) = self.broadcast.as_mut() {
            broadcast.is_writable = is_writable;
        }
    }

    /// Returns the committed broadcast states, for snapshots. `None` if the function has none.
    pub fn broadcast(&self) -> Option<&BroadcastState> {
        self.broadcast.as_ref().map(|broadcast| &broadcast.state)
    }

    /// Returns the broadcast states, and the index among them of the function's state `state`.
    fn broadcast_map(&mut self, state: u32) -> Result<(&mut StagedBroadcast, usize), HostCallError> {
        let keyed = self.declared;
        let refused = || invalid(format!("state {state} of the function is not a broadcast state"));
        let index = (state as usize).checked_sub(keyed).ok_or_else(refused)?;
        let broadcast = self.broadcast.as_deref_mut().ok_or_else(refused)?;
        if index >= broadcast.staged.len() {
            return Err(refused());
        }
        Ok((broadcast, index))
    }

    /// Returns the staged writes of a broadcast state, or refuses the call if the turn must not write.
    fn broadcast_to_write(&mut self, state: u32) -> Result<&mut StagedMap, HostCallError> {
        let (broadcast, map) = self.broadcast_map(state)?;
        if !broadcast.is_writable {
            let name = broadcast.state.layout().get(map).map_or("", |state| &state.name);
            return Err(invalid(format!(
                "broadcast state `{name}` can be written only while handling a batch of the broadcast input"
            )));
        }
        broadcast.staged.get_mut(map).ok_or_else(|| invalid("the broadcast state does not exist"))
    }

    /// `state.broadcast-load`: returns the entries of these sub-keys.
    pub fn broadcast_load(&mut self, state: u32, sub_keys: &Column) -> Result<LoadedEntries, HostCallError> {
        let limits = self.limits;
        let mut entries = EntryCollector::new(sub_keys.len(), limits.read_bytes(sub_keys.len())?);
        let (broadcast, map) = self.broadcast_map(state)?;
        for sub_key in sub_keys.iter() {
            entries.push(broadcast.get(map, sub_key)).map_err(|failure| limits.read_failed(failure.into()))?;
        }
        Ok(entries.into_entries())
    }

    /// `state.broadcast-store`: sets the entries of these sub-keys.
    pub fn broadcast_store(&mut self, state: u32, sub_keys: &Column, values: &Column) -> Result<(), HostCallError> {
        if sub_keys.len() != values.len() {
            return Err(invalid(format!("the call has {} sub-keys but {} values", sub_keys.len(), values.len())));
        }
        if !self.admit_write(sub_keys.bytes().len() + values.bytes().len() + 16 * values.len())? {
            return Ok(());
        }
        let staged = self.broadcast_to_write(state)?;
        let put = |(sub_key, value): (&[u8], &[u8])| (sub_key.to_vec(), Some(value.to_vec()));
        staged.changes.extend(sub_keys.iter().zip(values.iter()).map(put));
        Ok(())
    }

    /// `state.broadcast-remove`: removes the entries of these sub-keys.
    pub fn broadcast_remove(&mut self, state: u32, sub_keys: &Column) -> Result<(), HostCallError> {
        if !self.admit_write(sub_keys.bytes().len() + 16 * sub_keys.len())? {
            return Ok(());
        }
        let staged = self.broadcast_to_write(state)?;
        staged.changes.extend(sub_keys.iter().map(|sub_key| (sub_key.to_vec(), None)));
        Ok(())
    }

    /// `state.broadcast-clear`: removes all entries.
    pub fn broadcast_clear(&mut self, state: u32) -> Result<(), HostCallError> {
        self.broadcast_to_write(state)?.clear();
        Ok(())
    }

    /// `state.broadcast-get`: returns one entry.
    pub fn broadcast_get(&mut self, state: u32, sub_key: &[u8]) -> Result<Option<Vec<u8>>, HostCallError> {
        let (broadcast, map) = self.broadcast_map(state)?;
        Ok(broadcast.get(map, sub_key).map(<[u8]>::to_vec))
    }

    /// `state.broadcast-put`: sets one entry.
    pub fn broadcast_put(&mut self, state: u32, sub_key: Vec<u8>, value: Vec<u8>) -> Result<(), HostCallError> {
        if !self.admit_write(sub_key.len() + value.len())? {
            return Ok(());
        }
        self.broadcast_to_write(state)?.changes.insert(sub_key, Some(value));
        Ok(())
    }

    /// `state.broadcast-scan`: returns up to `limit` entries after the sub-key `after`, in order.
    pub fn broadcast_scan(
        &mut self,
        state: u32,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<MapEntry>, HostCallError> {
        let limits = self.limits;
        let (broadcast, map) = self.broadcast_map(state)?;
        let entries = broadcast.scan(map, after, limit as usize, ScanBudget::new(limits.memory));
        entries.map_err(|failure| limits.read_failed(failure.into()))
    }
}
