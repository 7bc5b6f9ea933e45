//! A requested replay of dead letters. It is part of the job's record, and so of the audit: who asks for the job's letters also sees
//! which of them were replayed, when, and by which checkpoint.

use serde::{Deserialize, Serialize};

/// A replay, from its request on. Field names are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRecord {
    /// Number of the replay: the time of its request, which no other replay has that a checkpoint of the job knows.
    pub id: u64,
    /// Id of the operator.
    pub operator: String,
    /// When it was requested, in milliseconds since the Unix epoch.
    pub requested_at_ms: i64,
    /// Names of the parts whose letters are replayed.
    pub parts: Vec<String>,
    /// Number of letters.
    pub letters: u64,
    /// The checkpoint that contains the effects of all letters.
    #[serde(default)]
    pub completed_in: Option<u64>,
    /// Complete checkpoints since then.
    #[serde(default)]
    pub later_checkpoints: u64,
    /// Whether the parts are removed.
    #[serde(default)]
    pub is_removed: bool,
}

impl ReplayRecord {
    /// Returns whether the letters of a part are or were replayed.
    pub fn covers(&self, part: &str) -> bool {
        self.parts.iter().any(|name| name == part)
    }
}
