//! The API's view of what the operators of a job did in the last minutes or hours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the operators of a job did over time. The lists have one value for each step. A value is `null` if nothing was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobSeries {
    /// Milliseconds of a step.
    pub step_ms: u64,
    /// When the first step begins, in milliseconds since the Unix epoch.
    pub from: i64,
    /// The series of each operator, by its id.
    pub operators: BTreeMap<String, OperatorSeries>,
}

/// What one operator did over time. A value is the mean of its step, and is rounded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperatorSeries {
    /// Records received per second.
    pub records_in_per_s: Vec<Option<f32>>,
    /// Records emitted per second.
    pub records_out_per_s: Vec<Option<f32>>,
    /// Share of the time in which the subtasks worked, from 0 to 1.
    pub busy: Vec<Option<f32>>,
    /// Share of the time in which they waited until their output was taken.
    pub backpressured: Vec<Option<f32>>,
    /// Share of the time in which they had nothing to process.
    pub idle: Vec<Option<f32>>,
    /// How far the smallest watermark of the subtasks that are not idle is behind the clock, in milliseconds.
    pub watermark_lag_ms: Vec<Option<f32>>,
    /// How full the channels to the operator are, from 0 to 1, in the subtask with the fullest ones.
    pub channel_fill: Vec<Option<f32>>,
    /// Bytes of the state.
    pub state_bytes: Vec<Option<f32>>,
}
