//! Converts batches, windows and pairs to the parameters of calls, without copying their bytes.

use crate::model::{Batch, Column, Keys, NO_TIMESTAMP, PairSide, WindowElements, Windows};
use crate::sandbox::bindings::cofferdam::function::types;
use crate::sandbox::bindings::exports::cofferdam::function::{join as wit_join, window as wit_window};

/// Timestamps as they cross the boundary. Only if some records have one and some have none, they are copied.
pub(in crate::sandbox) enum CallTimestamps<'a> {
    None,
    Every(&'a [i64]),
    Some(Vec<Option<i64>>),
}

impl<'a> CallTimestamps<'a> {
    pub(in crate::sandbox) fn new(timestamps: &'a [i64]) -> CallTimestamps<'a> {
        // Without an early end, so that the compiler compares several timestamps at once.
        let missing = timestamps.iter().filter(|timestamp| **timestamp == NO_TIMESTAMP).count();
        if missing == 0 {
            CallTimestamps::Every(timestamps)
        } else if missing == timestamps.len() {
            CallTimestamps::None
        } else {
            let optional = |timestamp: &i64| Some(*timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP);
            CallTimestamps::Some(timestamps.iter().map(optional).collect())
        }
    }

    pub(in crate::sandbox) fn param(&self) -> types::TimestampsParam<'_> {
        match self {
            CallTimestamps::None => types::TimestampsParam::None,
            CallTimestamps::Every(timestamps) => types::TimestampsParam::Every(timestamps),
            CallTimestamps::Some(timestamps) => types::TimestampsParam::Some(timestamps),
        }
    }
}

pub(in crate::sandbox) fn batch_param<'a>(
    batch: &'a Batch,
    keys: &'a Keys,
    timestamps: &'a CallTimestamps<'a>,
) -> types::Batch<'a> {
    types::Batch {
        values: values_param(&batch.values),
        timestamps: timestamps.param(),
        keys: column_param(&keys.distinct),
        key_of: &keys.key_of,
        attributes: batch.attributes.as_ref().map(column_param),
    }
}

pub(in crate::sandbox) fn windows_param(windows: &Windows) -> types::Windows<'_> {
    types::Windows {
        keys: column_param(&windows.keys.distinct),
        key_of: &windows.keys.key_of,
        bounds: (!windows.are_global()).then_some(types::WindowBounds { starts: &windows.starts, ends: &windows.ends }),
    }
}

pub(in crate::sandbox) fn elements_param<'a>(
    elements: &'a WindowElements,
    timestamps: &'a CallTimestamps<'a>,
) -> wit_window::Elements<'a> {
    wit_window::Elements {
        values: values_param(&elements.values),
        timestamps: timestamps.param(),
        ends: &elements.ends,
    }
}

pub(in crate::sandbox) fn side_param<'a>(side: &'a PairSide, timestamps: &'a CallTimestamps<'a>) -> wit_join::Side<'a> {
    wit_join::Side { values: values_param(&side.values), timestamps: timestamps.param(), value_of: &side.value_of }
}

pub(in crate::sandbox) fn values_param(values: &Column) -> types::RecordValuesParam<'_> {
    types::RecordValuesParam::Packed(column_param(values))
}

pub(in crate::sandbox) fn column_param(column: &Column) -> types::ColumnParam<'_> {
    types::ColumnParam { bytes: column.bytes(), offsets: column.offsets() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_copied_only_if_some_are_missing() {
        assert!(matches!(CallTimestamps::new(&[]), CallTimestamps::Every([])));
        assert!(matches!(CallTimestamps::new(&[1, i64::MAX]), CallTimestamps::Every([1, i64::MAX])));
        assert!(matches!(CallTimestamps::new(&[NO_TIMESTAMP; 2]), CallTimestamps::None));
        let CallTimestamps::Some(some) = CallTimestamps::new(&[1, NO_TIMESTAMP, -3]) else { panic!() };
        assert_eq!(some, [Some(1), None, Some(-3)]);
    }
}
