//! Faults: failures of a guest. The fault policy of the operator decides what happens to the record.
//!
//! A fault is never an [`crate::error::Error`], which is a failure of the host.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kind of a fault. The names are stable, and `docs/errors.md` explains them. The order is durable: records in flight hold the index
/// of a code, so new ones come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// The function returned an error.
    GuestError,
    /// The function panicked.
    GuestPanic,
    /// The component trapped: unreachable code, a bad memory access, a division by zero.
    GuestTrap,
    /// The call took more processor time than `limits.deadline`.
    DeadlineExceeded,
    /// The component requested more memory than `limits.memory`.
    MemoryExceeded,
    /// The call exceeded the stack.
    StackOverflow,
    /// The call returned more bytes than `limits.output`.
    OutputExceeded,
    /// The outputs are malformed: wrong offsets or lengths, or an output that does not exist.
    InvalidOutput,
    /// A host function was called with invalid arguments.
    InvalidCall,
    /// The record has no key at the position that the operator's `key` selects.
    KeyMissing,
    /// The record cannot be read as a row, or not as a row of its consumer.
    RecordInvalid,
    /// The record has no event timestamp, but its operator needs one.
    TimestampMissing,
    /// The record has no number at the position that the operator's `aggregate` selects.
    NumberMissing,
    /// The result of the operator's `aggregate` exceeds the range of JSON numbers or of 64-bit floating point.
    NumberOverflow,
    /// The turn writes more state than `limits.state_per_turn`, or the state of a key exceeds `limits.state_per_key` or
    /// `limits.list_elements`.
    StateExceeded,
    /// The turn registers more timers than `limits.timers_per_turn`, or a key has more than `limits.timers_per_key`.
    TimersExceeded,
}

impl FaultCode {
    /// All fault codes.
    pub const ALL: &[FaultCode] = &[
        FaultCode::GuestError,
        FaultCode::GuestPanic,
        FaultCode::GuestTrap,
        FaultCode::DeadlineExceeded,
        FaultCode::MemoryExceeded,
        FaultCode::StackOverflow,
        FaultCode::OutputExceeded,
        FaultCode::StateExceeded,
        FaultCode::TimersExceeded,
        FaultCode::InvalidOutput,
        FaultCode::InvalidCall,
        FaultCode::KeyMissing,
        FaultCode::RecordInvalid,
        FaultCode::TimestampMissing,
        FaultCode::NumberMissing,
        FaultCode::NumberOverflow,
    ];

    /// Returns the stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCode::GuestError => "guest-error",
            FaultCode::GuestPanic => "guest-panic",
            FaultCode::GuestTrap => "guest-trap",
            FaultCode::DeadlineExceeded => "deadline-exceeded",
            FaultCode::MemoryExceeded => "memory-exceeded",
            FaultCode::StackOverflow => "stack-overflow",
            FaultCode::OutputExceeded => "output-exceeded",
            FaultCode::StateExceeded => "state-exceeded",
            FaultCode::TimersExceeded => "timers-exceeded",
            FaultCode::InvalidOutput => "invalid-output",
            FaultCode::InvalidCall => "invalid-call",
            FaultCode::KeyMissing => "key-missing",
            FaultCode::RecordInvalid => "record-invalid",
            FaultCode::TimestampMissing => "timestamp-missing",
            FaultCode::NumberMissing => "number-missing",
            FaultCode::NumberOverflow => "number-overflow",
        }
    }
}

/// One failure of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Kind of the fault.
    pub code: FaultCode,
    /// Description of the fault.
    pub message: String,
    /// The guest's call stack, innermost call first. Empty if it is not known.
    pub backtrace: Vec<String>,
}

impl Fault {
    /// Returns a fault without a call stack.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), backtrace: Vec::new() }
    }

    /// Returns the fault with a call stack, innermost call first.
    pub fn with_backtrace(self, backtrace: Vec<String>) -> Fault {
        Fault { backtrace, ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code.as_str())
    }
}
