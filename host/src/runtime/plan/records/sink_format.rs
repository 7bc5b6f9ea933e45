//! The rows that a sink writes: those with the columns that it names, in their order.

use std::sync::Arc;

use super::mismatch::schema_mismatch;
use crate::error::{Error, Result};
use crate::format::avro::{AvroWriting, check_row};
use crate::model::row::{Field, FieldType, RowSchema, did_you_mean};
use crate::pipeline::{PipelineNode, SinkFormat, SinkNode};
use crate::runtime::records::record_format::RecordFormat;

/// Returns the format into which the records of all inputs are rewritten, or `None` if each is written as it comes. `inputs` are the
/// producers with their formats.
pub(super) fn sink_format(
    node: &PipelineNode,
    sink: &SinkNode,
    inputs: &[(&str, RecordFormat)],
    avro: Option<&AvroWriting>,
) -> Result<Option<RecordFormat>> {
    let format = row_format(node, sink, inputs, avro)?;
    if let (Some(avro), Some(RecordFormat::Row(schema))) = (avro, &format) {
        check_row(avro, schema).map_err(|why| {
            let producer = inputs.first().map_or("its input", |(producer, _)| producer);
            let reason = format!("they cannot be written as Avro: {why}");
            let hint = "name the fields to write: columns = [\"a\", \"b\"]; or correct the schema";
            schema_mismatch(node, producer, &reason).hint(hint).about(&node.id, "format")
        })?;
    }
    Ok(format)
}

fn row_format(
    node: &PipelineNode,
    sink: &SinkNode,
    inputs: &[(&str, RecordFormat)],
    avro: Option<&AvroWriting>,
) -> Result<Option<RecordFormat>> {
    let encoding = &sink.encoding;
    if matches!(encoding.format, None | Some(SinkFormat::Raw)) {
        return Ok(None);
    }
    let raw = inputs.iter().find(|(_, format)| *format == RecordFormat::Raw);
    if let Some((producer, _)) = raw {
        let reason = "it writes fields, and these records are plain bytes without fields";
        let hint = "set the source's `format`, or write the records as they are: format = \"raw\"";
        return Err(schema_mismatch(node, producer, reason).hint(hint).about(&node.id, "format"));
    }
    let rows = inputs.iter().find_map(|(producer, format)| Some((*producer, format.schema()?)));
    match (&encoding.columns, rows) {
        (Some(columns), Some((producer, schema))) => {
            let field = |name: &String| match schema.field(name) {
                Some((_, field)) => Ok(field.clone()),
                None => Err(missing(node, producer, name, schema)),
            };
            let fields = columns.iter().map(field).collect::<Result<Vec<_>>>()?;
            Ok(row(fields))
        }
        (Some(columns), None) => {
            let known =
                avro.and_then(|avro| avro.schema.as_ref()).map(|schema| schema.row_fields()).unwrap_or_default();
            let field = |name: &String| {
                let typed = known.iter().find(|field| field.name == *name).cloned();
                typed.unwrap_or_else(|| Field::new(name.clone(), FieldType::Json, true))
            };
            Ok(row(columns.iter().map(field).collect()))
        }
        (None, Some((_, schema))) if matches!(encoding.format, Some(SinkFormat::Csv | SinkFormat::Avro)) => {
            Ok(Some(RecordFormat::Row(schema.clone())))
        }
        (None, None) if encoding.format == Some(SinkFormat::Avro) => match avro.and_then(|avro| avro.schema.as_ref()) {
            Some(schema) => Ok(row(schema.row_fields())),
            None => {
                let producer = inputs.first().map_or("its input", |(producer, _)| producer);
                let reason = "the types of the fields are not known, because these records are JSON";
                let hint = "set the schema of the sink: schema = \"FILE.avsc\"";
                Err(schema_mismatch(node, producer, reason).hint(hint).about(&node.id, "format"))
            }
        },
        (None, None) if encoding.format == Some(SinkFormat::Csv) => {
            let producer = inputs.first().map_or("its input", |(producer, _)| producer);
            let reason = "the columns of CSV are not known, because these records are JSON";
            let hint = "name them: columns = [\"a\", \"b\"]";
            Err(schema_mismatch(node, producer, reason).hint(hint).about(&node.id, "format"))
        }
        (None, _) => Ok(None),
    }
}

/// The names of the fields differ, so the schema is valid.
fn row(fields: Vec<Field>) -> Option<RecordFormat> {
    RowSchema::new(fields).ok().map(|schema| RecordFormat::Row(Arc::new(schema)))
}

fn missing(node: &PipelineNode, producer: &str, name: &str, schema: &RowSchema) -> Error {
    let hint = did_you_mean(name, schema.fields().iter().map(|field| field.name.as_str()));
    let mut error = schema_mismatch(node, producer, &format!("it has no field `{name}`{hint}"));
    error.details.push(format!("`{producer}` emits: {schema}"));
    error.about(&node.id, "columns")
}
