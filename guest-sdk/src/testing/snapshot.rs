//! What a harness remembers, as bytes: state by name, timers, and how far time had come.

use super::Harness;
use crate::FunctionError;
use crate::function::Function;
use serde::{Deserialize, Serialize};

/// Written as postcard. States are named, so that a function whose line names them in another order finds them again.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    /// Name and schema of each state.
    states: Vec<(String, String)>,
    values: Vec<(u32, Vec<u8>, Vec<u8>)>,
    lists: Vec<(u32, Vec<u8>, Vec<Vec<u8>>)>,
    event_timers: Vec<(i64, Vec<u8>)>,
    processing_timers: Vec<(i64, Vec<u8>)>,
    watermark: i64,
    processing_time: i64,
}

impl<F: Function> Harness<F> {
    /// All that the function's next call could depend on, as bytes.
    ///
    /// # Panics
    /// Never: a snapshot has no value that postcard cannot write.
    pub fn snapshot(&self) -> Vec<u8> {
        let states = self.description.states.iter().map(|state| (state.name.clone(), state.schema.clone())).collect();
        let snapshot = self.memory.with(|memory| {
            let state = &memory.committed;
            Snapshot {
                states,
                values: state.values.iter().map(|((at, key), value)| (*at, key.clone(), value.clone())).collect(),
                lists: state.lists.iter().map(|((at, key), list)| (*at, key.clone(), list.clone())).collect(),
                event_timers: state.event_timers.iter().cloned().collect(),
                processing_timers: state.processing_timers.iter().cloned().collect(),
                watermark: memory.watermark,
                processing_time: memory.processing_time,
            }
        });
        postcard::to_stdvec(&snapshot).expect("a snapshot can be written")
    }

    /// A harness that goes on from a snapshot, also of another function type, as after an update.
    ///
    /// # Errors
    /// Where the bytes are no snapshot, or it has a state that this function does not declare, or declares with another
    /// schema.
    pub fn restore(bytes: &[u8]) -> Result<Self, FunctionError> {
        let snapshot: Snapshot = postcard::from_bytes(bytes)?;
        let harness = Self::new();
        let mut index_of = Vec::new();
        for (name, schema) in &snapshot.states {
            let index = harness.state_index(name)?;
            let declared = &harness.description.states[index as usize].schema;
            if declared != schema {
                return Err(format!("state `{name}` was written as `{schema}` and is declared as `{declared}`").into());
            }
            index_of.push(index);
        }
        let place = |state: u32| {
            index_of.get(state as usize).copied().ok_or_else(|| format!("the snapshot has no state {state}"))
        };
        let mut committed = harness.memory.with(|memory| memory.before_turn());
        for (state, key, value) in snapshot.values {
            committed.values.insert((place(state)?, key), value);
        }
        for (state, key, list) in snapshot.lists {
            committed.lists.insert((place(state)?, key), list);
        }
        committed.event_timers.extend(snapshot.event_timers);
        committed.processing_timers.extend(snapshot.processing_timers);
        harness.memory.with(|memory| {
            memory.committed = committed;
            memory.watermark = snapshot.watermark;
            memory.processing_time = snapshot.processing_time;
        });
        Ok(harness)
    }
}
