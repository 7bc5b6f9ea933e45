//! Converts batches, windows and pairs to the parameters of calls, without copying their bytes.

use crate::model::{Batch, Column, Keys, PairSide, WindowElements, Windows};
use crate::sandbox::bindings::cofferdam::function::types;
use crate::sandbox::bindings::exports::cofferdam::function::{function as wit, join as wit_join, window as wit_window};

pub(in crate::sandbox) fn batch_param<'a>(batch: &'a Batch, keys: &'a Keys) -> wit::Batch<'a> {
    wit::Batch {
        values: column_param(&batch.values),
        timestamps: &batch.timestamps,
        keys: column_param(&keys.distinct),
        key_of: &keys.key_of,
    }
}

pub(in crate::sandbox) fn windows_param(windows: &Windows) -> types::Windows<'_> {
    types::Windows {
        keys: column_param(&windows.keys.distinct),
        key_of: &windows.keys.key_of,
        starts: &windows.starts,
        ends: &windows.ends,
    }
}

pub(in crate::sandbox) fn elements_param(elements: &WindowElements) -> wit_window::Elements<'_> {
    wit_window::Elements {
        values: column_param(&elements.values),
        timestamps: &elements.timestamps,
        ends: &elements.ends,
    }
}

pub(in crate::sandbox) fn side_param(side: &PairSide) -> wit_join::Side<'_> {
    wit_join::Side { values: column_param(&side.values), timestamps: &side.timestamps, value_of: &side.value_of }
}

pub(in crate::sandbox) fn column_param(column: &Column) -> types::ColumnParam<'_> {
    types::ColumnParam { bytes: column.bytes(), offsets: column.offsets() }
}
