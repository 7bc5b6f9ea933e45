//! Computes the keys of records, before the records are rewritten for their consumer.
//!
//! So the inputs of a union get equal keys, whatever their formats, and a consumer need not read the fields of its key.

use std::sync::Arc;

use crate::error::{Error, internal};
use crate::format::{DecodeDefect, RecordDecoder, SourceDecoding};
use crate::model::row::{RowKey, RowSchema};
use crate::model::{Batch, Column, Fault, FaultCode};

/// Where the key of a record on an edge comes from.
#[derive(Clone, Debug)]
pub(crate) enum KeyOrigin {
    /// The record itself, which is not a row.
    Value,
    /// The key that the upstream function emitted with the record.
    Emitted,
    /// Fields of the record.
    Fields(Arc<FieldKey>),
}

/// The key of records by their fields.
#[derive(Debug)]
pub(crate) struct FieldKey {
    /// The paths of the fields, for messages.
    pub(crate) paths: Vec<String>,
    /// The keys of the rows of each schema that the producer may send.
    pub(crate) rows: Vec<(Arc<RowSchema>, RowKey)>,
    /// Reads the key of records that are not rows.
    pub(crate) text: Option<TextKey>,
}

/// Reads the key of a record that is no row: decodes a row of the key's fields.
#[derive(Debug)]
pub(crate) struct TextKey {
    pub(crate) decoding: SourceDecoding,
    pub(crate) key: RowKey,
}

/// Computes the keys of the records of one batch.
pub(crate) enum BatchKeys<'a> {
    Value,
    Emitted(Option<&'a Column>),
    Rows(&'a FieldKey, &'a RowKey),
    Text(&'a FieldKey, &'a TextKey),
}

/// The buffers in which keys are built.
#[derive(Default)]
pub(crate) struct KeyBuffers {
    key: Vec<u8>,
    /// Decodes the fields of keys in text. Compiled for the first record.
    decoder: Option<RecordDecoder>,
    /// The fields of a key.
    row: [Column; 1],
}

impl KeyOrigin {
    /// Returns how the keys of a batch are computed. Error: `internal`, because the plan knows all schemas of a producer.
    pub(crate) fn of_batch<'a>(&'a self, batch: &'a Batch) -> Result<BatchKeys<'a>, Error> {
        let fields = match self {
            KeyOrigin::Value => return Ok(BatchKeys::Value),
            KeyOrigin::Emitted => return Ok(BatchKeys::Emitted(batch.chosen_keys.as_ref())),
            KeyOrigin::Fields(fields) => fields,
        };
        let found = match &batch.schema {
            Some(schema) => {
                let found = fields.rows.iter().find(|(known, _)| known == schema);
                found.map(|(_, key)| BatchKeys::Rows(fields, key))
            }
            None => fields.text.as_ref().map(|text| BatchKeys::Text(fields, text)),
        };
        found.ok_or_else(|| internal("the plan has no key for the records of an output"))
    }
}

impl BatchKeys<'_> {
    /// Returns the key of record `index`, which is `record`, or the fault of a record without a key.
    #[inline]
    pub(crate) fn key<'k>(
        &'k self,
        index: usize,
        record: &'k [u8],
        buffers: &'k mut KeyBuffers,
    ) -> Result<&'k [u8], Fault> {
        let KeyBuffers { key, decoder, row } = buffers;
        let (fields, written) = match self {
            BatchKeys::Value => return Ok(record),
            BatchKeys::Emitted(Some(keys)) => return Ok(keys.value(index)),
            BatchKeys::Emitted(None) => return Err(not_emitted()),
            BatchKeys::Rows(fields, row_key) => {
                key.clear();
                (fields, row_key.write(record, key).map_err(|defect| fields.missing(Some(&defect)))?)
            }
            BatchKeys::Text(fields, text) => {
                key.clear();
                row[0].clear();
                text.decode(record, decoder, row).map_err(|why| fields.missing(Some(&why)))?;
                (fields, text.key.write(row[0].value(0), key).map_err(|defect| fields.missing(Some(&defect)))?)
            }
        };
        if written { Ok(key) } else { Err(fields.missing(None)) }
    }
}

impl FieldKey {
    /// Returns the fault of a record without this key.
    #[cold]
    fn missing(&self, reason: Option<&dyn std::fmt::Display>) -> Fault {
        let fields: Vec<String> = self.paths.iter().map(|path| format!("`{path}`")).collect();
        let place = fields.join(", ");
        let message = match reason {
            Some(reason) => format!("the record has no key in {place}: {reason}"),
            None => format!("the record has no key: {place} is null or missing"),
        };
        Fault::new(FaultCode::KeyMissing, message)
    }
}

impl TextKey {
    /// Appends the row of the key's fields.
    fn decode(&self, record: &[u8], decoder: &mut Option<RecordDecoder>, row: &mut [Column]) -> Result<(), String> {
        let decoder = match decoder {
            Some(decoder) => decoder,
            None => decoder.insert(RecordDecoder::compile(&self.decoding, false)?),
        };
        match decoder.decode(record, row) {
            Ok(_) => Ok(()),
            Err(DecodeDefect::Field(defect) | DecodeDefect::Timestamp(defect) | DecodeDefect::Registry(defect)) => {
                Err(defect.to_string())
            }
        }
    }
}

#[cold]
fn not_emitted() -> Fault {
    Fault::new(FaultCode::KeyMissing, "the function upstream emitted no key with the record")
}
