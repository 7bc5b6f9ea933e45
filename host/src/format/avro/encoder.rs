//! Encodes rows as records of Avro.

use std::sync::Arc;

use super::decoder::MAGIC;
use super::encode::{WriteDefect, write_row};
use super::encode_plan::{self, RecordWrite};
use super::row_fields::{name_from, schema_of_rows};
use super::schema::AvroSchema;
use super::schema_lookup::{SchemaIds, SchemaLookupError};
use crate::format::encode_defect::EncodeDefect;
use crate::model::row::RowSchema;

/// How a sink writes records of Avro.
#[derive(Clone, Debug)]
pub struct AvroWriting {
    /// The schema of the records. Without it they have that of the rows.
    pub schema: Option<Arc<AvroSchema>>,
    /// The name of the record in a schema that is made from rows. Other characters than letters, digits and `_` become `_`.
    pub name: String,
    /// Gives the id of the schema, which is written in front of each record. `None` if records have no id.
    pub ids: Option<Arc<dyn SchemaIds>>,
}

/// Encodes the records of one sink subtask.
pub(in crate::format) struct AvroEncoder {
    writing: AvroWriting,
    /// The schema of the last row, with how it is written.
    current: Option<RowWriting>,
}

struct RowWriting {
    row: Arc<RowSchema>,
    plan: RecordWrite,
    /// The id of the schema.
    id: Option<u32>,
}

/// Returns the schema of records that hold these rows. Error: a sentence about the field that does not fit.
pub fn check_row(writing: &AvroWriting, row: &RowSchema) -> Result<Arc<AvroSchema>, String> {
    let schema = match &writing.schema {
        Some(schema) => schema.clone(),
        None => Arc::new(AvroSchema::parse(&schema_of_rows(row, &name_from(&writing.name))?)?),
    };
    encode_plan::compile(&schema, row.fields()).map(|_| schema)
}

impl AvroEncoder {
    pub(in crate::format) fn new(writing: AvroWriting) -> AvroEncoder {
        AvroEncoder { writing, current: None }
    }

    /// Appends a row of this schema as a record.
    #[inline]
    pub(in crate::format) fn encode(
        &mut self,
        schema: &Arc<RowSchema>,
        row: &[u8],
        to: &mut Vec<u8>,
    ) -> Result<(), EncodeDefect> {
        let is_known = |known: &RowWriting| Arc::ptr_eq(&known.row, schema) || known.row == *schema;
        if !self.current.as_ref().is_some_and(is_known) {
            self.current = None;
        }
        let current = match &mut self.current {
            Some(current) => current,
            none => none.insert(RowWriting::new(&self.writing, schema)?),
        };
        if let Some(id) = current.id {
            to.push(MAGIC);
            to.extend_from_slice(&id.to_be_bytes());
        }
        write_row(&current.plan, row, to).map_err(|defect| match defect {
            WriteDefect::Row(defect) => EncodeDefect::Row(defect),
            WriteDefect::Value(why) => EncodeDefect::Avro(why.to_owned()),
            WriteDefect::Field(why) => EncodeDefect::Avro(why),
        })
    }
}

impl RowWriting {
    #[cold]
    fn new(writing: &AvroWriting, row: &Arc<RowSchema>) -> Result<RowWriting, EncodeDefect> {
        let schema = check_row(writing, row).map_err(EncodeDefect::Avro)?;
        let plan = encode_plan::compile(&schema, row.fields()).map_err(EncodeDefect::Avro)?;
        let id = writing.ids.as_ref().map(|ids| ids.id(schema.text())).transpose();
        let id = id.map_err(|error| match error {
            SchemaLookupError::Unknown(why) | SchemaLookupError::Failed(why) => EncodeDefect::Registry(why),
        })?;
        Ok(RowWriting { row: row.clone(), plan, id })
    }
}
