//! Decodes the records of a source: rows, timestamps, and what happens to records that cannot be decoded.
//!
//! Invariant: a record is on all outputs or on none. If a record fails the source, no later record is on an output.

use std::sync::Arc;

use super::timestamp_warnings::TimestampWarnings;
use crate::connector::{HeaderRun, RecordLocation, SkipLog};
use crate::error::{
    Error, Result, manifest_key, record_invalid, record_undecodable, schema_registry_failed, source_failed,
};
use crate::format::{DecodeDefect, EventTime, RecordDecoder, SourceDecoding};
use crate::model::{Batch, Column, Interrupt, NO_TIMESTAMP};
use crate::pipeline::UndecodablePolicy;
use crate::turn::{OutputBatch, OutputId};

/// Decodes the records of one source subtask.
pub(crate) struct SourceDecoder {
    /// Id of the source.
    node: String,
    decoding: Arc<SourceDecoding>,
    decoder: RecordDecoder,
    /// The header whose columns the decoder knows.
    header: Option<HeaderRun>,
    skip_log: SkipLog,
    warnings: TimestampWarnings,
}

/// The result of [`SourceDecoder::decode`].
#[derive(Default)]
pub(super) struct DecodedRecords {
    /// The rows of each schema, and the records as they are if they are wanted. All have the same number of records.
    pub(super) outputs: Vec<OutputBatch>,
    /// Number of records on each output.
    pub(super) records: usize,
    /// The largest timestamp, or [`NO_TIMESTAMP`].
    pub(super) max_timestamp: i64,
    /// Number of records without a timestamp, if records have one.
    pub(super) missing: u64,
    /// The records that were left out, by their indexes.
    pub(super) undecodable: Vec<UndecodedRecord>,
    /// The indexes of the decoded records, if some were left out.
    pub(super) kept: Option<Vec<usize>>,
    /// The record that fails the source, and why.
    pub(super) failed: Option<(usize, DecodeFailure)>,
}

impl DecodedRecords {
    /// Counts records with these timestamps.
    fn count(&mut self, timestamps: &[i64]) {
        self.records = timestamps.len();
        self.missing = timestamps.iter().filter(|timestamp| **timestamp == NO_TIMESTAMP).count() as u64;
        self.max_timestamp = timestamps.iter().copied().max().unwrap_or(NO_TIMESTAMP);
    }
}

/// A record that was left out.
pub(super) struct UndecodedRecord {
    pub(super) index: usize,
    pub(super) defect: DecodeDefect,
    /// The record, if dead letters are wanted.
    pub(super) value: Vec<u8>,
}

/// Why a record fails its source.
pub(super) enum DecodeFailure {
    Record(DecodeDefect),
    /// The input of the record lacks a column.
    Header(Error),
}

impl SourceDecoder {
    /// Compiles the decoder. `has_header` tells that inputs begin with the names of their columns. Error: `manifest-key` if records
    /// cannot have a needed field.
    pub(crate) fn new(node: &str, decoding: Arc<SourceDecoding>, has_header: bool) -> Result<SourceDecoder> {
        let decoder = RecordDecoder::compile(&decoding, has_header)
            .map_err(|why| manifest_key(format!("source `{node}`: {why}")))?;
        Ok(SourceDecoder {
            node: node.to_owned(),
            decoding,
            decoder,
            header: None,
            skip_log: SkipLog::default(),
            warnings: TimestampWarnings::new(node),
        })
    }

    /// Lets `interrupt` end the wait for a schema registry.
    pub(crate) fn interrupted_by(mut self, interrupt: &Interrupt) -> SourceDecoder {
        self.decoder.interrupted_by(interrupt);
        self
    }

    /// Returns the index of the output of dead letters.
    pub(super) fn dead_letter_output(&self) -> Option<usize> {
        self.decoding.dead_letter_output()
    }

    /// Returns whether records carry their original bytes.
    pub(super) fn keeps_raw(&self) -> bool {
        self.decoding.keep_raw
    }

    /// Returns the id of the source.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Decodes a batch of records. `headers` are those of the poll that returned it.
    pub(super) fn decode(&mut self, batch: Batch, headers: &[HeaderRun]) -> DecodedRecords {
        let mut decoded = DecodedRecords { max_timestamp: NO_TIMESTAMP, ..DecodedRecords::default() };
        if self.decoding.rows.is_empty() && !self.decoder.has_timestamps() {
            self.pass_on(&mut decoded, batch);
            return decoded;
        }
        let records = batch.len();
        let bytes = batch.values.bytes().len();
        let mut rows: Vec<Column> =
            self.decoding.rows.iter().map(|_| Column::with_capacity(records, bytes / 4)).collect();
        let mut timestamps = Vec::with_capacity(records);
        let mut headers = headers.iter().peekable();
        for (index, value) in batch.values.iter().enumerate() {
            if let Some(header) = headers.next_if(|header| header.first <= index)
                && let Err(error) = self.set_header(header)
            {
                decoded.failed = Some((index, DecodeFailure::Header(error)));
                break;
            }
            match self.decoder.decode(value, &mut rows) {
                Ok(EventTime::At(ms)) => timestamps.push(ms),
                Ok(EventTime::Missing) if self.decoding.record_timestamps => timestamps.push(batch.timestamps[index]),
                Ok(EventTime::Missing) => timestamps.push(NO_TIMESTAMP),
                Err(defect) if self.decoding.on_undecodable == UndecodablePolicy::Fail || defect.fails_source() => {
                    decoded.failed = Some((index, DecodeFailure::Record(defect)));
                    break;
                }
                Err(defect) => {
                    let value = if self.dead_letter_output().is_some() { value.to_vec() } else { Vec::new() };
                    decoded.undecodable.push(UndecodedRecord { index, defect, value });
                }
            }
        }
        decoded.count(&timestamps);
        self.keep_decoded(&mut decoded, batch, timestamps, rows);
        decoded
    }

    /// Passes all records on as they are, if they are wanted.
    fn pass_on(&self, decoded: &mut DecodedRecords, mut batch: Batch) {
        if self.decoding.record_timestamps {
            decoded.count(&batch.timestamps);
        } else {
            decoded.records = batch.len();
            batch.timestamps.fill(NO_TIMESTAMP);
        }
        self.add_raw_output(decoded, batch);
    }

    /// Fills the outputs with the records that were decoded.
    fn keep_decoded(&mut self, decoded: &mut DecodedRecords, batch: Batch, timestamps: Vec<i64>, rows: Vec<Column>) {
        let mut batch = match (&decoded.failed, decoded.undecodable.is_empty()) {
            (None, true) => batch,
            (Some((end, _)), true) => batch.slice(0..*end),
            (failed, false) => {
                let end = failed.as_ref().map_or(batch.len(), |(end, _)| *end);
                let mut left_out = decoded.undecodable.iter().map(|record| record.index).peekable();
                let kept: Vec<usize> = (0..end).filter(|index| left_out.next_if_eq(index).is_none()).collect();
                let batch = batch.select(&kept);
                decoded.kept = Some(kept);
                batch
            }
        };
        batch.timestamps = timestamps;
        if self.decoder.has_timestamps() {
            self.warnings.check(&batch, decoded.max_timestamp, decoded.missing, &mut self.decoder);
        } else if !self.decoding.record_timestamps {
            decoded.missing = 0;
        }
        for (index, (values, schema)) in rows.into_iter().zip(&self.decoding.rows).enumerate() {
            let rows = Batch {
                values,
                timestamps: batch.timestamps.clone(),
                chosen_keys: batch.chosen_keys.clone(),
                keys: None,
                attributes: batch.attributes.clone(),
                schema: Some(schema.clone()),
            };
            decoded.outputs.push(OutputBatch { output: OutputId::Declared(index), batch: rows });
        }
        self.add_raw_output(decoded, batch);
    }

    fn add_raw_output(&self, decoded: &mut DecodedRecords, batch: Batch) {
        if let Some(index) = self.decoding.raw_output() {
            decoded.outputs.push(OutputBatch { output: OutputId::Declared(index), batch });
        }
    }

    fn set_header(&mut self, header: &HeaderRun) -> Result<()> {
        let is_known = self.header.as_ref().is_some_and(|known| known.columns == header.columns);
        if !is_known {
            self.decoder.set_columns(&header.columns).map_err(|why| header_error(&self.node, header, &why))?;
            self.header = Some(header.clone());
        }
        Ok(())
    }

    /// Logs a record that is left out, unless many were logged before.
    pub(super) fn log_undecodable(&mut self, defect: &DecodeDefect) {
        let node = &self.node;
        self.skip_log.skip(node, || record_error(node, defect, ""));
    }

    /// Returns the error for the record at `place` that fails the source.
    pub(super) fn error(&self, defect: &DecodeDefect, place: &str) -> Error {
        record_error(&self.node, defect, place)
    }

    /// Returns the dead letter of a record.
    pub(super) fn dead_letter(&self, letter: &SourceDeadLetter<'_>) -> Vec<u8> {
        letter.encode(&self.node)
    }

    /// Notes that the source has ended.
    pub(super) fn end(&mut self) {
        if self.decoder.has_timestamps() {
            self.warnings.end(&self.decoder);
        }
    }

    /// Returns the warnings since the last call.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        self.warnings.take()
    }
}

fn header_error(node: &str, header: &HeaderRun, why: &str) -> Error {
    source_failed(format!("source `{node}`: the file `{}`: {why}", header.input))
        .hint("correct the header, or let the functions that read the source declare the field as optional")
}

fn record_error(node: &str, defect: &DecodeDefect, place: &str) -> Error {
    let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
    let message = format!("source `{node}`: {place}{defect}");
    match defect {
        DecodeDefect::Field(_) => record_invalid(message).hint(
            "correct the input, or set `on_undecodable = \"skip\"` or \"dead-letter\" for the source to go on without such records",
        ),
        DecodeDefect::Registry(_) => schema_registry_failed(message)
            .hint("check that the schema registry is up, that its address is right, and that the credentials may read"),
        DecodeDefect::Timestamp(_) => record_undecodable(message)
            .hint("correct `timestamp`, or set `on_undecodable = \"skip\"` for the source to skip such records"),
    }
}

/// A record that a source could not decode.
pub(super) struct SourceDeadLetter<'a> {
    /// The stable code.
    pub(super) code: &'a str,
    /// The path of the field at fault, or empty.
    pub(super) field: &'a str,
    pub(super) message: &'a str,
    /// Where the record is in its input, if that is known.
    pub(super) location: Option<&'a RecordLocation>,
    pub(super) value: &'a [u8],
}

impl SourceDeadLetter<'_> {
    /// Encodes the dead letter as JSON. The names are part of the product: consumers of a dead-letter output read them.
    fn encode(&self, source: &str) -> Vec<u8> {
        let mut json = serde_json::json!({ "source": source, "code": self.code, "message": self.message });
        if !self.field.is_empty() {
            json["field"] = self.field.into();
        }
        if let Some(RecordLocation { file, byte, line }) = self.location {
            json["position"] = serde_json::json!({ "input": file, "line": line, "byte": byte });
        }
        match std::str::from_utf8(self.value) {
            Ok(text) => json["value"] = text.into(),
            Err(_) => json["value_hex"] = hex::encode(self.value).into(),
        }
        json.to_string().into_bytes()
    }
}

/// Checks the first records of a source when a job is submitted. Returns a warning for the user, if any. Fails with
/// `record-undecodable` if records have a timestamp and none can be read.
pub(crate) fn check_first_records(
    node: &str,
    decoding: &SourceDecoding,
    has_header: bool,
    on_undecodable: UndecodablePolicy,
    (first, headers): (Batch, Vec<HeaderRun>),
) -> Result<Option<String>> {
    let decoding = SourceDecoding { on_undecodable: UndecodablePolicy::Skip, ..decoding.clone() };
    let mut decoder = SourceDecoder::new(node, Arc::new(decoding), has_header)?;
    if !decoder.decoder.has_timestamps() || first.is_empty() {
        return Ok(None);
    }
    let decoded = decoder.decode(first, &headers);
    if let Some((_, DecodeFailure::Header(error))) = decoded.failed {
        return Err(error);
    }
    let is_timestamp = |record: &UndecodedRecord| matches!(record.defect, DecodeDefect::Timestamp(_));
    let unreadable = decoded.undecodable.into_iter().find(is_timestamp);
    match (decoded.max_timestamp, unreadable) {
        (NO_TIMESTAMP, Some(record)) => match (record_error(node, &record.defect, ""), on_undecodable) {
            (error, UndecodablePolicy::Fail) => Err(error),
            (error, _) => Ok(Some(format!("{}; all of the first records are skipped", error.message))),
        },
        _ => {
            decoder.end();
            Ok(decoder.take_warnings().into_iter().next())
        }
    }
}
