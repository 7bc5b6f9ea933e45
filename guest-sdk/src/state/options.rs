//! The options of a state: its name, its time to live, and older forms of its values.

use super::older::Migration;
use super::{Rewriting, StateCodec, Ttl};
use crate::bindings::exports::cofferdam::function::guest::{StateDescription, StateKind};
use crate::codec::CodecFamily;
use crate::fields::FieldType;
use crate::shape::StateType;
use std::marker::PhantomData;

/// A state that a function can have as a field.
pub trait StateField: FieldType {
    /// The type of a value, an element of a list, a value of a map, or an accumulator.
    type Value: StateType;
    /// How it is written.
    type Codec: StateCodec<Self::Value>;
    #[doc(hidden)]
    const KIND: StateKind;

    /// Returns how the keys of a map are written. Empty for other states.
    #[doc(hidden)]
    fn map_key() -> String;
}

/// A state whose entries may have a time to live.
#[diagnostic::on_unimplemented(message = "a `{Self}` cannot have a time to live", note = "broadcast state has none")]
pub trait ExpiringState: StateField {}

/// The name of a state, its time to live and the older forms of its values. `#[derive(Function)]` makes it from a field's
/// `#[state(...)]` attribute.
pub struct StateOptions<S> {
    name: &'static str,
    ttl: Option<Ttl>,
    /// From older forms to today's.
    pub(crate) reads: Vec<&'static Rewriting>,
    /// From today's form to older ones.
    pub(crate) writes: Vec<&'static Rewriting>,
    state: PhantomData<fn() -> S>,
}

impl<S: StateField> StateOptions<S> {
    /// Options of a state without a time to live and without older forms.
    pub fn new(name: &'static str) -> Self {
        StateOptions { name, ttl: None, reads: Vec::new(), writes: Vec::new(), state: PhantomData }
    }

    /// Gives the entries of the state a time to live.
    #[must_use]
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self
    where
        S: ExpiringState,
    {
        self.ttl = Some(ttl.into());
        self
    }

    /// Lets a restore read values that are stored as an `Old`, written by the same codec.
    #[must_use]
    pub fn migrate_from<Old>(self) -> Self
    where
        Old: StateType,
        S::Value: From<Old>,
        S::Codec: CodecFamily,
        <S::Codec as CodecFamily>::Of<Old>: StateCodec<Old>,
    {
        self.migrate_from_codec::<Old, <S::Codec as CodecFamily>::Of<Old>>()
    }

    /// Lets a restore read values that are stored as an `Old`, written by the codec `OldC`.
    #[must_use]
    pub fn migrate_from_codec<Old, OldC>(mut self) -> Self
    where
        Old: StateType,
        OldC: StateCodec<Old>,
        S::Value: From<Old>,
    {
        self.reads.push(Migration::<Old, OldC, S::Value, S::Codec>::REWRITING);
        self
    }

    /// Lets a restore rewrite values as an `Old`, by the same codec, so that an earlier version of the function can continue.
    #[must_use]
    pub fn migrate_to<Old>(self) -> Self
    where
        Old: StateType + From<S::Value>,
        S::Codec: CodecFamily,
        <S::Codec as CodecFamily>::Of<Old>: StateCodec<Old>,
    {
        self.migrate_to_codec::<Old, <S::Codec as CodecFamily>::Of<Old>>()
    }

    /// Lets a restore rewrite values as an `Old`, by the codec `OldC`.
    #[must_use]
    pub fn migrate_to_codec<Old, OldC>(mut self) -> Self
    where
        Old: StateType + From<S::Value>,
        OldC: StateCodec<Old>,
    {
        self.writes.push(Migration::<S::Value, S::Codec, Old, OldC>::REWRITING);
        self
    }

    pub(crate) fn describe(&self) -> StateDescription {
        StateDescription {
            name: self.name.to_owned(),
            kind: S::KIND,
            form: S::Codec::form(),
            map_key: S::map_key(),
            ttl: self.ttl.map(Ttl::describe),
            reads: self.reads.iter().map(|older| older.readable()).collect(),
            writes: self.writes.iter().map(|older| (older.to)()).collect(),
        }
    }
}
