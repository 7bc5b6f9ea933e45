//! The limits of a turn, and what the current turn has used of them.
//!
//! A turn that breaches a limit *per turn* is too large. If it handles several items, a part of them may be within the limit, so the
//! guest is not interrupted: the rest of its writes is dropped, it returns, and the operator divides the items. Nothing else is
//! lost. The guest of a turn over one item is interrupted, and the item gets the fault.

use crate::escape::shown;
use crate::model::{Fault, FaultCode};
use crate::pipeline::{LimitKey, OperatorLimits};

use super::error::HostCallError;
use crate::state::LoadFailure;

/// Charged for each write in addition to its bytes, so that the number of empty writes is limited, too.
const WRITE_OVERHEAD_BYTES: usize = 16;

/// Charged for each entry that a call reads, whether it exists or not: the memory that the host needs meanwhile.
const READ_ENTRY_BYTES: usize = 128;

/// A guest whose turn is too large is interrupted after it has written this many times the limit. Otherwise an endless guest
/// would use up its deadline for each part of a batch.
const DROPPED_FACTOR: usize = 4;

/// The limits of the turns of one operator.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    /// Bytes of state and metrics that a turn writes.
    pub state_per_turn: usize,
    /// Timers that a turn registers.
    pub timers_per_turn: usize,
    /// Bytes of one state of one key.
    pub state_per_key: usize,
    /// Elements of a list.
    pub list_elements: usize,
    /// Registered timers of one key, for each clock.
    pub timers_per_key: usize,
    /// Bytes that a read returns: the memory of the guest, which would not hold more.
    pub memory: usize,
}

impl TurnLimits {
    /// Returns the limits of an operator.
    pub fn new(limits: &OperatorLimits) -> TurnLimits {
        TurnLimits {
            state_per_turn: limits.size(LimitKey::StatePerTurn),
            timers_per_turn: limits.size(LimitKey::TimersPerTurn),
            state_per_key: limits.size(LimitKey::StatePerKey),
            list_elements: limits.size(LimitKey::ListElements),
            timers_per_key: limits.size(LimitKey::TimersPerKey),
            memory: limits.size(LimitKey::Memory),
        }
    }
}

impl TurnLimits {
    /// Returns the bytes that a read of this many entries may return. Error: the number of entries alone is too large.
    pub(super) fn read_bytes(&self, entries: usize) -> Result<usize, HostCallError> {
        let left = self.memory.checked_sub(entries.saturating_mul(READ_ENTRY_BYTES));
        left.ok_or_else(|| HostCallError::LimitExceeded(memory_exceeded(self)))
    }

    /// Converts the failure of a read with a limit.
    pub(super) fn read_failed(&self, failure: LoadFailure) -> HostCallError {
        match failure {
            LoadFailure::TooLarge => HostCallError::LimitExceeded(memory_exceeded(self)),
            LoadFailure::Error(error) => HostCallError::Error(error),
        }
    }
}

impl Default for TurnLimits {
    fn default() -> TurnLimits {
        TurnLimits::new(&OperatorLimits::default())
    }
}

/// What the current turn may still write, and whether it is too large.
#[derive(Default)]
pub(super) struct TurnBudget {
    state_bytes: usize,
    timers: usize,
    /// Whether the turn handles several items, so that its items can be divided.
    is_divisible: bool,
    /// The fault of a turn that is too large.
    too_large: Option<Fault>,
    /// Bytes that a turn that is too large may still write before its guest is interrupted.
    dropped_bytes: usize,
}

impl TurnBudget {
    /// Starts a turn.
    pub fn begin(&mut self, limits: &TurnLimits) {
        (self.state_bytes, self.timers) = (limits.state_per_turn, limits.timers_per_turn);
        self.dropped_bytes = limits.state_per_turn.saturating_mul(DROPPED_FACTOR);
        self.too_large = None;
    }

    /// Removes the limits for the rest of the turn.
    pub fn lift(&mut self) {
        (self.state_bytes, self.timers) = (usize::MAX, usize::MAX);
    }

    /// Notes whether the next turns handle several items.
    pub fn set_divisible(&mut self, is_divisible: bool) {
        (self.is_divisible, self.too_large) = (is_divisible, None);
    }

    /// Notes that the turn is too large, and returns its fault.
    pub fn mark_too_large(&mut self, fault: Fault) -> Fault {
        self.too_large.get_or_insert(fault).clone()
    }

    /// Returns the fault of a turn that is too large.
    pub fn too_large(&self) -> Option<&Fault> {
        self.too_large.as_ref()
    }

    /// Charges a write. Returns whether to stage it: the writes of a turn that is too large are dropped.
    pub fn admit_write(&mut self, bytes: usize, limits: &TurnLimits) -> Result<bool, HostCallError> {
        let bytes = bytes.saturating_add(WRITE_OVERHEAD_BYTES);
        match self.state_bytes.checked_sub(bytes) {
            Some(left) => self.state_bytes = left,
            None => self.exceeded(bytes, || state_per_turn_exceeded(limits))?,
        }
        Ok(self.too_large.is_none())
    }

    /// Charges the registration of `timers` timers, which take `bytes` of state. Returns whether to stage them.
    pub fn admit_timers(&mut self, timers: usize, bytes: usize, limits: &TurnLimits) -> Result<bool, HostCallError> {
        match self.timers.checked_sub(timers) {
            Some(left) => self.timers = left,
            None => self.exceeded(bytes, || timers_per_turn_exceeded(limits))?,
        }
        self.admit_write(bytes, limits)
    }

    fn exceeded(&mut self, bytes: usize, fault: impl FnOnce() -> Fault) -> Result<(), HostCallError> {
        let left = self.dropped_bytes.checked_sub(bytes).filter(|_| self.is_divisible);
        self.dropped_bytes = left.unwrap_or(0);
        let fault = self.too_large.get_or_insert_with(fault);
        if left.is_some() { Ok(()) } else { Err(HostCallError::LimitExceeded(fault.clone())) }
    }
}

pub(super) fn memory_exceeded(limits: &TurnLimits) -> Fault {
    let key = LimitKey::Memory;
    let amount = key.format(limits.memory as u64);
    Fault::new(FaultCode::MemoryExceeded, format!("the call reads more state at once than {key}, {amount}"))
}

fn state_per_turn_exceeded(limits: &TurnLimits) -> Fault {
    let key = LimitKey::StatePerTurn;
    let amount = key.format(limits.state_per_turn as u64);
    Fault::new(FaultCode::StateExceeded, format!("the turn writes more state than {key}, {amount}"))
}

pub(super) fn timers_per_key_exceeded(limits: &TurnLimits, key: &[u8]) -> HostCallError {
    let (limit, key) = (LimitKey::TimersPerKey, shown(key));
    let message = format!("key `{key}` would have more timers than {limit}, {}", limits.timers_per_key);
    HostCallError::LimitExceeded(Fault::new(FaultCode::TimersExceeded, message))
}

fn timers_per_turn_exceeded(limits: &TurnLimits) -> Fault {
    let key = LimitKey::TimersPerTurn;
    Fault::new(
        FaultCode::TimersExceeded,
        format!("the turn registers more timers than {key}, {}", limits.timers_per_turn),
    )
}
