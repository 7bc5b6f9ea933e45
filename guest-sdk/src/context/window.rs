//! The contexts of functions that windows and joins call. They have no timers: windows have those.

use super::{BaseContext, Context, SideOutput, some_timestamp};
use crate::FunctionError;
use crate::codec::{Codec, Encode};
use crate::state::StateHandle;
use std::ops::{Deref, DerefMut};

/// The surroundings of a window that fires: the state of that window, side outputs, and what [`BaseContext`] has.
///
/// It has no timers:
///
/// ```compile_fail
/// # use cofferdam_sdk::prelude::*;
/// fn in_a_window(ctx: &mut WindowContext) {
///     ctx.register_event_timer(5);
/// }
/// ```
pub struct WindowContext<'a> {
    context: &'a mut Context,
}

impl<'a> WindowContext<'a> {
    pub(crate) fn new(context: &'a mut Context) -> Self {
        WindowContext { context }
    }

    /// The context of a pair of records of this window.
    pub(crate) fn of_pair<'b>(&'b mut self, key: &'b [u8], timestamps: [Option<i64>; 2]) -> JoinContext<'b> {
        JoinContext { context: self.context, key, timestamps }
    }

    /// The state of this window of this key. It is there until the window is cleaned up, at its end and its allowed lateness.
    ///
    /// # Panics
    /// Where the function does not declare the state.
    #[inline]
    pub fn state<H: StateHandle>(&mut self, handle: H) -> H::Access<'_> {
        handle.access(self.context)
    }

    /// Emits a record to a side output, with the timestamp of the window's last millisecond.
    ///
    /// # Panics
    /// Where the function does not declare the side output.
    pub fn output<C: Codec + Encode<V>, V>(&mut self, side: SideOutput<C>, value: V) {
        self.context.output(side, value);
    }

    /// Emits a record to a side output with a timestamp of its own, in milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// Where the function does not declare the side output.
    pub fn output_with_timestamp<C: Codec + Encode<V>, V>(&mut self, side: SideOutput<C>, value: V, timestamp: i64) {
        self.context.output_with_timestamp(side, value, timestamp);
    }
}

impl Deref for WindowContext<'_> {
    type Target = BaseContext;

    fn deref(&self) -> &BaseContext {
        self.context
    }
}

impl DerefMut for WindowContext<'_> {
    fn deref_mut(&mut self) -> &mut BaseContext {
        self.context
    }
}

/// The surroundings of a pair of joined records: their key and timestamps, side outputs, and what [`BaseContext`] has. A join
/// has neither state nor timers.
pub struct JoinContext<'a> {
    context: &'a mut Context,
    key: &'a [u8],
    timestamps: [Option<i64>; 2],
}

impl<'a> JoinContext<'a> {
    pub(crate) fn new(context: &'a mut Context, key: &'a [u8], timestamps: [i64; 2]) -> Self {
        JoinContext { context, key, timestamps: timestamps.map(some_timestamp) }
    }

    /// The key that both records have.
    pub fn key(&self) -> &[u8] {
        self.key
    }

    /// The key as text.
    ///
    /// # Errors
    /// Where the key is not UTF-8.
    pub fn key_str(&self) -> Result<&str, FunctionError> {
        key_str(self.key)
    }

    /// The event timestamp of the record of the first input, in milliseconds since the Unix epoch, where it has one.
    pub fn first_timestamp(&self) -> Option<i64> {
        self.timestamps[0]
    }

    /// The event timestamp of the record of the second input, in milliseconds since the Unix epoch, where it has one.
    pub fn second_timestamp(&self) -> Option<i64> {
        self.timestamps[1]
    }

    /// Emits a record to a side output, with the timestamp that a joined record has.
    ///
    /// # Panics
    /// Where the function does not declare the side output.
    pub fn output<C: Codec + Encode<V>, V>(&mut self, side: SideOutput<C>, value: V) {
        self.context.output(side, value);
    }

    /// Emits a record to a side output with a timestamp of its own, in milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// Where the function does not declare the side output.
    pub fn output_with_timestamp<C: Codec + Encode<V>, V>(&mut self, side: SideOutput<C>, value: V, timestamp: i64) {
        self.context.output_with_timestamp(side, value, timestamp);
    }
}

impl Deref for JoinContext<'_> {
    type Target = BaseContext;

    fn deref(&self) -> &BaseContext {
        self.context
    }
}

impl DerefMut for JoinContext<'_> {
    fn deref_mut(&mut self) -> &mut BaseContext {
        self.context
    }
}

/// A key as text.
pub(crate) fn key_str(key: &[u8]) -> Result<&str, FunctionError> {
    std::str::from_utf8(key).map_err(|error| format!("the key is not UTF-8: {error}").into())
}
