//! The context of a pair of joined records.

use super::Context;
use crate::Timestamp;
use crate::key::{Key, checked};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// The context of a pair of joined records: their key of type `K`, their timestamps, and what [`Context`] has.
pub struct JoinContext<'a, K> {
    context: &'a mut Context,
    key: &'a [u8],
    timestamps: [Option<Timestamp>; 2],
    types: PhantomData<fn() -> K>,
}

impl<'a, K: Key> JoinContext<'a, K> {
    /// The key has been checked.
    pub(crate) fn new(context: &'a mut Context, key: &'a [u8], timestamps: [Option<Timestamp>; 2]) -> Self {
        JoinContext { context, key, timestamps, types: PhantomData }
    }

    /// Returns the key of both records.
    pub fn key(&self) -> K::Ref<'a> {
        checked::<K>(self.key)
    }

    /// Returns the event timestamp of the record of the first input, if it has one.
    pub fn first_timestamp(&self) -> Option<Timestamp> {
        self.timestamps[0]
    }

    /// Returns the event timestamp of the record of the second input, if it has one.
    pub fn second_timestamp(&self) -> Option<Timestamp> {
        self.timestamps[1]
    }
}

impl<K> Deref for JoinContext<'_, K> {
    type Target = Context;

    fn deref(&self) -> &Context {
        self.context
    }
}

impl<K> DerefMut for JoinContext<'_, K> {
    fn deref_mut(&mut self) -> &mut Context {
        self.context
    }
}
