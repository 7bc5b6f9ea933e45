//! Snapshots of a harness: states by name, timers, and both clocks.

use super::Harness;
use super::states::{Held, Stamped};
use crate::FunctionError;
use crate::bindings::exports::cofferdam::function::guest::{Form, StateDescription};
use crate::column;
use crate::declaration::{self, unknown_form};
use crate::function::{Function, Records};
use serde::{Deserialize, Serialize};

/// Written as postcard. States are stored by name, so that a function finds them if it declares them in another order.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    states: Vec<Saved>,
    event_timers: Vec<(i64, Vec<u8>)>,
    processing_timers: Vec<(i64, Vec<u8>)>,
    watermark: i64,
    processing_time: i64,
    positions: [u64; 5],
}

/// One state, with the entries of each key.
#[derive(Serialize, Deserialize)]
struct Saved {
    name: String,
    layout: Layout,
    codec: String,
    schema: String,
    keys: Vec<(Vec<u8>, Held)>,
}

/// The properties of a state that must not change.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Layout {
    kind: String,
    map_key: String,
    has_ttl: bool,
}

impl Layout {
    fn of(state: &StateDescription) -> Layout {
        let kind = format!("{:?}", state.kind).to_lowercase().replace("statekind::", "");
        Layout { kind, map_key: state.map_key.clone(), has_ttl: state.ttl.is_some() }
    }

    fn words(&self) -> String {
        let keys = if self.map_key.is_empty() { String::new() } else { format!(" with keys `{}`", self.map_key) };
        let ttl = if self.has_ttl { " with a time to live" } else { "" };
        format!("{}{keys}{ttl}", self.kind)
    }
}

impl<F: Function<Kind: Records<F>>> Harness<F> {
    /// Returns everything that the next call can depend on, as bytes.
    ///
    /// # Panics
    /// Never: postcard can write every snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        self.save()
    }

    /// Makes a harness from a snapshot. The function may be of another type, such as a newer version. Values that are stored under an older
    /// schema are migrated.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a snapshot, or if the function cannot take over a state of the snapshot: it does not
    /// declare it, declares another kind, or cannot read the stored schema.
    pub fn restore(bytes: &[u8]) -> Result<Self, FunctionError> {
        Harness::load(bytes)
    }
}

impl<F: Function> Harness<F> {
    pub(super) fn save(&self) -> Vec<u8> {
        let snapshot = self.memory.with(|memory| {
            let committed = &memory.committed;
            let keys = |index: u32| {
                let held = committed.states.held.iter().filter(move |((state, _), _)| *state == index);
                held.map(|((_, key), held)| (key.clone(), held.clone())).collect()
            };
            let saved = |(state, index): (&StateDescription, u32)| Saved {
                name: state.name.clone(),
                layout: Layout::of(state),
                codec: state.form.codec.clone(),
                schema: state.form.schema.clone(),
                keys: keys(index),
            };
            Snapshot {
                states: self.description.states.iter().zip(0..).map(saved).collect(),
                event_timers: committed.event_timers.iter().cloned().collect(),
                processing_timers: committed.processing_timers.iter().cloned().collect(),
                watermark: memory.watermark,
                processing_time: memory.processing_time,
                positions: committed.positions,
            }
        });
        postcard::to_stdvec(&snapshot).expect("a snapshot can be written")
    }

    pub(super) fn load(bytes: &[u8]) -> Result<Self, FunctionError> {
        let snapshot: Snapshot = postcard::from_bytes(bytes)?;
        let harness = Self::bare();
        for saved in snapshot.states {
            harness.restore_state(saved)?;
        }
        harness.memory.with(|memory| {
            memory.committed.event_timers.extend(snapshot.event_timers);
            memory.committed.processing_timers.extend(snapshot.processing_timers);
            memory.watermark = snapshot.watermark;
            memory.processing_time = snapshot.processing_time;
            memory.committed.positions = snapshot.positions;
        });
        Ok(harness)
    }

    fn restore_state(&self, saved: Saved) -> Result<(), FunctionError> {
        let index = self.state_index(&saved.name)?;
        let declared = &self.description.states[index as usize];
        let layout = Layout::of(declared);
        if layout != saved.layout {
            let (name, stored) = (&saved.name, saved.layout.words());
            return Err(format!("state `{name}` is stored as {stored}, and declared as {}", layout.words()).into());
        }
        let stored = Form { codec: saved.codec, schema: saved.schema };
        let is_same = |form: &Form| (&form.codec, &form.schema) == (&stored.codec, &stored.schema);
        let migrates = !is_same(&declared.form);
        if migrates && !declared.reads.iter().any(|older| is_same(&older.form)) {
            return Err(unknown_form(declared, &stored).into());
        }
        for (key, mut held) in saved.keys {
            if migrates {
                migrate::<F>(index, [&stored, &declared.form], &mut held)?;
            }
            self.memory.with(|memory| memory.committed.states.held.insert((index, key), held));
        }
        Ok(())
    }
}

/// Migrates values by the export `migrate`, like a host.
fn migrate<F: Function>(state: u32, [stored, wanted]: [&Form; 2], held: &mut Held) -> Result<(), FunctionError> {
    let mut values = column::empty();
    for (_, Stamped { bytes, .. }) in held.iter() {
        values.bytes.extend_from_slice(bytes);
        column::end_value(&mut values);
    }
    let migrated = declaration::migrate::<F>(state, stored, wanted, &values).map_err(|failure| failure.message)?;
    for (index, (_, stamped)) in held.iter_mut().enumerate() {
        stamped.bytes = column::value(&migrated, index).to_vec();
    }
    Ok(())
}
