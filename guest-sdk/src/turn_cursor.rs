//! Where a turn stands: the key and the item that a function is handling now. An item is a record, a timer, a window or a pair.
//!
//! A function's context, states and side outputs share one cursor. Invariant: the number of the turn grows with each turn, so
//! that a state can tell whether its cells belong to this one.

use crate::FunctionError;
use crate::host::Host;
use crate::times::{ItemTimes, NO_TIMESTAMP};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The index of no item.
pub(crate) const NO_ITEM: u32 = u32::MAX;

/// The streams of items that a function handles. Each counts its own items: see [`TurnContext`](crate::TurnContext).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemStream {
    FirstInput,
    SecondInput,
    EventTimers,
    ProcessingTimers,
    Windows,
}

pub(crate) struct TurnCursor {
    pub(crate) host: Rc<dyn Host>,
    /// The name of the function.
    pub(crate) function: &'static str,
    turn: Cell<u64>,
    key_count: Cell<usize>,
    /// Index of the current key, or of the current window.
    pub(crate) key: Cell<usize>,
    /// Index of the current item in the call, or [`NO_ITEM`].
    pub(crate) item: Cell<u32>,
    pub(crate) stream: Cell<ItemStream>,
    pub(crate) times: RefCell<ItemTimes>,
    has_side_error: Cell<bool>,
    side_error: RefCell<Option<FunctionError>>,
}

impl TurnCursor {
    pub(crate) fn new(function: &'static str, host: Rc<dyn Host>) -> Rc<Self> {
        Rc::new(TurnCursor {
            host,
            function,
            turn: Cell::new(0),
            key_count: Cell::new(0),
            key: Cell::new(0),
            item: Cell::new(NO_ITEM),
            stream: Cell::new(ItemStream::FirstInput),
            times: RefCell::default(),
            has_side_error: Cell::new(false),
            side_error: RefCell::new(None),
        })
    }

    /// Begins a turn with so many distinct keys or windows. States and side outputs forget the last turn when they are used next.
    pub(crate) fn begin(&self, key_count: usize) {
        self.turn.set(self.turn.get() + 1);
        self.key_count.set(key_count);
        self.key.set(0);
        self.item.set(NO_ITEM);
        self.times.take();
        self.take_side_error();
    }

    /// Sets the stream and the timestamps of the turn's items.
    pub(crate) fn set_items(&self, stream: ItemStream, times: ItemTimes) {
        self.stream.set(stream);
        self.times.replace(times);
    }

    /// The number of the turn.
    #[inline]
    pub(crate) fn turn(&self) -> u64 {
        self.turn.get()
    }

    /// The number of distinct keys or windows of the turn.
    pub(crate) fn key_count(&self) -> usize {
        self.key_count.get()
    }

    /// The index of the current record, window or pair in messages. Timers have none.
    pub(crate) fn record(&self) -> Option<u32> {
        let is_timer = matches!(self.stream.get(), ItemStream::EventTimers | ItemStream::ProcessingTimers);
        Some(self.item.get()).filter(|&item| item != NO_ITEM && !is_timer)
    }

    /// The timestamp of the current item, or [`NO_TIMESTAMP`].
    pub(crate) fn timestamp(&self) -> i64 {
        self.times.borrow().get(self.item.get()).unwrap_or(NO_TIMESTAMP)
    }

    /// Whether a value could not be written to a side output.
    #[inline]
    pub(crate) fn has_side_error(&self) -> bool {
        self.has_side_error.get()
    }

    /// Keeps the first error of a side output until the function returns.
    #[cold]
    pub(crate) fn side_failed(&self, error: FunctionError) {
        self.has_side_error.set(true);
        self.side_error.borrow_mut().get_or_insert(error);
    }

    pub(crate) fn take_side_error(&self) -> Option<FunctionError> {
        self.has_side_error.set(false);
        self.side_error.take()
    }
}
