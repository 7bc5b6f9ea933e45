//! Rows within the values of states: how a state's schema names them, and their conversion when their fields have changed.
//!
//! Rows are the values of a function's state in codec `row`, the elements of windows, and the records of interval joins. The host's
//! states name their rows behind a word: `element["{a:string}"]`, with one text for each input of the operator, and `null` for an
//! input without rows. Part of the durable format. Stored bytes are untrusted.

use std::sync::Arc;

use super::description::StateDescription;
use super::internal::{JOIN_SIDES, WINDOW_ELEMENTS};
use crate::error::{Result, checkpoint_corrupt, state_failed};
use crate::model::Column;
use crate::model::row::{CopyPlan, RowSchema};

/// The codec of a function's state whose values are rows. Its schema is the text of a [`RowSchema`].
const ROW_CODEC: &str = "row";

/// The most inputs of an operator.
const INPUTS: usize = 2;

/// The schema of the rows of one input, or of all values. `None` for values that are not rows.
type RowsOfInput = Option<Arc<RowSchema>>;

/// Where the values of a state hold rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueRows {
    /// A value is a row.
    Whole(RowsOfInput),
    /// A value is an element of a window. Each input has its own schema.
    Element(Vec<RowsOfInput>),
}

/// The bytes in front of a stored row, the row, and its schema.
pub type StoredRow<'a, 's> = (&'a [u8], &'a [u8], Option<&'s Arc<RowSchema>>);

impl ValueRows {
    /// Returns where the values of a state hold rows, as its schema says. `None` if the state cannot hold rows, or if the schema
    /// cannot be read.
    pub fn of(state: &StateDescription) -> Option<ValueRows> {
        if !state.is_internal() {
            let is_row = state.codec == ROW_CODEC;
            return is_row.then(|| Some(ValueRows::Whole(Some(Arc::new(state.schema.parse().ok()?)))))?;
        }
        let is_side = JOIN_SIDES.contains(&&state.name[..]);
        if !is_side && state.name != WINDOW_ELEMENTS {
            return None;
        }
        let mut rows = match state.schema.split_once('[') {
            None => Vec::new(),
            Some((word, _)) => {
                let texts: Vec<Option<String>> = serde_json::from_str(&state.schema[word.len()..]).ok()?;
                let parse = |text: Option<String>| text.map(|text| text.parse().map(Arc::new)).transpose();
                texts.into_iter().map(parse).collect::<Result<Vec<_>, _>>().ok()?
            }
        };
        Some(match is_side {
            true => ValueRows::Whole(rows.pop().flatten()),
            false => ValueRows::Element(rows),
        })
    }

    /// Returns the rows that a state declares, with the aliases and defaults that its schema does not contain.
    fn declared_by(state: &StateDescription) -> Option<ValueRows> {
        Some(match (ValueRows::of(state)?, &state.rows[..]) {
            (rows, []) => rows,
            (ValueRows::Whole(_), [declared, ..]) => ValueRows::Whole(declared.clone()),
            (ValueRows::Element(_), declared) => ValueRows::Element(declared.to_vec()),
        })
    }

    /// Splits a stored value. `None` if the bytes are malformed.
    pub fn split<'a>(&self, value: &'a [u8]) -> Option<StoredRow<'a, '_>> {
        match self {
            ValueRows::Whole(rows) => Some((&[], value, rows.as_ref())),
            ValueRows::Element(rows) => {
                let (head, row, input) = split_element(value)?;
                Some((head, row, rows.get(input).and_then(Option::as_ref)))
            }
        }
    }
}

/// Splits an element of a window into its head, its value, and its input, which is the lowest bit of the head.
fn split_element(element: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    const TIMESTAMP_BYTES: usize = 8;
    let last = element.iter().take(9).position(|byte| byte & 0x80 == 0)?;
    let (head, row) = element.split_at_checked(last + 1 + TIMESTAMP_BYTES)?;
    Some((head, row, usize::from(head[0] & 1)))
}

/// Rewrites the rows in the values of a state.
pub(super) struct RowConversion {
    rows: ValueRows,
    /// The plan of each input. `None` for rows that stay as they are.
    plans: [Option<CopyPlan>; INPUTS],
}

impl RowConversion {
    /// Returns how values of `old` become values of `new`. `None` if they do not hold rows. Error: why rows cannot be converted, with
    /// both schemas.
    pub(super) fn between(old: &StateDescription, new: &StateDescription) -> Result<Option<RowConversion>, String> {
        let (Some(rows), Some(declared)) = (ValueRows::of(old), ValueRows::declared_by(new)) else { return Ok(None) };
        let mut plans = [None, None];
        match (&rows, &declared) {
            (ValueRows::Whole(from), ValueRows::Whole(to)) => plans[0] = plan_between(from.as_ref(), to.as_ref())?,
            (ValueRows::Element(from), ValueRows::Element(to)) => {
                let of_input = |rows: &[RowsOfInput], input: usize| rows.get(input).cloned().flatten();
                for (input, plan) in plans.iter_mut().enumerate().take(from.len().max(to.len())) {
                    *plan = plan_between(of_input(from, input).as_ref(), of_input(to, input).as_ref())?;
                }
            }
            _ => return Ok(None),
        }
        Ok(Some(RowConversion { rows, plans }))
    }

    /// Returns the converted values. Error: `checkpoint-corrupt`, with the name of the state.
    pub(super) fn convert_all<'v>(&self, state: &str, values: impl Iterator<Item = &'v [u8]>) -> Result<Column> {
        let (mut converted, mut buffer) = (Column::new(), Vec::new());
        for value in values {
            buffer.clear();
            self.convert(state, value, &mut buffer)?;
            if u32::try_from(converted.bytes().len() + buffer.len()).is_err() {
                return Err(state_failed(format!("the rows of an entry of state `{state}` exceed 4 GiB")));
            }
            converted.push(&buffer);
        }
        Ok(converted)
    }

    /// Appends the converted value to `to`.
    fn convert(&self, state: &str, value: &[u8], to: &mut Vec<u8>) -> Result<()> {
        let corrupt = |defect: &str| checkpoint_corrupt(format!("a value of state `{state}`: {defect}"));
        let input = match self.rows {
            ValueRows::Whole(_) => 0,
            ValueRows::Element(_) => usize::from(value.first().copied().unwrap_or_default() & 1),
        };
        let (head, row, _) = self.rows.split(value).ok_or_else(|| corrupt("it is no element of a window"))?;
        to.extend_from_slice(head);
        match &self.plans[input] {
            Some(plan) => plan.copy(row, to).map_err(|defect| corrupt(&defect.to_string())),
            None => {
                to.extend_from_slice(row);
                Ok(())
            }
        }
    }
}

fn plan_between(from: Option<&Arc<RowSchema>>, to: Option<&Arc<RowSchema>>) -> Result<Option<CopyPlan>, String> {
    match (from, to) {
        (Some(from), Some(to)) => CopyPlan::compile(from, to).map_err(|mismatch| {
            format!("{}: the checkpoint holds {}, the function reads {}", mismatch.reason, mismatch.from, mismatch.to)
        }),
        (None, None) => Ok(None),
        (Some(from), None) => Err(format!("the checkpoint holds the rows {from}, the function reads no rows")),
        (None, Some(to)) => Err(format!("the checkpoint holds records that are no rows, the function reads {to}")),
    }
}
