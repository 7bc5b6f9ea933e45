//! The part of a dead letter that a replay needs.
//!
//! It is stored as JSON in the dead letter, so its field names are durable. New fields are optional.

use serde::{Deserialize, Serialize};

/// How the host hands a dead letter to its operator again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterReplay {
    /// The input of the operator: 0, or 1 for the second one.
    pub input: u32,
    /// The schema of the record if it is a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The bytes of a row, in hex. Other records are in the letter's `value` or `value_hex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// The attributes of the record, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<String>,
    /// Whether the record was rejected before it reached the operator, for example because its key is missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rejected: bool,
}
