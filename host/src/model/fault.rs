//! Faults: how a guest fails. A fault is met by its operator's disposition; it is never an [`crate::error::Error`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure. Stable names, explained in `docs/errors.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// The function returned an error.
    GuestError,
    /// The function panicked, with its own last words.
    GuestPanic,
    /// The component trapped: unreachable code, a bad memory access, a division by zero.
    GuestTrap,
    /// The call took more processor time than `limits.deadline`.
    DeadlineExceeded,
    /// The component wanted more memory than `limits.memory`.
    MemoryExceeded,
    /// The call nested deeper than the stack allows.
    StackOverflow,
    /// The call returned more bytes than `limits.output`.
    OutputExceeded,
    /// The outputs are not well formed: offsets, lengths, an output that does not exist.
    InvalidOutput,
    /// A host function was called with arguments that make no sense.
    InvalidCall,
    /// The record has no key where the operator's `key` looks for one.
    KeyMissing,
    /// The record has no event timestamp, and its operator goes by it.
    TimestampMissing,
    /// The record has no number where the operator's `aggregate` looks for one.
    NumberMissing,
    /// The result of the operator's `aggregate` is beyond the numbers that JSON and 64-bit floating point have.
    NumberOverflow,
}

impl FaultCode {
    pub const ALL: &[FaultCode] = &[
        FaultCode::GuestError,
        FaultCode::GuestPanic,
        FaultCode::GuestTrap,
        FaultCode::DeadlineExceeded,
        FaultCode::MemoryExceeded,
        FaultCode::StackOverflow,
        FaultCode::OutputExceeded,
        FaultCode::InvalidOutput,
        FaultCode::InvalidCall,
        FaultCode::KeyMissing,
        FaultCode::TimestampMissing,
        FaultCode::NumberMissing,
        FaultCode::NumberOverflow,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            FaultCode::GuestError => "guest-error",
            FaultCode::GuestPanic => "guest-panic",
            FaultCode::GuestTrap => "guest-trap",
            FaultCode::DeadlineExceeded => "deadline-exceeded",
            FaultCode::MemoryExceeded => "memory-exceeded",
            FaultCode::StackOverflow => "stack-overflow",
            FaultCode::OutputExceeded => "output-exceeded",
            FaultCode::InvalidOutput => "invalid-output",
            FaultCode::InvalidCall => "invalid-call",
            FaultCode::KeyMissing => "key-missing",
            FaultCode::TimestampMissing => "timestamp-missing",
            FaultCode::NumberMissing => "number-missing",
            FaultCode::NumberOverflow => "number-overflow",
        }
    }
}

/// One failure of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub code: FaultCode,
    pub message: String,
    /// The guest's call stack, innermost first, where there is one.
    pub backtrace: Vec<String>,
}

impl Fault {
    pub fn new(code: FaultCode, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), backtrace: Vec::new() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code.as_str())
    }
}
