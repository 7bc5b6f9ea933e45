//! Completes the functions of window operators: adds hidden states, and creates native aggregates.

use std::sync::Arc;

use super::functions::{FunctionPlan, FunctionPlans};
use super::records::needs::key_types;
use super::records::row_operators::json_fields;
use super::records::source_outputs::unnamed_column;
use crate::error::{self, Result};
use crate::format::column_names;
use crate::model::row::{FieldLocator, RowValue, read_json, string_of};
use crate::operator::{
    AggregateKey, FieldExtractor, NativeAggregate, WINDOWS_PER_RECORD_MAX, WindowFunction, too_many_windows,
    window_states,
};
use crate::pipeline::{Aggregate, NodeKind, NumericAggregate, PipelineNode, WindowAssigner, WindowSettings};
use crate::runtime::records::record_format::RecordFormat;
use crate::sandbox::{FunctionDescription, FunctionKind, PortDescription};

/// Returns which kind of window function this is, or `None` if functions of this kind see no windows.
pub(crate) fn window_function(kind: FunctionKind) -> Option<WindowFunction> {
    match kind {
        FunctionKind::Aggregate => Some(WindowFunction::Aggregate),
        FunctionKind::ProcessWindow => Some(WindowFunction::ProcessWindow),
        FunctionKind::CoGroup => Some(WindowFunction::CoGroup),
        _ => None,
    }
}

/// The records that a native aggregate reads.
pub(super) struct AggregatedRecords<'a> {
    pub(super) format: &'a RecordFormat,
    /// The path of the aggregated field. `None` for a count, and for a whole record.
    pub(super) path: Option<String>,
    /// The paths of the fields of the key. Empty if it has none.
    pub(super) key_paths: &'a [String],
    /// The type of the keys, if it is known.
    pub(super) key_type: Option<&'a str>,
}

/// Adds the hidden states to the function of a window operator. Creates the function of a native aggregate first, which reads records
/// and keys as `aggregated` says.
///
/// Fails with `manifest-invalid` if a record would belong to too many windows.
pub(super) fn complete_window_function(
    functions: &mut FunctionPlans,
    node: &PipelineNode,
    aggregated: &AggregatedRecords<'_>,
) -> Result<()> {
    let NodeKind::Operator(operator) = &node.kind else { return Ok(()) };
    let Some(windows) = &operator.windows else { return Ok(()) };
    if let Some(aggregate) = &windows.aggregate {
        let function = native_function(node, windows, aggregate, aggregated)?;
        functions.insert(node.id.clone(), function);
    }
    let Some(function) = functions.get_mut(&node.id) else { return Ok(()) };
    let is_aggregate = function.description.kind == FunctionKind::Aggregate;
    function.description.internal = window_states(windows, is_aggregate, &function.description.input_rows());
    check_windows_per_record(node, windows, &function.description)
}

fn check_windows_per_record(
    node: &PipelineNode,
    windows: &WindowSettings,
    function: &FunctionDescription,
) -> Result<()> {
    let Some(kind) = window_function(function.kind) else { return Ok(()) };
    let Some(count) = too_many_windows(windows, kind, !function.states.is_empty()) else { return Ok(()) };
    let message = format!(
        "operator `{}`: each record would be added to {count} windows, and the limit is {WINDOWS_PER_RECORD_MAX}",
        node.id
    );
    let hint = "choose a longer `slide`, or an aggregate with the default trigger, whose windows share panes";
    Err(error::manifest_invalid(message).hint(hint).about(&node.id, "window"))
}

fn native_function(
    node: &PipelineNode,
    windows: &WindowSettings,
    aggregate: &Aggregate,
    aggregated: &AggregatedRecords<'_>,
) -> Result<FunctionPlan> {
    let format = aggregated.format;
    let refuse = |why: String| {
        error::manifest_key(format!("operator `{}`: `aggregate`: {why}", node.id)).about(&node.id, "aggregate")
    };
    let key = aggregate_key(aggregated);
    let has_bounds = windows.assigner != WindowAssigner::Global;
    let path = aggregated.path.as_deref();
    let native = match format {
        RecordFormat::Row(schema) => {
            NativeAggregate::of_rows(aggregate, schema, path.unwrap_or_default(), key, has_bounds).map_err(refuse)?
        }
        RecordFormat::Json | RecordFormat::Raw => {
            let extract = text_field(path, *format == RecordFormat::Json).map_err(refuse)?;
            NativeAggregate::of_text(aggregate, extract, key, has_bounds)
        }
    };
    let result = native.result_schema().map_err(|why| {
        let hint = "the result has the fields of the key, the bounds of the window and the aggregate; rename the key with `select`";
        refuse(why.to_string()).hint(hint)
    })?;
    let input = PortDescription {
        schema: format.schema().cloned(),
        ..PortDescription::new("in", if format.schema().is_some() { "row" } else { "raw" })
    };
    let output = PortDescription { schema: Some(Arc::new(result)), ..PortDescription::new("out", "row") };
    let description = FunctionDescription {
        name: aggregate_name(aggregate).into(),
        kind: FunctionKind::Aggregate,
        input,
        second_input: None,
        outputs: vec![output],
        states: Vec::new(),
        broadcast_states: Vec::new(),
        timers: Vec::new(),
        internal: Vec::new(),
    };
    let make = Arc::new(move |_: &_| native.guest());
    Ok(FunctionPlan { description, make })
}

fn aggregate_name(aggregate: &Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Count => "count",
        Aggregate::Numeric { function, .. } => match function {
            NumericAggregate::Sum => "sum",
            NumericAggregate::Min => "min",
            NumericAggregate::Max => "max",
            NumericAggregate::Average => "average",
            NumericAggregate::Top(_) => "top",
        },
    }
}

/// Returns the fields of a result that hold the key: those that the operator's `key` names, or `key` if their type is not known.
fn aggregate_key(aggregated: &AggregatedRecords<'_>) -> AggregateKey {
    let types = key_types(aggregated.key_type.unwrap_or_default());
    let paths = aggregated.key_paths;
    let last_part = |path: &String| path.rsplit('.').next().unwrap_or(path).to_owned();
    match !paths.is_empty() && paths.len() == types.len() {
        true => AggregateKey::Fields(paths.iter().map(last_part).zip(types).collect()),
        false => AggregateKey::Untyped,
    }
}

/// Returns how the number at a path is found in records that are no rows: JSON, or CSV whose columns have no names.
fn text_field(path: Option<&str>, is_json: bool) -> Result<FieldExtractor, String> {
    let Some(path) = path else { return Ok(Arc::new(|record, _| Some(record))) };
    if let Some(index) = unnamed_column(path).filter(|_| !is_json) {
        return Ok(Arc::new(move |record, scratch| {
            scratch.extend_from_slice(column_names(record).get(index)?.as_bytes());
            Some(&scratch[..])
        }));
    }
    if !is_json {
        return Err("its records have no such field: set the source's `format`, and name its columns".to_owned());
    }
    let schema = json_fields(&[path])?;
    let locator = FieldLocator::compile(&schema, path).map_err(|why| why.to_string())?;
    Ok(Arc::new(move |record, scratch| {
        let mut row = Vec::new();
        read_json(&schema, record, &mut row).ok()?;
        let RowValue::Json(text) = locator.value(&row).ok()?? else { return None };
        match string_of(text.as_bytes()).filter(|_| text.starts_with('"')) {
            Some(unescaped) => scratch.extend_from_slice(unescaped.as_bytes()),
            None => scratch.extend_from_slice(text.as_bytes()),
        }
        Some(&scratch[..])
    }))
}
