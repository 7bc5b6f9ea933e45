//! What a source makes of each record.

use std::sync::Arc;

use super::avro::AvroReading;
use crate::model::row::RowSchema;
use crate::pipeline::{DecodingSettings, FileFormat, TimestampSelector, UndecodablePolicy};

/// What a source makes of each record that it reads. The plan of a job decides it.
///
/// The outputs of a source are, in this order: the rows of each schema, the records as they are, and the dead letters. All but
/// the dead letters have the same number of records.
#[derive(Clone, Debug)]
pub struct SourceDecoding {
    /// The format of the records.
    pub format: FileFormat,
    /// How their fields are read.
    pub settings: DecodingSettings,
    /// The schemas of records of Avro.
    pub avro: Option<AvroReading>,
    /// The schemas of the rows to decode. There are several if consumers declare one field with different types.
    pub rows: Vec<Arc<RowSchema>>,
    /// Whether a consumer takes the records as they are.
    pub wants_raw: bool,
    /// The event timestamp of a record, if records have one.
    pub timestamp: Option<TimestampSelector>,
    /// Whether the event timestamp is the one that the connector has for each record, such as that of a message.
    pub record_timestamps: bool,
    /// Whether records carry the keys that the connector has for them.
    pub record_keys: bool,
    /// What happens to a record of which a field or the timestamp cannot be read.
    pub on_undecodable: UndecodablePolicy,
    /// Whether records carry their original bytes and their position as attributes.
    pub keep_raw: bool,
}

impl SourceDecoding {
    /// Returns the decoding of a source whose consumers all take the records as they are.
    pub fn raw(format: FileFormat, settings: DecodingSettings, timestamp: Option<TimestampSelector>) -> SourceDecoding {
        let on_undecodable = UndecodablePolicy::default();
        SourceDecoding {
            format,
            settings,
            avro: None,
            rows: Vec::new(),
            wants_raw: true,
            timestamp,
            record_timestamps: false,
            record_keys: false,
            on_undecodable,
            keep_raw: false,
        }
    }

    /// Returns the index of the output of records as they are.
    pub fn raw_output(&self) -> Option<usize> {
        self.wants_raw.then_some(self.rows.len())
    }

    /// Returns the index of the output of dead letters.
    pub fn dead_letter_output(&self) -> Option<usize> {
        let index = self.rows.len() + usize::from(self.wants_raw);
        (self.on_undecodable == UndecodablePolicy::DeadLetter).then_some(index)
    }
}
