//! A group of faults, as it is stored and as the API shows it.
//!
//! Field names are part of the API and of stored files. New fields are optional.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Result, request_invalid};

/// How far the work on a group of faults is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultStatus {
    /// Nothing yet.
    #[default]
    New,
    /// The faults are known and not mended yet.
    Acknowledged,
    /// It is expected not to come back. If it does, the group is new again.
    Resolved,
}

/// Faults of one function, of one version of its component, with the same code and the same place in the code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultGroup {
    /// Id of the group.
    pub id: String,
    /// Id of the operator.
    pub operator: String,
    /// Name of the function.
    pub function: String,
    /// SHA-256 of the component. Not set if the function is part of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The code of the faults, see `docs/errors.md`.
    pub code: String,
    /// The innermost function of the guest that is not part of the panic itself, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// Message of the newest sample.
    pub message: String,
    /// Number of failed records, timers and windows. Those that are processed again after a restart count again.
    pub count: u64,
    /// When the first one failed, in milliseconds since the Unix epoch.
    pub first_seen_ms: i64,
    /// When the last one failed, in milliseconds since the Unix epoch.
    pub last_seen_ms: i64,
    /// How far the work on it is.
    #[serde(default)]
    pub status: FaultStatus,
}

/// A group of faults with samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultGroupDetail {
    /// The group.
    #[serde(flatten)]
    pub group: FaultGroup,
    /// The first five and the newest five faults, oldest first. Of many faults at most one per second is kept.
    pub samples: Vec<FaultSample>,
}

/// One fault of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultSample {
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Why the function failed.
    pub message: String,
    /// The call stack of the guest, innermost call first.
    pub backtrace: Vec<String>,
    /// The policy that applied to the record: `fail`, `skip` or `dead-letter`.
    pub on_fault: String,
    /// How often the record has failed, from 1. More than 1 only for dead letters that were replayed.
    pub attempt: u32,
    /// Index of the subtask.
    pub subtask: u32,
    /// Number of records that the subtask received before this one.
    pub record: u64,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The key, if the record has one. Bytes that are not text begin with `hex:`.
    pub key: Option<String>,
    /// The record: JSON for a row, otherwise its text or `hex:` and its bytes. Cut after 4096 bytes. Empty for a timer.
    pub value: String,
}

impl FaultStatus {
    /// All states.
    pub const ALL: [FaultStatus; 3] = [FaultStatus::New, FaultStatus::Acknowledged, FaultStatus::Resolved];

    /// Returns the status as in the HTTP API.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultStatus::New => "new",
            FaultStatus::Acknowledged => "acknowledged",
            FaultStatus::Resolved => "resolved",
        }
    }
}

impl fmt::Display for FaultStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FaultStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<FaultStatus> {
        let known = FaultStatus::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| {
            let known = FaultStatus::ALL.map(FaultStatus::as_str).join(", ");
            request_invalid(format!("`{text}` is not a status of faults; they are {known}"))
        })
    }
}

impl FaultGroup {
    /// Removes what the function says about its records.
    pub fn hide_records(&mut self) {
        self.message.clear();
    }
}

impl FaultGroupDetail {
    /// Removes the records, and what the function says about them.
    pub fn hide_records(&mut self) {
        self.group.hide_records();
        for sample in &mut self.samples {
            sample.message.clear();
            sample.backtrace.clear();
            sample.key = None;
            sample.value.clear();
        }
    }

    /// Changes all texts that come from the function or its records.
    pub fn map_texts(&mut self, change: &dyn Fn(&str) -> String) {
        self.group.message = change(&self.group.message);
        for sample in &mut self.samples {
            let texts = [&mut sample.message, &mut sample.value];
            for text in texts.into_iter().chain(&mut sample.key).chain(&mut sample.backtrace) {
                *text = change(text);
            }
        }
    }
}
