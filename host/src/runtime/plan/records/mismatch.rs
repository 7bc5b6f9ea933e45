//! The error `schema-mismatch`: an operator or a sink cannot read the records of its input.

use crate::error::{self, Error};
use crate::model::row::SchemaMismatch;
use crate::pipeline::{InputRole, PipelineNode};
use crate::runtime::records::record_converter::NoConversion;
use crate::runtime::records::record_format::RecordFormat;

/// The setting of an input of this role.
pub(super) fn input_key(node: &PipelineNode, role: InputRole) -> &'static str {
    match role {
        InputRole::First if node.inputs.iter().filter(|input| input.role == role).count() > 1 => "inputs",
        InputRole::First => "input",
        InputRole::Second => "second",
        InputRole::Broadcast => "broadcast",
    }
}

/// Returns the error for an input that cannot read the records of an output.
pub(super) fn mismatch(
    node: &PipelineNode,
    role: InputRole,
    producer: &str,
    (from, to): (&RecordFormat, &RecordFormat),
    why: NoConversion,
) -> Error {
    let error = match why {
        NoConversion::Schemas(SchemaMismatch { reason, .. }) => schema_mismatch(node, producer, &reason),
        NoConversion::Formats => {
            let message = format!("`{}` reads {}, but `{producer}` emits {}", node.id, kind(to), kind(from));
            error::schema_mismatch(message).hint(hint(from, to))
        }
    };
    with_formats(error, node, producer, (&from.to_string(), &to.to_string())).about(&node.id, input_key(node, role))
}

/// Returns the error with its reason. The reason is about the producer and the consumer.
pub(super) fn schema_mismatch(node: &PipelineNode, producer: &str, reason: &str) -> Error {
    error::schema_mismatch(format!("`{}` cannot read the records of `{producer}`: {reason}", node.id))
}

/// Adds the fields of both sides.
pub(super) fn with_formats(mut error: Error, node: &PipelineNode, producer: &str, (from, to): (&str, &str)) -> Error {
    error.details.push(format!("`{producer}` emits: {from}"));
    error.details.push(format!("`{}` reads: {to}", node.id));
    error
}

fn kind(format: &RecordFormat) -> &'static str {
    match format {
        RecordFormat::Raw => "plain bytes",
        RecordFormat::Json => "JSON",
        RecordFormat::Row(_) => "rows",
    }
}

fn hint(from: &RecordFormat, to: &RecordFormat) -> &'static str {
    match (from, to) {
        (RecordFormat::Raw, _) => {
            "set the source's `format` to \"csv\" or \"ndjson\" and the names of its columns, or let the function upstream emit records"
        }
        (_, RecordFormat::Raw) => {
            "let the function read a record type or JSON, or let the function upstream emit bytes"
        }
        _ => "rows and JSON become each other; other formats do not",
    }
}
