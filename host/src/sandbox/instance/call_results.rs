//! Checks what a call returned, and converts it to batches and columns.
//!
//! Everything here comes from a guest. A defect is the fault `invalid-output`; nothing here panics.

use super::call_failure::output_exceeded;
use crate::model::{Batch, Column, Fault, FaultCode, JoinedPairs, NO_TIMESTAMP, PairSide, Windows};
use crate::pipeline::GuestLimits;
use crate::sandbox::bindings::cofferdam::function::types;
use crate::sandbox::description::PortDescription;
use crate::turn::{OutputBatch, OutputId};

/// The items of a call, which its outputs name as their origins.
#[derive(Clone, Copy)]
pub(super) enum CallItems<'a> {
    /// The timestamps of records, or the times of timers.
    Times(&'a [i64]),
    Windows(&'a Windows),
    Pairs(&'a JoinedPairs),
}

impl CallItems<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            CallItems::Times(times) => times.len(),
            CallItems::Windows(windows) => windows.len(),
            CallItems::Pairs(pairs) => pairs.keys.key_of.len(),
        }
    }

    /// Returns the timestamps that outputs inherit from the items `origins`, which must exist.
    fn timestamps_of(&self, origins: &[u32]) -> Vec<i64> {
        let items = origins.iter().map(|origin| *origin as usize);
        match self {
            CallItems::Times(times) => items.map(|item| times[item]).collect(),
            CallItems::Windows(windows) => items.map(|item| windows.last_ms(item)).collect(),
            CallItems::Pairs(pairs) => {
                let [left, right] = [&pairs.left, &pairs.right];
                let time = |side: &PairSide, item: usize| side.timestamps[side.value_of[item] as usize];
                items.map(|item| time(left, item).max(time(right, item))).collect()
            }
        }
    }
}

/// Checks the outputs of a call of a function that declares the outputs `declared`, and converts them to batches.
pub(super) fn check_outputs(
    outputs: Vec<types::Output>,
    items: CallItems<'_>,
    declared: &[PortDescription],
    limits: &GuestLimits,
) -> Result<Vec<OutputBatch>, Fault> {
    let mut bytes = 0usize;
    let mut checked = Vec::with_capacity(outputs.len());
    for output in outputs {
        let index = output.index as usize;
        let batch = check_output(output, items, declared, &mut bytes);
        let batch = batch.map_err(|why| invalid_output(format!("output {index}: {why}")))?;
        checked.push(OutputBatch { output: OutputId::Declared(index), batch });
    }
    if bytes > limits.output_bytes {
        return Err(output_exceeded(limits));
    }
    Ok(checked)
}

/// Checks one output, and adds its size to `bytes`. The error says what is wrong with it.
fn check_output(
    output: types::Output,
    items: CallItems<'_>,
    declared: &[PortDescription],
    bytes: &mut usize,
) -> Result<Batch, String> {
    let types::Output { index, values, timestamps, origins, keys, attributes } = output;
    if index as usize >= declared.len() {
        return Err(format!("the function has {} outputs", declared.len()));
    }
    let values = packed(values)?;
    let records = values.len();
    let of_every_record = |what: &str, len: usize| match len == records {
        true => Ok(()),
        false => Err(format!("{records} values with {len} {what}")),
    };
    let column = |what: &str, column: Option<types::ColumnResult>| -> Result<Option<Column>, String> {
        let column = column.map(checked_column).transpose().map_err(|why| format!("its {what}: {why}"))?;
        column.iter().try_for_each(|column| of_every_record(what, column.len()))?;
        Ok(column)
    };
    let chosen_keys = column("keys", keys)?;
    let attributes = column("attributes", attributes)?;
    if !origins.is_empty() {
        of_every_record("origins", origins.len())?;
        let items = items.len();
        if let Some(origin) = origins.iter().find(|origin| **origin as usize >= items) {
            return Err(format!("its origin {origin} does not exist: the call has {items} items"));
        }
    }
    let timestamps = match timestamps {
        types::TimestampsResult::None => vec![NO_TIMESTAMP; records],
        types::TimestampsResult::Every(timestamps) => match timestamps.contains(&NO_TIMESTAMP) {
            true => return Err(RESERVED_TIMESTAMP.to_owned()),
            false => timestamps,
        },
        types::TimestampsResult::Some(timestamps) => match timestamps.contains(&Some(NO_TIMESTAMP)) {
            true => return Err(RESERVED_TIMESTAMP.to_owned()),
            false => timestamps.into_iter().map(|timestamp| timestamp.unwrap_or(NO_TIMESTAMP)).collect(),
        },
        types::TimestampsResult::Inherited => {
            of_every_record("origins, which inherited timestamps need", origins.len())?;
            items.timestamps_of(&origins)
        }
    };
    of_every_record("timestamps", timestamps.len())?;
    let columns = [Some(&values), chosen_keys.as_ref(), attributes.as_ref()];
    *bytes = columns.into_iter().flatten().map(size_bytes).fold(*bytes, usize::saturating_add);
    *bytes = bytes.saturating_add(timestamps.len() * 8);
    let schema = declared[index as usize].schema.clone();
    Ok(Batch { values, timestamps, chosen_keys, attributes, schema, keys: None })
}

const RESERVED_TIMESTAMP: &str = "a timestamp is the smallest 64-bit integer, which is reserved";

/// Checks values that a call returned. The fault says what is wrong with them.
pub(super) fn check_values(values: types::RecordValuesResult) -> Result<Column, Fault> {
    packed(values).map_err(invalid_output)
}

/// Checks a column that a call returned. The fault says what is wrong with it.
pub(super) fn check_column(column: types::ColumnResult) -> Result<Column, Fault> {
    checked_column(column).map_err(invalid_output)
}

/// Checks the number and the size of values that a call returned.
pub(super) fn check_count(column: Column, len: usize, limits: &GuestLimits) -> Result<Column, Fault> {
    if column.len() != len {
        return Err(invalid_output(format!("the call returned {} values instead of {len}", column.len())));
    }
    if size_bytes(&column) > limits.output_bytes {
        return Err(output_exceeded(limits));
    }
    Ok(column)
}

fn packed(values: types::RecordValuesResult) -> Result<Column, String> {
    match values {
        types::RecordValuesResult::Packed(column) => checked_column(column),
        types::RecordValuesResult::Fields(_) => {
            Err("its values have the layout `fields`, which the function does not declare".to_owned())
        }
    }
}

fn checked_column(column: types::ColumnResult) -> Result<Column, String> {
    Column::from_parts(column.bytes, column.offsets).map_err(|defect| defect.to_string())
}

fn size_bytes(column: &Column) -> usize {
    column.bytes().len() + column.offsets().len() * 4
}

fn invalid_output(message: String) -> Fault {
    Fault::new(FaultCode::InvalidOutput, message)
}
