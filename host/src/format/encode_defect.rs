//! Why a record cannot be written in the format of a sink.

use crate::model::row::RowDefect;

/// Why a record cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeDefect {
    /// The bytes are not a row of their schema.
    #[error("a record is not a row: {0}")]
    Row(#[from] RowDefect),
    /// A record that is written as it is contains a line end.
    #[error("a record contains a line end, so it would become two lines: `{0}`")]
    LineEnd(String),
    /// CSV needs rows.
    #[error("a record has no fields, so it cannot be written as CSV")]
    NoFields,
    /// Avro needs rows.
    #[error("a record has no fields, so it cannot be written as Avro")]
    NoFieldsForAvro,
    /// The row has no form in the schema of Avro.
    #[error("a record cannot be written as Avro: {0}")]
    Avro(String),
    /// The schema registry does not give the id of the schema.
    #[error("{0}")]
    Registry(String),
    /// The rows of one file have different columns.
    #[error("the columns changed from {from} to {to}, and a file has one header")]
    OtherColumns {
        /// The columns of the header.
        from: String,
        /// The columns of the record.
        to: String,
    },
}
