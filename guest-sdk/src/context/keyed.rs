//! The context of a record or timer that has a key.

use super::Context;
use crate::Timestamp;
use crate::bindings::cofferdam::function::types::{Column, TimeDomain};
use crate::key::{Key, checked};
use crate::timers::TimerChanges;
use crate::turn_cursor::TurnCursor;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// The context of a record or timer that has a key of type `K`: its key and timers, and what [`Context`] has.
pub struct KeyedContext<K> {
    context: Context,
    /// The clocks on which the function may register timers.
    timer_domains: &'static [TimeDomain],
    pub(crate) timers: TimerChanges,
    key: PhantomData<fn() -> K>,
}

impl<K: Key> KeyedContext<K> {
    pub(crate) fn new(cursor: Rc<TurnCursor>, timer_domains: &'static [TimeDomain]) -> Self {
        KeyedContext { context: Context::new(cursor), timer_domains, timers: TimerChanges::default(), key: PhantomData }
    }

    /// Returns the key of the record or timer, without copying it: a `&str` if the key is a `String`.
    #[inline]
    pub fn key(&self) -> K::Ref<'_> {
        checked::<K>(self.context.key_bytes())
    }

    /// Registers a timer of the current key in event time. It fires when the watermark reaches `time`. A key has at most one
    /// timer for each time; registering it again changes nothing.
    ///
    /// # Panics
    /// Panics if the function does not declare event-time timers.
    pub fn register_event_time_timer(&mut self, time: Timestamp) {
        let key = self.timer_key(TimeDomain::Event);
        self.timers.register(TimeDomain::Event, key, time.as_millis());
    }

    /// Deletes an event-time timer of the current key. Does nothing if there is none for that time.
    ///
    /// # Panics
    /// Panics if the function does not declare event-time timers.
    pub fn delete_event_time_timer(&mut self, time: Timestamp) {
        let key = self.timer_key(TimeDomain::Event);
        self.timers.delete(TimeDomain::Event, key, time.as_millis());
    }

    /// Registers a timer of the current key in processing time. It fires when the wall clock reaches `time`.
    ///
    /// # Panics
    /// Panics if the function does not declare processing-time timers.
    pub fn register_processing_time_timer(&mut self, time: Timestamp) {
        let key = self.timer_key(TimeDomain::Processing);
        self.timers.register(TimeDomain::Processing, key, time.as_millis());
    }

    /// Deletes a processing-time timer of the current key. Does nothing if there is none for that time.
    ///
    /// # Panics
    /// Panics if the function does not declare processing-time timers.
    pub fn delete_processing_time_timer(&mut self, time: Timestamp) {
        let key = self.timer_key(TimeDomain::Processing);
        self.timers.delete(TimeDomain::Processing, key, time.as_millis());
    }

    fn timer_key(&self, domain: TimeDomain) -> u32 {
        if !self.timer_domains.contains(&domain) {
            undeclared_timers(self.cursor.function, domain);
        }
        self.cursor.key.get() as u32
    }

    /// Forgets the last turn.
    pub(crate) fn begin(&mut self, keys: Column) {
        self.context.begin(keys);
        self.timers.discard();
    }

    /// Hands the turn's timers and metrics to the host.
    pub(crate) fn flush(&mut self) {
        self.timers.flush(&*self.context.cursor.host);
        self.context.flush();
    }
}

impl<K> Deref for KeyedContext<K> {
    type Target = Context;

    #[inline]
    fn deref(&self) -> &Context {
        &self.context
    }
}

impl<K> DerefMut for KeyedContext<K> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Context {
        &mut self.context
    }
}

#[cold]
fn undeclared_timers(function: &str, domain: TimeDomain) -> ! {
    let domain = if domain == TimeDomain::Event { "event" } else { "processing" };
    panic!(
        "function `{function}` uses {domain}-time timers without declaring them: write `#[function(timers({domain}))]`"
    )
}
