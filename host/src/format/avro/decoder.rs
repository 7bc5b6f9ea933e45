//! Decodes records of Avro as rows, and reads their timestamps.

use std::collections::HashMap;
use std::sync::Arc;

use super::bytes::AvroDefect;
use super::decode::{AvroFieldStarts, find_fields, write_fields};
use super::decode_plan::{AvroRecordPlan, PlanCompiler};
use super::row_fields::named;
use super::schema::{AvroField, AvroMeaning, AvroSchema, AvroShape, TypeId};
use super::schema_lookup::{AvroReading, SchemaLookupError};
use crate::format::timestamp_reader::{DecodeDefect, EventTime, TimestampReader};
use crate::model::row::{
    Field, FieldDefect, FieldLocator, FieldType, RowDefect, RowSchema, RowValue, cut, did_you_mean, time_text,
};
use crate::model::{Column, Interrupt, NO_TIMESTAMP};
use crate::pipeline::KeySelector;

/// Maximum number of schemas whose plans are kept. Records name schemas, so that they could name any number of them.
const PLANS_MAX: usize = 1000;
/// The first byte of a record with the id of its schema, and their length.
pub(super) const MAGIC: u8 = 0;
const HEADER_BYTES: usize = 5;
const DAY_MS: i64 = 86_400_000;

/// Decodes records of Avro.
pub(in crate::format) struct AvroDecoder {
    rows: Vec<Arc<RowSchema>>,
    reading: AvroReading,
    /// The path of the timestamp.
    timestamp: Option<String>,
    /// The plans by which records are decoded. The first is that of the schema of the pipeline.
    plans: Vec<WriterPlan>,
    /// The plan of each schema of the registry, or why it has none.
    by_id: HashMap<u32, Result<usize, String>>,
    /// The schema of the last record, and its plan.
    last: Option<(u32, usize)>,
    starts: AvroFieldStarts,
    /// The row of a timestamp.
    time_row: Vec<u8>,
    /// Ends the wait for a schema registry.
    interrupt: Interrupt,
}

/// The plans for records of one schema.
struct WriterPlan {
    schema: Arc<AvroSchema>,
    fields: Box<[TypeId]>,
    rows: Vec<AvroRecordPlan>,
    timestamp: Option<TimestampPlan>,
}

/// The timestamp as a row with one field.
struct TimestampPlan {
    record: AvroRecordPlan,
    locator: FieldLocator,
}

impl AvroDecoder {
    /// Error: a sentence about a field that the schema lacks, or that has another type.
    pub(in crate::format) fn compile(
        reading: &AvroReading,
        rows: &[Arc<RowSchema>],
        timestamp: Option<&TimestampReader>,
    ) -> Result<AvroDecoder, String> {
        let timestamp = match timestamp.map(|timestamp| &timestamp.at) {
            Some(KeySelector::Field(path)) => Some(path.clone()),
            Some(_) => return Err("Avro has fields, but no columns".to_owned()),
            None => None,
        };
        let mut decoder = AvroDecoder {
            rows: rows.to_vec(),
            reading: reading.clone(),
            timestamp,
            plans: Vec::new(),
            by_id: HashMap::new(),
            last: None,
            starts: AvroFieldStarts::new(),
            time_row: Vec::new(),
            interrupt: Interrupt::default(),
        };
        decoder.plans.push(decoder.plan(&reading.schema)?);
        Ok(decoder)
    }

    /// Lets `interrupt` end the wait for a schema registry.
    pub(in crate::format) fn interrupted_by(&mut self, interrupt: &Interrupt) {
        self.interrupt = interrupt.clone();
    }

    fn plan(&self, schema: &Arc<AvroSchema>) -> Result<WriterPlan, String> {
        let compiler = PlanCompiler { writer: schema, reader: &self.reading.schema };
        let timestamp = self.timestamp.as_ref().map(|path| TimestampPlan::compile(compiler, path)).transpose()?;
        Ok(WriterPlan {
            schema: schema.clone(),
            fields: schema.fields().iter().map(|field| field.value).collect(),
            rows: self.rows.iter().map(|row| compiler.row(row.fields())).collect::<Result<_, _>>()?,
            timestamp,
        })
    }

    /// Appends one row to each column of `rows`. If it fails, some of them may have got one.
    #[inline]
    pub(in crate::format) fn decode(
        &mut self,
        record: &[u8],
        timestamp: Option<&TimestampReader>,
        rows: &mut [Column],
    ) -> Result<EventTime, DecodeDefect> {
        let (plan, body) = self.plan_of(record)?;
        let plan = &self.plans[plan];
        find_fields(&plan.schema, &plan.fields, body, &mut self.starts)
            .map_err(|defect| undecodable(defect, record))?;
        for (row, column) in plan.rows.iter().zip(rows) {
            column
                .try_push_with(|to| write_fields(&plan.schema, row, body, &self.starts, to))
                .map_err(DecodeDefect::Field)?;
        }
        match (&plan.timestamp, timestamp) {
            (Some(plan_of_time), Some(reader)) => {
                plan_of_time.read(&plan.schema, body, &self.starts, &mut self.time_row, reader)
            }
            _ => Ok(EventTime::Missing),
        }
    }

    /// Returns the text of the timestamp, or nothing.
    pub(in crate::format) fn timestamp_text(&mut self, record: &[u8]) -> Vec<u8> {
        let Ok((plan, body)) = self.plan_of(record) else { return Vec::new() };
        let plan = &self.plans[plan];
        let Some(timestamp) = &plan.timestamp else { return Vec::new() };
        if find_fields(&plan.schema, &plan.fields, body, &mut self.starts).is_err() {
            return Vec::new();
        }
        match timestamp.value(&plan.schema, body, &self.starts, &mut self.time_row) {
            Ok(Some(RowValue::Text(text))) => text.as_bytes().to_vec(),
            Ok(Some(RowValue::Signed(number))) => number.to_string().into_bytes(),
            Ok(Some(RowValue::Timestamp(ms))) => {
                let mut text = Vec::new();
                time_text::write_timestamp(&mut text, ms, false);
                text
            }
            _ => Vec::new(),
        }
    }

    /// Returns the plan of a record, and the bytes of its fields.
    #[inline]
    fn plan_of<'r>(&mut self, record: &'r [u8]) -> Result<(usize, &'r [u8]), DecodeDefect> {
        if self.reading.writers.is_none() {
            return Ok((0, record));
        }
        let Some((&[MAGIC, a, b, c, d], body)) = record.split_first_chunk::<HEADER_BYTES>() else {
            return Err(no_header(record));
        };
        let id = u32::from_be_bytes([a, b, c, d]);
        match self.last {
            Some((last, plan)) if last == id => Ok((plan, body)),
            _ => self.plan_of_id(id).map(|plan| (plan, body)),
        }
    }

    #[cold]
    fn plan_of_id(&mut self, id: u32) -> Result<usize, DecodeDefect> {
        let known = match self.by_id.get(&id) {
            Some(known) => known.clone(),
            None => self.look_up(id)?,
        };
        let plan = known.map_err(|why| {
            DecodeDefect::Field(FieldDefect::of_record(format!("the record has the schema {id}: {why}")))
        })?;
        self.last = Some((id, plan));
        Ok(plan)
    }

    fn look_up(&mut self, id: u32) -> Result<Result<usize, String>, DecodeDefect> {
        let Some(writers) = self.reading.writers.clone() else { return Ok(Ok(0)) };
        let schema = match writers.schema(id, &self.interrupt) {
            Ok(schema) => schema,
            // The registry may learn of it, so that its client decides for how long it is unknown.
            Err(SchemaLookupError::Unknown(why)) => return Ok(Err(why)),
            Err(SchemaLookupError::Failed(why)) => {
                return Err(DecodeDefect::Registry(FieldDefect::of_record(why)));
            }
        };
        if self.by_id.len() >= PLANS_MAX {
            self.by_id.clear();
            self.plans.truncate(1);
        }
        let plan = self.plan(&schema).map(|plan| {
            self.plans.push(plan);
            self.plans.len() - 1
        });
        self.by_id.insert(id, plan.clone());
        Ok(plan)
    }
}

#[cold]
fn undecodable(defect: AvroDefect, record: &[u8]) -> DecodeDefect {
    let length = record.len();
    DecodeDefect::Field(FieldDefect::of_record(format!("a record of {length} bytes is not of its schema: {defect}")))
}

#[cold]
fn no_header(record: &[u8]) -> DecodeDefect {
    let message = format!(
        "a record does not begin with 0 and the id of its schema, as records of a schema registry do: `{}`",
        cut(record)
    );
    DecodeDefect::Field(FieldDefect::of_record(message))
}

impl TimestampPlan {
    fn compile(compiler: PlanCompiler<'_>, path: &str) -> Result<TimestampPlan, String> {
        let field = time_field(compiler.writer, compiler.writer.fields(), path)?;
        let row = RowSchema::new(vec![field]).map_err(|defect| defect.to_string())?;
        let locator = FieldLocator::compile(&row, path).map_err(|defect| defect.to_string())?;
        Ok(TimestampPlan { record: compiler.row(row.fields())?, locator })
    }

    #[inline]
    fn value<'r>(
        &self,
        schema: &AvroSchema,
        body: &[u8],
        starts: &[u32],
        row: &'r mut Vec<u8>,
    ) -> Result<Option<RowValue<'r>>, Box<FieldDefect>> {
        row.clear();
        write_fields(schema, &self.record, body, starts, row)?;
        self.locator.value(row).map_err(|defect: RowDefect| FieldDefect::of_record(defect.to_string()))
    }

    #[inline]
    fn read(
        &self,
        schema: &AvroSchema,
        body: &[u8],
        starts: &[u32],
        row: &mut Vec<u8>,
        reader: &TimestampReader,
    ) -> Result<EventTime, DecodeDefect> {
        let value = self.value(schema, body, starts, row).map_err(DecodeDefect::Timestamp)?;
        match value {
            Some(RowValue::Timestamp(ms)) if ms != NO_TIMESTAMP => Ok(EventTime::At(ms)),
            Some(RowValue::Date(days)) => Ok(EventTime::At(i64::from(days) * DAY_MS)),
            Some(RowValue::Text(text)) => reader.read(text.as_bytes()),
            Some(RowValue::Timestamp(number) | RowValue::Signed(number)) => match reader.parser.parse_number(number) {
                Some(ms) => Ok(EventTime::At(ms)),
                None => reader.read(number.to_string().as_bytes()),
            },
            _ => Ok(EventTime::Missing),
        }
    }
}

/// Returns the field at a path, with those around it, as it is read for a timestamp.
fn time_field(schema: &AvroSchema, fields: &[AvroField], path: &str) -> Result<Field, String> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some(index) = named(fields, name) else {
        let hint = did_you_mean(name, fields.iter().map(|field| field.name.as_str()));
        return Err(format!("there is no field `{name}`{hint}"));
    };
    let id = fields[index].value;
    let branches =
        schema.branches(id).iter().filter(|branch| !matches!(schema.type_of(**branch).shape, AvroShape::Null));
    let id = match branches.collect::<Vec<_>>()[..] {
        [] => id,
        [only] => *only,
        _ => return Err(format!("the field `{name}` is a union of several types, which is no timestamp")),
    };
    let of_type = schema.type_of(id);
    let value = match (&of_type.shape, of_type.meaning, rest) {
        (AvroShape::Record(fields), _, Some(rest)) => FieldType::Record(vec![time_field(schema, fields, rest)?]),
        (_, _, Some(_)) => return Err(format!("the field `{name}` has no fields")),
        (AvroShape::Long, AvroMeaning::Timestamp { .. }, None) => FieldType::Timestamp,
        (AvroShape::Int, AvroMeaning::Date, None) => FieldType::Date,
        (AvroShape::Int | AvroShape::Long, _, None) => FieldType::I64,
        (AvroShape::Text, _, None) => FieldType::String,
        _ => return Err(format!("the field `{name}` is `{}`, which is no timestamp", schema.type_name(id))),
    };
    Ok(Field::new(name, value, true))
}
