//! Rewrites the records of batches in the format of their consumer.
//!
//! A batch names its schema, so one converter handles all producers of an input, and records that a restored checkpoint holds in an
//! older schema. Conversions are compiled once per schema.

use std::sync::Arc;

use super::record_format::RecordFormat;
use crate::error::{Error, internal};
use crate::model::row::{CopyPlan, RowCopier, RowSchema, SchemaMismatch, read_json, write_json};
use crate::model::{Batch, Column, Fault, FaultCode};
use crate::operator::RejectedRecord;

/// How records of one format become records of another.
#[derive(Clone, Debug)]
pub(crate) enum RecordConversion {
    /// They stay as they are.
    Same,
    /// Fields are reordered, removed or added.
    Copy(CopyPlan),
    /// JSON is read as rows of this schema.
    FromJson(Arc<RowSchema>),
    /// Rows of this schema are written as JSON.
    ToJson(Arc<RowSchema>),
}

/// Why there is no conversion between two formats.
#[derive(Debug)]
pub(crate) enum NoConversion {
    /// Rows have too different fields.
    Schemas(SchemaMismatch),
    /// Only rows and JSON become each other.
    Formats,
}

impl RecordConversion {
    /// Returns the conversion between two formats.
    pub(crate) fn between(from: &RecordFormat, to: &RecordFormat) -> Result<RecordConversion, NoConversion> {
        match (from, to) {
            (RecordFormat::Row(from), RecordFormat::Row(to)) => match CopyPlan::compile(from, to) {
                Ok(None) => Ok(RecordConversion::Same),
                Ok(Some(plan)) => Ok(RecordConversion::Copy(plan)),
                Err(mismatch) => Err(NoConversion::Schemas(mismatch)),
            },
            (RecordFormat::Row(from), RecordFormat::Json) => Ok(RecordConversion::ToJson(from.clone())),
            (RecordFormat::Json, RecordFormat::Row(to)) => Ok(RecordConversion::FromJson(to.clone())),
            (RecordFormat::Raw, RecordFormat::Raw) | (RecordFormat::Json, RecordFormat::Json) => {
                Ok(RecordConversion::Same)
            }
            (RecordFormat::Raw, _) | (_, RecordFormat::Raw) => Err(NoConversion::Formats),
        }
    }

    /// Returns a writer, for the records of a batch.
    pub(crate) fn writer(&self) -> RecordWriter<'_> {
        match self {
            RecordConversion::Same => RecordWriter::Same,
            RecordConversion::Copy(plan) => RecordWriter::Copy(plan.copier()),
            RecordConversion::FromJson(schema) => RecordWriter::FromJson(schema),
            RecordConversion::ToJson(schema) => RecordWriter::ToJson(schema),
        }
    }
}

/// Converts records one after another.
pub(crate) enum RecordWriter<'a> {
    Same,
    Copy(RowCopier<'a>),
    FromJson(&'a RowSchema),
    ToJson(&'a RowSchema),
}

impl RecordWriter<'_> {
    /// Appends the converted record to the column, or nothing if it fails.
    #[inline]
    pub(crate) fn push(&mut self, record: &[u8], to: &mut Column) -> Result<(), Fault> {
        match self {
            RecordWriter::Same => {
                to.push(record);
                Ok(())
            }
            RecordWriter::Copy(copier) => to.try_push_with(|bytes| copier.copy(record, bytes)).map_err(invalid),
            RecordWriter::FromJson(schema) => {
                to.try_push_with(|bytes| read_json(schema, record, bytes)).map_err(invalid)
            }
            RecordWriter::ToJson(schema) => {
                to.try_push_with(|bytes| write_json(schema, record, bytes)).map_err(invalid)
            }
        }
    }
}

#[cold]
fn invalid(why: impl std::fmt::Display) -> Fault {
    Fault::new(FaultCode::RecordInvalid, why.to_string())
}

/// Rewrites records in the format of one input.
#[derive(Clone, Debug)]
pub(crate) struct RecordConverter {
    target: RecordFormat,
    /// The compiled conversions by the schema of a batch.
    compiled: Vec<(Option<Arc<RowSchema>>, RecordConversion)>,
}

impl RecordConverter {
    pub(crate) fn new(target: RecordFormat) -> RecordConverter {
        RecordConverter { target, compiled: Vec::new() }
    }

    /// Returns the schema of converted batches.
    pub(crate) fn target_schema(&self) -> Option<&Arc<RowSchema>> {
        self.target.schema()
    }

    /// Returns the conversion of batches with this schema. Error: `internal`, because the plan and the restore refuse what cannot be
    /// converted.
    pub(crate) fn conversion(&mut self, schema: Option<&Arc<RowSchema>>) -> Result<&RecordConversion, Error> {
        let index = match self.compiled.iter().position(|(known, _)| known.as_ref() == schema) {
            Some(index) => index,
            None => {
                let compiled = self.compile(schema)?;
                self.compiled.push((schema.cloned(), compiled));
                self.compiled.len() - 1
            }
        };
        Ok(&self.compiled[index].1)
    }

    #[cold]
    fn compile(&self, schema: Option<&Arc<RowSchema>>) -> Result<RecordConversion, Error> {
        let from = match (schema, &self.target) {
            (Some(schema), _) => RecordFormat::Row(schema.clone()),
            // Text between nodes is of the consumer's format, or JSON that is read as rows.
            (None, RecordFormat::Raw) => RecordFormat::Raw,
            (None, RecordFormat::Json | RecordFormat::Row(_)) => RecordFormat::Json,
        };
        RecordConversion::between(&from, &self.target).map_err(|why| match why {
            NoConversion::Schemas(mismatch) => internal(format!("records cannot be converted: {mismatch}")),
            NoConversion::Formats => internal(format!("records cannot be converted from {from} to {}", self.target)),
        })
    }

    /// Converts the records of a batch. Records that cannot be converted are left out and appended to `rejected`.
    pub(crate) fn convert(&mut self, mut batch: Batch, rejected: &mut Vec<RejectedRecord>) -> Result<Batch, Error> {
        let target = self.target.schema().cloned();
        let conversion = self.conversion(batch.schema.as_ref())?;
        if matches!(conversion, RecordConversion::Same) {
            batch.schema = target;
            return Ok(batch);
        }
        let mut writer = conversion.writer();
        let mut values = Column::with_capacity(batch.len(), batch.values.bytes().len());
        let mut kept = Vec::new();
        let first_rejected = rejected.len();
        for (index, value) in batch.values.iter().enumerate() {
            match writer.push(value, &mut values) {
                Ok(()) => kept.extend((rejected.len() > first_rejected).then_some(index)),
                Err(fault) => {
                    if rejected.len() == first_rejected {
                        kept.extend(0..index);
                    }
                    let (timestamp, schema) = (batch.timestamps[index], batch.schema.clone());
                    rejected.push(RejectedRecord { value: value.to_vec(), schema, timestamp, fault });
                }
            }
        }
        if rejected.len() > first_rejected {
            batch = batch.select(&kept);
        }
        Ok(Batch { values, schema: target, ..batch })
    }
}
