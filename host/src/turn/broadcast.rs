//! Broadcast state in a turn: what is committed, overlaid entry by entry with what the turn wrote.
//!
//! Invariant: it is written in turns of the broadcast input alone, so that it is the same in every subtask.

use std::collections::BTreeMap;

use super::staged::StagedMap;
use super::{HostCallError, Turn, invalid};
use crate::model::Column;
use crate::state::{BroadcastState, LoadedEntries, MapEntry};

/// The broadcast states of an operator, and what a turn wants to write to them.
pub(super) struct TurnBroadcast {
    state: BroadcastState,
    is_writable: bool,
    /// One for each state.
    staged: Vec<StagedMap>,
}

impl TurnBroadcast {
    fn get(&self, map: usize, sub_key: &[u8]) -> Option<&[u8]> {
        self.staged.get(map)?.get(sub_key).unwrap_or_else(|| self.state.get(map, sub_key))
    }

    fn scan(&self, map: usize, after: Option<&[u8]>, limit: usize) -> Vec<MapEntry> {
        let Some(staged) = self.staged.get(map) else { return Vec::new() };
        let committed = self.state.range(map, after).filter(|_| !staged.is_cleared);
        if staged.changes.is_empty() {
            return committed.take(limit).map(|(sub_key, value)| (sub_key.to_vec(), value.to_vec())).collect();
        }
        // A turn that reads what it writes is rare, and the whole is small.
        let mut merged: BTreeMap<&[u8], Option<&[u8]>> = committed.map(|(key, value)| (key, Some(value))).collect();
        let changes = staged.changes.iter().map(|(sub_key, change)| (sub_key.as_slice(), change.as_deref()));
        merged.extend(changes.filter(|(sub_key, _)| after.is_none_or(|after| *sub_key > after)));
        let entries = merged.into_iter().filter_map(|(sub_key, value)| Some((sub_key.to_vec(), value?.to_vec())));
        entries.take(limit).collect()
    }

    pub(super) fn commit(&mut self) {
        for (map, staged) in self.staged.iter_mut().enumerate() {
            let StagedMap { is_cleared, changes, .. } = std::mem::take(staged);
            if is_cleared {
                self.state.clear(map);
            }
            changes.into_iter().for_each(|(sub_key, change)| self.state.write(map, sub_key, change));
        }
    }

    pub(super) fn reset(&mut self) {
        // A turn that says nothing of it, such as one of timers, must not write.
        self.is_writable = false;
        self.staged.iter_mut().for_each(|staged| *staged = StagedMap::default());
    }
}

impl Turn {
    /// Gives it broadcast states, which stand behind the keyed ones.
    pub fn with_broadcast(self, state: BroadcastState) -> Turn {
        let staged = state.layout().iter().map(|_| StagedMap::default()).collect();
        Turn { broadcast: Some(Box::new(TurnBroadcast { state, is_writable: false, staged })), ..self }
    }

    /// Says whether the turn that has begun may write broadcast state.
    pub fn allow_broadcast_writes(&mut self, is_writable: bool) {
        if let Some(broadcast) = self.broadcast.as_mut() {
            broadcast.is_writable = is_writable;
        }
    }

    /// The broadcast states as committed, for snapshots; None for a function without any.
    pub fn broadcast(&self) -> Option<&BroadcastState> {
        self.broadcast.as_ref().map(|broadcast| &broadcast.state)
    }

    /// The broadcast states, and the place among them of state `state` of the function.
    fn broadcast_map(&mut self, state: u32) -> Result<(&mut TurnBroadcast, usize), HostCallError> {
        let keyed = self.declared;
        let refused = || invalid(format!("state {state} of the function is no broadcast state"));
        let place = (state as usize).checked_sub(keyed).ok_or_else(refused)?;
        let broadcast = self.broadcast.as_deref_mut().ok_or_else(refused)?;
        if place >= broadcast.staged.len() {
            return Err(refused());
        }
        Ok((broadcast, place))
    }

    fn broadcast_to_write(&mut self, state: u32) -> Result<&mut StagedMap, HostCallError> {
        let (broadcast, map) = self.broadcast_map(state)?;
        if !broadcast.is_writable {
            let name = broadcast.state.layout().get(map).map_or("", |state| &state.name);
            return Err(invalid(format!(
                "broadcast state `{name}` is written while a batch of the broadcast input is handled, and nowhere else"
            )));
        }
        broadcast.staged.get_mut(map).ok_or_else(|| invalid("there is no such broadcast state"))
    }

    /// `state.broadcast-load`.
    pub fn broadcast_load(&mut self, state: u32, sub_keys: &Column) -> Result<LoadedEntries, HostCallError> {
        let (broadcast, map) = self.broadcast_map(state)?;
        let mut entries = LoadedEntries::default();
        for sub_key in sub_keys.iter() {
            entries.push(broadcast.get(map, sub_key))?;
        }
        Ok(entries)
    }

    /// `state.broadcast-store`.
    pub fn broadcast_store(&mut self, state: u32, sub_keys: &Column, values: &Column) -> Result<(), HostCallError> {
        if sub_keys.len() != values.len() {
            return Err(invalid(format!("{} sub-keys with {} values", sub_keys.len(), values.len())));
        }
        self.charge(sub_keys.bytes().len() + values.bytes().len() + 16 * values.len())?;
        let staged = self.broadcast_to_write(state)?;
        let put = |(sub_key, value): (&[u8], &[u8])| (sub_key.to_vec(), Some(value.to_vec()));
        staged.changes.extend(sub_keys.iter().zip(values.iter()).map(put));
        Ok(())
    }

    /// `state.broadcast-remove`.
    pub fn broadcast_remove(&mut self, state: u32, sub_keys: &Column) -> Result<(), HostCallError> {
        self.charge(sub_keys.bytes().len() + 16 * sub_keys.len())?;
        let staged = self.broadcast_to_write(state)?;
        staged.changes.extend(sub_keys.iter().map(|sub_key| (sub_key.to_vec(), None)));
        Ok(())
    }

    /// `state.broadcast-clear`.
    pub fn broadcast_clear(&mut self, state: u32) -> Result<(), HostCallError> {
        self.broadcast_to_write(state)?.clear();
        Ok(())
    }

    /// `state.broadcast-get`.
    pub fn broadcast_get(&mut self, state: u32, sub_key: &[u8]) -> Result<Option<Vec<u8>>, HostCallError> {
        let (broadcast, map) = self.broadcast_map(state)?;
        Ok(broadcast.get(map, sub_key).map(<[u8]>::to_vec))
    }

    /// `state.broadcast-put`.
    pub fn broadcast_put(&mut self, state: u32, sub_key: Vec<u8>, value: Vec<u8>) -> Result<(), HostCallError> {
        self.charge(sub_key.len() + value.len())?;
        self.broadcast_to_write(state)?.changes.insert(sub_key, Some(value));
        Ok(())
    }

    /// `state.broadcast-scan`.
    pub fn broadcast_scan(
        &mut self,
        state: u32,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<MapEntry>, HostCallError> {
        let (broadcast, map) = self.broadcast_map(state)?;
        Ok(broadcast.scan(map, after, limit as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::state::{StateDescription, StateId, StateKind, StateMigrator};
    use crate::turn::TurnContext;

    struct NoOlderForms;

    impl StateMigrator for NoOlderForms {
        fn migrate(&mut self, _: StateId, _: &str, values: &Column) -> Result<Column> {
            Ok(values.clone())
        }
    }

    /// A turn with one broadcast state and none of keys.
    fn turn() -> Turn {
        let rules = StateDescription::new("rules", StateKind::Broadcast, "raw", "text");
        let state = BroadcastState::open(vec![rules], None, false, &mut NoOlderForms).unwrap();
        let mut turn = Turn::stateless(TurnContext::default()).with_broadcast(state);
        begin(&mut turn, true);
        turn
    }

    fn begin(turn: &mut Turn, is_writable: bool) {
        turn.begin(None, 0, 0);
        turn.allow_broadcast_writes(is_writable);
    }

    fn put(turn: &mut Turn, sub_key: &str, value: &str) {
        turn.broadcast_put(0, sub_key.into(), value.into()).unwrap();
    }

    fn all(turn: &mut Turn) -> String {
        let entries = turn.broadcast_scan(0, None, u32::MAX).unwrap();
        let text = |(key, value)| [key, b"=".to_vec(), value, b" ".to_vec()].concat();
        String::from_utf8(entries.into_iter().flat_map(text).collect()).unwrap()
    }

    fn column(values: &[&str]) -> Column {
        values.iter().map(|value| value.as_bytes()).collect()
    }

    #[test]
    fn a_turn_sees_its_own_writes_and_an_abort_forgets_them() {
        let mut turn = turn();
        put(&mut turn, "b", "1");
        turn.broadcast_store(0, &column(&["a", "c"]), &column(&["2", "3"])).unwrap();
        turn.broadcast_remove(0, &column(&["c", "z"])).unwrap();
        assert_eq!(all(&mut turn), "a=2 b=1 ");
        turn.commit().unwrap();
        begin(&mut turn, true);
        put(&mut turn, "b", "4");
        turn.broadcast_remove(0, &column(&["a"])).unwrap();
        assert_eq!((all(&mut turn), turn.broadcast_get(0, b"a").unwrap()), ("b=4 ".into(), None));
        let loaded = turn.broadcast_load(0, &column(&["b", "a"])).unwrap();
        assert_eq!((loaded.present, loaded.values.bytes()), (vec![true, false], &b"4"[..]));
        turn.abort();
        assert_eq!(all(&mut turn), "a=2 b=1 ");
        begin(&mut turn, true);
        turn.broadcast_clear(0).unwrap();
        assert_eq!((all(&mut turn), turn.broadcast_get(0, b"b").unwrap()), (String::new(), None));
        put(&mut turn, "x", "5");
        turn.commit().unwrap();
        begin(&mut turn, true);
        assert_eq!(all(&mut turn), "x=5 ");
    }

    #[test]
    fn a_scan_goes_on_behind_its_last_entry() {
        let mut turn = turn();
        ["d", "a", "c"].iter().for_each(|key| put(&mut turn, key, ""));
        turn.commit().unwrap();
        begin(&mut turn, true);
        put(&mut turn, "b", "");
        let keys = |turn: &mut Turn, after: Option<&[u8]>, limit| {
            turn.broadcast_scan(0, after, limit).unwrap().into_iter().flat_map(|(key, _)| key).collect::<Vec<u8>>()
        };
        assert_eq!(keys(&mut turn, None, 3), b"abc");
        assert_eq!(keys(&mut turn, Some(b"c"), 3), b"d");
        assert_eq!(keys(&mut turn, Some(b"bb"), 1), b"c");
        assert_eq!(keys(&mut turn, None, 0), b"");
    }

    #[test]
    fn other_turns_do_not_write_it() {
        let mut turn = turn();
        // Behind one that may, a turn of timers, which says nothing of it.
        turn.begin(None, 0, 0);
        let refused = [
            turn.broadcast_put(0, vec![], vec![]),
            turn.broadcast_store(0, &column(&["a"]), &column(&["1"])),
            turn.broadcast_remove(0, &column(&["a"])),
            turn.broadcast_clear(0),
        ];
        for refusal in refused {
            let refusal = refusal.unwrap_err();
            assert!(matches!(&refusal, HostCallError::InvalidCall(why) if why.contains("`rules`")), "{refusal}");
        }
        assert!(turn.broadcast_get(1, b"").is_err());
        begin(&mut turn, true);
        assert!(turn.broadcast_store(0, &column(&["a"]), &column(&[])).is_err());
        turn.limit_writes(40);
        begin(&mut turn, true);
        let refusal = turn.broadcast_put(0, vec![0; 20], vec![0; 20]).unwrap_err();
        assert!(matches!(refusal, HostCallError::WriteLimitExceeded { .. }));
    }
}
