//! The surroundings of a record of the broadcast input.

use super::Context;
use std::ops::{Deref, DerefMut};

/// The surroundings of a record that the broadcast input brought: a [`Context`] without a key, in which broadcast state may
/// be written. It has the context's outputs, log, metrics, clocks and config; using keyed state or timers panics.
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
