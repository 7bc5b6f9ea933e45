//! Plans `filter` and `select`: a native function that is compiled for the format of its records.

use std::sync::Arc;

use super::input_need::{NeededField, add_path};
use crate::error::{self, Error, Result};
use crate::model::row::{Field, FieldType, RowSchema};
use crate::operator::{FilteredFormat, RowGuest, RowPredicate, RowProgram, RowSelection};
use crate::pipeline::{PipelineNode, RowOperator};
use crate::runtime::plan::functions::FunctionPlan;
use crate::runtime::records::record_format::RecordFormat;
use crate::sandbox::{FunctionDescription, FunctionKind, PortDescription};
use crate::turn::Guest;

/// Returns the function of an operator that filters and selects records of this format. `is_whole` says whether these have all fields
/// of the stream. Error: `manifest-invalid` if a field does not exist or cannot be compared so.
pub(super) fn row_operator(
    node: &PipelineNode,
    rows: &RowOperator,
    format: &RecordFormat,
    is_whole: bool,
) -> Result<FunctionPlan> {
    let refuse = |key: &'static str| {
        move |why: String| {
            error::manifest_invalid(format!("operator `{}`: `{key}`: {why}", node.id)).about(&node.id, key)
        }
    };
    if *format == RecordFormat::Raw {
        let key = if rows.filter.is_some() { "filter" } else { "select" };
        return Err(without_fields(refuse(key)("its records are plain bytes without fields".to_owned())));
    }
    let filter = rows.filter.as_ref().map(|expression| match format.schema() {
        Some(schema) => {
            let predicate = RowPredicate::compile(expression, schema).map_err(refuse("filter"));
            predicate.map(|predicate| (predicate, FilteredFormat::Rows)).map_err(untyped_hint)
        }
        None => {
            let schema = json_fields(&expression.paths()).map_err(refuse("filter"))?;
            let predicate = RowPredicate::compile(expression, &schema).map_err(refuse("filter"))?;
            Ok((predicate, FilteredFormat::Json(schema)))
        }
    });
    let select = rows.select.as_ref().map(|select| match format.schema() {
        Some(schema) => RowSelection::compile(select, schema, is_whole).map_err(refuse("select")),
        None => Err(refuse("select")("the fields of these JSON records are not known".to_owned())
            .hint("list the fields with `keep`, or in `fields` of the source")),
    });
    let (filter, select) = (filter.transpose()?, select.transpose()?);
    let output = match &select {
        Some(select) => Some(select.output().clone()),
        None => format.schema().cloned(),
    };
    let description = description(if select.is_some() { "select" } else { "filter" }, format.schema().cloned(), output);
    let program = Arc::new(RowProgram { filter, select });
    let make = Arc::new(move |_: &_| Box::new(RowGuest::new(program.clone())) as Box<dyn Guest>);
    Ok(FunctionPlan { description, make })
}

/// Returns the schema of the fields at these paths in JSON records.
pub(in crate::runtime::plan) fn json_fields(paths: &[&str]) -> Result<RowSchema, String> {
    let mut needed = Vec::new();
    for path in paths {
        add_path(&mut needed, path, None, false);
    }
    let field =
        |needed: NeededField| Field::new(needed.names[0].clone(), needed.value.unwrap_or(FieldType::Json), true);
    RowSchema::new(needed.into_iter().map(field).collect()).map_err(|defect| defect.to_string())
}

fn description(name: &str, input: Option<Arc<RowSchema>>, output: Option<Arc<RowSchema>>) -> FunctionDescription {
    let port = |name: &str, schema: Option<Arc<RowSchema>>| {
        let codec = if schema.is_some() { "row" } else { "json" };
        PortDescription { schema, ..PortDescription::new(name, codec) }
    };
    FunctionDescription {
        name: name.into(),
        kind: FunctionKind::Process,
        input: port("in", input),
        second_input: None,
        outputs: vec![port("out", output)],
        states: Vec::new(),
        broadcast_states: Vec::new(),
        timers: Vec::new(),
        internal: Vec::new(),
    }
}

fn without_fields(error: Error) -> Error {
    error.hint("set the source's `format` to \"csv\" or \"ndjson\", and name its columns")
}

fn untyped_hint(error: Error) -> Error {
    match error.message.contains("which is a string") {
        true => error.hint(
            "compare it with a text in single quotes, or give it a type in the source: fields = { name = \"i32?\" }",
        ),
        false => error,
    }
}
