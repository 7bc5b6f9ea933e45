//! A record that never reaches the function of an operator.

use std::sync::Arc;

use crate::model::Fault;
use crate::model::row::RowSchema;

/// A record that was rejected before it reached the function, for example because its key is missing.
#[derive(Clone, Debug)]
pub struct RejectedRecord {
    /// The record as it was received.
    pub value: Vec<u8>,
    /// The schema of the record if it is a row.
    pub schema: Option<Arc<RowSchema>>,
    /// Event time in milliseconds, or [`NO_TIMESTAMP`](crate::model::NO_TIMESTAMP).
    pub timestamp: i64,
    /// Why the record was rejected.
    pub fault: Fault,
}
