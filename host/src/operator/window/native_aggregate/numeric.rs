//! Sum, min, max, average and top records by a number in each record.

use super::aggregate_result::{AggregateResult, damaged_accumulator, write_whole};
use super::number_field::NumberField;
use super::numeric_value::{NumberKind, NumericValue};
use super::result_json::{record_json, to_json};
use crate::model::row::{ElementType, FieldType, write_bytes, write_unsigned};
use crate::model::{Column, Fault, FaultCode, Windows};
use crate::pipeline::NumericAggregate;
use crate::turn::{Guest, Turn, TurnFailure};

/// The accumulator of a numeric aggregate.
#[derive(Clone, Debug, Default)]
struct NumericAccumulator {
    /// The sum, the minimum or the maximum. Not set if no record was added.
    number: Option<NumericValue>,
    count: u64,
    /// The top records with their numbers, the largest number first.
    top: Vec<(NumericValue, Vec<u8>)>,
}

impl NumericAccumulator {
    fn decode(bytes: &[u8]) -> Option<NumericAccumulator> {
        if bytes.is_empty() {
            return Some(NumericAccumulator::default());
        }
        let (count, rest) = bytes.split_first_chunk()?;
        let (number, mut rest) = NumericValue::decode(rest)?;
        let mut top = Vec::new();
        while !rest.is_empty() {
            let (number, after) = NumericValue::decode(rest)?;
            let (length, after) = after.split_first_chunk()?;
            let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            top.push((number, value.to_vec()));
            rest = after;
        }
        Some(NumericAccumulator { number: Some(number), count: u64::from_le_bytes(*count), top })
    }

    /// Appends the stored form. Nothing is stored if no record was added.
    fn encode(&self, bytes: &mut Vec<u8>) {
        let Some(number) = self.number else { return };
        bytes.extend_from_slice(&self.count.to_le_bytes());
        number.encode(bytes);
        for (number, value) in &self.top {
            number.encode(bytes);
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
    }
}

/// The guest of a numeric aggregate.
pub struct NumericGuest {
    pub function: NumericAggregate,
    pub field: NumberField,
    pub result: AggregateResult,
}

impl NumericGuest {
    /// Combines the number of a record, or of another accumulator over `count` records, with an accumulator. Error:
    /// `number-overflow` if a sum overflows.
    fn combine(&self, accumulator: &mut NumericAccumulator, number: NumericValue, count: u64) -> Result<(), Fault> {
        let current = accumulator.number;
        accumulator.count = accumulator.count.saturating_add(count);
        accumulator.number = Some(match (current, self.function) {
            (None, _) => number,
            // A merged sum has overflowed.
            (Some(current), _) if !current.is_finite() => current,
            (Some(current), NumericAggregate::Sum) => current.plus(number, self.field.kind()).ok_or_else(overflow)?,
            (Some(current), NumericAggregate::Average) => {
                current.plus(number, NumberKind::Untyped).ok_or_else(overflow)?
            }
            (Some(current), NumericAggregate::Min) if number.compare(current).is_lt() => number,
            (Some(current), NumericAggregate::Max | NumericAggregate::Top(_)) if number.compare(current).is_gt() => {
                number
            }
            (Some(current), _) => current,
        });
        Ok(())
    }

    /// Inserts a record into the top records. Among records with equal numbers, the earlier one comes first.
    fn rank(
        &self,
        accumulator: &mut NumericAccumulator,
        number: NumericValue,
        record: impl FnOnce() -> Result<Vec<u8>, TurnFailure>,
    ) -> Result<(), TurnFailure> {
        let NumericAggregate::Top(limit) = self.function else { return Ok(()) };
        let rank = accumulator.top.partition_point(|(other, _)| other.compare(number).is_ge());
        if rank < limit as usize {
            accumulator.top.insert(rank, (number, record()?));
            accumulator.top.truncate(limit as usize);
        }
        Ok(())
    }

    fn decode_all(accumulators: &Column) -> Result<Vec<NumericAccumulator>, TurnFailure> {
        let decode = |bytes| NumericAccumulator::decode(bytes).ok_or_else(damaged_accumulator);
        accumulators.iter().map(decode).collect()
    }

    fn encode_all(accumulators: &[NumericAccumulator]) -> Column {
        let mut column = Column::with_capacity(accumulators.len(), 0);
        accumulators.iter().for_each(|accumulator| column.push_with(|bytes| accumulator.encode(bytes)));
        column
    }

    /// Appends the aggregate to a result.
    fn write_aggregate(&self, accumulator: &NumericAccumulator, row: &mut Vec<u8>) -> Result<(), TurnFailure> {
        if let NumericAggregate::Top(_) = self.function {
            write_unsigned(row, accumulator.top.len() as u64);
            for (_, record) in &accumulator.top {
                write_bytes(row, record_json(record)?.get().as_bytes());
            }
            return Ok(());
        }
        let number = accumulator.number.ok_or_else(damaged_accumulator)?;
        // Finite sums can overflow when they are merged.
        if !number.is_finite() {
            return Err(overflow().into());
        }
        let number = match self.function {
            NumericAggregate::Average => NumericValue::Float(number.to_float() / accumulator.count as f64),
            _ => number,
        };
        match result_type(self.function, &self.field) {
            FieldType::Json => match number {
                NumericValue::Whole(whole) => write_bytes(row, to_json(&whole)?.get().as_bytes()),
                NumericValue::Float(float) => write_bytes(row, to_json(&float)?.get().as_bytes()),
            },
            FieldType::F32 => row.extend_from_slice(&(number.to_float() as f32).to_le_bytes()),
            FieldType::F64 => row.extend_from_slice(&number.to_float().to_le_bytes()),
            whole => number.to_whole().and_then(|number| write_whole(&whole, number, row)).ok_or_else(overflow)?,
        }
        Ok(())
    }
}

/// The type of an aggregate's value.
pub fn result_type(function: NumericAggregate, field: &NumberField) -> FieldType {
    match (function, field.kind()) {
        (NumericAggregate::Top(_), _) => {
            FieldType::List(Box::new(ElementType { value: FieldType::Json, nullable: false }))
        }
        (NumericAggregate::Average, _) | (NumericAggregate::Sum, NumberKind::Float) => FieldType::F64,
        (NumericAggregate::Sum, NumberKind::Signed) => FieldType::I64,
        (NumericAggregate::Sum, NumberKind::Unsigned) => FieldType::U64,
        (NumericAggregate::Sum | NumericAggregate::Min | NumericAggregate::Max, _) => field.value_type(),
    }
}

impl Guest for NumericGuest {
    fn add(
        &mut self,
        _: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        values: &Column,
        _: &[i64],
    ) -> Result<Column, TurnFailure> {
        let mut accumulators = NumericGuest::decode_all(accumulators)?;
        let mut scratch = Vec::new();
        for (value, &accumulator) in values.iter().zip(accumulator_of) {
            let number = self.field.number(value, &mut scratch)?;
            let accumulator = &mut accumulators[accumulator as usize];
            self.combine(accumulator, number, 1)?;
            self.rank(accumulator, number, || self.field.kept_record(value))?;
        }
        Ok(NumericGuest::encode_all(&accumulators))
    }

    fn merge(&mut self, _: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        let mut merged = NumericGuest::decode_all(left)?;
        for (left, right) in merged.iter_mut().zip(NumericGuest::decode_all(right)?) {
            if let Some(number) = right.number
                && self.combine(left, number, right.count).is_err()
            {
                // No record is at fault. The window is, when it fires.
                left.number = Some(NumericValue::Float(f64::INFINITY));
            }
            right.top.into_iter().try_for_each(|(number, value)| self.rank(left, number, || Ok(value)))?;
        }
        Ok(NumericGuest::encode_all(&merged))
    }

    fn finish(&mut self, _: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let (mut results, mut row) = (Column::with_capacity(windows.len(), 0), Vec::new());
        for (index, accumulator) in NumericGuest::decode_all(accumulators)?.iter().enumerate() {
            row.clear();
            self.result.write_window(windows, index, &mut row)?;
            self.write_aggregate(accumulator, &mut row)?;
            results.push(&row);
        }
        Ok(results)
    }
}

fn overflow() -> Fault {
    Fault::new(FaultCode::NumberOverflow, "the sum is too large for its type")
}
