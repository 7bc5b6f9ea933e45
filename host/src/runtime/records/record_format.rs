//! The format of the records of an output or an input.

use std::fmt;
use std::sync::Arc;

use crate::model::row::RowSchema;

/// The format of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordFormat {
    /// Bytes as they are.
    Raw,
    /// JSON text.
    Json,
    /// Rows of a schema.
    Row(Arc<RowSchema>),
}

impl RecordFormat {
    /// Returns the schema of rows.
    pub(crate) fn schema(&self) -> Option<&Arc<RowSchema>> {
        match self {
            RecordFormat::Row(schema) => Some(schema),
            RecordFormat::Raw | RecordFormat::Json => None,
        }
    }
}

impl fmt::Display for RecordFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordFormat::Raw => f.write_str("plain bytes"),
            RecordFormat::Json => f.write_str("JSON"),
            RecordFormat::Row(schema) => schema.fmt(f),
        }
    }
}
