//! Descriptions of states: declared by an operator, and recorded in checkpoints.
//!
//! Plain data. Knows nothing of backends and files.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::row::RowSchema;

/// Index of a state in the operator's [`StateLayout`].
pub type StateId = u16;

/// Kinds of state. The order of the variants is part of the durable format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateKind {
    /// One value per key.
    Value,
    /// Elements in order, each encoded by [`super::list::push_element`]. Appending encoded bytes to a stored list appends
    /// the elements that they encode.
    List,
    /// Values under sub-keys, ordered by the bytes of the sub-keys. Each value is an entry of its own.
    Map,
    /// One accumulator per key, of the same type as the values. The function folds.
    Reducing,
    /// One accumulator per key. The function folds.
    Aggregating,
    /// A map that belongs to no key. Every subtask holds the whole map; no backend stores it.
    Broadcast,
}

impl StateKind {
    /// Returns the name that messages use for this kind.
    pub fn as_str(self) -> &'static str {
        match self {
            StateKind::Value => "value",
            StateKind::List => "list",
            StateKind::Map => "map",
            StateKind::Reducing => "reducing",
            StateKind::Aggregating => "aggregating",
            StateKind::Broadcast => "broadcast",
        }
    }
}

/// Which accesses restart the time to live of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TtlUpdate {
    /// Only writes.
    CreateAndWrite,
    /// Reads and writes.
    ReadAndWrite,
}

/// How long an entry lives, in processing time. The stored bytes begin with the time of the last update: see [`super::ttl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeToLive {
    /// Time from the last update to the expiry.
    pub milliseconds: u64,
    /// Which accesses count as an update.
    pub update: TtlUpdate,
    /// Whether an expired entry that has not been cleaned up yet may be read once.
    pub return_expired: bool,
}

/// How the values of a state are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateForm {
    /// Codec of the values, such as `postcard`.
    pub codec: String,
    /// Fingerprint of the type of the values.
    pub schema: String,
}

impl fmt::Display for StateForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in codec `{}`", self.schema, self.codec)
    }
}

/// An older form that a function can migrate from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadableForm {
    /// The form.
    pub form: StateForm,
    /// Whether the migration needs the key of each value.
    pub with_keys: bool,
    /// Whether the migration needs the sub-key of each value of a map.
    pub with_sub_keys: bool,
}

impl ReadableForm {
    /// Returns a form that is migrated without keys.
    pub fn new(codec: &str, schema: &str) -> ReadableForm {
        let form = StateForm { codec: codec.to_owned(), schema: schema.to_owned() };
        ReadableForm { form, with_keys: false, with_sub_keys: false }
    }
}

/// The description of one state. Checkpoints record it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDescription {
    /// Name that the function gives the state. A restore matches states by name.
    pub name: String,
    /// Kind of the state.
    pub kind: StateKind,
    /// Codec of the values, such as `postcard`.
    pub codec: String,
    /// Fingerprint of the type of the values.
    pub schema: String,
    /// For a map, the encoding of the sub-keys, such as `ordered:u64`. Empty for other kinds.
    pub map_key: String,
    /// Time to live of the entries, if they expire.
    pub ttl: Option<TimeToLive>,
    /// Generation of the operator that first stored the values in this form.
    pub generation: u32,
    /// Older forms that the function can migrate from. A property of the function, so not stored.
    #[serde(skip)]
    pub reads: Vec<ReadableForm>,
    /// Older forms that the function can migrate to, so that an earlier version of it can continue. Not stored either.
    #[serde(skip)]
    pub writes: Vec<StateForm>,
    /// The rows that the values of a state of the host hold, by input, with their aliases and defaults. Not stored: the schema names
    /// them.
    #[serde(skip)]
    pub rows: Vec<Option<Arc<RowSchema>>>,
}

impl StateDescription {
    /// Returns the description of a state without a time to live and without older forms.
    pub fn new(name: &str, kind: StateKind, codec: &str, schema: &str) -> StateDescription {
        StateDescription {
            name: name.into(),
            kind,
            codec: codec.into(),
            schema: schema.into(),
            map_key: String::new(),
            ttl: None,
            generation: 1,
            reads: Vec::new(),
            writes: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Returns the form of the values.
    pub fn form(&self) -> StateForm {
        StateForm { codec: self.codec.clone(), schema: self.schema.clone() }
    }

    /// Returns the older form in which the state `old` holds its values, if the function can migrate from it.
    pub fn readable_form_of(&self, old: &StateDescription) -> Option<&ReadableForm> {
        self.reads.iter().find(|reads| reads.form.codec == old.codec && reads.form.schema == old.schema)
    }

    /// Returns the state of the host with values that hold rows of these schemas, one for each input.
    pub fn with_rows(self, rows: Vec<Option<Arc<RowSchema>>>) -> StateDescription {
        StateDescription { schema: schema_with_rows(&self.schema, &rows), rows, ..self }
    }

    /// Returns whether the state belongs to the host, such as timers and window contents. Functions cannot declare such
    /// names.
    pub fn is_internal(&self) -> bool {
        self.name.starts_with('@')
    }
}

/// Returns the schema of a state whose values hold rows of these schemas. Without rows it is the word.
fn schema_with_rows(word: &str, rows: &[Option<Arc<RowSchema>>]) -> String {
    if rows.iter().all(Option::is_none) {
        return word.to_owned();
    }
    let texts: Vec<_> = rows.iter().map(|rows| rows.as_ref().map(ToString::to_string)).collect();
    // A list of texts always has a JSON form.
    format!("{word}{}", serde_json::to_string(&texts).unwrap_or_default())
}

/// The states of an operator. A [`StateId`] is an index into it.
pub type StateLayout = Vec<StateDescription>;
