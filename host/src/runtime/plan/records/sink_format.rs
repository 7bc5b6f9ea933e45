//! The rows that a sink writes: those with the columns that it names, in their order.

use std::sync::Arc;

use super::mismatch::schema_mismatch;
use crate::error::{Error, Result};
use crate::model::row::{Field, FieldType, RowSchema, did_you_mean};
use crate::pipeline::{PipelineNode, SinkFormat, SinkNode};
use crate::runtime::records::record_format::RecordFormat;

/// Returns the format into which the records of all inputs are rewritten, or `None` if each is written as it comes. `inputs` are the
/// producers with their formats.
pub(super) fn sink_format(
    node: &PipelineNode,
    sink: &SinkNode,
    inputs: &[(&str, RecordFormat)],
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
            Ok(row(columns.iter().map(|name| Field::new(name.clone(), FieldType::Json, true)).collect()))
        }
        (None, Some((_, schema))) if encoding.format == Some(SinkFormat::Csv) => {
            Ok(Some(RecordFormat::Row(schema.clone())))
        }
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
