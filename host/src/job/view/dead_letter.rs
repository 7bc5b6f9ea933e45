//! The views of dead letters.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A part of the list of a job's dead letters.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterPage {
    /// Number of all letters, of the chosen operator if one is chosen.
    pub total: u64,
    /// Size of all of them, in bytes.
    pub bytes: u64,
    /// The letters, oldest first. Pass the id of the last one as `after` for the next page.
    pub letters: Vec<DeadLetterSummary>,
    /// The newest 500 replays of the job, oldest first.
    pub replays: Vec<ReplayView>,
}

impl DeadLetterPage {
    /// Removes the keys and records, and what functions say about them.
    pub fn hide_records(&mut self) {
        for letter in &mut self.letters {
            letter.key = None;
            letter.value.clear();
            letter.message.clear();
        }
    }
}

/// One line in the list of dead letters. Texts are shortened to one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterSummary {
    /// Id of the letter.
    pub id: String,
    /// Id of the operator or source.
    pub node: String,
    /// The fault code, or the code of a record that a source could not decode.
    pub code: String,
    /// Why the record failed.
    pub message: String,
    /// How often it has failed, from 1.
    pub attempt: u32,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The key, if the record has one.
    pub key: Option<String>,
    /// The record.
    pub value: String,
    /// Whether the letter holds a record that can be handed to the operator again. Letters of timers, windows and sources do not.
    pub can_be_replayed: bool,
}

/// A complete dead letter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterDetail {
    /// Id of the letter.
    pub id: String,
    /// The letter: record, key, timestamp, position, fault, backtrace, component and attempt.
    #[schema(value_type = Object)]
    pub letter: serde_json::Value,
    /// The first record of the input with the same content, if the letter does not name its place.
    pub first_with_same_value: Option<RecordPlace>,
}

/// A place in an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordPlace {
    /// Path of the file.
    pub file: String,
    /// Line, from 1.
    pub line: Option<u64>,
    /// Byte, from 0.
    pub byte: u64,
}

/// A replay of dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayView {
    /// Number of the replay, which is unique within the job and the jobs that it started from.
    pub id: u64,
    /// Id of the operator.
    pub operator: String,
    /// When it was requested, in milliseconds since the Unix epoch.
    pub requested_at_ms: i64,
    /// Number of letters.
    pub letters: u64,
    /// The first checkpoint that contains the effects of all letters. Not set while the replay runs.
    pub completed_in: Option<u64>,
}

/// The replays that a request has started, one for each operator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReplaysStarted {
    /// The replays.
    pub replays: Vec<ReplayView>,
}

/// The number of letters that were discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiscardedLetters {
    /// Number of letters.
    pub discarded: u64,
}

/// The result of letters that were tried. Nothing of it has taken effect.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TrialView {
    /// SHA-256 of the component.
    pub component: Option<String>,
    /// The checkpoint whose state the function saw. Not set if the job has none.
    pub checkpoint: Option<u64>,
    /// Number of letters whose record was processed without a fault.
    pub succeeded: u64,
    /// Number of letters whose record failed again.
    pub failed: u64,
    /// The letters in order.
    pub letters: Vec<TriedLetter>,
}

/// One letter that was tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TriedLetter {
    /// Id of the letter.
    pub id: String,
    /// The fault code, if the record failed again.
    pub code: Option<String>,
    /// Why it failed.
    pub message: Option<String>,
    /// The records that the function emitted.
    pub outputs: Vec<TrialOutput>,
}

/// A record that a function emitted in a trial.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TrialOutput {
    /// Name of the output.
    pub output: String,
    /// The record: JSON for a row, otherwise text or `hex:` and digits.
    pub value: String,
}
