//! What a harness remembers, as bytes: states by name, timers, and how far time had come.

use super::Harness;
use super::states::{Held, Stamped};
use crate::FunctionError;
use crate::bindings::exports::cofferdam::function::function::StateDescription;
use crate::column;
use crate::declaration::{self, unknown_form};
use crate::function::{Function, Records};
use serde::{Deserialize, Serialize};

/// Written as postcard. States are named, so that a function whose line names them in another order finds them again.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    states: Vec<Saved>,
    event_timers: Vec<(i64, Vec<u8>)>,
    processing_timers: Vec<(i64, Vec<u8>)>,
    watermark: i64,
    processing_time: i64,
}

/// One state, and what each key has of it.
#[derive(Serialize, Deserialize)]
struct Saved {
    name: String,
    form: Form,
    schema: String,
    keys: Vec<(Vec<u8>, Held)>,
}

/// What stays as it is for as long as the state lives.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Form {
    kind: String,
    map_key: String,
    has_ttl: bool,
}

impl Form {
    fn of(state: &StateDescription) -> Form {
        let kind = format!("{:?}", state.kind).to_lowercase().replace("statekind::", "");
        Form { kind, map_key: state.map_key.clone(), has_ttl: state.ttl.is_some() }
    }

    fn words(&self) -> String {
        let keys = if self.map_key.is_empty() { String::new() } else { format!(" with keys `{}`", self.map_key) };
        let ttl = if self.has_ttl { " with a time to live" } else { "" };
        format!("{}{keys}{ttl}", self.kind)
    }
}

impl<F: Function<Kind: Records<F>>> Harness<F> {
    /// All that the function's next call could depend on, as bytes.
    ///
    /// # Panics
    /// Never: a snapshot has no value that postcard cannot write.
    pub fn snapshot(&self) -> Vec<u8> {
        self.save()
    }

    /// A harness that goes on from a snapshot, also of another function type, as after an update. Values that are stored
    /// under an older schema are migrated.
    ///
    /// # Errors
    /// Where the bytes are no snapshot, or it has a state that this function does not declare, or declares with another
    /// kind, or with another schema and no way to read the one of the snapshot.
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
                form: Form::of(state),
                schema: state.schema.clone(),
                keys: keys(index),
            };
            Snapshot {
                states: self.description.states.iter().zip(0..).map(saved).collect(),
                event_timers: committed.event_timers.iter().cloned().collect(),
                processing_timers: committed.processing_timers.iter().cloned().collect(),
                watermark: memory.watermark,
                processing_time: memory.processing_time,
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
        });
        Ok(harness)
    }

    fn restore_state(&self, saved: Saved) -> Result<(), FunctionError> {
        let index = self.state_index(&saved.name)?;
        let declared = &self.description.states[index as usize];
        let form = Form::of(declared);
        if form != saved.form {
            let (name, stored) = (&saved.name, saved.form.words());
            return Err(format!("state `{name}` is stored as {stored}, and declared as {}", form.words()).into());
        }
        let migrates = saved.schema != declared.schema;
        if migrates && !declared.previous.contains(&saved.schema) {
            return Err(unknown_form(declared, &saved.schema).into());
        }
        for (key, mut held) in saved.keys {
            if migrates {
                migrate::<F>(index, &saved.schema, &mut held)?;
            }
            self.memory.with(|memory| memory.committed.states.held.insert((index, key), held));
        }
        Ok(())
    }
}

/// As a host does it: by the export `migrate`.
fn migrate<F: Function>(state: u32, schema: &str, held: &mut Held) -> Result<(), FunctionError> {
    let mut values = column::empty();
    for (_, Stamped { bytes, .. }) in held.iter() {
        values.bytes.extend_from_slice(bytes);
        column::end_value(&mut values);
    }
    let migrated = declaration::migrate::<F>(state, schema, &values).map_err(|failure| failure.message)?;
    for (index, (_, stamped)) in held.iter_mut().enumerate() {
        stamped.bytes = column::value(&migrated, index).to_vec();
    }
    Ok(())
}
