//! Looking into the states of a harness: as the function would read them now, and without touching them.

use super::Harness;
use crate::function::Function;
use crate::state::{MapKey, Reducer, StateCodec};
use crate::{
    AggregatingState, Aggregator, BroadcastState, FunctionError, ListState, MapState, ReducingState, StateType,
    ValueState,
};

/// A sub-key and the bytes under it.
type Pair = (Vec<u8>, Vec<u8>);

impl<F: Function> Harness<F> {
    /// The value that a state holds for a key.
    ///
    /// # Errors
    /// Where the state is not declared, or its bytes are not a value of its type.
    pub fn value_of<T: StateType, C: StateCodec<T>>(
        &self,
        state: ValueState<T, C>,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, FunctionError> {
        self.one::<T, C>(state.name(), key.as_ref())
    }

    /// The list that a state holds for a key.
    ///
    /// # Errors
    /// As [`Harness::value_of`].
    pub fn list_of<T: StateType, C: StateCodec<T>>(
        &self,
        state: ListState<T, C>,
        key: impl AsRef<[u8]>,
    ) -> Result<Vec<T>, FunctionError> {
        self.held(state.name(), key.as_ref())?.iter().map(|(_, bytes)| C::read(bytes)).collect()
    }

    /// The entries of the map that a state holds for a key, in order of their keys.
    ///
    /// # Errors
    /// As [`Harness::value_of`].
    pub fn map_of<K: MapKey, V: StateType, C: StateCodec<V>>(
        &self,
        state: MapState<K, V, C>,
        key: impl AsRef<[u8]>,
    ) -> Result<Vec<(K, V)>, FunctionError> {
        self.entries::<K, V, C>(state.name(), key.as_ref())
    }

    /// The reduced value that a state holds for a key.
    ///
    /// # Errors
    /// As [`Harness::value_of`].
    pub fn reduced_of<T: StateType, R: Reducer<T>, C: StateCodec<T>>(
        &self,
        state: ReducingState<T, R, C>,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, FunctionError> {
        self.one::<T, C>(state.name(), key.as_ref())
    }

    /// What the accumulator that a state holds for a key amounts to.
    ///
    /// # Errors
    /// As [`Harness::value_of`].
    pub fn aggregate_of<A: Aggregator<Accumulator: StateType>, C: StateCodec<A::Accumulator>>(
        &self,
        state: AggregatingState<A, C>,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<A::Output>, FunctionError> {
        let accumulator = self.one::<A::Accumulator, C>(state.name(), key.as_ref())?;
        Ok(accumulator.map(|accumulator| A::result(&accumulator)))
    }

    /// The entries of a broadcast map, in order of their keys.
    ///
    /// # Errors
    /// As [`Harness::value_of`].
    pub fn broadcast_of<K: MapKey, V: StateType, C: StateCodec<V>>(
        &self,
        state: BroadcastState<K, V, C>,
    ) -> Result<Vec<(K, V)>, FunctionError> {
        self.entries::<K, V, C>(state.name(), &[])
    }

    fn one<T, C: StateCodec<T>>(&self, state: &str, key: &[u8]) -> Result<Option<T>, FunctionError> {
        self.held(state, key)?.first().map(|(_, bytes)| C::read(bytes)).transpose()
    }

    fn entries<K: MapKey, V, C: StateCodec<V>>(&self, state: &str, key: &[u8]) -> Result<Vec<(K, V)>, FunctionError> {
        let held = self.held(state, key)?;
        held.iter().map(|(sub_key, bytes)| Ok((K::read(sub_key)?, C::read(bytes)?))).collect()
    }

    /// Sub-keys and bytes of what can be read of a state.
    fn held(&self, state: &str, key: &[u8]) -> Result<Vec<Pair>, FunctionError> {
        let index = self.state_index(state)?;
        Ok(self.memory.with(|memory| {
            let held = memory.committed.states.peek(index, key, memory.processing_time);
            held.map(|(sub_key, bytes)| (sub_key.to_vec(), bytes.to_vec())).collect()
        }))
    }

    pub(super) fn state_index(&self, name: &str) -> Result<u32, FunctionError> {
        let index = self.description.states.iter().position(|state| state.name == name);
        Ok(index.ok_or_else(|| format!("state `{name}` is not declared"))? as u32)
    }
}
