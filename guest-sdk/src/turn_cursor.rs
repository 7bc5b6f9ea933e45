//! Where a turn stands: the key, record and timestamp that a function is handling now.
//!
//! A function's context, states and side outputs share one cursor. Invariant: the number of the turn grows with each turn, so
//! that a state can tell whether its cells belong to this one.

use crate::FunctionError;
use crate::host::Host;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub(crate) struct TurnCursor {
    pub(crate) host: Rc<dyn Host>,
    /// The name of the function.
    pub(crate) function: &'static str,
    turn: Cell<u64>,
    key_count: Cell<usize>,
    /// Index of the current key, or of the current window.
    pub(crate) key: Cell<usize>,
    /// Index of the current record, if a record is being handled.
    pub(crate) record: Cell<Option<u32>>,
    /// The current timestamp, or `i64::MIN` if there is none.
    pub(crate) timestamp: Cell<i64>,
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
            record: Cell::new(None),
            timestamp: Cell::new(i64::MIN),
            has_side_error: Cell::new(false),
            side_error: RefCell::new(None),
        })
    }

    /// Begins a turn with so many distinct keys or windows. States and side outputs forget the last turn when they are used next.
    pub(crate) fn begin(&self, key_count: usize) {
        self.turn.set(self.turn.get() + 1);
        self.key_count.set(key_count);
        self.key.set(0);
        self.record.set(None);
        self.timestamp.set(i64::MIN);
        self.take_side_error();
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
