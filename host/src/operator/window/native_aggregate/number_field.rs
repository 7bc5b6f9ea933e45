//! Finds the number of a record: in a field of a row, or in text.

use std::sync::Arc;

use super::numeric_value::{NumberKind, NumericValue};
use crate::error;
use crate::model::row::{FieldLocator, FieldType, RowSchema, RowValue, string_of, write_json};
use crate::model::{Fault, FaultCode};
use crate::pipeline::NumericAggregate;
use crate::turn::TurnFailure;

/// Finds a field of a record, as text. The second argument is a buffer for text that must be unescaped.
pub type FieldExtractor = Arc<dyn for<'a> Fn(&'a [u8], &'a mut Vec<u8>) -> Option<&'a [u8]> + Send + Sync>;

/// The field that a numeric aggregate reads.
#[derive(Clone)]
pub enum NumberField {
    /// A number as text.
    Text(FieldExtractor),
    /// A field of rows with this schema.
    Row(Arc<RowSchema>, FieldLocator),
}

impl NumberField {
    /// Finds a field of rows. Error: there is no such field, or the aggregate cannot be computed of it.
    pub fn of_rows(function: NumericAggregate, rows: &RowSchema, path: &str) -> Result<NumberField, String> {
        use FieldType::{Date, F32, F64, Json, String, Timestamp};
        let locator = FieldLocator::compile(rows, path).map_err(|defect| defect.to_string())?;
        let is_computed = matches!(function, NumericAggregate::Sum | NumericAggregate::Average);
        match locator.field_type() {
            value if value.is_integer() || matches!(value, F32 | F64 | String | Json) => {}
            Timestamp | Date if !is_computed => {}
            value => return Err(format!("the field `{path}` is `{value}`, which is not a number")),
        }
        Ok(NumberField::Row(Arc::new(rows.clone()), locator))
    }

    /// The kind of the numbers.
    pub fn kind(&self) -> NumberKind {
        let NumberField::Row(_, locator) = self else { return NumberKind::Untyped };
        match locator.field_type() {
            FieldType::U8 | FieldType::U16 | FieldType::U32 | FieldType::U64 => NumberKind::Unsigned,
            FieldType::F32 | FieldType::F64 => NumberKind::Float,
            FieldType::String | FieldType::Json => NumberKind::Untyped,
            _ => NumberKind::Signed,
        }
    }

    /// The type of the numbers. JSON if they have none.
    pub fn value_type(&self) -> FieldType {
        match self {
            NumberField::Row(_, locator) if self.kind() != NumberKind::Untyped => locator.field_type().clone(),
            NumberField::Row(..) | NumberField::Text(_) => FieldType::Json,
        }
    }

    /// Returns the number of a record. Error: `number-missing` if it has none.
    pub fn number(&self, record: &[u8], scratch: &mut Vec<u8>) -> Result<NumericValue, TurnFailure> {
        let number = match self {
            NumberField::Text(extract) => {
                scratch.clear();
                extract(record, scratch).and_then(NumericValue::parse)
            }
            NumberField::Row(_, locator) => {
                locator.value(record).map_err(|defect| error::internal(defect.to_string()))?.and_then(number_of)
            }
        };
        number.ok_or_else(|| {
            Fault::new(FaultCode::NumberMissing, "the record has no number in the field that `aggregate` names").into()
        })
    }

    /// Returns the form in which a record becomes part of an accumulator: as it is, or JSON if it is a row.
    pub fn kept_record(&self, record: &[u8]) -> Result<Vec<u8>, TurnFailure> {
        let NumberField::Row(rows, _) = self else { return Ok(record.to_vec()) };
        let mut json = Vec::new();
        write_json(rows, record, &mut json).map_err(|defect| error::internal(defect.to_string()))?;
        Ok(json)
    }
}

fn number_of(value: RowValue<'_>) -> Option<NumericValue> {
    match value {
        RowValue::Signed(number) | RowValue::Timestamp(number) => Some(NumericValue::Whole(number.into())),
        RowValue::Unsigned(number) => Some(NumericValue::Whole(number.into())),
        RowValue::Date(days) => Some(NumericValue::Whole(days.into())),
        RowValue::F32(number) => Some(NumericValue::Float(number.into())).filter(|number| number.is_finite()),
        RowValue::F64(number) => Some(NumericValue::Float(number)).filter(|number| number.is_finite()),
        RowValue::Text(text) => NumericValue::parse(text.as_bytes()),
        RowValue::Json(text) if text.starts_with('"') => {
            string_of(text.as_bytes()).and_then(|text| NumericValue::parse(text.as_bytes()))
        }
        RowValue::Json(text) => NumericValue::parse(text.as_bytes()),
        RowValue::Bool(_) | RowValue::Bytes(_) | RowValue::Nested(_) => None,
    }
}
