//! The context of a record of the broadcast input.

use super::Context;
use std::ops::{Deref, DerefMut};

/// The context of a record of the broadcast input. It allows [`BroadcastState::write`](crate::BroadcastState::write). There is no key, so
/// the states of keys cannot be used.
pub struct BroadcastContext<'a> {
    context: &'a mut Context,
}

impl<'a> BroadcastContext<'a> {
    pub(crate) fn new(context: &'a mut Context) -> Self {
        BroadcastContext { context }
    }
}

impl Deref for BroadcastContext<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        self.context
    }
}

impl DerefMut for BroadcastContext<'_> {
    fn deref_mut(&mut self) -> &mut Context {
        self.context
    }
}
